"""Rows into QuestDB as the writer does it, beside what the server takes of bodies encoded beforehand; and what a row
costs our CPU, beside the client's own row() and dataframe() (client_rows.py).

A side is timed from its first byte to the moment when the last of its rows is applied.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np

from bench import client_rows
from bench.bench_encode import records_of
from bench.client_rows import wait_until_applied
from bench.result import Result, Size, main
from tickbay.config import Questdb
from tickbay.cursor import CursorFile
from tickbay.embedded_questdb import EmbeddedQuestdb
from tickbay.files import Files
from tickbay.record import Kind, Records
from tickbay.sinks.columns import TABLES
from tickbay.sinks.orders import Orders
from tickbay.sinks.questdb import QuestdbSink
from tickbay.sinks.questdb_columns import SHAPES, plan
from tickbay.sinks.questdb_server import QuestdbServer
from tickbay.sinks.rewind import Marks
from tickbay.sinks.sink import Chunk

STREAM, EPOCH, LIMIT_EPOCH = "feed-1.quote", 1, 2
BATCH = 20_000  # rows in a flush: the writer's default
TABLE = TABLES[0]


def measure(size: Size) -> Result:
    result = Result("questdb", size)
    rows, turns = size.of(BATCH, 500), size.of(8, 2)
    records = np.resize(records_of(size)[Kind.QUOTE], rows)
    records["exch_ns"] = time.time_ns() // 10**9 * 10**9
    with tempfile.TemporaryDirectory(prefix="tickbay-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        embedded = EmbeddedQuestdb(folder / "questdb")
        embedded.start()
        stack.callback(embedded.stop)
        server = stack.enter_context(closing(QuestdbServer(Questdb(port=embedded.port))))
        sink = make_sink(folder, Questdb(port=embedded.port), stack)
        sink.open([STREAM])
        ours, limit = [], []
        rounds = 1 + size.of(6, 1)
        for turn in range(rounds):  # the first warms the server up
            chunks = [Chunk(STREAM, Kind.QUOTE, EPOCH, numbered(records, turn * turns + each)) for each in range(turns)]
            ours.append(seconds(partial(commit, sink, chunks, server)))
            bodies = [bytes(encoded(numbered(records, turn * turns + each), LIMIT_EPOCH)) for each in range(turns)]
            limit.append(seconds(partial(post, server, bodies)))
        stored = server.query(f"SELECT epoch, count() FROM {TABLE.name} ORDER BY epoch")
        assert stored == [[EPOCH, rounds * turns * rows], [LIMIT_EPOCH, rounds * turns * rows]], stored
        result.checked = f"{2 * rounds * turns * rows} rows of {len(SHAPES[TABLE.name])} columns are applied"
        result.add("writer, applied", turns * rows / min(ours[1:]), "rows/s", f"best of {rounds - 1}, in turn")
        result.add("limit: ready bodies, applied", turns * rows / min(limit[1:]), "rows/s")
        client_rows.measure(result, numbered(records, 0), server, embedded.port)
        if not size.small:
            result.aim("QuestDB", "of the rate of ready bodies", 90, 100 * min(limit[1:]) / min(ours[1:]), " %")
    return result


def make_sink(folder: Path, settings: Questdb, stack: ExitStack) -> QuestdbSink:
    (folder / "cursors").mkdir()
    cursor = CursorFile(folder / "cursors" / "questdb.cursor", Files())
    stack.callback(cursor.close)
    marks = Marks(folder / "cursors" / "questdb.marks", Files(), keep_s=900)
    sink = QuestdbSink(settings, cursor, marks, Orders(folder, "questdb"))
    stack.callback(sink.close)
    return sink


def numbered(records: Records, turn: int) -> Records:
    """The records of one batch: each row has a time and a number of its own."""
    batch = records.copy()
    batch["seq"] = np.arange(1 + turn * len(batch), 1 + (turn + 1) * len(batch))
    batch["exch_ns"] += batch["seq"].astype("<i8") * 1000
    return batch


def encoded(records: Records, epoch: int) -> memoryview:
    body = bytearray(len(records) * 1100)
    taken, _, end = plan(TABLE, STREAM, epoch).encode(records, body, 0, TABLE.mask, TABLE.value)
    assert taken == len(records)
    return memoryview(body)[:end]


def seconds(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def commit(sink: QuestdbSink, chunks: list[Chunk], server: QuestdbServer) -> None:
    for chunk in chunks:
        assert sink.commit([chunk]).rows == len(chunk.records)
    wait_until_applied(server)


def post(server: QuestdbServer, bodies: list[bytes]) -> None:
    for body in bodies:
        server.send(body)
    wait_until_applied(server)


if __name__ == "__main__":
    main(measure)
