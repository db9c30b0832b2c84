"""The database in the form of columns.py: every column brought to a fixed width by the server, so that a million rows
are one array.

In: a psycopg connection in a transaction. Out: arrays. psycopg.Error passes through.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

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

FETCH_ROWS = 20_000  # at once: some 20 MB
# For the server to sort with; its default would put every stream on its disk in small pieces.
WORK_MEM = "64MB"


class Postgres:
    """See Database. `connection` is in a transaction."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def seam(self) -> Seam:
        return Seam(0, 0)

    def stored_rows(self, stream: str, kind: str) -> Iterator[Rows]:
        """Everything captured live (not healed later) of a stream, in order, in pieces (columns.STORED_DTYPES)."""
        wire = _wire(kind)
        self._connection.execute(sql.SQL("SET LOCAL work_mem = {}").format(sql.Literal(WORK_MEM)))
        with self._connection.cursor("audit", binary=True) as cursor:
            cursor.execute(_query(stream, kind))
            while found := cursor.fetchmany(FETCH_ROWS):
                yield _parsed(b"".join([data for (data,) in found]), wire, kind)

    def healed_rows(self, kind: str) -> Iterator[Rows]:
        wire = _wire(kind)
        with self._connection.cursor("audit_healed", binary=True) as cursor:
            cursor.execute(_query("", kind))
            while found := cursor.fetchmany(FETCH_ROWS):
                yield _parsed(b"".join([data for (data,) in found]), wire, kind)

    def captured_too(self) -> list[tuple[str, int]]:
        query = sql.SQL(" UNION ALL ").join(
            sql.SQL(
                "SELECT h.instrument, h.trade_seq FROM {0} AS h WHERE h.healed AND EXISTS (SELECT FROM {0} AS t"
                " WHERE NOT t.healed AND t.instrument = h.instrument AND t.trade_seq = h.trade_seq)"
            ).format(sql.Identifier(table))
            for table, _ in TABLES[TRADE]
        )
        return [(instrument, number) for instrument, number in self._connection.execute(query)]

    def streams(self) -> list[Sequence]:
        """Every stream of market data by epoch, with its quarantined rows counted as there."""
        parts = [
            sql.SQL("SELECT stream, epoch::bigint, seq FROM {}").format(sql.Identifier(table))
            for kind in KINDS
            for table, _ in TABLES[kind]
        ]
        parts.append(
            sql.SQL("SELECT stream, epoch, seq FROM quarantine WHERE kind = ANY({})").format(sql.Literal(list(KINDS)))
        )
        query = sql.SQL(
            "SELECT stream, epoch, count(*), count(DISTINCT seq), min(seq), max(seq) FROM ({}) AS rows"
            " GROUP BY 1, 2 ORDER BY 1, 2"
        ).format(sql.SQL(" UNION ALL ").join(parts))
        return [Sequence(*row) for row in self._connection.execute(query)]

    def holes(self, sequence: Sequence) -> list[tuple[int, int]]:
        """Sequence numbers of a stream and epoch that are neither stored nor quarantined: (first, last) of each run."""
        kind = sequence.stream.rpartition(".")[2]
        parts: list[sql.Composable] = [
            sql.SQL("SELECT stream, epoch::bigint, seq FROM {}").format(sql.Identifier(table))
            for table, _ in TABLES[kind]
        ]
        parts.append(sql.SQL("SELECT stream, epoch, seq FROM quarantine"))
        query = sql.SQL(
            "SELECT before + 1, seq - 1 FROM (SELECT seq, lag(seq) OVER (ORDER BY seq) AS before FROM ({}) AS rows"
            " WHERE stream = {} AND epoch = {}) AS pairs WHERE seq > before + 1 ORDER BY 1"
        ).format(sql.SQL(" UNION ALL ").join(parts), sql.Literal(sequence.stream), sql.Literal(sequence.epoch))
        return [(first, last) for first, last in self._connection.execute(query)]

    def quarantined(self) -> dict[str, set[tuple[int, int]]]:
        """(epoch, seq) of the quarantined rows of each stream."""
        found: dict[str, set[tuple[int, int]]] = {}
        for stream, epoch, seq in self._connection.execute("SELECT stream, epoch, seq FROM quarantine"):
            found.setdefault(stream, set()).add((epoch, seq))
        return found

    def first_rows(self, kind: str, count: int) -> dict[tuple[str, int], set[tuple[str, bytes, int]]]:
        """See Database: what a connection can be recognised by."""
        tables = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT stream, conn, epoch, seq, instrument, exch_ns FROM {} WHERE {}").format(
                sql.Identifier(table), _captured(kind)
            )
            for table, _ in TABLES[kind]
        )
        # A connection's rows are numbered one after another, so the first are found without sorting.
        query = sql.SQL(
            "WITH rows AS NOT MATERIALIZED ({}) SELECT stream, conn, instrument, exch_ns FROM rows JOIN"
            " (SELECT stream, conn, epoch, min(seq) AS first FROM rows GROUP BY 1, 2, 3) AS begun"
            " USING (stream, conn, epoch) WHERE seq < first + {}"
        ).format(tables, sql.Literal(count))
        found: dict[tuple[str, int], set[tuple[str, bytes, int]]] = {}
        for stream, conn, instrument, exch_ns in self._connection.execute(query):
            key = (stream.rpartition(".")[0], conn)
            found.setdefault(key, set()).add((kind, instrument.encode(), exch_ns))
        return found

    def gaps(self) -> list[GapRow]:
        query = """
            SELECT stream, coalesce(kind, ''), coalesce(instrument, ''), coalesce(cause, ''), coalesce(from_ns, 0),
                   coalesce(to_ns, 0), coalesce(first_missing, 0), coalesce(last_missing, 0)
            FROM data_gaps ORDER BY stream, epoch, seq"""
        return [GapRow(*row) for row in self._connection.execute(query)]


