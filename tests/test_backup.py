"""Backup and restore of real servers, under a running engine: nothing is lost, nothing comes twice (BACKUP-1)."""

from __future__ import annotations

import os
import shutil
import socket
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from audited import Stored, play
from faults.rig import Rig
from journal_case import JournalCase
from patience import wait_for
from servers.community import community
from servers.postgres import fresh_database
from servers.questdb import QuestdbServer
from simulator import ENGINE, simulating
from tickbay import schema
from tickbay.backup.command import RECOUNT_DAYS, back_up, is_due
from tickbay.backup.folder import Folder, Part
from tickbay.backup.questdb import QuestdbBackup, cut, unescaped
from tickbay.backup.store import Found, expires
from tickbay.backup.timescale import TimescaleBackup, compress
from tickbay.config import Timescale, load
from tickbay.embedded import EmbeddedServer
from tickbay.errors import BackupFault, ConfigError
from tickbay.sinks.connection import conninfo_of
from whole_engine import query, tickbay, whole_engine

__all__ = ["community"]

MARKET = ("--instruments", "ETH=60", "--rate", "1500", "--frames", "24000")
DATABASES = ("timescale", "questdb")


# -------- the whole engine


def command(rig: Rig, *arguments: str, status: int = 0) -> str:
    found, out, err = tickbay(*arguments, env=rig.env | {"TICKBAY_CONFIG": str(rig.file)})
    assert found == status, out + err
    return out + err


def wait_for_rows(rig: Rig, more: int) -> None:
    before = {sink: rig.committed(sink) for sink in DATABASES}
    wait_for(lambda: all(rig.committed(sink) > before[sink] + more for sink in DATABASES), "rows in both databases")


def empty_databases(rig: Rig, server: QuestdbServer) -> None:
    with psycopg.connect(rig.server.conninfo(), autocommit=True) as connection:
        name = sql.Identifier(rig.database.dbname)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    server.clear()


def audit(rig: Rig) -> None:
    """By the simulator's ledger, the journal too, and by the journal: all have every row, once."""
    told = command(rig, "audit", "--ledger", str(rig.folder / "ledger"))
    assert told.count("0 lost, 0 twice, 0 different") == 3 and told.count(": OK\n") == 3, told
    told = command(rig, "audit")
    assert told.count(": OK\n") == 4 and "still to come" not in told, told


@pytest.mark.slow
def test_databases_that_were_lost_are_restored_under_a_running_engine_and_then_a_whole_machine(
    tmp_path: Path, shm_dir: Path, timescale_server: EmbeddedServer, questdb: QuestdbServer
) -> None:
    """BACKUP-1. First both databases are lost while ticks come: restored, they go on behind the backup's cursors, from
    the journal. Then all is lost, the journal too, and comes back from one folder."""
    folder = str(tmp_path / "backups")
    settings = f"[questdb]\nenabled = true\nport = {questdb.port}\n"
    with (
        simulating(tmp_path, *MARKET) as simulator,
        whole_engine(tmp_path, shm_dir, timescale_server, simulator, more=settings) as rig,
    ):
        rig.up()
        wait_for(lambda: len(simulator.feeds()) == 2, "both feeds to be there")
        wait_for_rows(rig, 500)
        command(rig, "backup", folder)
        wait_for_rows(rig, 500)
        told = command(rig, "backup", folder, "--only", *DATABASES)
        assert told.count(" of them new") == 2 and "journal" not in told
        assert "instruments/whole" not in told, "what has not changed is not written again"
        for sink in DATABASES:
            command(rig, "sink", "park", sink)
        wait_for(lambda: all(rig.state(f"writer-{sink}") == "degraded" for sink in DATABASES), "both to be parked")
        empty_databases(rig, questdb)
        command(rig, "restore", folder, "--only", *DATABASES)
        assert rig.finish().good
        audit(rig)

        command(rig, "backup", folder, "--quiet")
        told = command(rig, "backup", folder, "--recount")
        assert told.count(" 0 of them new") == 3, told
        check_that_nothing_is_counted_twice(
            QuestdbBackup(load(rig.file, rig.env)), Folder(tmp_path / "backups/questdb")
        )
        empty_databases(rig, questdb)
        shutil.rmtree(rig.folder / "data")
        for path in rig.run_dir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        told = command(rig, "restore", folder, "--quiet")
        assert told.count("restored") == 3
        rig.up()
        rig.wait_live(*(f"writer-{sink}" for sink in DATABASES))
        rig.stop()
        audit(rig)
        assert query(rig, "SELECT count(*) FROM data_gaps WHERE cause = 'journal_torn'") == [(1,)], "it is told"


