"""The audit across journal, PostgreSQL and QuestDB: one row that is lost, twice or wrong anywhere is found, and healed
from the journal. Real files, real servers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from journal_case import JournalCase
from rows import made
from servers.postgres import fresh_database
from servers.questdb import QuestdbServer
from tickbay.__main__ import main
from tickbay.audit.checksum import PARTS_MAX, POSTGRES, QUESTDB, WEIGHT_PRIME, P, Q, checksums, hashed, weight
from tickbay.config import Ring, Timescale
from tickbay.cursor import CursorFile
from tickbay.embedded import EmbeddedServer
from tickbay.files import Files
from tickbay.record import Kind, Records, stream_name
from tickbay.sinks.columns import TABLES, Table
from tickbay.sinks.connection import conninfo_of
from tickbay.sinks.load import chosen
from tickbay.sinks.orders import Orders
from tickbay.sinks.questdb import QuestdbSink
from tickbay.sinks.rewind import Marks
from tickbay.sinks.sink import Chunk
from tickbay.sinks.timescale import TimescaleSink

MINUTE_NS = 60 * 10**9
BEGIN_NS = (time.time_ns() - 3600 * 10**9) // MINUTE_NS * MINUTE_NS
MINUTES, ROWS = 4, 1200
WAIT_S = 20.0
STREAMS = {stream_name("universe" if kind is Kind.INSTRUMENT else "feed-1", kind): kind for kind in Kind}
# Where a row of book_changes lies that the tests spoil: the second minute.
SPOILT = 500
# One row of each table gets each of these: in a table, no two of one row.
WRONG = (
    ("book_changes", "amount = amount + 0.5"),
    ("option_quotes", "bid_iv = NULL"),
    ("delta_one_quotes", "conn = conn + 1"),
    ("option_trades", "trade_id = 'other'"),
    ("delta_one_trades", "healed = NOT healed"),
    ("data_gaps", "to_ts = NULL"),
    ("instruments", "state = 'up'"),
    ("collector_status", "recv_ns = recv_ns + 60000000000"),
)
Audit = Callable[..., tuple[int, str]]


class Case:
    """A journal of four minutes, and both databases as their writers left them."""

    def __init__(self, folder: Path, run_dir: Path, settings: Timescale, server: QuestdbServer) -> None:
        size = 1 << 12
        self.journal = JournalCase(run_dir, folder / "data", ring=Ring(quote=size, trade=size, book=size))
        self.settings, self.server = settings, server
        self.file = folder / "tickbay.toml"
        self.file.write_text(
            f'data_dir = "{folder / "data"}"\nrun_dir = "{run_dir}"\n'
            f'[timescale]\nport = {settings.port}\nuser = "{settings.user}"\ndbname = "{settings.dbname}"\n'
            f"[questdb]\nenabled = true\nport = {server.port}\n"
        )
        journal = self.journal.open()
        self.streams = {stream: kind for stream, kind in STREAMS.items() if stream in journal.rings.sources}
        for stream, kind in self.streams.items():
            count = ROWS if kind in (Kind.QUOTE, Kind.TRADE, Kind.BOOK) else 200
            journal.rings.sources[stream].ring.append(recorded(kind, count))
        assert journal.commit()
        journal.close()

    def chunks(self) -> list[Chunk]:
        """All that is journalled."""
        return [chunk for stream in self.streams for chunk in self.journal.chunks(stream)]

    def write(self, chunks: list[Chunk] | None = None) -> None:
        """Be the writers."""
        chunks = chunks if chunks is not None else self.chunks()
        timescale = TimescaleSink(self.settings)
        timescale.open(list(self.streams))
        timescale.commit(chunks)
        timescale.close()
        folder = self.journal.config.data_dir / "cursors"
        cursor = CursorFile(folder / "questdb.cursor", Files())
        marks, orders = Marks(folder / "questdb.marks", Files(), keep_s=900), Orders(folder.parent, "questdb")
        questdb = QuestdbSink(self.server.settings, cursor, marks, orders)
        questdb.open(list(self.streams))
        questdb.commit(chunks)
        cursor.save(questdb.settled(WAIT_S))
        questdb.close()
        cursor.close()

    def in_postgres(self, statement: str) -> None:
        with psycopg.connect(conninfo_of(self.settings)) as connection:
            connection.execute(statement.encode())

    def in_questdb(self, *statements: str) -> None:
        for statement in statements:
            self.server.query(statement)
        while self.server.query("SELECT name FROM wal_tables() WHERE writerTxn < sequencerTxn"):
            time.sleep(0.02)

    def counts(self, table: str = "book_changes") -> tuple[int, int]:
        """Rows in PostgreSQL and in QuestDB."""
        with psycopg.connect(conninfo_of(self.settings)) as connection:
            found = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        assert found is not None
        return found[0], self.server.query(f"SELECT count() FROM {table}")[0][0]


def recorded(kind: Kind, count: int) -> Records:
    """As a feed makes them: our clock goes forward, over four minutes."""
    records = made(kind, count, at_ns=BEGIN_NS)
    records["seq"] = 0
    records["recv_ns"] = BEGIN_NS + np.arange(count) * (MINUTES * MINUTE_NS // count)
    return records


def cut(chunk: Chunk, until: int) -> Chunk:
    return replace(chunk, records=chunk.records[chunk.records["seq"] <= until])


@pytest.fixture
def case(tmp_path: Path, shm_dir: Path, postgres_server: EmbeddedServer, questdb: QuestdbServer) -> Case:
    return Case(tmp_path, shm_dir / "run", fresh_database(postgres_server), questdb)


@pytest.fixture
def audit(case: Case, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Audit:
    """`tickbay audit`: its exit status and what it printed."""
    monkeypatch.setenv("DB_PASSWORD", case.settings.password)

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["audit", "--config", str(case.file), *arguments])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def differences(told: str, store: str) -> list[dict[str, Any]]:
    return list(json.loads(told)["stores"][store]["differences"])


# ---------------------------------------------------------------- the checksum


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_three_compute_the_same_checksum_of_every_row(case: Case, table: Table) -> None:
    """numpy from the records, PostgreSQL and QuestDB from the rows."""
    stream = stream_name("feed-1", table.kind)
    records = made(table.kind, 600, at_ns=BEGIN_NS)
    odd = [0.0, -0.0, 1 / 3, -1e-9, 2.0**-25, 2.0**-26, 1e-300, 5e-324, 2.0**47, 1e14, 2.0**119, 1e40, -1e300]
    for name in records.dtype.names or ():
        if records.dtype[name].kind == "f":
            records[name][: len(odd)] = odd
            records[name][20:60] = 2.0**-25 + np.arange(-20, 20) * 2.0**-77  # QuestDB takes these for the same
    records = records[chosen(table, records)]
    case.streams = {stream: table.kind}
    chunk = Chunk(stream, table.kind, 7, records)
    case.write([chunk])
    expected = dict(zip(records["seq"].tolist(), checksums(table, records, stream, 7).tolist(), strict=True))
    with psycopg.connect(conninfo_of(case.settings)) as connection:
        rows = connection.execute(hashed(table, POSTGRES, "true").encode()).fetchall()
    assert {row[2]: int(row[4]) for row in rows} == expected
    assert {row[2]: row[4] for row in case.server.query(hashed(table, QUESTDB, "true"))} == expected


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_and_its_lowest_bit_count(table: Table) -> None:
    stream = stream_name("feed-1", table.kind)
    records = made(table.kind, 1, at_ns=BEGIN_NS)
    for name in records.dtype.names or ():
        if records.dtype[name].kind == "f":
            records[name] = 0.1
    records["flags"] = table.value
    before = checksums(table, records, stream, 7)
    assert checksums(table, records, "feed-2.x", 7) != before
    assert checksums(table, records, stream, 8) != before
    for column in table.columns:
        if not column.field:
            continue
        other = records.copy()
        if records.dtype[column.field].kind == "f":
            other[column.field] = np.nextafter(0.1, 1)
        elif records.dtype[column.field].kind == "S":
            other[column.field] = b"x"
        else:
            least = 1000 if column.name == "ts" else column.flag or 1
            other[column.field] = records[column.field] ^ least if least < 1000 else records[column.field] + least
        if other[column.field] != records[column.field] and column.field != "seq":
            assert checksums(table, other, stream, 7) != before, column.name


def test_sums_cannot_overflow_and_weights_differ() -> None:
    assert P * WEIGHT_PRIME * PARTS_MAX < 1 << 63
    assert Q * (1 << 18) < 1 << 63
    assert len({weight(place) for place in range(PARTS_MAX)}) == PARTS_MAX
    assert all(weight(place) % Q for place in range(PARTS_MAX))


def test_values_swapped_between_rows_are_noticed() -> None:
    table = next(table for table in TABLES if table.name == "book_changes")
    records = made(Kind.BOOK, 2, at_ns=BEGIN_NS)
    records["price"] = 1.5, 2.5
    swapped = records.copy()
    swapped["price"] = 2.5, 1.5
    assert checksums(table, records, "feed-1.book", 7).sum() != checksums(table, swapped, "feed-1.book", 7).sum()


# ---------------------------------------------------------------- the audit


def test_what_the_writers_stored_is_what_the_journal_has(case: Case, audit: Audit) -> None:
    case.write()
    status, told = audit()
    assert status == 0, told
    assert told.count(": OK\n") == 4  # by journal and by sequence
    assert "timescale: 4,2" in told and "0 lost, 0 twice, 0 different: OK" in told
    assert "older records are deleted (journal.retain_hours = 72)" in told
    document = json.loads(audit("--json")[1])
    assert document["good"] and document["stores"]["questdb"]["differences"] == []
    assert document["journal"]["records"] == sum(len(c.records) for s in case.streams for c in case.journal.chunks(s))


def test_what_a_writer_has_yet_to_take_is_not_lost(case: Case, audit: Audit) -> None:
    case.write([part for chunk in case.chunks() if len((part := cut(chunk, 900)).records)])
    status, told = audit()
    assert status == 0, told
    assert told.count("900 still to come") == 2  # of quotes, trades and book changes 300 each


@pytest.mark.parametrize("store", ["timescale", "questdb"])
def test_lost_rows_are_found_and_healed_exactly_once(case: Case, audit: Audit, store: str) -> None:
    """SINK-1, SINK-2: and a healing that is done twice changes nothing."""
    case.write()
    if store == "timescale":
        case.in_postgres(f"DELETE FROM book_changes WHERE seq IN ({SPOILT}, {SPOILT + 1})")
    else:  # a minute, whole; QuestDB deletes no single rows
        case.in_questdb(
            "CREATE TABLE kept AS (SELECT * FROM book_changes WHERE seq < 301 OR seq > 600)",
            "TRUNCATE TABLE book_changes",
            "INSERT INTO book_changes SELECT * FROM kept",
            "DROP TABLE kept",
        )
    before = case.counts()
    status, told = audit()
    assert status == 1
    assert "DIFFERENT in 1 of them" in told
    (found,) = differences(audit("--json")[1], store)
    lost = 2 if store == "timescale" else 300
    assert (found["stream"], found["lost"], found["twice"], found["different"]) == ("feed-1.book", lost, 0, 0)
    assert found["journal"]["rows"] == 300 and found["stored"]["rows"] == 300 - lost
    assert case.counts() == before  # looking changes nothing
    for healed in (True, False):
        status, told = audit("--heal")
        assert status == 0, told
        assert ("rows stored by this audit" in told) == healed
    assert case.counts() == (ROWS, ROWS)


@pytest.mark.parametrize("store", ["timescale", "questdb"])
def test_a_wrong_value_is_found_whatever_the_column(case: Case, audit: Audit, store: str) -> None:
    case.write()
    spoil = case.in_postgres if store == "timescale" else case.in_questdb
    for table, assignment in WRONG:
        column = assignment.split()[0]
        ((seq,),) = case.server.query(
            f"SELECT seq FROM {table} WHERE {column} IS NOT NULL AND seq > {SPOILT // 5} LIMIT 1"
        )
        spoil(f"UPDATE {table} SET {assignment} WHERE seq = {seq}")
    status, told = audit("--json")
    assert status == 1
    assert sum(found["different"] for found in differences(told, store)) == len(WRONG), told
    status, told = audit("--heal")
    assert status == (1 if store == "timescale" else 0), told  # there, only by --replace
    status, told = audit("--heal", "--replace")
    assert status == 0, told
    assert case.counts() == (ROWS, ROWS)


def test_a_row_twice_in_postgres_is_found_and_goes_by_replace_only(case: Case, audit: Audit) -> None:
    case.write()
    case.in_postgres(f"INSERT INTO book_changes SELECT * FROM book_changes WHERE seq = {SPOILT}")
    status, told = audit("--heal")
    assert status == 1
    assert f"timescale: 1 twice: seq {SPOILT}" in told
    assert case.counts() == (ROWS + 1, ROWS)
    assert audit("--heal", "--replace")[0] == 0
    assert case.counts() == (ROWS, ROWS)


def test_a_quarantined_record_is_not_due(case: Case, audit: Audit) -> None:
    """SINK-4."""
    chunks = case.chunks()
    for chunk in chunks:
        if chunk.kind is Kind.BOOK:
            chunk.records["exch_ns"][chunk.records["seq"] == SPOILT] = 1  # an insane time; the audit reads another
    case.write(chunks)
    status, told = audit()
    assert status == 0, told
    assert told.count("1 in quarantine") == 2


def test_healing_waits_for_no_cursor_that_went_back(case: Case, audit: Audit) -> None:
    """SINK-1: a database restored from a backup is filled by its writer; healing before it would store rows twice."""
    case.write()
    case.in_postgres("DELETE FROM book_changes WHERE seq > 600")
    case.in_postgres("UPDATE sink_cursor SET seq = 600 WHERE stream = 'feed-1.book'")
    status, told = audit("--heal")
    assert status == 0, told
    assert "600 still to come" in told
    assert case.counts()[0] == 600


def test_a_store_that_is_away_hides_no_other(
    case: Case, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case.write()
    case.file.write_text(case.file.read_text().replace(f"port = {case.server.port}", "port = 1"))
    monkeypatch.setenv("DB_PASSWORD", case.settings.password)
    assert main(["audit", "--config", str(case.file)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("tickbay audit: questdb cannot be compared: 127.0.0.1:1: ")
    assert printed.err.count("\n") == 1
    assert "timescale: " in printed.out and printed.out.count(": OK\n") == 2


def test_what_the_audit_is_asked_must_make_sense(audit: Audit, tmp_path: Path) -> None:
    assert audit("--replace") == (2, "tickbay audit: --replace belongs to --heal\n")
    status, told = audit("--heal", "--ledger", str(tmp_path))
    assert status == 2 and "cannot be combined with --ledger" in told


def test_of_an_empty_database_and_no_journal_nothing_is_said_to_be_there(case: Case, audit: Audit) -> None:
    """A wrong data_dir beside a new database: it said that all is stored."""
    timescale = TimescaleSink(case.settings)
    timescale.open([])
    timescale.close()
    (case.journal.config.data_dir / "journal").rename(case.file.with_name("moved"))
    status, told = audit("--json")
    assert status == 2
    assert json.loads(told.splitlines()[0])["good"] is False
    assert "timescale cannot be compared: it is empty, and " in told
    assert audit()[0] == 2


def test_without_a_journal_the_sequences_tell(case: Case, audit: Audit) -> None:
    case.write()
    (case.journal.config.data_dir / "journal").rename(case.file.with_name("moved"))
    status, told = audit()
    assert status == 0, told
    assert "by their sequences alone" in told
    case.in_postgres(f"DELETE FROM book_changes WHERE seq = {SPOILT}")
    status, told = audit()
    assert status == 1
    assert f"lost: feed-1.book from seq {SPOILT} to {SPOILT}" in told
