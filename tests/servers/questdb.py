"""A real QuestDB for tests; skipped with the reason where Maven, Java or the network are missing."""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from patience import wait_for
from tickbay.config import Questdb
from tickbay.embedded_questdb import EmbeddedQuestdb
from tickbay.errors import ConfigError

_folders = itertools.count(1)


class QuestdbServer(EmbeddedQuestdb):
    """A server that a test can ask. In developer mode, which lets a table be suspended."""

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(
            folder,
            settings={"dev.mode.enabled": "true"} | {key.replace("__", "."): text for key, text in settings.items()},
        )
        self.settings = Questdb(enabled=True, port=self.port)

    def query(self, sql: str) -> list[list[Any]]:
        """Rows of any statement; none for one that has none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", f"/exec?query={quote(sql)}")
            answer = json.load(connection.getresponse())
        finally:
            connection.close()
        assert "error" not in answer, f"{sql}: {answer['error']}"
        return list(answer.get("dataset", []))

    def suspend(self, table: str) -> None:
        """While rows come: what the server applies just then makes the table go on at once, so ask until it stays."""

        def stays() -> bool:
            self.query(f"ALTER TABLE {table} SUSPEND WAL")
            time.sleep(0.5)
            return self.query(f"SELECT suspended FROM wal_tables() WHERE name = '{table}'") == [[True]]

        wait_for(stays, f"{table} to be suspended")

    def clear(self) -> None:
        """Drop every table and view, so that the next test finds an empty database."""
        for name, type in self.query("SELECT table_name, table_type FROM tables()"):
            self.query(f"DROP {'VIEW' if type == 'V' else 'TABLE'} '{name}'")


@contextmanager
def running(**settings: str) -> Iterator[QuestdbServer]:
    """A new server with lines of server.conf (`__` for a dot), gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tickbay-questdb-") as directory:
        try:
            server = QuestdbServer(Path(directory) / f"server-{next(_folders)}", **settings)
        except ConfigError as error:
            pytest.skip(str(error))
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def questdb_server() -> Iterator[QuestdbServer]:
    """One QuestDB for all tests of a session."""
    with running() as server:
        yield server


@pytest.fixture
def questdb(questdb_server: QuestdbServer) -> QuestdbServer:
    """The session's server, without tables."""
    questdb_server.clear()
    return questdb_server