def check_that_nothing_is_counted_twice(store: QuestdbBackup, folder: Folder) -> None:
    """A tally that was made up is believed where the mark is as it was, and nowhere else."""
    manifest = folder.manifest()
    assert manifest is not None
    marked = [part for part in manifest.parts if part.mark]
    assert {"option_quotes", "book_changes"} <= {part.name.partition("/")[0] for part in marked}
    with closing(store):
        store.open()
        known = {part.name: replace(part, tally="made up") for part in marked}
        found = {each.name: each.tally for each in store.parts(known)}
        assert {name for name, tally in found.items() if tally == "made up"} == set(known)
        other = {name: replace(part, mark="5") for name, part in known.items()}
        found = {each.name: each.tally for each in store.parts(other)}
        assert found == {part.name: part.tally for part in manifest.parts}


# -------- one database


class Database:
    """A plain PostgreSQL with rows up to cursors, its configuration, and a folder for its backup."""

    def __init__(self, tmp_path: Path, server: EmbeddedServer) -> None:
        self.tmp_path, self.server = tmp_path, server
        self.folder = tmp_path / "backup"
        self.settings = fresh_database(server)
        stored, reader = Stored(), play(tmp_path)
        stored.add(reader, 1, "feed-1", 1)
        stored.add(reader, 2, "feed-2", 2)
        stored.store(self.settings)
        with psycopg.connect(conninfo_of(self.settings)) as connection:
            connection.execute(
                "INSERT INTO sink_cursor SELECT 'timescale', stream, max(epoch), max(seq)"
                " FROM (SELECT stream, epoch, seq FROM option_quotes UNION ALL"
                " SELECT stream, epoch, seq FROM book_changes) AS each"
                " GROUP BY stream"
            )

    def tickbay(self, *arguments: str, into: Timescale | None = None) -> tuple[int, str]:
        """Exit status, and what it says on stdout or stderr. `into`: another database."""
        settings = into or self.settings
        env = self.env(settings)
        only = () if "--only" in arguments else ("--only", "timescale")
        status, out, err = tickbay(arguments[0], str(self.folder), *only, *arguments[1:], env=env)
        assert settings.password not in out + err
        assert err.count("\n") <= 1, err
        return status, out + err

    def env(self, settings: Timescale) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": str(ENGINE),
            "TICKBAY_DATA_DIR": str(self.tmp_path / "data"),
            "TICKBAY_RUN_DIR": str(self.tmp_path / "run"),
            "DB_PORT": str(settings.port),
            "DB_USER": settings.user,
            "DB_NAME": settings.dbname,
            "DB_PASSWORD": settings.password,
        }

    def run(self, statement: str, into: Timescale | None = None) -> None:
        with psycopg.connect(conninfo_of(into or self.settings)) as connection:
            connection.execute(statement)

    def content(self, settings: Timescale) -> list[object]:
        tables = ("option_quotes", "book_changes", "sink_cursor")
        with psycopg.connect(conninfo_of(settings)) as connection:
            return [
                connection.execute(
                    sql.SQL("SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {} AS t").format(
                        sql.SQL("(SELECT sink, stream, epoch, seq FROM sink_cursor)")
                        if table == "sink_cursor"
                        else sql.Identifier(table)
                    )
                ).fetchone()
                for table in tables
            ]


