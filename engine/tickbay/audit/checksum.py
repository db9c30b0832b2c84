"""The checksum of a row: one number, computed by PostgreSQL and QuestDB in SQL and by numpy from the journal's records,
the same in all three. What is compared are the sums of it, so no row has to travel.

A row is a list of whole numbers; each column gives one or two, in the order of sinks/columns.py, behind the number of
its table. Every column of every row counts, and every bit of it:

    integer   itself
    boolean   0 or 1
    time      microseconds since 1970 (what both databases have)
    text      the first 60 bits of the MD5 of its UTF-8
    double    z = x · 2^16, as whole part and the first 62 bits of the rest: exact, since both are powers of two, for
              magnitudes from 2^-25 to 2^47. What is smaller or larger is first moved into that window, by 2^72: exact
              from 2^-97 (6e-30) to 2^119 (6e35). A larger one counts by its sign only, a smaller one to 2^-150.
    NULL      NULL_PART, once or twice

Then, with primes P and Q, weights w that differ, and the row's place in its stream:

    a = Σ w · (part mod P)                 below 2^62: PostgreSQL refuses to overflow, QuestDB wraps
    checksum = (a mod Q) · (1 + seq mod S)

A part that changes by any power of two, one bit say, changes `a mod Q`, since no weight is a multiple of Q; a part that
changes anyhow keeps it with a probability of 2^-37. The factor of the place tells rows apart that have swapped values.
It guards against faults, not against somebody who wants to deceive it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tickbay import _native
from tickbay.record import Records
from tickbay.sinks.columns import TABLES, Column, Table

P = 274_877_906_899  # the largest prime below 2^38
Q = 17_592_186_044_399  # the largest prime below 2^44
S = 262_139  # the largest prime below 2^18
WEIGHT_PRIME = 131_071  # 2^17 - 1
WEIGHT_STEP = 40_503
PARTS_MAX = 128  # P · WEIGHT_PRIME · PARTS_MAX < 2^62
NULL_PART = 0x6E756C6C
MINUTE_NS = 60 * 10**9

SMALL, LARGE, HUGE = 2.0**-25, 2.0**47, 2.0**119  # limits of the windows
FRACTION = 2.0**62

INTEGERS = (
    _native.PGCOPY_INT8_U64, _native.PGCOPY_INT8_U64_NULL0, _native.PGCOPY_INT8_U32, _native.PGCOPY_INT4_U32,
    _native.PGCOPY_INT4_U32_NULL0, _native.PGCOPY_INT2_U8, _native.PGCOPY_CONST_INT4,
)  # fmt: skip
NULL_AT_0 = (_native.PGCOPY_INT8_U64_NULL0, _native.PGCOPY_INT4_U32_NULL0, _native.PGCOPY_TIMESTAMPTZ)
TEXTS = (_native.PGCOPY_TEXT, _native.PGCOPY_ENUM_U8, _native.PGCOPY_CONST_TEXT)
FLAGS = (_native.PGCOPY_BOOL_U8, _native.PGCOPY_BOOL_FLAG)

Whole: TypeAlias = NDArray[np.int64]
Absent: TypeAlias = NDArray[np.bool_]


def weight(place: int) -> int:
    """Of the part at `place`: another one for each."""
    assert place < PARTS_MAX
    return (place + 1) * WEIGHT_STEP % WEIGHT_PRIME


def text_part(text: bytes) -> int:
    return int(hashlib.md5(text, usedforsecurity=False).hexdigest()[:15], 16)


# ---------------------------------------------------------------- SQL


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a server is asked; {0} stands for a column or an expression."""

    truncated: str  # a double → the same without its fraction
    whole: str  # that → 64-bit integer
    micros: str  # a time → microseconds since 1970
    text: str  # a text that is not NULL → its first 60 bits
    fence: str = ""  # behind a subquery, so that its expressions are computed once
    ts_has_ns: bool = False  # there is no exch_ns: ts has the nanoseconds


POSTGRES = Dialect(
    truncated="trunc({0})",
    whole="({0})::bigint",
    micros="(date_part('epoch', {0}) * 1000000)::bigint",
    text="('x' || substr(md5(convert_to({0}, 'UTF8')), 1, 15))::bit(60)::bigint",
    fence=" OFFSET 0",
)
QUESTDB = Dialect(
    truncated="cast({0} as long)",
    whole="{0}",
    micros="cast({0} as long) / 1000",
    text="cast(cast(concat('0x0', left(md5({0}), 15)) as long256) as long)",
    ts_has_ns=True,
)


def hashed(table: Table, dialect: Dialect, where: str) -> str:
    """A subquery (stream, epoch, seq, minute, checksum) over the rows of `table` that fulfil `where`."""
    inner = ["stream", "epoch", "seq", f"recv_ns / {MINUTE_NS} AS minute"]
    terms = [f"{TABLES.index(table) * weight(0)}"]
    for number, column in enumerate(table.columns):
        name = f"c{number}"
        inner.append(f"{_expression(column, dialect)} AS {name}")
        parts = _real_parts(name, dialect) if column.type == _native.PGCOPY_FLOAT8 else [name]
        for part in parts:
            terms.append(f"coalesce({part}, {NULL_PART}) % {P} * {weight(len(terms))}")
    return (
        f"SELECT stream, epoch, seq, minute, ({' + '.join(terms)}) % {Q} * (1 + seq % {S}) AS checksum"  # noqa: S608 - names of our own, and quoted texts
        f" FROM (SELECT {', '.join(inner)} FROM {table.name} WHERE {where}{dialect.fence}) AS parts"
    )


