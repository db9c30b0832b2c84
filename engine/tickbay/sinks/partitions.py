"""How the big tables are cut by day, compressed and dropped, on each edition of the database. The settings may change
at any start, so this is compared and set again each time; it is no step of the schema.

TimescaleDB Community: hypertables, columnstore and retention policies of its own. Apache edition: hypertables, and
dropping by our timer. Plain PostgreSQL: native partitions, which must exist before their rows come.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from enum import Enum

import psycopg
from psycopg import sql

from tickbay.config import Timescale
from tickbay.sinks.columns import CUT_TABLES
from tickbay.sinks.connection import DDL_TIMEOUT_S

NOT_SUPPORTED = "0A000"  # what the Apache edition answers to everything that is Community only
NOT_ALLOWED = "42501"
DAYS_AHEAD = 3  # partitions made ahead of time: a writer that may not create tables survives a long weekend
STATUS_TABLE = "collector_status"
DIRECT_COMPRESS_SINCE = (2, 28, 1)  # of TimescaleDB; there since 2.21, and marked experimental


class Edition(Enum):
    COMMUNITY = "TimescaleDB Community"
    APACHE = "TimescaleDB Apache"
    PLAIN = "PostgreSQL"


def edition_of(connection: psycopg.Connection) -> Edition:
    """By what the tables are, not by what is installed: an extension that was installed later changes nothing."""
    row = connection.execute(
        "SELECT c.relkind = 'p', current_setting('timescaledb.license', true)"
        " FROM pg_class c WHERE c.oid = to_regclass(%s)",
        [CUT_TABLES[0]],
    ).fetchone()
    if row is None or row[0]:
        return Edition.PLAIN
    return Edition.APACHE if row[1] == "apache" else Edition.COMMUNITY


def direct_compress_refused(edition: Edition, version: str) -> str:
    """Why this database cannot compress rows as they come; empty: it can. `version` is TimescaleDB's, "" without it."""
    if edition is not Edition.COMMUNITY:
        return f"it needs TimescaleDB Community, and this is {edition.value}"
    numbers = tuple(int(digits) for digits in re.findall(r"\d+", version)[:3])
    if numbers < DIRECT_COMPRESS_SINCE:
        return f"it needs TimescaleDB {'.'.join(map(str, DIRECT_COMPRESS_SINCE))}, and this is {version}"
    return ""


def timescale_version(connection: psycopg.Connection) -> str:
    """Empty where there is none."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
    return str(row[0]) if row is not None else ""


def settle(connection: psycopg.Connection, settings: Timescale) -> list[str]:
    """Make the database keep to `settings`. Returns a line for each thing that it cannot do. Autocommit expected."""
    edition = edition_of(connection)
    notes = []
    try:
        row = connection.execute("SELECT tickbay_grant_roles()").fetchone()
        if row is not None and not row[0]:
            notes.append("this user may not create roles: tickbay_writer and tickbay_reader are missing")
        _index(connection, wanted=settings.instrument_index)
        if edition is not Edition.PLAIN:
            for table in CUT_TABLES:
                connection.execute(
                    "SELECT set_chunk_time_interval(%s::regclass, %s::interval)", [table, settings.chunk_interval]
                )
        if edition is Edition.COMMUNITY:
            _policies(connection, settings)
    except psycopg.Error as error:
        if error.sqlstate == NOT_SUPPORTED:
            edition = Edition.APACHE
        elif error.sqlstate == NOT_ALLOWED:
            notes.append("this user does not own the tables: indexes, compression and retention stay as they are")
        else:
            raise
    if edition is Edition.APACHE:
        notes.append(
            "TimescaleDB is the Apache edition: nothing will be compressed; old chunks are dropped by the writer"
        )
    if settings.direct_compress and (why := direct_compress_refused(edition, timescale_version(connection))):
        notes.append(f"timescale.direct_compress is refused: {why}: rows are stored as without it")
    return notes


def days_of(times_ns: Iterable[tuple[int, int]]) -> set[date]:
    """The UTC days in spans of time (first and last, nanoseconds since 1970)."""
    days: set[date] = set()
    for first_ns, last_ns in times_ns:
        first, last = (datetime.fromtimestamp(ns // 10**9, UTC).date() for ns in (first_ns, last_ns))
        days.update(first + timedelta(days=number) for number in range((last - first).days + 1))
    return days


def make_partitions(connection: psycopg.Connection, days: Iterable[date]) -> int:
    """Plain PostgreSQL: make what is missing; returns how many. In the caller's transaction."""
    made = 0
    for day in sorted(days):
        row = connection.execute("SELECT tickbay_make_partitions(%s)", [day]).fetchone()
        made += row[0] if row else 0
    return made


