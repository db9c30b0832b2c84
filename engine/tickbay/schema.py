"""`tickbay schema apply|status`: the tables, made by numbered steps that only go forward. The writer applies them too.

Comes in: schema/timescale/NNN_*.sql and a database. Goes out: the newest schema, its version in schema_version.
Each step is one transaction together with its row, under one lock: safe to run twice, and by two at once.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tickbay import __version__
from tickbay.config import Timescale, add_argument, find, load
from tickbay.errors import SinkParked, SinkRefused
from tickbay.sinks import partitions, questdb_schema
from tickbay.sinks.columns import SQL_TYPES, TABLES
from tickbay.sinks.connection import DDL_TIMEOUT_S, connect, conninfo_of, judge, translated

GOING_AWAY = ("08", "53", "57")  # SQLSTATE classes of a server that ends sessions for reasons of its own
LOCK = 0x7469636B626179  # "tickbay"; of pg_advisory_lock()
# In a checkout the steps lie in schema/, in an installed package beside this file.
DIRECTORIES = (Path(__file__).parent / "_schema" / "timescale", Path(__file__).parents[2] / "schema" / "timescale")


@dataclass(frozen=True, slots=True)
class Step:
    version: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What apply() found and did."""

    version: int
    edition: partitions.Edition
    server: str
    steps: tuple[str, ...]  # that were applied now
    notes: tuple[str, ...]  # what this database cannot do


def steps() -> list[Step]:
    """Every step in order; their numbers run from 1 without a hole."""
    directory = next(path for path in DIRECTORIES if path.is_dir())
    found = [
        Step(int(path.name[:3]), path.stem, path.read_text())
        for path in sorted(directory.glob("[0-9][0-9][0-9]_*.sql"))
    ]
    assert [step.version for step in found] == list(range(1, len(found) + 1))
    return found


def apply(conninfo: str, settings: Timescale) -> Applied:
    """Bring the database up to date. SinkDown, or SinkParked where the operator must act."""
    notes = _extend(conninfo)
    with connect(conninfo, name="schema", statement_timeout_s=DDL_TIMEOUT_S) as connection, translated():
        connection.autocommit = True
        done = [step.name for step in steps() if _apply_step(connection, step)]
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            notes += partitions.settle(connection, settings)
        if drift := drifted(connection):
            raise SinkParked(f"the tables are not what the schema says: {'; '.join(drift)}")
        return Applied(
            applied_version(connection),
            partitions.edition_of(connection),
            server_of(connection),
            tuple(done),
            tuple(notes),
        )


def applied_version(connection: psycopg.Connection) -> int:
    """The newest step that was applied, 0 for none. SinkParked where the database is newer than this tickbay."""
    # Not to_regclass(): a session remembers that there was no such table, also when another has just made it.
    there = connection.execute(
        "SELECT FROM pg_class WHERE relname = 'schema_version' AND relnamespace = current_schema()::regnamespace"
    )
    if there.fetchone() is None:
        return 0
    row = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    version = int(row[0]) if row else 0
    if version > len(steps()):
        raise SinkParked(
            f"the database has schema version {version}, this tickbay knows {len(steps())}: install the newer tickbay"
        )
    return version


def drifted(connection: psycopg.Connection) -> list[str]:
    """What is different in the tables of records from what the COPY plans expect, one line each; columns of others'
    are fine as long as they may be empty."""
    found: dict[str, dict[str, tuple[str, bool]]] = {}
    for table, column, type, needed in connection.execute(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT a.atthasdef"
        " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE a.attnum > 0 AND NOT a.attisdropped"
        " AND c.oid IN (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)",
        [[table.name for table in TABLES]],
    ):
        found.setdefault(table, {})[column] = (type, needed)
    lines = []
    for table in TABLES:
        there = found.get(table.name)
        if there is None:
            lines.append(f"table {table.name} is missing")
            continue
        for column in table.columns:
            type = there.pop(column.name, ("", False))[0]
            if type != SQL_TYPES[column.type]:
                lines.append(f"{table.name}.{column.name} is {type or 'missing'}, should be {SQL_TYPES[column.type]}")
        lines += [
            f"{table.name}.{name} is not ours and must not be empty" for name, (_, needed) in there.items() if needed
        ]
    return lines


