"""QuestDB in the form of columns.py: rows as JSON, page by page, brought to fixed widths here.

In: a server. Out: arrays. NULL and NaN are one there, so a NaN that was stored for what is absent cannot be told.
SinkDown, SinkRefused, SinkParked pass through.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tickbay.audit.columns import (
    COLUMNS,
    FLAG,
    HEALED,
    INSTEAD,
    INTEGER,
    KINDS,
    META,
    NULL_INTEGER,
    REAL,
    STORED_DTYPES,
    TABLES,
    TRADE,
    Rows,
    one_nan,
)
from tickbay.audit.database import GapRow, Seam, Sequence
from tickbay.audit.store import quoted
from tickbay.sinks.questdb_server import QuestdbServer

PAGE_ROWS = 20_000  # of an answer: some 10 MB of text
SEQUENCES_AT_ONCE = 500_000
NS = 'cast("ts" as long)'


class QuestdbDatabase:
    """See Database."""

    def __init__(self, server: QuestdbServer) -> None:
        self._server = server

    def seam(self) -> Seam:
        return Seam(0, 0)

    def streams(self) -> list[Sequence]:
        tables = [table for kind in KINDS for table, _ in TABLES[kind]]
        parts = [f"SELECT stream, epoch, seq FROM {table}" for table in tables]  # noqa: S608 - our own names
        kinds = ", ".join(f"'{kind}'" for kind in KINDS)
        parts.append(f"SELECT stream, epoch, seq FROM quarantine WHERE kind IN ({kinds})")  # noqa: S608 - as above
        rows = self._server.query(
            "SELECT stream, epoch, count() AS rows, count_distinct(seq) AS distinct_rows, min(seq) AS first_seq,"  # noqa: S608 - as above
            f" max(seq) AS last_seq FROM ({' UNION ALL '.join(parts)}) GROUP BY stream, epoch ORDER BY stream, epoch"
        )
        return [Sequence(*row) for row in rows]

    def holes(self, sequence: Sequence) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        before = sequence.first - 1
        tables = [*(table for table, _ in TABLES[sequence.stream.rpartition(".")[2]]), "quarantine"]
        for first in range(sequence.first, sequence.last + 1, SEQUENCES_AT_ONCE):
            parts = [
                f"SELECT seq FROM {table} WHERE {_those(sequence, first, first + SEQUENCES_AT_ONCE)}"  # noqa: S608 - our own names
                for table in tables
            ]
            rows = self._server.query(" UNION ALL ".join(parts))
            there = np.unique(np.array(rows, np.int64))
            steps = np.diff(there, prepend=before)
            found += [(int(seq - step + 1), int(seq - 1)) for seq, step in zip(there, steps, strict=True) if step > 1]
            before = int(there[-1]) if len(there) else before
        return found

    def quarantined(self) -> dict[str, set[tuple[int, int]]]:
        found: dict[str, set[tuple[int, int]]] = {}
        for stream, epoch, seq in self._server.query("SELECT stream, epoch, seq FROM quarantine"):
            found.setdefault(stream, set()).add((epoch, seq))
        return found

    def first_rows(self, kind: str, count: int) -> dict[tuple[str, int], set[tuple[str, bytes, int]]]:
        found: dict[tuple[str, int], set[tuple[str, bytes, int]]] = {}
        captured = "NOT healed" if kind in HEALED else "true"
        for table, _ in TABLES[kind]:
            begun = self._server.query(
                "SELECT stream, conn, epoch, min(seq) AS first_seq"  # noqa: S608 - our own names
                f" FROM {table} WHERE {captured} GROUP BY stream, conn, epoch"
            )
            for stream, conn, epoch, first in begun:
                near = _those(Sequence(stream, epoch, 0, 0, 0, 0), first, first + count)
                rows = self._server.query(
                    f"SELECT instrument, {NS} AS ns FROM {table} WHERE {near} AND conn = {conn} AND {captured}"  # noqa: S608 - as above
                )
                marks = found.setdefault((stream.rpartition(".")[0], conn), set())
                marks.update((kind, instrument.encode(), ns) for instrument, ns in rows)
        return found

    def stored_rows(self, stream: str, kind: str) -> Iterator[Rows]:
        for sequence in (each for each in self.streams() if each.stream == stream):
            yield from self._rows(sequence, kind, healed=False)

    def healed_rows(self, kind: str) -> Iterator[Rows]:
        for sequence in (each for each in self.streams() if each.stream.endswith(f".{kind}")):
            yield from self._rows(sequence, kind, healed=True)

    def _rows(self, sequence: Sequence, kind: str, *, healed: bool) -> Iterator[Rows]:
        for first in range(sequence.first, sequence.last + 1, PAGE_ROWS):
            rows = self._server.query(_query(sequence, kind, first, healed=healed))
            if rows:
                yield _parsed(rows, kind)

    def captured_too(self) -> list[tuple[str, int]]:
        found = []
        for table, _ in TABLES[TRADE]:
            rows = self._server.query(
                f"SELECT DISTINCT h.instrument, h.trade_seq FROM (SELECT * FROM {table} WHERE healed) AS h"  # noqa: S608 - as above
                f" JOIN (SELECT * FROM {table} WHERE NOT healed) AS t"
                " ON h.instrument = t.instrument AND h.trade_seq = t.trade_seq"
            )
            found += [(instrument, number) for instrument, number in rows]
        return found

    def gaps(self) -> list[GapRow]:
        rows = self._server.query(
            "SELECT stream, kind, instrument, cause, from_ns, to_ns, first_missing, last_missing FROM data_gaps"
            " ORDER BY stream, epoch, seq"
        )
        return [
            GapRow(stream, kind or "", name or "", cause or "", from_ns or 0, to_ns or 0, first or 0, last or 0)
            for stream, kind, name, cause, from_ns, to_ns, first, last in rows
        ]


def _those(sequence: Sequence, first: int, end: int) -> str:
    """The condition for the rows from `first` to before `end` of a stream and epoch."""
    return f"stream = '{quoted(sequence.stream)}' AND epoch = {sequence.epoch} AND seq >= {first} AND seq < {end}"


def _query(sequence: Sequence, kind: str, first: int, *, healed: bool) -> str:
    names = [_expression(kind, name) for name in (*(name for name, _ in META), *COLUMNS[kind])]
    which = f"healed = {str(healed).lower()}" if kind in HEALED else "true"
    parts = [
        f"SELECT {str(option).lower()} AS option, {', '.join(names)} FROM {table}"  # noqa: S608 - our own names
        f" WHERE {_those(sequence, first, first + PAGE_ROWS)} AND {which}"
        for table, option in TABLES[kind]
    ]
    return f"SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY seq"  # noqa: S608 - as above


def _expression(kind: str, name: str) -> str:
    instead = INSTEAD.get((kind, name), name if name == "exch_ns" else f'"{name}"')
    return instead.replace("exch_ns", NS)  # there is none: ts has the nanoseconds


def _parsed(rows: list[list[Any]], kind: str) -> Rows:
    result = np.zeros(len(rows), STORED_DTYPES[kind])
    names = ["option", *(name for name, _ in META), *COLUMNS[kind]]
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        form = COLUMNS[kind].get(name, FLAG if name == "option" else INTEGER)
        result[name] = _fixed(name, form, values)
    return one_nan(result)


def _fixed(name: str, form: str, values: tuple[Any, ...]) -> list[Any]:
    if form == REAL:
        return [np.nan if value is None else value for value in values]
    if form == FLAG:
        return [bool(value) for value in values]
    if form == INTEGER:
        null = NULL_INTEGER.get(name, 0)
        return [null if value is None else value for value in values]
    return [b"" if value is None else value.encode() or b"\x01" for value in values]
