"""TimescaleDB (or plain PostgreSQL) as a sink: rows and cursor in one transaction. Runs in writer-timescale.

SINK-1: the cursor moves by compare-and-swap as the transaction's first statement: it takes the lock, so of two writers
        one waits, finds the cursor moved and loses harmlessly. No row is lost, none comes twice.
SINK-4: a row that the database refuses is quarantined with its reason in that same transaction; its neighbours land.
TIME-1: rows of an insane time are quarantined too (load.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

import psycopg
from psycopg import sql

from tickbay import schema
from tickbay._native import PGCOPY_HEADER, PGCOPY_TRAILER
from tickbay.clock import MACHINE, Clock
from tickbay.config import Timescale
from tickbay.cursor import START, Position
from tickbay.errors import SinkDown, SinkParked, SinkRefused
from tickbay.sinks import partitions
from tickbay.sinks.columns import CUT_TABLES, KIND_WORDS, TABLES, Table, plan
from tickbay.sinks.connection import connect, conninfo_of, judge, translated
from tickbay.sinks.load import Load, Pieces, Poison, chosen, cut_out, sort
from tickbay.sinks.poison import Breaker, copy_around
from tickbay.sinks.sink import Chunk, Committed, CursorMoved, Hole, ends_of

# Rows that are encoded and sent at a time, at most 256 KiB: few enough to stay in the cache from one to the other,
# and the server works on them while the next are encoded. 10 % faster than a batch at once.
ENCODE_ROWS = 256
MAINTAIN_S = 3600.0
REASONS_TOLD = 3
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SWAP = """
    UPDATE sink_cursor AS c SET epoch = n.epoch, seq = n.seq, updated_at = now()
    FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
        AS n (stream, old_epoch, old_seq, epoch, seq)
    WHERE c.sink = %s AND c.stream = n.stream AND c.epoch = n.old_epoch AND c.seq = n.old_seq
"""
_QUARANTINE = """
    INSERT INTO quarantine (sink, stream, epoch, seq, kind, table_name, sqlstate, reason, layout, record)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_HOLE = """
    INSERT INTO data_gaps (ts, exch_ns, recv_ns, stream, epoch, seq, conn, from_ns, to_ns, to_ts,
                           first_missing, last_missing, count, cause, kind, expected, healed, feed, detail)
    VALUES (%(from)s, %(from_ns)s, %(to_ns)s, %(stream)s, %(epoch)s, %(first)s, 0, %(from_ns)s, %(to_ns)s, %(to)s,
            %(first)s, %(last)s, %(count)s, %(cause)s, %(kind)s, false, false, %(feed)s, %(detail)s)
"""


Connector: TypeAlias = Callable[[Timescale, str], tuple[psycopg.Connection, schema.Applied]]


def connect_and_apply(settings: Timescale, name: str) -> tuple[psycopg.Connection, schema.Applied]:
    """A connection of its own `name` to a database whose schema is the newest."""
    applied = schema.apply(conninfo_of(settings), settings)
    connection = connect(conninfo_of(settings), name=name)
    with translated():
        if settings.direct_compress:
            version = partitions.timescale_version(connection)
            if not partitions.direct_compress_refused(applied.edition, version):  # else it was told (settle)
                connection.execute("SET timescaledb.enable_direct_compress_copy = on")
            connection.commit()
    return connection, applied


