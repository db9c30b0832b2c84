"""Rows into QuestDB as the writer does it, beside what the server takes of bodies encoded beforehand; and
what a row costs our CPU, beside the client's own row() and dataframe() (where `questdb` and `pandas` are installed).

A side is timed from its first byte to the moment when the last of its rows is applied.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.bench_encode import records_of
from bench.result import Result, Size, main, median
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
SYMBOLS = [name for name, type in SHAPES[TABLE.name].items() if type == "SYMBOL"]
APPLY_TIMEOUT_S = 120.0


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
        tell_client(result, records, size, embedded.port)
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


def wait_until_applied(server: QuestdbServer) -> None:
    deadline = time.monotonic() + APPLY_TIMEOUT_S
    while server.query("SELECT name FROM wal_tables() WHERE writerTxn < sequencerTxn"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def tell_client(result: Result, records: Records, size: Size, port: int) -> None:
    """CPU of making the lines only, nothing is sent."""
    encoder, body = plan(TABLE, STREAM, EPOCH), bytearray(len(records) * 1100)
    turns = size.of(15, 2)
    ours = [cpu(lambda: encoder.encode(records, body, 0, TABLE.mask, TABLE.value)) for _ in range(turns)]
    own = result.add("ours, our CPU for the lines", 1e9 * median(ours) / len(records), "ns/row")
    if importlib.util.find_spec("questdb") is None or importlib.util.find_spec("pandas") is None:
        result.notes.append("questdb and pandas are not installed: the client's own encoders were not measured")
        return
    few = records[: size.of(5000, 200)]
    as_rows, as_frame = client_rows(few), client_frame(few)
    by_row = [timed(port, lambda sender: row_by_row(sender, as_rows)) for _ in range(size.of(5, 1))]
    frame_arguments = {"table_name": TABLE.name, "symbols": SYMBOLS, "at": "ts"}
    by_frame = [timed(port, lambda sender: sender.dataframe(as_frame, **frame_arguments)) for _ in range(size.of(5, 1))]
    result.add("the client's row(), CPU", 1e9 * median(by_row) / len(few), "ns/row")
    frame = result.add(
        "the client's dataframe(), CPU", 1e9 * median(by_frame) / len(few), "ns/row", "the frame is there"
    )
    if not size.small:
        result.add("dataframe() / ours", frame / own, "times")


def cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def client_columns(records: Records) -> dict[str, Any]:
    """What the client is given: columns by name, as our plan sends them."""
    values: dict[str, Any] = {"stream": [STREAM] * len(records), "epoch": np.full(len(records), EPOCH, "i8")}
    for name, type in SHAPES[TABLE.name].items():
        if type == "BOOLEAN":
            values[name] = (records["flags"] & 8) != 0
        elif type in ("SYMBOL", "DOUBLE", "LONG") and name not in values:
            column = records[name]
            values[name] = (
                [text.decode() for text in column.tolist()]
                if column.dtype.kind == "S"
                else column.astype("<i8" if type == "LONG" else "<f8")
            )
    return values


def client_rows(records: Records) -> list[tuple[dict[str, str], dict[str, Any], int]]:
    columns = client_columns(records)
    made = []
    for index in range(len(records)):
        row = {name: column[index] for name, column in columns.items()}
        symbols = {name: row.pop(name) for name in SYMBOLS}
        fields = {name: value.item() for name, value in row.items() if value == value}  # NaN is absent
        made.append((symbols, fields, int(records["exch_ns"][index])))
    return made


def client_frame(records: Records) -> Any:
    frame = importlib.import_module("pandas").DataFrame(
        client_columns(records) | {"ts": records["exch_ns"].astype("M8[ns]")}
    )
    return frame.astype(dict.fromkeys(SYMBOLS, "category"))


def row_by_row(sender: Any, rows: list[tuple[dict[str, str], dict[str, Any], int]]) -> None:
    nanoseconds = importlib.import_module("questdb").TimestampNanos
    for symbols, fields, at_ns in rows:
        sender.row(TABLE.name, symbols=symbols, columns=fields, at=nanoseconds(at_ns))


def timed(port: int, fill: Callable[[Any], None]) -> float:
    """CPU of filling a client's buffer; what is in it is thrown away."""
    client = importlib.import_module("questdb").Sender
    sender = client.from_conf(f"http::addr=127.0.0.1:{port};protocol_version=2;auto_flush=off;")
    sender.establish()
    try:
        return cpu(lambda: fill(sender))
    finally:
        sender.close(flush=False)


if __name__ == "__main__":
    main(measure)
