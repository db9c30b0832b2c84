"""The tables in QuestDB: the numbered steps, and how what is there differs from them. Used by the writer and by
`tickbay schema`.

Comes in: schema/questdb/NNN_*.sql and a server. Goes out: the newest schema, its version in schema_version. There are
no transactions here, so every statement of a step may be run twice, also by two at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from tickbay import __version__
from tickbay.config import Questdb
from tickbay.errors import SinkParked, SinkRefused
from tickbay.sinks.columns import CUT_TABLES
from tickbay.sinks.questdb_columns import SHAPES
from tickbay.sinks.questdb_server import QuestdbServer

KEYS = {"ts", "stream", "epoch", "seq"}  # SINK-2
HOURS = {"HOUR": 1, "DAY": 24, "WEEK": 168}  # units of a TTL
STATUS_TABLE = "collector_status"
# In a checkout the steps lie in schema/, in an installed package beside the other modules.
_DIRECTORIES = (Path(__file__).parents[1] / "_schema" / "questdb", Path(__file__).parents[3] / "schema" / "questdb")


@dataclass(frozen=True, slots=True)
class Applied:
    """What apply() found and did."""

    version: int
    server: str
    steps: tuple[str, ...]  # that were applied now


def steps() -> list[Path]:
    """Every step in order; their numbers run from 1 without a hole."""
    directory = next(path for path in _DIRECTORIES if path.is_dir())
    found = sorted(directory.glob("[0-9][0-9][0-9]_*.sql"))
    assert [int(path.name[:3]) for path in found] == list(range(1, len(found) + 1))
    return found


def apply(server: QuestdbServer, settings: Questdb) -> Applied:
    """Bring the tables up to date. SinkDown, or SinkParked where the operator must act."""
    check_database(server, settings)
    done = []
    version = applied_version(server)
    for number, path in enumerate(steps(), 1):
        if number > version:
            _apply_step(server, settings, path)
            done.append(path.stem)
    if drift := drifted(server):
        raise SinkParked(f"the tables are not what the schema says: {'; '.join(drift)}")
    _settle(server, settings)
    return Applied(len(steps()), server_version(server), tuple(done))


def command(action: str, settings: Questdb) -> int:
    """`tickbay schema apply|status` for QuestDB; the exit status."""
    server = QuestdbServer(settings)
    try:
        if action == "apply":
            applied = apply(server, settings)
            for name in applied.steps:
                print(f"applied {name}")
            print(f"{settings.database}: schema version {applied.version} ({applied.server})")
            return 0
        check_database(server, settings)
        version, newest = applied_version(server), len(steps())
        print(f"{settings.database}: schema version {version} of {newest} ({server_version(server)})")
        if version < newest:
            print(f"{newest - version} steps to apply: tickbay schema apply")
            return 1
        drift = drifted(server)
        for line in drift:
            print(f"wrong: {line}")
        return 1 if drift else 0
    finally:
        server.close()


def check_database(server: QuestdbServer, settings: Questdb) -> None:
    """SinkParked where the server calls itself otherwise than the operator believes."""
    ((name,),) = _run(server, "SELECT current_database()")
    if name != settings.database:
        raise SinkParked(f"the server's database is called {name}, not {settings.database}: check questdb.database")


def server_version(server: QuestdbServer) -> str:
    ((build,),) = _run(server, "SELECT build()")
    return f"QuestDB {str(build).removeprefix('Build Information: QuestDB ').split(',')[0]}"


def applied_version(server: QuestdbServer) -> int:
    """The newest step that was applied, 0 for none. SinkParked where the database is newer than this tickbay."""
    if not _run(server, "SELECT table_name FROM tables() WHERE table_name = 'schema_version'"):
        return 0
    ((version,),) = _run(server, "SELECT max(version) FROM schema_version")
    if (version or 0) > len(steps()):
        raise SinkParked(
            f"the database has schema version {version}, this tickbay knows {len(steps())}: install the newer tickbay"
        )
    return int(version or 0)


def drifted(server: QuestdbServer) -> list[str]:
    """What is different in the tables from what the writer sends, one line each; columns of others are fine."""
    there = {
        name: (wal, dedup) for name, wal, dedup in _run(server, "SELECT table_name, walEnabled, dedup FROM tables()")
    }
    lines = []
    for table, shape in SHAPES.items():
        if table not in there:
            lines.append(f"table {table} is missing")
            continue
        wal, dedup = there[table]
        columns = {row[0]: (row[1], row[-1]) for row in _run(server, f"SHOW COLUMNS FROM {table}")}
        for name, type in shape.items():
            found = columns.get(name, ("missing", False))[0]
            if found != type:
                lines.append(f"{table}.{name} is {found}, should be {type}")
        keys = {name for name, (_, key) in columns.items() if key}
        if not wal:
            lines.append(f"{table} is no WAL table")
        elif not dedup or keys != KEYS:
            lines.append(f"{table} has the DEDUP keys {', '.join(sorted(keys)) or 'none'}, not ts, stream, epoch, seq")
    return lines


def _apply_step(server: QuestdbServer, settings: Questdb, path: Path) -> None:
    text = Template(path.read_text()).substitute(partition=settings.partition)
    statements = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--")).split(";")
    try:
        for statement in statements:
            if statement.strip():
                server.query(statement)
        server.query(
            f"INSERT INTO schema_version VALUES ({int(path.name[:3])}, '{path.stem}', '{__version__}', now())"  # noqa: S608 - our own words
        )
    except SinkRefused as error:
        raise SinkParked(f"step {path.stem}: {error}") from None


def _settle(server: QuestdbServer, settings: Questdb) -> None:
    """What the settings say of tables that are there already: how long their rows are kept."""
    rows = _run(server, "SELECT table_name, ttlValue, ttlUnit FROM tables()")
    there = {name: value * HOURS.get(str(unit), 0) for name, value, unit in rows if isinstance(value, int)}
    for table in CUT_TABLES:
        days = settings.status_retain_days if table == STATUS_TABLE else settings.retain_days
        if there.get(table) != days * 24:
            _run(server, f"ALTER TABLE {table} SET TTL {days} DAYS")


def _run(server: QuestdbServer, sql: str) -> list[list[Any]]:
    """A statement of ours that no row can be blamed for."""
    try:
        return server.query(sql)
    except SinkRefused as error:
        raise SinkParked(f"{error}: check the rights of questdb.user") from None
