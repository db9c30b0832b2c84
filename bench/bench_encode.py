"""Records to rows of PostgreSQL's binary COPY format: our encoder beside numpy's conversion and Python's tuples.

numpy writes rows of one width, so it can hold no NULL: its rows are of a table without any. Ours are checked field by
field, and byte by byte against numpy's where both can write the same.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bench import corpus
from bench.result import Result, Size, main, median
from tickbay import _native
from tickbay._native import PgcopyColumn, PgcopyPlan
from tickbay.record import DTYPES, Flag, Kind, Records
from tickbay.sinks.columns import TABLES, plan

ROWS = 256  # at a time, as the sink does: they stay in the cache
STREAM, EPOCH = "feed-1.book", 1
TURNS = 41
PG_EPOCH_US = 946_684_800 * 10**6
NARROW = 14  # columns of the table that the goal was measured with


def measure(size: Size) -> Result:
    result = Result("encode", size)
    records = records_of(size)
    turns = size.of(TURNS, 3)
    for kind in (Kind.QUOTE, Kind.BOOK):
        (table, *_) = [table for table in TABLES if table.kind == kind]
        ours = plan(table, STREAM, EPOCH)
        encoded, rows = ours.encode(records[kind], table.mask, table.value)
        check_fields(bytes(encoded), rows, len(table.columns))
        each = ns_per_row(ours.encode, records[kind], turns)
        columns = len(table.columns)
        result.add(f"{table.name}, {columns} columns, with NULLs", each, "ns/row", f"{each / columns:.2f} ns a column")
    narrow(result, records[Kind.QUOTE], turns)
    result.checked = f"{NARROW} columns byte by byte against numpy; the real tables' rows field by field"
    return result


def narrow(result: Result, quotes: Records, turns: int) -> None:
    """A time, an integer and twelve reals: the table of the goal; with NULLs as they come, and without for numpy."""
    names = [name for name in quotes.dtype.names or () if quotes.dtype[name].kind == "f"][: NARROW - 2]
    ours = narrow_plan(names)
    each = ns_per_row(ours.encode, quotes, turns)
    result.add(f"{NARROW} columns, NULLs as they come", each, "ns/row")
    whole = quotes.copy()
    for name in names:
        whole[name] = np.nan_to_num(whole[name], nan=0.5)
    assert bytes(ours.encode(whole)[0]) == numpy_rows(whole, names).tobytes(), "numpy writes other bytes"
    full = ns_per_row(ours.encode, whole, turns)
    result.add(f"{NARROW} columns, no NULLs", full, "ns/row")
    limit = ns_per_row(lambda part: numpy_rows(part, names), whole, turns)
    result.add(f"limit in Python: numpy big-endian, {NARROW} columns", limit, "ns/row")
    tuples = ns_per_row(lambda part: python_rows(part, names), whole, max(1, turns // 10))
    result.add(f"peer: Python tuples and struct, {NARROW} columns", tuples, "ns/row")
    result.aim("encode", f"a row of {NARROW} columns, NULLs included", 10, each, " ns", most=True)
    result.aim("encode", "faster than numpy", 1, limit / full, "x")


def records_of(size: Size) -> dict[Kind, Records]:
    """What the corpus decodes to."""
    payloads: dict[Kind, list[bytes]] = {Kind.QUOTE: [], Kind.BOOK: [], Kind.TRADE: []}
    for frame in corpus.load(size).frames:
        _, message, payload, _ = _native.decode_deribit(frame, 1_800_000_000 * 10**9, 1, 256)
        payloads[Kind(message)].append(payload)
    found = {kind: np.frombuffer(b"".join(parts), DTYPES[kind]).copy() for kind, parts in payloads.items()}
    return found | {Kind.QUOTE: found[Kind.QUOTE][found[Kind.QUOTE]["flags"] & Flag.OPTION != 0]}


def narrow_plan(names: list[str]) -> PgcopyPlan:
    offsets = {name: place[1] for name, place in (DTYPES[Kind.QUOTE].fields or {}).items()}
    columns = [
        PgcopyColumn(_native.PGCOPY_TIMESTAMPTZ, offsets["exch_ns"]),
        PgcopyColumn(_native.PGCOPY_INT8_U64, offsets["recv_ns"]),
        *(PgcopyColumn(_native.PGCOPY_FLOAT8, offsets[name]) for name in names),
    ]
    return PgcopyPlan(Kind.QUOTE, columns)


def numpy_rows(records: Records, names: list[str]) -> npt.NDArray[np.void]:
    """The same rows by numpy: each field is its length and its value."""
    fields: list[tuple[str, str]] = [("count", ">i2")]
    for name in ("exch_ns", "recv_ns", *names):
        fields += [(f"{name} size", ">i4"), (name, ">f8" if name in names else ">i8")]
    rows = np.empty(len(records), np.dtype(fields))
    rows["count"] = len(names) + 2
    for name in ("exch_ns", "recv_ns", *names):
        rows[f"{name} size"] = 8
        rows[name] = records[name]
    rows["exch_ns"] = records["exch_ns"] // 1000 - PG_EPOCH_US
    return rows


def python_rows(records: Records, names: list[str]) -> bytes:
    """The same rows by Python."""
    row = struct.Struct(">h" + "iq" * 2 + "id" * len(names))
    count, rows = len(names) + 2, []
    for exch_ns, recv_ns, *values in records[["exch_ns", "recv_ns", *names]].tolist():
        sized = [part for value in values for part in (8, value)]
        rows.append(row.pack(count, 8, exch_ns // 1000 - PG_EPOCH_US, 8, recv_ns, *sized))
    return b"".join(rows)


def check_fields(encoded: bytes, rows: int, columns: int) -> None:
    """Every row has all its columns and ends where the next begins."""
    at = 0
    for _ in range(rows):
        assert struct.unpack_from(">h", encoded, at) == (columns,)
        at += 2
        for _ in range(columns):
            (length,) = struct.unpack_from(">i", encoded, at)
            at += 4 + max(0, length)
    assert at == len(encoded)


def ns_per_row(encode: Callable[[Records], object], records: Records, turns: int) -> float:
    """CPU time, ROWS at a time."""
    parts = [records[start : start + ROWS] for start in range(0, len(records), ROWS)]
    times = []
    for _ in range(turns):
        began = time.process_time_ns()
        for part in parts:
            encode(part)
        times.append((time.process_time_ns() - began) / len(records))
    return median(times)


if __name__ == "__main__":
    main(measure)