@pytest.fixture
def database(tmp_path: Path, postgres_server: EmbeddedServer) -> Database:
    return Database(tmp_path, postgres_server)


@pytest.mark.slow
def test_a_restored_database_has_the_rows_up_to_the_cursors_and_no_others(database: Database) -> None:
    """BACKUP-1, also where the restore is cut off in the middle and run again."""
    content = database.content(database.settings)
    database.run(
        "INSERT INTO book_changes (ts, exch_ns, recv_ns, stream, epoch, seq, conn, instrument, healed, snapshot,"
        " message_end, change_id)"
        " SELECT ts, 1, 1, stream, epoch, 1000000000, 1, 'beyond the cursor', false, false, true, 1"
        " FROM book_changes LIMIT 5"
    )
    assert database.tickbay("backup")[0] == 0
    status, told = database.tickbay("backup")
    assert status == 0 and " 0 of them new" in told
    other = fresh_database(database.server)
    spoilt = next(path for path in database.folder.rglob("option_quotes/*.gz"))
    whole = spoilt.read_bytes()
    spoilt.write_bytes(whole[:-9] + b"x" + whole[-8:])
    status, told = database.tickbay("restore", into=other)
    assert status == 1 and "is damaged: its checksum is another" in told
    assert database.tickbay("restore", "--check")[0] == 1
    spoilt.write_bytes(whole)
    assert database.tickbay("restore", "--check")[0] == 0
    status, told = database.tickbay("restore", into=other)
    assert status == 0, told
    assert database.content(other) == content
    database.run("TRUNCATE book_changes; DELETE FROM sink_cursor", into=other)  # as when it was killed before
    status, told = database.tickbay("restore", into=other)
    assert status == 0 and "book_changes/" in told and "option_quotes/" not in told
    assert database.content(other) == content


@pytest.mark.slow
def test_neither_a_backup_nor_a_database_is_overwritten_by_something_else(database: Database) -> None:
    assert database.tickbay("restore") == (
        2,
        f"tickbay restore: {database.folder}: no backup of timescale is here: name what there is with --only\n",
    )
    assert database.tickbay("backup")[0] == 0
    manifest = (database.folder / "timescale" / "manifest.json").read_bytes()
    database.run("DELETE FROM option_quotes WHERE seq % 2 = 0")
    status, told = database.tickbay("backup")
    assert status == 1 and "or say --forget" in told
    assert (database.folder / "timescale" / "manifest.json").read_bytes() == manifest
    status, told = database.tickbay("restore")
    assert status == 2 and "is not empty: option_quotes/" in told and "or say --replace to lose them" in told
    assert not (database.tmp_path / "data" / "cursors" / "timescale.parked").exists(), "nothing was touched"
    assert database.tickbay("restore", "--replace")[0] == 0
    status, told = database.tickbay("backup")
    assert status == 0 and " 0 of them new" in told, "it is what it was"
    database.run("DELETE FROM option_quotes WHERE seq % 2 = 0")
    assert database.tickbay("backup", "--forget")[0] == 0
    changed = (database.folder / "timescale" / "manifest.json").read_text()
    (database.folder / "timescale" / "manifest.json").write_text(changed.replace('"rows": ', '"rows": 1', 1))
    status, told = database.tickbay("restore", "--check")
    assert status == 1 and "was changed: its checksum is another" in told


