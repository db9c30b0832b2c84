"""TimescaleDB, or PostgreSQL, as a store of the audit: one snapshot to look at, and short transactions to heal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg

from tickbay.audit.checksum import POSTGRES, Whole, hashed
from tickbay.audit.store import Held, Key, Part, Tally, kept_from, where
from tickbay.config import Timescale
from tickbay.cursor import Position
from tickbay.errors import SinkDown
from tickbay.sinks import partitions
from tickbay.sinks.columns import TABLES
from tickbay.sinks.connection import connect, conninfo_of, translated
from tickbay.sinks.load import sort
from tickbay.sinks.sink import Chunk
from tickbay.sinks.timescale import copy_rows

STATEMENT_TIMEOUT_S = 3600
WHOLE = "SELECT seq, checksum FROM ({}) AS rows"
BY_MINUTE = (
    "SELECT stream, epoch, minute, count(*), sum(checksum), min(seq), max(seq) FROM ({}) AS rows GROUP BY 1, 2, 3"
)


class TimescaleStore:
    """See Store. `add` and `replace` take the cursor's row first, as the writer does: one of them waits (SINK-1)."""

    name = "timescale"

    def __init__(self, settings: Timescale) -> None:
        self._settings = settings
        self._connection: psycopg.Connection | None = None
        self._kept_from_ns: dict[str, int] = {}

    def open(self) -> Held:
        """A new snapshot: everything until the next open() is of this moment."""
        self.close()
        self._connection = connection = self._connect("audit")
        settings = self._settings
        self._kept_from_ns = kept_from(
            TABLES, time.time_ns(), days=settings.retain_days, status_days=settings.status_retain_days
        )
        with translated():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.execute("SET LOCAL jit = off")  # it would take longer to compile than to compute
            cursors = connection.execute("SELECT stream, epoch, seq FROM sink_cursor WHERE sink = %s", [self.name])
            known = {stream: Position(epoch, seq) for stream, epoch, seq in cursors}
            refused = connection.execute("SELECT stream, epoch, seq FROM quarantine WHERE sink = %s", [self.name])
            return Held(known, frozenset((stream, epoch, seq) for stream, epoch, seq in refused), self._kept_from_ns)

    def _connect(self, what: str) -> psycopg.Connection:
        return connect(conninfo_of(self._settings), name=what, statement_timeout_s=STATEMENT_TIMEOUT_S)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def minutes(self, part: Part) -> dict[Key, Tally]:
        found: dict[Key, Tally] = {}
        for row in self._ask(part, BY_MINUTE):
            stream, epoch, minute, rows, total, first, last = row
            found.setdefault(Key(stream, epoch, minute), Tally()).add(rows, int(total), first, last)
        return found

    def rows(self, part: Part) -> tuple[Whole, Whole]:
        found = self._ask(part, WHOLE)
        array = np.array([(seq, int(checksum)) for seq, checksum in found], np.int64).reshape(-1, 2)
        return array[:, 0], array[:, 1]

    def _ask(self, part: Part, query: str, connection: psycopg.Connection | None = None) -> list[tuple[Any, ...]]:
        connection = connection or self._connection
        assert connection is not None
        rows = []
        with translated():
            for table in part.tables:
                condition = where(table, part, kept_from_ns=self._kept_from_ns.get(table.name, 0))
                text = query.format(hashed(table, POSTGRES, condition))
                rows += connection.execute(text.encode()).fetchall()
        return rows

    # ------------------------------------------------------------ healing

    def add(self, chunks: Sequence[Chunk], *, part: Part) -> int:
        """Exactly once: what is there by now is left alone, and the cursor's row is ours while we look and store."""
        with self._connect("heal") as connection, translated():
            self._take_cursor(connection, part)
            there = {row[0] for row in self._ask(part, WHOLE, connection)}
            missing = [_without(chunk, there) for chunk in chunks]
            return self._copy(connection, [chunk for chunk in missing if len(chunk.records)])

    def replace(self, chunks: Sequence[Chunk], *, part: Part) -> int:
        sequences = [int(seq) for chunk in chunks for seq in chunk.records["seq"]]
        with self._connect("heal") as connection, translated():
            self._take_cursor(connection, part)
            for table in part.tables:
                condition = where(table, part, kept_from_ns=0)
                delete = f"DELETE FROM {table.name} WHERE {condition} AND seq = ANY(%s)"  # noqa: S608 - our own names
                connection.execute(delete.encode(), [sequences])
            return self._copy(connection, chunks)

    def _take_cursor(self, connection: psycopg.Connection, part: Part) -> None:
        """SINK-1: the writer must be past these rows, and stay there until we are done; else they would come twice."""
        found = connection.execute(
            "SELECT epoch, seq FROM sink_cursor WHERE sink = %s AND stream = %s FOR UPDATE", [self.name, part.stream]
        ).fetchone()
        if found is None or Position(*found) < Position(part.epoch, part.last):
            raise SinkDown(f"the cursor of {part.stream} has gone back meanwhile: audit again")

    def _copy(self, connection: psycopg.Connection, chunks: Sequence[Chunk]) -> int:
        load = sort(chunks, now_ns=time.time_ns())
        if partitions.edition_of(connection) is partitions.Edition.PLAIN:
            partitions.make_partitions(connection, partitions.days_of(load.spans_ns))
        rows = sum(copy_rows(connection, table, pieces)[0] for table, pieces in load.tables)
        connection.commit()
        return rows


def _without(chunk: Chunk, there: set[int]) -> Chunk:
    missing = ~np.isin(chunk.records["seq"].astype(np.int64), list(there))
    return Chunk(chunk.stream, chunk.kind, chunk.epoch, chunk.records[missing])
