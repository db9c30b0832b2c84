"""TimescaleDB and PostgreSQL as a store of backups: each day of each table by COPY, between cursors.

Not pg_dump: that reads everything each time, holds one transaction open for hours, must be as new as the server and
beside it, and its restore wants the same extension in the same version. Here only days that changed are read, each in a
transaction of its own, and what is written fits every server that has the schema. What somebody else made in the
database (views, roles, tables of his own) is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta

import psycopg
from psycopg import sql

from tickbay import schema
from tickbay.backup.folder import Manifest, Part
from tickbay.backup.marks import marks
from tickbay.backup.store import Found, Reading, State, counted, expires
from tickbay.backup.writer_pause import WriterPause
from tickbay.config import Config
from tickbay.cursor import Position
from tickbay.errors import BackupFault, ConfigError, SinkParked
from tickbay.sinks import partitions
from tickbay.sinks.columns import CUT_TABLES, TABLES
from tickbay.sinks.connection import connect, conninfo_of, translated

NAME = "timescale"
FILLED = (*(table.name for table in TABLES), "quarantine")
WHOLE = "whole"  # in place of a day: the part of a table that is not cut
PIECE = 256 << 10
# The rows up to the cursors (BACKUP-1). What has no cursor yet is left to the next backup.
_FROM = sql.SQL(
    " FROM {table} AS t"
    " JOIN unnest(%(streams)s::text[], %(epochs)s::bigint[], %(seqs)s::bigint[]) AS c (stream, epoch, seq)"
    " ON t.stream = c.stream AND (t.epoch, t.seq) <= (c.epoch, c.seq) WHERE {span}"
)
_ALL = sql.SQL(" FROM {table} AS t WHERE {span}")
_TALLY = sql.SQL("SELECT count(*), coalesce(sum(t.seq), 0)::numeric")


class TimescaleBackup:
    """The database of the sink "timescale". See Store."""

    name = NAME

    def __init__(self, config: Config) -> None:
        self._settings = config.timescale
        self._pause = WriterPause(config, NAME)
        self._connection: psycopg.Connection | None = None
        self._bound: dict[str, list[object]] | None = None  # the cursors, as parameters of _FROM; None: every row
        self._columns: dict[str, tuple[str, ...]] = {}
        self._marks: dict[str, str] = {}  # of days

    def open(self) -> State:
        """See Store.open()."""
        connection = self._connect(read_only=True)
        with translated(), connection.transaction():
            version = schema.applied_version(connection)
            if not version:
                raise SinkParked(f"{self._settings.dbname}: no tables of tickbay are here: check timescale.dbname")
            # Before the cursors: what is up to them and was not yet counted here changes the mark of the next time.
            # Rows that are compressed as they come are in no chunk's count.
            self._marks = {} if self._settings.direct_compress else marks(connection)
        with translated(), connection.transaction():
            rows = connection.execute("SELECT stream, epoch, seq FROM sink_cursor WHERE sink = %s", [NAME])
            cursors = {stream: Position(epoch, seq) for stream, epoch, seq in rows}
            self._columns = _columns_of(connection)
        self._bound = {
            "streams": list(cursors),
            "epochs": [at.epoch for at in cursors.values()],
            "seqs": [at.seq for at in cursors.values()],
        }
        return State(schema.server_of(connection), version, cursors, self._columns)

    def _connect(self, *, read_only: bool) -> psycopg.Connection:
        self._connection = connect(conninfo_of(self._settings), name="backup", statement_timeout_s=0)
        # Or a statement outside a block would begin a transaction that lasts for hours, and has the database keep
        # what dies meanwhile.
        self._connection.autocommit = True
        # A part is counted and read in one transaction, so its tally is of the rows that were read.
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ if read_only else None
        self._connection.read_only = read_only
        return self._connection

    # ------------------------------------------------------------ what is there

    def parts(self, known: Mapping[str, Part]) -> Iterator[Found]:
        """See Store.parts(). The days are asked for once more: one may have begun since the marks were read."""
        with translated(), self._require().transaction():
            days = list(marks(self._require()))
        for table in FILLED:
            names = (
                [name for name in days if name.startswith(f"{table}/")] if table in CUT_TABLES else [f"{table}/{WHOLE}"]
            )
            for name in names:
                found = counted(name, self._marks.get(name, ""), known, self._found)
                if found.rows:
                    yield found

    def _found(self, name: str) -> Found:
        with translated(), self._require().transaction():
            return self._count(name)

    def _count(self, name: str) -> Found:
        row = self._require().execute(_TALLY + self._rows_of(name), self._bound).fetchone()
        assert row is not None
        return Found(name, f"{row[0]} {row[1]}", int(row[0]))

    def _rows_of(self, name: str) -> sql.Composed:
        table, _, day = name.partition("/")
        return (_ALL if self._bound is None else _FROM).format(table=sql.Identifier(table), span=_span(day))

    @contextmanager
    def read(self, found: Found) -> Iterator[Reading]:
        """See Store.read(): binary COPY. A tally of other rows would make write() refuse the part for ever."""
        with translated(), self._require().transaction():
            yield Reading(self._count(found.name).tally, self._pieces(found.name))

    def _pieces(self, name: str) -> Iterator[tuple[bytes, int]]:
        connection = self._require()
        columns = [sql.Identifier("t", column) for column in self._columns[name.partition("/")[0]]]
        query = sql.SQL("SELECT {}").format(sql.SQL(", ").join(columns)) + self._rows_of(name)
        # COPY takes no parameters.
        text = psycopg.ClientCursor(connection).mogrify(query, self._bound)
        with translated(), connection.cursor() as cursor:
            gathered, size = list[bytes | bytearray | memoryview](), 0
            with cursor.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(sql.SQL(text))) as copy:
                for data in copy:
                    gathered.append(data)
                    size += len(data)
                    if size >= PIECE:
                        yield b"".join(gathered), 0
                        gathered, size = [], 0
            yield b"".join(gathered), cursor.rowcount

    def expires(self, name: str) -> bool:
        """See Store.expires()."""
        return expires(name, self._settings, datetime.now(UTC).date())

    # ------------------------------------------------------------ restoring

    def prepare(self, manifest: Manifest, *, replace: bool) -> None:
        """See Store.prepare(). Makes the tables where there are none."""
        schema.apply(conninfo_of(self._settings), self._settings)
        connection = self._connect(read_only=False)
        with translated(), connection.transaction():
            there = _columns_of(connection)
        self._columns = dict(manifest.columns)
        for table, columns in self._columns.items():
            if missing := [name for name in columns if name not in there.get(table, ())]:
                raise ConfigError(f"{table} has no column {missing[0]}, which the backup has: add it, then restore")
        if replace:
            self._pause.begin()
            with translated(), connection.transaction():
                for table in FILLED:
                    connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(table)))
                connection.execute("DELETE FROM sink_cursor WHERE sink = %s", [NAME])
        else:
            expected = {part.name: part.tally for part in manifest.parts}
            for found in self.parts({}):
                if expected.get(found.name) != found.tally:
                    raise ConfigError(
                        f"{self._settings.dbname} is not empty: {found.name} has {found.rows:,} rows that are not of "
                        "this backup: restore into an empty database, or say --replace to lose them"
                    )
            self._pause.begin()
        self._pause.save(manifest.cursors)

    def has(self, part: Part) -> bool:
        """See Store.has()."""
        return self._found(part.name).tally == part.tally

    def write(self, part: Part, pieces: Iterator[bytes]) -> None:
        """See Store.write(): one transaction."""
        connection = self._require()
        table, _, day = part.name.partition("/")
        if table not in FILLED or (day == WHOLE) == (table in CUT_TABLES):
            raise BackupFault(f"{part.name}: the schema has no such table or part")
        columns = sql.SQL(", ").join(map(sql.Identifier, self._columns[table]))
        into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(sql.Identifier(table), columns)
        with translated(table), connection.transaction(), connection.cursor() as cursor:
            if day != WHOLE and partitions.edition_of(connection) is partitions.Edition.PLAIN:
                partitions.make_partitions(connection, [date.fromisoformat(day)])
            with cursor.copy(into) as copy:
                for piece in pieces:
                    copy.write(piece)
            if not self.has(part):
                raise BackupFault(f"{part.name}: other rows arrived than the backup has: who else writes here?")
        if day != WHOLE:
            with translated(), connection.transaction():
                compress(connection, table, date.fromisoformat(day), after_days=self._settings.compress_after_days)

    def finish(self, manifest: Manifest) -> None:
        """See Store.finish(): the writer goes on behind the backup's cursors (SINK-1)."""
        connection = self._require()
        with translated(), connection.transaction():
            connection.execute("DELETE FROM sink_cursor WHERE sink = %s", [NAME])
            with connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO sink_cursor (sink, stream, epoch, seq) VALUES (%s, %s, %s, %s)",
                    [(NAME, stream, *at) for stream, at in manifest.cursors.items()],
                )
        self._pause.end()

    def close(self) -> None:
        """See Store.close()."""
        if self._connection is not None:
            self._connection.close()

    def _require(self) -> psycopg.Connection:
        assert self._connection is not None, "open() or prepare() comes first"
        return self._connection


