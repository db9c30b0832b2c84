"""QuestDB as a store of the audit. To heal is to send again: its keys let a row replace itself (SINK-2)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tickbay.audit.checksum import QUESTDB, Whole, hashed
from tickbay.audit.store import Held, Key, Part, Tally, kept_from, where
from tickbay.config import Questdb
from tickbay.cursor import read_cursor
from tickbay.errors import SinkDown, SinkParked, SinkRefused
from tickbay.files import Files
from tickbay.sinks.columns import TABLES
from tickbay.sinks.lines import bodies
from tickbay.sinks.load import sort
from tickbay.sinks.questdb_schema import check_database
from tickbay.sinks.questdb_server import QuestdbServer
from tickbay.sinks.sink import Chunk

ROWS_AT_ONCE = 200_000  # of an answer: five megabytes
APPLY_TIMEOUT_S = 60.0
APPLY_WAIT_S = 0.05
BY_MINUTE = (
    "SELECT stream, epoch, minute, count(*), sum(checksum), min(seq), max(seq) FROM ({}) GROUP BY stream, epoch, minute"
)
WHOLE = "SELECT seq, checksum FROM ({})"


class QuestdbStore:
    """See Store. The cursor is the writer's file: what it has seen applied."""

    name = "questdb"

    def __init__(self, settings: Questdb, data_dir: Path) -> None:
        self._settings = settings
        self._cursor = data_dir / "cursors" / f"{self.name}.cursor"
        self._server = QuestdbServer(settings)
        self._kept_from_ns: dict[str, int] = {}

    def open(self) -> Held:
        check_database(self._server, self._settings)
        settings = self._settings
        self._kept_from_ns = kept_from(
            TABLES, time.time_ns(), days=settings.retain_days, status_days=settings.status_retain_days
        )
        cursors = read_cursor(self._cursor, Files())
        refused = frozenset(tuple(row) for row in self._query("SELECT stream, epoch, seq FROM quarantine"))
        return Held(cursors, refused, self._kept_from_ns)

    def close(self) -> None:
        self._server.close()

    def minutes(self, part: Part) -> dict[Key, Tally]:
        found: dict[Key, Tally] = {}
        for stream, epoch, minute, rows, total, first, last in self._ask(part, BY_MINUTE):
            found.setdefault(Key(stream, epoch, minute), Tally()).add(rows, total, first, last)
        return found

    def rows(self, part: Part) -> tuple[Whole, Whole]:
        assert part.last - part.first < ROWS_AT_ONCE
        array = np.array(self._ask(part, WHOLE), np.int64).reshape(-1, 2)
        return array[:, 0], array[:, 1]

    def _ask(self, part: Part, query: str) -> list[list[Any]]:
        rows = []
        for table in part.tables:
            condition = where(table, part, kept_from_ns=self._kept_from_ns.get(table.name, 0))
            rows += self._query(query.format(hashed(table, QUESTDB, condition)))
        return rows

    def _query(self, sql: str) -> list[list[Any]]:
        try:
            return self._server.query(sql)
        except SinkRefused as error:
            raise SinkParked(f"{error}: see `tickbay schema status`") from None

    # ------------------------------------------------------------ healing

    def add(self, chunks: Sequence[Chunk], *, part: Part) -> int:
        """All of the part is sent, not only what is missing: what is there stays as it is."""
        return self.replace(chunks, part=part)

    def replace(self, chunks: Sequence[Chunk], *, part: Part) -> int:
        load = sort(chunks, now_ns=time.time_ns())
        sent = 0
        try:
            for body in bodies(load.tables):
                self._server.send(body)
                sent += body.rows
        except SinkRefused as error:
            raise SinkParked(f"{part.stream}: {error}") from None
        self._wait_until_applied()
        return sent

    def _wait_until_applied(self) -> None:
        deadline = time.monotonic() + APPLY_TIMEOUT_S
        ask = "SELECT name FROM wal_tables() WHERE writerTxn < sequencerTxn"
        names = {table.name for table in TABLES}
        while waiting := names & {name for (name,) in self._query(ask)}:
            if time.monotonic() > deadline:
                raise SinkDown(f"{', '.join(sorted(waiting))}: sent again and not applied: see `tickbay sink ls`")
            time.sleep(APPLY_WAIT_S)