def _apply_step(connection: psycopg.Connection, step: Step) -> bool:
    """Whether it was for us to apply."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if applied_version(connection) >= step.version:
            return False
        try:
            connection.execute(step.text)  # our own file
        except psycopg.errors.DuplicateTable as error:
            raise SinkParked(
                f"step {step.name}: {error.diag.message_primary}: another program's tables are in this database: "
                "set timescale.dbname to one of its own"
            ) from None
        except psycopg.Error as error:
            judged = judge(error)
            if isinstance(judged, SinkRefused):  # no row is at fault here
                raise SinkParked(f"step {step.name}: {judged} (SQLSTATE {judged.sqlstate})") from None
            raise type(judged)(f"step {step.name}: {judged}") from None
        connection.execute(
            "INSERT INTO schema_version (version, name, tickbay) VALUES (%s, %s, %s)",
            [step.version, step.name, __version__],
        )
    return True


def _extend(conninfo: str) -> list[str]:
    """Before the first step: TimescaleDB where the server has it, unless that cannot be (rights, not preloaded). On a
    connection of its own, which the server ends where the extension is not preloaded."""
    available = "SELECT FROM pg_available_extensions WHERE name = 'timescaledb' AND installed_version IS NULL"
    with translated(), connect(conninfo, name="schema", statement_timeout_s=DDL_TIMEOUT_S) as connection:
        connection.autocommit = True
        if applied_version(connection):
            return []
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])  # until the connection ends
        if connection.execute(available).fetchone() is None:
            return []
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        except psycopg.Error as error:
            if not error.sqlstate or error.sqlstate.startswith(GOING_AWAY):
                raise
            reason = error.diag.message_primary
            return [f"TimescaleDB is there but cannot be used, so plain PostgreSQL it is: {reason}"]
    return []


def server_of(connection: psycopg.Connection) -> str:
    """What the server calls itself, with its version."""
    row = connection.execute(
        "SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb')"
    ).fetchone()
    assert row is not None
    return f"PostgreSQL {row[0].split()[0]}" + (f", TimescaleDB {row[1]}" if row[1] else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("apply", "status"), help="bring the tables up to date, or say how they are")
    add_argument(parser)


def main(arguments: argparse.Namespace) -> int:
    """Every enabled sink's database. Exit status of `status`: 0 up to date, 1 not."""
    config = load(find(arguments.config, os.environ), os.environ)
    status = _command(arguments.action, config.timescale) if config.timescale.enabled else 0
    return max(status, questdb_schema.command(arguments.action, config.questdb)) if config.questdb.enabled else status


def _command(action: str, settings: Timescale) -> int:
    conninfo = conninfo_of(settings)
    if action == "apply":
        applied = apply(conninfo, settings)
        for name in applied.steps:
            print(f"applied {name}")
        for note in applied.notes:
            print(f"note: {note}")
        print(f"{settings.dbname}: schema version {applied.version} on {applied.edition.value} ({applied.server})")
        return 0
    return _status(conninfo, settings)


def _status(conninfo: str, settings: Timescale) -> int:
    with connect(conninfo, name="schema") as connection, translated():
        version, newest = applied_version(connection), len(steps())
        print(f"{settings.dbname}: schema version {version} of {newest} ({server_of(connection)})")
        if version < newest:
            print(f"{newest - version} steps to apply: tickbay schema apply")
            return 1
        for name, applied_at in connection.execute("SELECT name, applied_at FROM schema_version ORDER BY version"):
            print(f"  {name:<32} {applied_at:%Y-%m-%d %H:%M:%S}Z")
        drift = drifted(connection)
        for line in drift:
            print(f"wrong: {line}")
        return 1 if drift else 0
