"""What a row for QuestDB costs our CPU, beside the client's own row() and dataframe() (in the peer's interpreter): the
same rows, of a quote's 42 columns and of 18, as many as the goal was measured with (326 bytes a row; these are 356).

CPU of making the lines, ours by the writer's own code. Then each of the three ways sends its rows to a table of those
columns, and the server says of every one how many there are and what each number adds up to.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench import peer
from bench.result import Result, median
from tickbay.record import Records
from tickbay.sinks.columns import TABLES, Table
from tickbay.sinks.lines import Body, bodies
from tickbay.sinks.questdb_columns import SHAPES
from tickbay.sinks.questdb_server import QuestdbServer
from tickbay.sinks.sink import Chunk

STREAM, OURS = "feed-1.quote", 11
EPOCHS = {"row": 12, "dataframe": 13}  # each way's rows have one of their own
APPLY_TIMEOUT_S = 120.0
PRIME = 1_000_003  # sums of times would not fit 64 bits
WIDE = TABLES[0]
ORIGIN = "ts stream epoch seq instrument"
PRICES = "bid_price bid_amount ask_price ask_amount mark_price index_price underlying_price"
GREEKS = "mark_iv delta gamma vega theta rho"
NARROW = replace(
    WIDE,
    name="quotes_18",
    columns=tuple(column for column in WIDE.columns if column.name in f"{ORIGIN} {PRICES} {GREEKS}".split()),
)
assert len(NARROW.columns) == 18
TYPES = SHAPES[WIDE.name]
MAKE = f"""
    CREATE TABLE {NARROW.name} ({", ".join(f"{column.name} {TYPES[column.name]}" for column in NARROW.columns)})
    TIMESTAMP(ts) PARTITION BY DAY WAL DEDUP UPSERT KEYS(ts, stream, epoch, seq)
"""


def measure(result: Result, records: Records, server: QuestdbServer, port: int) -> None:
    """`records`: quotes, each with a time and a number of its own."""
    server.query(MAKE)
    for table in (WIDE, NARROW):
        count = len([column for column in table.columns if column.name in TYPES])
        body = body_of(table, records)
        own = result.add(f"ours, {count} columns, our CPU", ns_of(body, result.size.of(15, 2)), "ns/row")
        result.add(f"ours, {count} columns", body.bytes / len(records), "bytes/row")
        server.send(body)
        ways = {OURS: records}
        if (python := peer.questdb()) is None:
            result.notes.append(f"{count} columns: {peer.CLIENT_ABSENT}")
        else:
            few = records[: result.size.of(5000, 200)]
            with tempfile.TemporaryDirectory(prefix="tickbay-bench-") as name:
                theirs = ask(python, Path(name), table, few, port, result.size.of(5, 1))
            for way, epoch in EPOCHS.items():
                ways[epoch] = few
                each = result.add(
                    f"the client's {way}(), {count} columns, CPU", 1e9 * median(theirs[way]) / len(few), "ns/row"
                )
                result.add(f"{way}() / ours, {count} columns", each / own, "x")
        check(server, table, ways)
        result.checked += f"; {count} columns: {' + '.join(f'{len(sent):,}' for sent in ways.values())} rows add up"
        if table is NARROW and not result.size.small:
            result.aim("QuestDB", f"a row of {count} columns, our CPU", 120, own, " ns", most=True)


def body_of(table: Table, records: Records) -> Body:
    """As the writer makes it: piece by piece, all in one small buffer."""
    (body,) = bodies([(table, [(Chunk(STREAM, table.kind, OURS, records), records)])])
    return body


def ns_of(body: Body, turns: int) -> float:
    """CPU of a row."""
    spent = [cpu_s(lambda: deque(body, maxlen=0)) for _ in range(turns)]
    return 1e9 * median(spent) / body.rows


def cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def ask(python: Path, folder: Path, table: Table, records: Records, port: int, turns: int) -> dict[str, list[float]]:
    """What the client needed for the same rows: CPU seconds by way, and all of it sent once."""
    told: dict[str, dict[str, object]] = {}
    for column in table.columns:
        if column.name not in TYPES or column.name == "ts":
            continue
        told[column.name] = {"type": TYPES[column.name], "field": column.field, "flag": column.flag}
        if not column.field:  # the epoch comes with the way
            told[column.name]["constant"] = STREAM if column.name == "stream" else 0
    (folder / "plan.json").write_text(json.dumps({"table": table.name, "columns": told, "epochs": EPOCHS}))
    np.save(folder / "records.npy", records)
    answer = peer.ask(python, str(folder), str(turns), str(port), program=peer.CLIENT)
    assert answer["rows"] == len(records)
    return answer


def check(server: QuestdbServer, table: Table, ways: dict[int, Records]) -> None:
    """Every way's rows are there, and every number of theirs adds up to the same as the records'."""
    wait_until_applied(server)
    names = [column.name for column in table.columns if TYPES.get(column.name) in ("DOUBLE", "LONG")]
    sums = ", ".join(f"sum({name} % {PRIME})" if TYPES[name] == "LONG" else f"sum({name})" for name in names)
    for epoch, records in ways.items():
        ((rows, *found),) = server.query(f"SELECT count(), {sums} FROM {table.name} WHERE epoch = {epoch}")
        assert rows == len(records), f"{table.name}: {rows} of {len(records)} rows of epoch {epoch}"
        for name, got in zip(names, found, strict=True):
            due = (records[name] % PRIME).sum() if TYPES[name] == "LONG" else np.nansum(records[name])
            assert math.isclose(got or 0.0, due, rel_tol=1e-9, abs_tol=1e-9), f"{table.name}.{name}: {got}, not {due}"


def wait_until_applied(server: QuestdbServer) -> None:
    deadline = time.monotonic() + APPLY_TIMEOUT_S
    while server.query("SELECT name FROM wal_tables() WHERE writerTxn < sequencerTxn"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