@pytest.mark.slow
def test_a_database_that_is_away_costs_the_journal_no_backup_and_no_restore_begins_before_all_is_checked(
    database: Database,
) -> None:
    both = ("--only", "timescale", "journal")
    segment = database.tmp_path / "data" / "journal" / "000000000001.seg"
    segment.parent.mkdir(parents=True)
    segment.write_bytes(b"as it was")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        away = replace(database.settings, port=closed.getsockname()[1])
    status, told = database.tickbay("backup", *both, into=away)
    assert status == 1 and "tickbay backup: timescale: " in told and "journal: " in told, told
    journal = Folder(database.folder / "journal").manifest()
    assert journal is not None and [part.name for part in journal.parts] == ["journal/000000000001.seg"]

    assert database.tickbay("backup", *both)[0] == 0
    content = database.content(database.settings)
    database.run("DELETE FROM option_quotes WHERE seq % 2 = 0")
    changed = database.content(database.settings)
    (spoilt,) = (database.folder / "journal" / "journal").glob("*.gz")
    whole = spoilt.read_bytes()
    spoilt.write_bytes(whole[:-1] + b"x")
    status, told = database.tickbay("restore", *both, "--replace")
    assert status == 1 and "000000000001.seg" in told and "restored" not in told, told
    assert database.content(database.settings) == changed, "nothing was touched"
    spoilt.write_bytes(whole)
    assert database.tickbay("restore", *both, "--replace")[0] == 0
    assert database.content(database.settings) == content


@pytest.mark.slow
def test_a_backup_to_which_the_journal_does_not_reach_back_is_told_with_status_3(
    database: Database, shm_dir: Path
) -> None:
    """A database that was lost then was restored with a hole, and nobody had been told."""
    case = JournalCase(shm_dir / "run", database.tmp_path / "data")
    journal = case.open()
    case.fill_segments(journal, 2)
    journal.segments.drop_oldest()
    journal.close()
    held = next(case.chunks("feed-1.quote")).end
    set_cursor = "UPDATE sink_cursor SET (epoch, seq) = ({}, {}) WHERE stream = 'feed-1.quote'"
    database.run(set_cursor.format(held.epoch, 5))
    status, told = database.tickbay("backup")
    assert status == 3 and "has let go of rows that came after this backup began. Back up more often" in told, told
    database.run(set_cursor.format(*held))
    status, told = database.tickbay("backup")
    assert status == 3 and "rows that came after the last backup, of 20" in told, told
    assert database.tickbay("backup")[0] == 0


@pytest.mark.slow
def test_rows_that_are_deleted_after_they_were_counted_make_no_backup_that_cannot_be_restored(
    database: Database,
) -> None:
    """Its tally was of what was counted, so the restore found other rows than the backup has, for ever."""

    class Racing(TimescaleBackup):
        def parts(self, known: Mapping[str, Part]) -> Iterator[Found]:
            found = list(super().parts(known))
            database.run("DELETE FROM option_quotes WHERE seq % 2 = 0; TRUNCATE book_changes")
            return iter(found)

    store = Racing(load(None, database.env(database.settings)))
    folder = Folder(database.folder / "timescale")
    with folder.locked():
        back_up(store, folder, Namespace(forget=False, quiet=True, recount=False))
        store.close()
    manifest = folder.manifest()
    assert manifest is not None and "option_quotes" in {part.name.partition("/")[0] for part in manifest.parts}
    assert "book_changes" not in {part.name.partition("/")[0] for part in manifest.parts}
    other = fresh_database(database.server)
    status, told = database.tickbay("restore", into=other)
    assert status == 0, told
    assert database.content(other) == database.content(database.settings)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["postgres_server", "timescale_server"])
def test_only_days_that_were_written_to_since_the_last_backup_are_counted(
    tmp_path: Path, request: pytest.FixtureRequest, server: str
) -> None:
    """A tally that was made up shows what was not counted."""
    database = Database(tmp_path, request.getfixturevalue(server))
    truth, known = dict[str, Found](), dict[str, Part]()

    def found(known: dict[str, Part]) -> dict[str, Found]:
        with closing(TimescaleBackup(load(None, database.env(database.settings)))) as store:
            store.open()
            return {each.name: each for each in store.parts(known)}

    def known_is_believed() -> bool:  # soon after: the server counts what others wrote when they are done
        nonlocal truth, known
        truth = found({})
        known = {name: Part(name, "", "made up", 1, 1, "", each.mark) for name, each in truth.items() if each.mark}
        return len(known) == 3 and {found(known)[name].tally for name in known} == {"made up"}

    wait_for(known_is_believed, "the server to have counted what was written")
    (written,) = (name for name in known if name.startswith("book_changes/"))
    database.run("UPDATE book_changes SET conn = conn WHERE seq = (SELECT min(seq) FROM book_changes)")
    wait_for(lambda: found(known)[written].tally == truth[written].tally, "the day to be counted again")
    assert {found(known)[name].tally for name in known if name != written} == {"made up"}


