"""Which column of columns.py becomes which of QuestDB's: the types, the plans of native/ilp.c, and single lines.

Its tables have the columns of the other database, but for exch_ns: here ts has the nanoseconds.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from functools import lru_cache

from tickbay import _native
from tickbay._native import IlpColumn, IlpPlan
from tickbay.record import DTYPES, Kind
from tickbay.sinks.columns import PLANS_MAX, TABLES, Column, Table

NAME = re.compile(r"[A-Za-z0-9_]{1,40}")  # of tables and columns; the server would take `x;drop`
CONSTANT_BYTES_MAX = 40  # of native/ilp.h
ABSENT = ("exch_ns",)
# Texts of many values: a symbol for each would only fill the table of symbols.
VARCHARS = (
    *("trade_id", "block_trade_id", "block_rfq_id", "combo_id", "combo_trade_id"),
    *("detail", "tick_size_steps", "legs", "more"),
)

# The encoding for the other database → ours, and what the column is here. Texts are symbols but for VARCHARS.
_TYPES = {
    _native.PGCOPY_INT8_U64: (_native.ILP_LONG_U64, "LONG"),
    _native.PGCOPY_INT8_U64_NULL0: (_native.ILP_LONG_U64_ABSENT0, "LONG"),
    _native.PGCOPY_INT8_U32: (_native.ILP_LONG_U32, "LONG"),
    _native.PGCOPY_INT4_U32: (_native.ILP_LONG_U32, "INT"),
    _native.PGCOPY_INT4_U32_NULL0: (_native.ILP_LONG_U32_ABSENT0, "INT"),
    _native.PGCOPY_INT2_U8: (_native.ILP_LONG_U8_ABSENT255, "INT"),  # SHORT has no NULL
    _native.PGCOPY_FLOAT8: (_native.ILP_DOUBLE, "DOUBLE"),
    _native.PGCOPY_TIMESTAMPTZ: (_native.ILP_TIMESTAMP, "TIMESTAMP_NS"),
    _native.PGCOPY_TEXT: (_native.ILP_SYMBOL_TEXT, "SYMBOL"),
    _native.PGCOPY_BOOL_U8: (_native.ILP_BOOL_U8, "BOOLEAN"),
    _native.PGCOPY_BOOL_FLAG: (_native.ILP_BOOL_FLAG, "BOOLEAN"),
    _native.PGCOPY_ENUM_U8: (_native.ILP_SYMBOL_ENUM, "SYMBOL"),
    _native.PGCOPY_CONST_TEXT: (_native.ILP_SYMBOL_CONST, "SYMBOL"),
    _native.PGCOPY_CONST_INT4: (_native.ILP_LONG_CONST, "INT"),
}
_SYMBOLS = (_native.ILP_SYMBOL_CONST, _native.ILP_SYMBOL_TEXT, _native.ILP_SYMBOL_ENUM)
_NEVER_ABSENT = (_native.ILP_LONG_U64, _native.ILP_LONG_U32, _native.ILP_LONG_CONST)
_QUARANTINE = {
    "ts": "TIMESTAMP_NS",
    "sink": "SYMBOL",
    "stream": "SYMBOL",
    "epoch": "INT",
    "seq": "LONG",
    "kind": "SYMBOL",
    "table_name": "SYMBOL",
    "reason": "VARCHAR",
    "layout": "LONG",
    "record": "VARCHAR",
}


def _encoding(column: Column) -> tuple[int, str]:
    if column.name in VARCHARS:
        return _native.ILP_STRING, "VARCHAR"
    return _TYPES[column.type]


# Table → column → type, of every table that the writer fills.
SHAPES: dict[str, dict[str, str]] = {
    table.name: {column.name: _encoding(column)[1] for column in table.columns if column.name not in ABSENT}
    for table in TABLES
} | {"quarantine": _QUARANTINE}
assert all(NAME.fullmatch(name) for table, columns in SHAPES.items() for name in (table, *columns))


@lru_cache(maxsize=PLANS_MAX)
def plan(table: Table, stream: str, epoch: int) -> IlpPlan:
    """How records of `stream` and `epoch` become lines of `table`."""
    assert 0 < len(stream.encode()) <= CONSTANT_BYTES_MAX
    wanted = [column for column in table.columns if column.name not in ("ts", *ABSENT)]
    columns = [_encoded(column, table.kind, stream, epoch) for column in wanted]
    # The protocol wants symbols first; of each part, what is never absent comes first (ilp.h).
    columns.sort(key=lambda column: _order(column.type))
    fields = DTYPES[table.kind].fields
    assert fields is not None
    return IlpPlan(table.kind, table.name.encode(), columns, fields["exch_ns"][1], fields["recv_ns"][1])


def _order(type: int) -> tuple[bool, bool]:
    if type in _SYMBOLS:
        return False, type != _native.ILP_SYMBOL_CONST
    return True, type not in _NEVER_ABSENT


def _encoded(column: Column, kind: Kind, stream: str, epoch: int) -> IlpColumn:
    type, name = _encoding(column)[0], column.name.encode()
    if type == _native.ILP_SYMBOL_CONST:
        return IlpColumn(type, name, constant=stream.encode())
    if type == _native.ILP_LONG_CONST:
        return IlpColumn(type, name, argument=epoch)
    fields = DTYPES[kind].fields
    assert fields is not None
    dtype, offset = fields[column.field][:2]
    words = tuple(word.encode() for word in column.words)
    return IlpColumn(type, name, offset=offset, width=dtype.itemsize, argument=column.flag, words=words)


def line(table: str, values: Mapping[str, object], at_ns: int) -> bytes:
    """One line of `table`, for what is seldom: quarantined records and holes. A value that is None is absent."""
    shape = SHAPES[table]
    symbols, fields = [table.encode()], []
    for name, value in values.items():
        if value is None:
            continue
        text = str(value).encode()
        if shape[name] == "SYMBOL":
            symbols.append(name.encode() + b"=" + re.sub(rb"([ ,=\\\n\r])", rb"\\\1", text))
        else:
            fields.append(name.encode() + b"=" + _field(shape[name], value, text))
    return b",".join(symbols) + b" " + b",".join(fields) + b" %dn\n" % at_ns


def _field(type: str, value: object, text: bytes) -> bytes:
    if type == "VARCHAR":
        return b'"' + re.sub(rb'(["\\\n\r])', rb"\\\1", text) + b'"'
    if type == "BOOLEAN":
        return b"t" if value else b"f"
    if type == "DOUBLE":
        assert isinstance(value, float)
        return b"=\x10" + struct.pack("<d", value)
    return text + (b"n" if type == "TIMESTAMP_NS" else b"i")