def _expression(column: Column, dialect: Dialect) -> str:
    name = f'"{column.name}"'
    if column.name == "exch_ns" and dialect.ts_has_ns:
        return 'cast("ts" as long)'
    if column.type == _native.PGCOPY_FLOAT8:
        # QuestDB takes doubles that are 1e-10 apart for the same: the smallest limit is made large before it is asked.
        return (
            f"CASE WHEN abs({name}) >= {HUGE!r} THEN sign({name})"
            f" WHEN abs({name}) >= {LARGE!r} THEN {name} * {2.0**-56!r}"
            f" WHEN abs({name}) * {2.0**45!r} >= {SMALL * 2.0**45!r} THEN {name} * {2.0**16!r}"
            f" ELSE {name} * {2.0**88!r} END"
        ).replace("e+", "e")
    if column.type == _native.PGCOPY_TIMESTAMPTZ:
        return dialect.micros.format(name)
    if column.type in TEXTS:
        return f"CASE WHEN {name} IS NULL THEN {NULL_PART} ELSE {dialect.text.format(name)} END"
    if column.type in FLAGS:
        return f"CASE WHEN {name} THEN 1 ELSE 0 END"
    assert column.type in INTEGERS
    return name


def _real_parts(name: str, dialect: Dialect) -> list[str]:
    head = dialect.truncated.format(name)
    rest = dialect.truncated.format(f"(({name} - {head}) * {int(FRACTION)}.0)")
    return [dialect.whole.format(head), dialect.whole.format(rest)]


# ---------------------------------------------------------------- numpy


def checksums(table: Table, records: Records, stream: str, epoch: int) -> Whole:
    """Of each record, as if it were a row of `table`."""
    total = np.full(len(records), TABLES.index(table) * weight(0), np.int64)
    place = 1
    for column in table.columns:
        for part, absent in _parts(column, records, stream, epoch):
            total += np.fmod(np.where(absent, NULL_PART, part), P) * weight(place)
            place += 1
    place_factor = 1 + records["seq"].astype(np.int64) % S
    return np.asarray(np.fmod(total, Q) * place_factor, np.int64)


def _parts(column: Column, records: Records, stream: str, epoch: int) -> Iterator[tuple[Whole, Absent]]:
    never = np.zeros(len(records), bool)
    if column.type == _native.PGCOPY_CONST_TEXT:
        yield np.full(len(records), text_part(stream.encode()), np.int64), never
    elif column.type == _native.PGCOPY_CONST_INT4:
        yield np.full(len(records), epoch, np.int64), never
    elif column.type == _native.PGCOPY_FLOAT8:
        yield from _parts_of_reals(records[column.field])
    elif column.type == _native.PGCOPY_TEXT:
        yield _parts_of_texts(records[column.field], bytes)
    elif column.type == _native.PGCOPY_ENUM_U8:
        words = [word.encode() for word in column.words]
        yield _parts_of_texts(records[column.field], lambda value: words[value] if value < len(words) else b"")
    elif column.type == _native.PGCOPY_BOOL_FLAG:
        yield (records[column.field] & column.flag != 0).astype(np.int64), never
    elif column.type == _native.PGCOPY_BOOL_U8:
        yield (records[column.field] != 0).astype(np.int64), never
    else:
        values = records[column.field].astype(np.int64)
        null = 255 if column.type == _native.PGCOPY_INT2_U8 else 0
        absent = values == null if column.type in (*NULL_AT_0, _native.PGCOPY_INT2_U8) else never
        yield (values // 1000 if column.type == _native.PGCOPY_TIMESTAMPTZ else values), absent


def _parts_of_reals(values: NDArray[np.float64]) -> Iterator[tuple[Whole, Absent]]:
    absent = np.isnan(values)
    values = np.where(absent, 0.0, values)
    size = np.abs(values)
    scale = np.select([size < SMALL, size < LARGE], [2.0**88, 2.0**16], 2.0**-56)
    moved = np.where(size < HUGE, np.where(size < HUGE, values, 0.0) * scale, np.sign(values))
    head = np.trunc(moved)
    yield head.astype(np.int64), absent
    yield ((moved - head) * FRACTION).astype(np.int64), absent


def _parts_of_texts(values: NDArray[np.generic], text_of: Callable[..., bytes]) -> tuple[Whole, Absent]:
    """Most texts come again and again: each is hashed once."""
    distinct, index = np.unique(values, return_inverse=True)
    texts = [text_of(value) for value in distinct.tolist()]
    parts = np.array([text_part(text) for text in texts], np.int64)
    absent = np.array([not text for text in texts], bool)
    return parts[index], absent[index]