def test_each_day_is_counted_once_a_month_whatever_the_database_says() -> None:
    nights = [date(2026, 3, 1) + timedelta(days=number) for number in range(RECOUNT_DAYS)]
    for day in ("2025-12-30", "2025-12-31", "2026-01-01"):
        assert [is_due(f"book_changes/{day}", night) for night in nights].count(True) == 1
    assert not is_due("instruments/whole", nights[0])


def test_what_is_restored_is_compressed_as_its_policy_would_have_once_its_chunk_is_full(community: Timescale) -> None:
    schema.apply(conninfo_of(community), community)
    with psycopg.connect(conninfo_of(community), autocommit=True) as connection:
        connection.execute("SELECT set_chunk_time_interval('index_values', interval '2 days')")
        for day in ("2026-01-11", "2026-01-12"):
            connection.execute(
                "INSERT INTO index_values (ts, exch_ns, recv_ns, stream, epoch, seq, conn, instrument, is_estimated)"
                " VALUES (%s, 1, 1, 'feed-1.index', 1, 1, 1, 'eth_usd', false)",
                [day],
            )
        compressed = "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed"
        for today, chunks in ((date(2026, 1, 11), 0), (date(2026, 1, 12), 1), (date(2026, 1, 12), 1)):
            compress(connection, "index_values", today, after_days=7)
            assert connection.execute(compressed).fetchone() == (chunks,)
        assert connection.execute("SELECT count(*) FROM index_values").fetchone() == (2,)


def test_a_part_comes_back_as_it_was_and_a_broken_file_does_not(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "timescale")
    with folder.locked():
        pieces = [os.urandom(700_000), b"a" * 3_000_000, b""]
        part = folder.write("option_quotes/2026-11-21", "2 3", iter([(pieces[0], 1), (pieces[1], 1), (pieces[2], 0)]))
        assert part.rows == 2
        assert b"".join(folder.read(part)) == b"".join(pieces)
        folder.check(part)
        again = folder.write("option_quotes/2026-11-21", "2 3", iter([(b"".join(pieces), 2)]))
        assert again == part, "the same rows are the same file, so no copy elsewhere is made anew"
        path = folder.path / part.file
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(BackupFault, match="is damaged"):
            folder.check(part)
        path.unlink()
        with pytest.raises(BackupFault, match="is missing"):
            folder.check(part)
        with pytest.raises(ConfigError, match="another tickbay is at work here"), Folder(folder.path).locked():
            pass


def test_texts_of_questdb_s_csv_are_unescaped_and_cut_between_rows() -> None:
    assert unescaped(b'1,"a\\\\b\\nc\\u0001 ""d\\\\"""\r\n') == b'1,"a\\b\nc\x01 ""d\\"""\r\n'
    rows = b'1,"a\nb"\r\n2,"c\nd"\r\n3,"e\n'
    assert cut(rows) == (b'1,"a\nb"\r\n2,"c\nd"\r\n', b'3,"e\n')


def test_only_days_that_are_wholly_too_old_may_go_from_a_store() -> None:
    settings, today = Timescale(retain_days=30, status_retain_days=7), date(2026, 3, 31)
    for name, gone in (
        ("book_changes/2026-03-02", True),
        ("book_changes/2026-03-03", False),
        ("collector_status/2026-03-25", True),
        ("collector_status/2026-03-26", False),
        ("instruments/whole", False),
    ):
        assert expires(name, settings, today) is gone, name
    assert not expires("book_changes/2016-03-01", replace(settings, retain_days=0), today), "0 keeps all"