def make_ahead(connection: psycopg.Connection, now: datetime) -> None:
    """Plain PostgreSQL: make the partitions of today and of the days to come. In the caller's transaction."""
    make_partitions(connection, [now.date() + timedelta(days=number) for number in range(DAYS_AHEAD + 1)])


def drop_old(connection: psycopg.Connection, table: str, settings: Timescale, now: datetime) -> list[str]:
    """Drop what is older than it is to be kept; returns a line where there was any. In the caller's transaction, one
    for each table: the drop locks out who reads and writes it.

    On TimescaleDB Community its own policies do the same, and this finds nothing."""
    days = _kept_days(settings, table)
    if not days:
        return []
    # A waiting drop holds up everybody who comes after it, so it does not wait long; but a drop may be of a thousand
    # days.
    connection.execute("SET LOCAL lock_timeout = '2s'")
    connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(f"{DDL_TIMEOUT_S}s")))
    row = connection.execute("SELECT tickbay_drop_before(%s, %s)", [table, now - timedelta(days=days)]).fetchone()
    return [f"{table}: dropped {row[0]} days that were older than {days} days"] if row and row[0] else []


def _kept_days(settings: Timescale, table: str) -> int:
    """0: for ever."""
    return settings.status_retain_days if table == STATUS_TABLE else settings.retain_days


def _index(connection: psycopg.Connection, *, wanted: bool) -> None:
    """The optional index of one instrument's time: it costs half of the ingest rate (schema/README.md has the
    figures)."""
    for table in CUT_TABLES:
        if table == STATUS_TABLE:
            continue
        name, on = sql.Identifier(f"{table}_instrument"), sql.Identifier(table)
        if wanted:
            connection.execute(sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} (instrument, ts DESC)").format(name, on))
        else:
            connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(name))


def _policies(connection: psycopg.Connection, settings: Timescale) -> None:
    """Community: compress and drop by the server's own jobs."""
    jobs = {
        (table, procedure): config
        for table, procedure, config in connection.execute(
            "SELECT hypertable_name, proc_name, config FROM timescaledb_information.jobs"
            " WHERE proc_name IN ('policy_compression', 'policy_retention') AND hypertable_schema = current_schema()"
        )
    }
    compressed = {
        name
        for (name,) in connection.execute(
            "SELECT hypertable_name FROM timescaledb_information.hypertables"
            " WHERE compression_enabled AND hypertable_schema = current_schema()"
        )
    }
    for table in CUT_TABLES:
        if table not in compressed:
            segment = "stream" if table == STATUS_TABLE else "instrument"
            connection.execute(
                sql.SQL(
                    "ALTER TABLE {} SET (timescaledb.compress, timescaledb.compress_segmentby = {},"
                    " timescaledb.compress_orderby = 'ts, seq')"
                ).format(sql.Identifier(table), sql.Literal(segment))
            )
        _policy(
            connection,
            table,
            "compression",
            "compress_after",
            settings.compress_after_days,
            jobs.get((table, "policy_compression")),
        )
        _policy(
            connection,
            table,
            "retention",
            "drop_after",
            _kept_days(settings, table),
            jobs.get((table, "policy_retention")),
        )


def _policy(
    connection: psycopg.Connection, table: str, name: str, key: str, days: int, config: dict[str, object] | None
) -> None:
    """One policy of one table: made, changed or removed so that it says `days` (0: none)."""
    assert name in ("compression", "retention")
    if config is not None:
        same = connection.execute("SELECT %s::interval = make_interval(days => %s)", [config.get(key), days]).fetchone()
        if days and same and same[0]:
            return
        connection.execute(sql.SQL("SELECT {}(%s::regclass)").format(sql.Identifier(f"remove_{name}_policy")), [table])
    if days:
        connection.execute(
            sql.SQL("SELECT {}(%s::regclass, make_interval(days => %s))").format(sql.Identifier(f"add_{name}_policy")),
            [table, days],
        )
