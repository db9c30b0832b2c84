"""Rows into PostgreSQL as the writer does it (cursor and COPY in a transaction) beside the server's COPY of a
ready file into the same table, in turns; and what a row costs the server's process and ours.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg

from bench import usage
from bench.bench_encode import records_of
from bench.result import Result, Size, main, median
from bench.whole_path import database
from tickbay import demo
from tickbay._native import PGCOPY_HEADER, PGCOPY_TRAILER
from tickbay.config import Timescale
from tickbay.embedded import USER
from tickbay.record import Kind, Records
from tickbay.sinks.columns import TABLES, plan
from tickbay.sinks.sink import Chunk
from tickbay.sinks.timescale import TimescaleSink

STREAM, EPOCH = "feed-1.quote", 1
BATCH = 20_000  # rows in a commit: the writer's default
TABLE = TABLES[0]


def measure(size: Size) -> Result:
    result = Result("copy", size)
    rows, turns = size.of(BATCH, 500), size.of(25, 2)
    records = np.resize(records_of(size)[Kind.QUOTE], rows)
    records["exch_ns"] = time.time_ns()
    with tempfile.TemporaryDirectory(prefix="tickbay-bench-") as name, database(Path(name) / "postgres") as server:
        settings = Timescale(port=server.port, user=USER, password=server.password, dbname=demo.DATABASE)
        with closing(TimescaleSink(settings)) as sink, psycopg.connect(server.conninfo(demo.DATABASE)) as plain:
            sink.open([STREAM])
            ready = write_ready(Path(name) / "ready", records)
            ours, limit = Side(backend(plain, "tickbay writer timescale")), Side(plain.info.backend_pid)
            for turn in range(turns):
                records["seq"] = np.arange(1 + turn * rows, 1 + (turn + 1) * rows)
                with ours:
                    assert sink.commit([Chunk(STREAM, Kind.QUOTE, EPOCH, records)]).rows == rows
                with limit:
                    plain.execute(f"COPY {TABLE.name} FROM '{ready}' (FORMAT binary)".encode())
                    plain.commit()
            (stored,) = plain.execute(f"SELECT count(*) FROM {TABLE.name}".encode()).fetchone() or (0,)
            assert stored == 2 * turns * rows
            result.checked = f"{stored} rows of {len(TABLE.columns)} columns are in the table"
            tell(result, ours, limit, rows, turns)
    return result


class Side:
    """Wall time of each turn, and CPU of the server's process and ours over all of them."""

    def __init__(self, server_pid: int) -> None:
        self.server_pid = server_pid
        self.seconds: list[float] = []
        self.server_s = self.client_s = 0.0

    def __enter__(self) -> None:
        self._server_before = self._server()
        self._client_before, self._before = time.process_time(), time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds.append(time.monotonic() - self._before)
        self.client_s += time.process_time() - self._client_before
        self.server_s += self._server() - self._server_before

    def _server(self) -> float:
        return sum(process.cpu_s for process in usage.below([self.server_pid]))


def tell(result: Result, ours: Side, limit: Side, rows: int, turns: int) -> None:
    result.add("writer's COPY", rows / median(ours.seconds), "rows/s")
    result.add("limit: server-side COPY of a ready file", rows / median(limit.seconds), "rows/s")
    result.add("writer's COPY, server's CPU", 1e6 * ours.server_s / rows / turns, "µs/row")
    result.add("limit, server's CPU", 1e6 * limit.server_s / rows / turns, "µs/row")
    result.add("writer's COPY, our CPU", 1e6 * ours.client_s / rows / turns, "µs/row")
    if not result.size.small:
        result.add("server's CPU, limit / writer's", limit.server_s / ours.server_s, "", "does not depend on the load")
        ratio = median([theirs / each for theirs, each in zip(limit.seconds, ours.seconds, strict=True)])
        share = 100 * ours.client_s / (ours.client_s + ours.server_s)
        result.aim("COPY", "of the rate of a server-side COPY", 85, 100 * ratio, " %")
        result.aim("COPY", "our share of the CPU", 10, share, " %", most=True)


def write_ready(path: Path, records: Records) -> Path:
    encoded, _ = plan(TABLE, STREAM, EPOCH).encode(records, TABLE.mask, TABLE.value)
    path.write_bytes(PGCOPY_HEADER + bytes(encoded) + PGCOPY_TRAILER)
    return path


def backend(connection: psycopg.Connection, application: str) -> int:
    found = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", [application]).fetchone()
    connection.commit()
    assert found, "the writer's connection says who it is"
    return int(found[0])


if __name__ == "__main__":
    main(measure)
