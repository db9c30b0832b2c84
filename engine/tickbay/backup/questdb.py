"""QuestDB as a store of backups: each day of each table as CSV over HTTP, both ways.

Not CHECKPOINT and a copy of its files: that needs the server's disk, and a server of the same version that is stopped
for the restore. Rows behind the cursor come along; the writer sends them again, which changes nothing (SINK-2, and so
BACKUP-1). A text that is empty comes back as none; the writer stores no such texts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tickbay.backup.folder import Manifest, Part
from tickbay.backup.store import Found, Reading, State, counted, expires
from tickbay.backup.writer_pause import WriterPause
from tickbay.config import Config
from tickbay.cursor import read_cursor
from tickbay.errors import BackupFault, ConfigError, SinkParked, SinkRefused
from tickbay.files import Files
from tickbay.sinks import questdb_schema
from tickbay.sinks.questdb_columns import SHAPES
from tickbay.sinks.questdb_server import QuestdbServer

NAME = "questdb"
DAY_CHARACTERS = len("2026-11-21")
BODY = 16 << 20  # of one request: the server commits each by itself
APPLY_WAIT_S = 600.0  # without any progress
APPLY_ASK_S = 0.2
# The server's CSV has texts with these, but reads them as they stand.
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_ESCAPED = re.compile(rb"\\(u[0-9a-fA-F]{4}|.)")


class QuestdbBackup:
    """The database of the sink "questdb". See Store."""

    name = NAME

    def __init__(self, config: Config) -> None:
        self._settings = config.questdb
        self._cursor_path = config.data_dir / "cursors" / f"{NAME}.cursor"
        self._server = QuestdbServer(config.questdb)
        self._pause = WriterPause(config, NAME)
        self._columns: dict[str, tuple[str, ...]] = {}

    def open(self) -> State:
        """See Store.open(). The cursor is read first: all that it says is applied (SINK-2)."""
        cursors = read_cursor(self._cursor_path, Files())
        version = questdb_schema.applied_version(self._server)
        if not version:
            raise SinkParked(f"{self._settings.database}: no tables of tickbay are here: check questdb.host and port")
        self._columns = {table: tuple(columns) for table, columns in SHAPES.items()}
        return State(questdb_schema.server_version(self._server), version, cursors, self._columns)

    # ------------------------------------------------------------ what is there

    def parts(self, known: Mapping[str, Part]) -> Iterator[Found]:
        """See Store.parts(). A mark is how many rows a day's partitions have: nobody can delete single ones here."""
        for table in SHAPES:
            for day, mark in self._days(table).items():
                found = counted(f"{table}/{day}", mark, known, self._found)
                if found.rows:
                    yield found

    def _days(self, table: str) -> dict[str, str]:
        """With their marks; small tables, cut by the year, have none."""
        partitions = f"SELECT name, numRows FROM table_partitions('{table}') ORDER BY name"  # noqa: S608 - of SHAPES
        parts = self._query(partitions)
        if any(len(name) < DAY_CHARACTERS for name, _ in parts):
            distinct = f"SELECT DISTINCT timestamp_floor('d', ts) AS day FROM {table} ORDER BY day"  # noqa: S608 - of SHAPES
            days = self._query(distinct)
            return {day[:DAY_CHARACTERS]: "" for (day,) in days}
        rows: dict[str, int] = {}
        for name, number in parts:  # by the day, or by the hour: 2026-11-21T17
            rows[name[:DAY_CHARACTERS]] = rows.get(name[:DAY_CHARACTERS], 0) + (number or 0)
        return {day: str(number) for day, number in rows.items()}

    def _found(self, name: str) -> Found:
        ((rows, seqs),) = self._query("SELECT count(), sum(seq)" + _rows_of(name))
        return Found(name, f"{rows} {seqs}", rows)

    @contextmanager
    def read(self, found: Found) -> Iterator[Reading]:
        """See Store.read(): CSV, with a line of names. Rows that come meanwhile may be in it."""
        yield Reading(found.tally, self._pieces(found.name))

    def _pieces(self, name: str) -> Iterator[tuple[bytes, int]]:
        columns = ", ".join(self._columns[name.partition("/")[0]])
        rest, head = b"", 1
        for piece in self._server.export(f"SELECT {columns}" + _rows_of(name)):
            lines, end, rest = (rest + piece).rpartition(b"\n")
            # A line break within a text is escaped, so lines are rows.
            yield unescaped(lines + end), lines.count(b"\n") + len(end) - (head if end else 0)
            head = 0 if end else head
        if rest:
            raise BackupFault(f"{name}: QuestDB ended the answer in the middle of a row: see its log")

    def expires(self, name: str) -> bool:
        """See Store.expires()."""
        return expires(name, self._settings, datetime.now(UTC).date())

    # ------------------------------------------------------------ restoring

    def prepare(self, manifest: Manifest, *, replace: bool) -> None:
        """See Store.prepare(). Makes the tables where there are none."""
        questdb_schema.apply(self._server, self._settings)
        self._columns = dict(manifest.columns)
        for table, columns in self._columns.items():
            if missing := [name for name in columns if name not in SHAPES.get(table, ())]:
                raise ConfigError(f"{table} has no column {missing[0]}, which the backup has: restore with its tickbay")
        if replace:
            self._pause.begin()
            for table in SHAPES:
                self._query(f"TRUNCATE TABLE {table}")
        else:
            expected = {part.name: part.rows for part in manifest.parts}
            for found in self.parts({}):
                if found.rows > expected.get(found.name, 0):
                    raise ConfigError(
                        f"QuestDB is not empty: {found.name} has {found.rows:,} rows that are not of this backup: "
                        "restore into an empty database, or say --replace to lose them"
                    )
            self._pause.begin()
        self._pause.save(manifest.cursors)

    def has(self, part: Part) -> bool:
        """See Store.has()."""
        return self._found(part.name).rows == part.rows

    def write(self, part: Part, pieces: Iterator[bytes]) -> None:
        """See Store.write(). Where it is cut off, the next time changes nothing of what arrived (DEDUP)."""
        table = part.name.partition("/")[0]
        if table not in SHAPES:
            raise BackupFault(f"{part.name}: the schema has no such table")
        times = [name for name, type in SHAPES[table].items() if type == "TIMESTAMP_NS"]
        head, body = b"", b""
        for piece in pieces:
            body += piece
            if not head:
                head, _, body = body.partition(b"\n")
            if len(body) >= BODY:
                lines, body = cut(body)
                self._server.load(table, head + b"\n" + lines, times=times)
        if body:
            self._server.load(table, head + b"\n" + body, times=times)
        self._wait_applied(part)

    def _wait_applied(self, part: Part) -> None:
        before, deadline = -1, time.monotonic() + APPLY_WAIT_S
        while (rows := self._found(part.name).rows) != part.rows:
            if rows != before:
                before, deadline = rows, time.monotonic() + APPLY_WAIT_S
            if rows > part.rows or time.monotonic() > deadline:
                raise BackupFault(f"{part.name}: {rows:,} rows of {part.rows:,} are there: see QuestDB's log")
            time.sleep(APPLY_ASK_S)

    def finish(self, manifest: Manifest) -> None:
        """See Store.finish(): the cursor is the backup's since prepare()."""
        assert manifest.store == NAME
        self._pause.end()

    def close(self) -> None:
        """See Store.close()."""
        self._server.close()

    def _query(self, sql: str) -> list[list[Any]]:
        try:
            return self._server.query(sql)
        except SinkRefused as error:
            raise SinkParked(f"{error}: see `tickbay schema status`") from None


def _rows_of(name: str) -> str:
    table, _, day = name.partition("/")
    assert table in SHAPES
    begin = date.fromisoformat(day)
    return f" FROM {table} WHERE ts >= '{begin}' AND ts < '{begin + timedelta(days=1)}'"


def unescaped(lines: bytes) -> bytes:
    """As every other reader of CSV takes it, this server's own included."""
    return _ESCAPED.sub(_character, lines) if b"\\" in lines else lines


def _character(escaped: re.Match[bytes]) -> bytes:
    word = escaped[1]
    if len(word) == 5:
        return chr(int(word[1:], 16)).encode()
    return _ESCAPES.get(word, word)


def cut(body: bytes) -> tuple[bytes, bytes]:
    """Whole rows, and the rest. A line's end within a text is no row's: there the quotes before it are odd."""
    end = len(body)
    while True:
        end = body.rindex(b"\n", 0, end)
        if body.count(b'"', 0, end) % 2 == 0:
            return body[: end + 1], body[end + 1 :]