def _wire(kind: str) -> np.dtype[Any]:
    """A row as record_send() gives it: the number of fields, and each field behind its type and its length."""
    fields: list[tuple[str, str]] = [("fields", ">i4")]
    for name, form in ((name, STORED_DTYPES[kind][name].str) for name in STORED_DTYPES[kind].names or ()):
        form = "u1" if form == "|b1" else form
        fields += [(f"{name} type", ">i4"), (f"{name} length", ">i4"), (name, form.replace("<", ">"))]
    return np.dtype(fields)


def _parsed(data: bytes, wire: np.dtype[Any], kind: str) -> Rows:
    raw = np.frombuffer(data, wire)
    result = np.zeros(len(raw), STORED_DTYPES[kind])
    assert np.all(raw["fields"] == len(result.dtype.names or ())), "every row has every column"
    for name in result.dtype.names or ():
        assert np.all(raw[f"{name} length"] == wire[name].itemsize), f"{name} has one width"
        result[name] = raw[name]
    return one_nan(result)


def _query(stream: str, kind: str) -> sql.Composed:
    """One bytea per row: as many columns one by one, or as many messages of a COPY, would take psycopg several times
    as long. Sorted before the columns are widened, so that the sort moves little. No stream: what was healed, of all.
    """
    which: sql.Composable = sql.SQL("healed")
    if stream:
        which = sql.SQL("stream = {} AND {}").format(sql.Literal(stream), _captured(kind))
    tables = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {} AS option, * FROM {} WHERE {}").format(sql.Literal(option), sql.Identifier(table), which)
        for table, option in TABLES[kind]
    )
    meta = [sql.SQL("{}::bigint").format(sql.Identifier(name)) for name, _ in META]
    columns = [_fixed(kind, name, form) for name, form in COLUMNS[kind].items()]
    selected = sql.SQL(", ").join([*meta, sql.Identifier("option"), *columns])
    return sql.SQL(
        "SELECT record_send(fixed) FROM (SELECT {} FROM (SELECT * FROM ({}) AS rows ORDER BY epoch, seq) AS sorted)"
        " AS fixed"
    ).format(selected, tables)


def _captured(kind: str) -> sql.SQL:
    """Not fetched afterwards; rows of some kinds never are."""
    return sql.SQL("NOT healed") if kind in HEALED else sql.SQL("true")


def _fixed(kind: str, name: str, form: str) -> sql.Composed:
    """A column as a value that is never NULL. What should never be stored must not look like NULL: a stored NaN becomes
    -Infinity, an empty text a byte 1."""
    instead = INSTEAD.get((kind, name))
    column: sql.Composable = sql.SQL("({})").format(sql.SQL(instead)) if instead else sql.Identifier(name)
    if form == INTEGER:
        return sql.SQL("coalesce({}, {})::bigint").format(column, sql.Literal(NULL_INTEGER.get(name, 0)))
    if form == FLAG:
        return sql.SQL("coalesce({}, false)").format(column)
    if form == REAL:
        return sql.SQL("CASE WHEN {0} IS NULL THEN 'NaN' WHEN {0} = 'NaN' THEN '-Infinity' ELSE {0} END").format(column)
    width = sql.Literal(np.dtype(form).itemsize)
    return sql.SQL(
        "substring(CASE WHEN {0} = '' THEN '\\x01'::bytea ELSE convert_to(coalesce({0}, ''), 'UTF8') END"
        " || decode(repeat('00', {1}), 'hex') FOR {1})"
    ).format(column, width)