class TimescaleSink:
    """The sink "timescale". See Sink."""

    def __init__(
        self,
        settings: Timescale,
        *,
        name: str = "timescale",
        clock: Clock = MACHINE,
        connector: Connector = connect_and_apply,
        on_schema: Callable[[schema.Applied], None] | None = None,
    ) -> None:
        """`on_schema` is told what open() found and did to the tables, at each new connection."""
        self.name = name
        self.edition = partitions.Edition.PLAIN
        self._settings = settings
        self._clock = clock
        self._connector = connector
        self._on_schema = on_schema
        self._connection: psycopg.Connection | None = None
        self._cursors: dict[str, Position] = {}
        self._days: set[date] = set()  # that have their partitions
        self._breaker = Breaker()
        self._maintained = float("-inf")

    # ------------------------------------------------------------ open, close

    def open(self, streams: Sequence[str]) -> dict[str, Position]:
        """See Sink.open(). Applies the schema at each new connection: the database may be another one than before."""
        with translated():
            if self._connection is None or self._connection.closed:
                self._connect()
            assert self._connection is not None
            try:
                with self._connection.transaction():
                    self._cursors = _read_cursors(self._connection, self.name, streams)
            except psycopg.Error:
                self.close()
                raise
        return dict(self._cursors)

    def _connect(self) -> None:
        self._connection, applied = self._connector(self._settings, f"writer {self.name}")
        self.edition = applied.edition
        self._days.clear()
        if self._on_schema is not None:
            self._on_schema(applied)

    def settled(self, wait_s: float = 0.0) -> dict[str, Position]:
        """See Sink.settled(): all that is committed (SINK-1)."""
        assert wait_s >= 0
        return dict(self._cursors)

    def close(self) -> None:
        """See Sink.close()."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ------------------------------------------------------------ commit

    def commit(self, chunks: Sequence[Chunk], holes: Sequence[Hole] = ()) -> Committed:
        """See Sink.commit()."""
        load = sort(chunks, now_ns=self._clock.unix_ns())
        ends = ends_of(chunks, holes)
        try:
            with translated():
                try:
                    self._make_partitions(load)
                    committed = self._transact(load, ends, holes, careful=False)
                except psycopg.Error as error:
                    if not isinstance(judge(error), SinkRefused):
                        raise
                    self._rollback()
                    self._days.clear()  # a partition may have been dropped behind our back, which looks like a bad row
                    self._make_partitions(load)
                    committed = self._transact(load, ends, holes, careful=True)
        except (SinkDown, SinkParked, SinkRefused, CursorMoved) as error:
            # The connection's state is not worth knowing: a new one costs a millisecond, an old one may hold a lock.
            self.close()
            if isinstance(error, SinkRefused):  # a statement of ours, not a row: nothing that bisecting could find
                raise SinkParked(f"{error} (SQLSTATE {error.sqlstate})") from None
            raise
        self._cursors.update(ends)
        self._breaker.count(load.records, committed.quarantined)
        return committed

    def _transact(self, load: Load, ends: dict[str, Position], holes: Sequence[Hole], *, careful: bool) -> Committed:
        """One transaction, all of it. `careful`: around rows that the database refuses."""
        connection = self._require()
        allowed = self._breaker.allowed(load.records)
        if len(load.poison) > allowed:
            raise SinkParked(f"{len(load.poison)} of {load.records} records: {load.poison[-1].reason}: check the clock")
        self._swap(connection, ends)
        poison = list(load.poison)
        rows = sent = 0
        for table, pieces in load.tables:
            if careful:
                bad = self._copy_around(connection, table, pieces, allowed - len(poison))
                poison += bad
                rows += sum(int(chosen(table, records).sum()) for _, records in pieces) - len(bad)
            else:
                table_rows, table_bytes = copy_rows(connection, table, pieces)
                rows, sent = rows + table_rows, sent + table_bytes
        if poison or holes:
            with connection.cursor() as cursor:
                cursor.executemany(_QUARANTINE, [_quarantine_row(self.name, item) for item in poison])
                cursor.executemany(_HOLE, [_hole_row(hole) for hole in holes])
        connection.commit()
        reasons = tuple(f"{item.table}: {item.reason}" for item in poison[:REASONS_TOLD])
        return Committed(rows=rows, quarantined=len(poison), bytes=sent, reasons=reasons)

    def _swap(self, connection: psycopg.Connection, ends: dict[str, Position]) -> None:
        """SINK-1: every cursor from where we read it to its end, or none."""
        streams = sorted(ends)
        old = [self._cursors[stream] for stream in streams]
        new = [ends[stream] for stream in streams]
        assert all(before < after for before, after in zip(old, new, strict=True))
        moved = connection.execute(
            _SWAP,
            [
                streams,
                [at.epoch for at in old],
                [at.seq for at in old],
                [at.epoch for at in new],
                [at.seq for at in new],
                self.name,
            ],
        )
        if moved.rowcount != len(streams):
            raise CursorMoved(
                f"another writer has committed to {len(streams) - moved.rowcount} of our {len(streams)} streams"
            )

    def _copy_around(self, connection: psycopg.Connection, table: Table, pieces: Pieces, allowed: int) -> list[Poison]:
        """COPY what the database takes of `pieces`, in savepoints; returns the rest."""
        ours = [(chunk, records[chosen(table, records)]) for chunk, records in pieces]

        def copy(first: int, last: int) -> None:
            with translated(table.name), connection.transaction():
                copy_rows(connection, table, cut_out(ours, first, last))

        found = copy_around(sum(len(records) for _, records in ours), copy, allowed=allowed)
        poison = []
        for index, refusal in found:
            ((chunk, record),) = cut_out(ours, index, index + 1)
            poison.append(Poison(chunk, record, table.name, refusal.sqlstate, str(refusal)))
        return poison

    def _require(self) -> psycopg.Connection:
        if self._connection is None:
            raise SinkDown("not connected")
        return self._connection

    def _rollback(self) -> None:
        connection = self._require()
        if not connection.closed:
            connection.rollback()

    # ------------------------------------------------------------ partitions, retention

    def _make_partitions(self, load: Load) -> None:
        """A row must never fail for want of a partition (plain PostgreSQL): make it first, in a transaction of its
        own."""
        if self.edition is not partitions.Edition.PLAIN:
            return
        days = partitions.days_of(load.spans_ns) - self._days
        if days:
            connection = self._require()
            partitions.make_partitions(connection, days)
            connection.commit()
            self._days |= days

    def maintain(self) -> list[str]:
        """See Sink.maintain(): once an hour, partitions of the days to come and retention."""
        if self._clock.now_s() - self._maintained < MAINTAIN_S:
            return []
        self._maintained = self._clock.now_s()
        connection = self._require()
        now = datetime.fromtimestamp(self._clock.unix_ns() / 1e9, UTC)
        told = []
        try:
            with translated():
                if self.edition is partitions.Edition.PLAIN:
                    partitions.make_ahead(connection, now)
                    connection.commit()
                for table in CUT_TABLES:
                    told += partitions.drop_old(connection, table, self._settings, now)
                    connection.commit()
        except (SinkDown, SinkParked, SinkRefused) as error:
            # A table that somebody reads cannot be cut now: an hour later again. Rows go on coming all the same.
            told.append(f"partitions and retention: {error}")
            self._rollback()
        return told


def _read_cursors(connection: psycopg.Connection, sink: str, streams: Sequence[str]) -> dict[str, Position]:
    """How far each stream is committed. Locked for a moment: a COMMIT of ours that is still on its way, sent over a
    connection that we lost, holds these rows, so that we wait for how it ends."""
    connection.execute(
        "INSERT INTO sink_cursor (sink, stream, epoch, seq) SELECT %s, stream, %s, %s"
        " FROM unnest(%s::text[]) AS stream ON CONFLICT DO NOTHING",
        [sink, *START, sorted(streams)],
    )
    rows = connection.execute(
        "SELECT stream, epoch, seq FROM sink_cursor WHERE sink = %s AND stream = ANY (%s) ORDER BY stream FOR UPDATE",
        [sink, list(streams)],
    )
    return {stream: Position(epoch, seq) for stream, epoch, seq in rows}


def copy_rows(connection: psycopg.Connection, table: Table, pieces: Pieces) -> tuple[int, int]:
    """COPY the records of `pieces` that belong in `table`; returns rows and bytes."""
    rows = sent = 0
    with connection.cursor() as cursor:
        with cursor.copy(_copy_statement(table)) as copy:
            copy.write(PGCOPY_HEADER)
            for chunk, records in pieces:
                encoder = plan(table, chunk.stream, chunk.epoch)
                for start in range(0, len(records), ENCODE_ROWS):
                    encoded, count = encoder.encode(records[start : start + ENCODE_ROWS], table.mask, table.value)
                    copy.write(encoded)
                    rows, sent = rows + count, sent + len(encoded)
            copy.write(PGCOPY_TRAILER)
        if cursor.rowcount != rows:  # a stream that ends early is accepted as short
            raise SinkDown(f"{table.name}: {cursor.rowcount} of {rows} rows arrived")
    return rows, sent


@lru_cache(len(TABLES))
def _copy_statement(table: Table) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table.name), sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    )


def _quarantine_row(sink: str, poison: Poison) -> tuple[object, ...]:
    chunk = poison.chunk
    return (
        sink,
        chunk.stream,
        chunk.epoch,
        int(poison.record["seq"][0]),
        KIND_WORDS[chunk.kind],
        poison.table,
        poison.sqlstate or None,
        poison.reason,
        poison.layout,
        poison.record.tobytes(),
    )


def _hole_row(hole: Hole) -> dict[str, object]:
    gap = hole.gap
    return {
        "from": EPOCH + timedelta(microseconds=gap.from_ns // 1000),
        "to": EPOCH + timedelta(microseconds=-(-gap.to_ns // 1000)),  # GAP-1: rounded apart
        "from_ns": gap.from_ns,
        "to_ns": gap.to_ns,
        "stream": hole.stream,
        "epoch": hole.epoch,
        "first": gap.first_missing,
        "last": gap.last_missing,
        "count": gap.count,
        "cause": gap.cause.name.lower(),
        "kind": KIND_WORDS[hole.kind],
        "feed": gap.feed,
        "detail": gap.detail,
    }
