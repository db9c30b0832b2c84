"""QuestDB's own client on rows of ours. Runs in the peer's interpreter: imports nothing of tickbay.

bench.peer_questdb FOLDER TURNS PORT     FOLDER has records.npy and plan.json: the table, each column's type and field,
                                         its constant where it has none

CPU of filling its buffer, by row() and by dataframe(), whose frame is there already; what was filled is thrown away.
Then both send all rows once, so that they can be compared with ours.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

Row = tuple[dict[str, str], dict[str, Any], int]


def columns_of(records: Any, plan: dict[str, Any]) -> dict[str, Any]:
    """Columns by name, as our plan sends them."""
    values: dict[str, Any] = {}
    for name, told in plan["columns"].items():
        if "constant" in told:
            values[name] = [told["constant"]] * len(records)
        elif told["type"] == "BOOLEAN":
            values[name] = (records[told["field"]] & told["flag"]) != 0
        elif told["type"] == "SYMBOL":
            values[name] = [text.decode() for text in records[told["field"]].tolist()]
        else:
            values[name] = records[told["field"]].astype("<f8" if told["type"] == "DOUBLE" else "<i8")
    return values


def rows_of(columns: dict[str, Any], symbols: list[str], times_ns: Any) -> list[Row]:
    made = []
    for index, at_ns in enumerate(times_ns.tolist()):
        row = {name: column[index] for name, column in columns.items()}
        fields = {name: getattr(value, "item", lambda value=value: value)() for name, value in row.items()}
        named = {name: fields.pop(name) for name in symbols if name in fields}
        present = {name: value for name, value in fields.items() if value == value}  # NaN is absent
        made.append(({name: text for name, text in named.items() if text}, present, at_ns))
    return made


def frame_of(columns: dict[str, Any], symbols: list[str], times_ns: Any) -> Any:
    frame = importlib.import_module("pandas").DataFrame(columns | {"ts": times_ns.astype("M8[ns]")})
    return frame.astype(dict.fromkeys(symbols, "category"))


def by_row(sender: Any, *, table: str, rows: list[Row]) -> None:
    nanoseconds = importlib.import_module("questdb").TimestampNanos
    for symbols, fields, at_ns in rows:
        sender.row(table, symbols=symbols, columns=fields, at=nanoseconds(at_ns))


def by_frame(sender: Any, *, table: str, frame: Any, symbols: list[str]) -> None:
    sender.dataframe(frame, table_name=table, symbols=symbols, at="ts")


def filled(port: int, fill: Callable[[Any], None], *, flush: bool = False) -> float:
    """CPU seconds of filling a client's buffer."""
    client = importlib.import_module("questdb").Sender
    sender = client.from_conf(f"http::addr=127.0.0.1:{port};protocol_version=2;auto_flush=off;")
    sender.establish()
    try:
        began = time.process_time()
        fill(sender)
        return time.process_time() - began
    finally:
        sender.close(flush=flush)


def main(folder: str, turns: str, port: str) -> None:
    numpy = importlib.import_module("numpy")
    plan = json.loads((Path(folder) / "plan.json").read_text())
    records = numpy.load(Path(folder) / "records.npy")
    columns, table, times_ns = columns_of(records, plan), plan["table"], records["exch_ns"]
    symbols = [name for name, told in plan["columns"].items() if told["type"] == "SYMBOL"]
    answer: dict[str, Any] = {"version": version("questdb"), "rows": len(records)}
    for way, epoch in plan["epochs"].items():
        columns["epoch"] = numpy.full(len(records), epoch, "i8")
        if way == "row":
            fill = partial(by_row, table=table, rows=rows_of(columns, symbols, times_ns))
        else:
            frame = frame_of(columns, symbols, times_ns)
            fill = partial(by_frame, frame=frame, table=table, symbols=symbols)
        answer[way] = [filled(int(port), fill) for _ in range(int(turns))]
        filled(int(port), fill, flush=True)
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
