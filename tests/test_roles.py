"""Who may do what in the database: the owner makes the tables, a writer adds rows, a reader reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from rows import DAY_NS, made
from servers.postgres import fresh_database
from tickbay import schema
from tickbay.config import Timescale
from tickbay.cursor import START, Position
from tickbay.embedded import EmbeddedServer
from tickbay.record import Kind
from tickbay.sinks.connection import conninfo_of
from tickbay.sinks.sink import Chunk
from tickbay.sinks.timescale import TimescaleSink

PASSWORD = "only for this test"
TODAY_NS = time.time_ns() // DAY_NS * DAY_NS
STREAM = "feed-1.quote"
TICKS = "option_quotes"


@pytest.fixture(params=["postgres_server", "timescale_server"])
def owner(request: pytest.FixtureRequest) -> Timescale:
    """A database whose tables are there."""
    settings = fresh_database(request.getfixturevalue(request.param))
    schema.apply(conninfo_of(settings), settings)
    return settings


@pytest.fixture
def writer(owner: Timescale) -> Iterator[Timescale]:
    yield from login(owner, "tickbay_writer")


@pytest.fixture
def reader(owner: Timescale) -> Iterator[Timescale]:
    yield from login(owner, "tickbay_reader")


def login(owner: Timescale, role: str) -> Iterator[Timescale]:
    """A new user in `role`, gone afterwards: users belong to the whole server."""
    user = sql.Identifier(f"{role}_{owner.dbname}")
    with psycopg.connect(conninfo_of(owner), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
                user, sql.Literal(PASSWORD), sql.Identifier(role)
            )
        )
        yield replace(owner, user=f"{role}_{owner.dbname}", password=PASSWORD)
        connection.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(user, user))


def refused(settings: Timescale, *statements: str) -> None:
    with psycopg.connect(conninfo_of(settings), autocommit=True) as connection:
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_a_writer_records_and_moves_its_cursor_and_needs_no_more(writer: Timescale, owner: Timescale) -> None:
    """Also on plain PostgreSQL, where the partitions of the days must be made for it."""
    with closing(TimescaleSink(writer)) as sink:
        assert sink.open([STREAM]) == {STREAM: START}
        records = made(Kind.QUOTE, 300, at_ns=TODAY_NS)
        sink.commit([Chunk(stream=STREAM, kind=Kind.QUOTE, epoch=7, records=records)])
        assert sink.maintain() == []
        assert sink.open([STREAM])[STREAM] == Position(7, 300)
    with psycopg.connect(conninfo_of(owner)) as connection:
        counted = connection.execute("SELECT (SELECT count(*) FROM option_quotes) + count(*) FROM delta_one_quotes")
        assert counted.fetchone() == (300,)


def test_old_days_are_dropped_for_a_writer_that_owns_nothing(writer: Timescale, owner: Timescale) -> None:
    old_ns = TODAY_NS - 40 * DAY_NS
    with closing(TimescaleSink(replace(writer, retain_days=30))) as sink:
        sink.open([STREAM])
        sink.commit([Chunk(stream=STREAM, kind=Kind.QUOTE, epoch=7, records=made(Kind.QUOTE, 10, at_ns=old_ns))])
        assert any("dropped 1 days" in line for line in sink.maintain())


def test_a_writer_can_neither_read_ticks_nor_change_nor_remove_what_was_recorded(writer: Timescale) -> None:
    for table in (TICKS, "data_gaps", "quarantine", "instruments"):
        refused(
            writer,
            f"SELECT * FROM {table}",
            f"UPDATE {table} SET stream = ''",
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE {table} ADD COLUMN other int",
        )
    refused(
        writer,
        "DELETE FROM sink_cursor",
        "INSERT INTO schema_version (version, name, tickbay) VALUES (99, '', '')",
        "CREATE TABLE other (x int)",
        "CREATE ROLE other",
    )


def test_a_reader_reads_everything_and_changes_nothing(reader: Timescale, owner: Timescale) -> None:
    with psycopg.connect(conninfo_of(owner)) as connection:
        names = [
            row[0]
            for row in connection.execute(
                "SELECT c.relname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner"
                " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')"
                " AND NOT c.relispartition AND r.rolname = current_user"
            )
        ]
    assert TICKS in names and "gaps" in names
    with psycopg.connect(conninfo_of(reader), autocommit=True) as connection:
        for name in names:
            connection.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.Identifier(name)))
    refused(
        reader,
        f"INSERT INTO {TICKS} (ts) VALUES (now())",
        f"UPDATE {TICKS} SET stream = ''",
        f"DELETE FROM {TICKS}",
        "UPDATE sink_cursor SET seq = 0",
        f"DROP TABLE {TICKS}",
        "SELECT tickbay_drop_before('option_quotes', now())",
        "SELECT tickbay_make_partitions(current_date)",
        "CREATE TABLE other (x int)",
    )


def test_a_user_that_may_not_create_roles_is_told_and_works(postgres_server: EmbeddedServer) -> None:
    settings = fresh_database(postgres_server)
    user = f"plain_{settings.dbname}"
    with psycopg.connect(conninfo_of(settings), autocommit=True) as connection:
        # As on a server of its own, where no other database's tickbay has made the roles.
        connection.execute("ALTER ROLE tickbay_writer RENAME TO tickbay_writer_away") if _there(connection) else None
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}; ALTER DATABASE {} OWNER TO {}").format(
                sql.Identifier(user), sql.Literal(PASSWORD), sql.Identifier(settings.dbname), sql.Identifier(user)
            )
        )
        try:
            own = replace(settings, user=user, password=PASSWORD)
            applied = schema.apply(conninfo_of(own), own)
            assert any("may not create roles" in note for note in applied.notes)
            with closing(TimescaleSink(own)) as sink:
                sink.open([STREAM])
                sink.commit(
                    [Chunk(stream=STREAM, kind=Kind.QUOTE, epoch=7, records=made(Kind.QUOTE, 10, at_ns=TODAY_NS))]
                )
        finally:
            if _there(connection, "tickbay_writer_away"):
                connection.execute("ALTER ROLE tickbay_writer_away RENAME TO tickbay_writer")


def _there(connection: psycopg.Connection, role: str = "tickbay_writer") -> bool:
    row = connection.execute("SELECT to_regrole(%s) IS NOT NULL", [role]).fetchone()
    return bool(row and row[0])


def test_days_of_other_tables_cannot_be_dropped_through_the_owner(writer: Timescale) -> None:
    """The functions run with the owner's rights: they must take no table but tickbay's own."""
    with psycopg.connect(conninfo_of(writer), autocommit=True) as connection:
        for name in ("quarantine", "pg_class", "option_quotes; DROP TABLE data_gaps"):
            with pytest.raises(psycopg.errors.RaiseException, match="is not a table of ticks"):
                connection.execute("SELECT tickbay_drop_before(%s, %s)", [name, datetime.now(UTC) - timedelta(days=1)])
