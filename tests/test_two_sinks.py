"""Two writers on one journal: neither is hurt by the other's trouble (SINK-3). Real processes, real servers."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from patience import wait_for
from rows import made
from servers.postgres import fresh_database, running
from servers.questdb import QuestdbServer
from servers.questdb import running as running_questdb
from test_writer import BOOKS, TODAY_NS, WRITER, Engine
from tickbay.config import Timescale
from tickbay.cursor import START, read_cursor
from tickbay.embedded import EmbeddedServer
from tickbay.files import Files
from tickbay.health import Report, read_report
from tickbay.record import Kind

QUESTDB = "writer-questdb"


class Both(Engine):
    """A journal and both writers."""

    def __init__(self, folder: Path, run_dir: Path, settings: Timescale, questdb: QuestdbServer) -> None:
        super().__init__(folder, run_dir, settings)
        self.questdb = questdb
        self.config = folder / "tickbay.toml"
        with self.config.open("a") as file:
            file.write(f"[questdb]\nenabled = true\nport = {questdb.port}\nflush_ms = 20\nbatch_rows = 700\n")

    def report(self, name: str, is_so: Callable[[Report], bool], what: str) -> Report:
        def look() -> Report | None:
            report = read_report(self.run_dir, name)
            return report if report is not None and is_so(report) else None

        return wait_for(look, what, log=self.log)

    def in_questdb(self) -> list[int]:
        tables = [name for (name,) in self.questdb.query("SELECT table_name FROM tables()")]
        if "book_changes" not in tables:
            return []
        return [seq for (seq,) in self.questdb.query("SELECT seq FROM book_changes ORDER BY seq")]

    def wait_for_questdb(self, count: int) -> None:
        wait_for(lambda: len(self.in_questdb()) >= count, f"{count} rows in QuestDB", log=self.log)

    def sink(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tickbay", "sink", "--config", str(self.config), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def questdb() -> Iterator[QuestdbServer]:
    with running_questdb() as server:
        yield server


@pytest.fixture
def both_on(tmp_path: Path, shm_dir: Path, questdb: QuestdbServer) -> Iterator[Callable[[Timescale], Both]]:
    """Make an engine; whatever of it still runs is killed afterwards."""
    engines: list[Both] = []

    def make(settings: Timescale) -> Both:
        engines.append(Both(tmp_path, shm_dir / "run", settings, questdb))
        return engines[-1]

    yield make
    for engine in engines:
        for name in list(engine.processes):
            engine.end(name, signal.SIGKILL)


BothOn = Callable[[Timescale], Both]


@pytest.mark.slow
def test_both_get_every_row_although_questdb_is_killed_while_they_write(
    both_on: BothOn, postgres_server: EmbeddedServer
) -> None:
    """SINK-2, SINK-3."""
    engine = both_on(fresh_database(postgres_server))
    engine.start("journal", WRITER, QUESTDB)
    total = 40_000
    records = made(Kind.BOOK, total, at_ns=TODAY_NS)

    def feed() -> None:
        for start in range(0, total, 1000):
            engine.append(BOOKS, records[start : start + 1000])
            time.sleep(0.1)

    feeding = threading.Thread(target=feed)
    feeding.start()
    engine.wait_for_questdb(1)
    while feeding.is_alive():
        engine.questdb.stop(signal.SIGKILL)
        time.sleep(0.5)
        engine.questdb.start()
        time.sleep(1.0)
    feeding.join()
    engine.wait_for_rows(total)
    engine.wait_for_questdb(total)
    assert engine.sequences() == engine.in_questdb() == list(range(1, total + 1))
    assert engine.end(QUESTDB) == 0
    cursor = read_cursor(engine.data_dir / "cursors" / "questdb.cursor", Files())
    assert cursor[BOOKS].seq == total


@pytest.mark.slow
def test_questdb_goes_on_while_the_other_database_is_away(both_on: BothOn) -> None:
    """SINK-3."""
    with running() as server:
        engine = both_on(fresh_database(server))
        server.stop("immediate")
        engine.start("journal", WRITER, QUESTDB)
        engine.append(BOOKS, made(Kind.BOOK, 4000, at_ns=TODAY_NS))
        engine.wait_for_questdb(4000)
        engine.report(WRITER, lambda found: found.state == "degraded", "the other one is degraded")
        engine.report(QUESTDB, lambda found: found.state == "live", "QuestDB's writer is live")
        server.start()
        engine.wait_for_rows(4000)
        assert engine.sequences() == engine.in_questdb()


@pytest.mark.slow
def test_the_other_database_goes_on_while_questdb_is_away_suspended_or_parked(
    both_on: BothOn, postgres_server: EmbeddedServer
) -> None:
    """SINK-3. `tickbay sink` says which is behind and makes it go on."""
    engine = both_on(fresh_database(postgres_server))
    engine.questdb.stop(signal.SIGKILL)
    engine.start("journal", WRITER, QUESTDB)
    records = made(Kind.BOOK, 9000, at_ns=TODAY_NS)
    engine.append(BOOKS, records[:3000])
    engine.wait_for_rows(3000)
    down = engine.report(QUESTDB, lambda found: found.gauges.get("lag_rows") == 3000, "QuestDB's writer is behind")
    assert down.state == "degraded"
    assert "refused" in down.detail
    assert read_cursor(engine.data_dir / "cursors" / "questdb.cursor", Files()) == {}
    engine.questdb.start()
    engine.wait_for_questdb(3000)

    engine.report(QUESTDB, lambda found: found.state == "live", "it is live")
    engine.questdb.suspend("book_changes")
    engine.append(BOOKS, records[3000:6000])
    engine.wait_for_rows(6000)
    suspended = engine.report(QUESTDB, lambda found: "suspended: book_changes" in found.detail, "it says so")
    assert suspended.state == "degraded"
    assert read_cursor(engine.data_dir / "cursors" / "questdb.cursor", Files()).get(BOOKS, START).seq <= 3000
    listed = engine.sink("ls")
    assert listed.returncode == 1
    assert "suspended: book_changes" in listed.stdout
    assert engine.sink("resume", "questdb").stdout.startswith("book_changes: resumed")
    engine.wait_for_questdb(6000)

    assert engine.sink("park", "questdb", "--reason", "new disk").returncode == 0
    parked = engine.report(QUESTDB, lambda found: "parked by you: new disk" in found.detail, "it is parked")
    assert parked.state == "degraded"
    engine.append(BOOKS, records[6000:])
    engine.wait_for_rows(9000)
    assert len(engine.in_questdb()) == 6000
    engine.sink("resume", "questdb")
    engine.wait_for_questdb(9000)
    assert engine.sequences() == engine.in_questdb() == list(range(1, 9001))
    refused = engine.sink("rewind", "timescale")
    assert refused.returncode == 2
    assert "needs no rewind" in refused.stderr
    assert engine.sink("rewind", "questdb").returncode == 0
    engine.report(QUESTDB, lambda found: found.counters["rows"] >= 18_000, "it sends all of it again")
    assert engine.in_questdb() == list(range(1, 9001))