def compress(connection: psycopg.Connection, table: str, day: date, *, after_days: int) -> None:
    """TimescaleDB Community: compress what its policy would, as soon as a chunk's last day is there. A database of a
    year would not fit on its disk uncompressed."""
    if partitions.edition_of(connection) is not partitions.Edition.COMMUNITY:
        return
    connection.execute(
        "SELECT compress_chunk(format('%%I.%%I', chunk_schema, chunk_name)::regclass)"
        " FROM timescaledb_information.chunks"
        " WHERE hypertable_schema = current_schema() AND hypertable_name = %s"
        " AND NOT is_compressed AND range_end <= least(%s::timestamptz, now() - make_interval(days => %s))",
        [table, datetime.combine(day, time(), UTC) + timedelta(days=1), after_days],
    )


def _columns_of(connection: psycopg.Connection) -> dict[str, tuple[str, ...]]:
    """Of the tables that a writer fills, in their order; also columns that somebody added."""
    rows = connection.execute(
        "SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
        " AND c.oid IN (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name) GROUP BY c.relname",
        [list(FILLED)],
    )
    return {table: tuple(names) for table, names in rows}


def _span(day: str) -> sql.Composable:
    """The condition that a row is of this day (UTC)."""
    if day == WHOLE:
        return sql.SQL("true")
    begin = datetime.combine(date.fromisoformat(day), time(), UTC)
    return sql.SQL("t.ts >= {} AND t.ts < {}").format(sql.Literal(begin), sql.Literal(begin + timedelta(days=1)))
