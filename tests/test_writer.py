"""The writer process, a real journal before it and a real server behind it; the test plays the feed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from patience import wait_for
from rows import DAY_NS, made
from servers.postgres import fresh_database, running
from tickbay.config import Timescale
from tickbay.cursor import Position, read_cursor
from tickbay.embedded import EmbeddedServer
from tickbay.files import Files
from tickbay.health import Report, read_report
from tickbay.record import Kind, Records, parse_stream
from tickbay.ring import Ring, RingFull, RingMissing
from tickbay.sinks.connection import conninfo_of
from tickbay.sinks.orders import Orders

WRITER = "writer-timescale"
TODAY_NS = time.time_ns() // DAY_NS * DAY_NS
BOOKS = "feed-1.book"


class Engine:
    """A journal and a writer as processes over a folder of their own."""

    def __init__(self, folder: Path, run_dir: Path, settings: Timescale) -> None:
        self.settings = settings
        self.run_dir = run_dir
        self.data_dir = folder / "data"
        self.log = folder / "log"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._file = folder / "tickbay.toml"
        self._file.write_text(
            f'data_dir = "{self.data_dir}"\nrun_dir = "{run_dir}"\n[feeds]\ncount = 1\n'
            "[ring]\nquote = 512\ntrade = 512\nbook = 1024\ngap = 512\ninstrument = 512\nstatus = 512\n"
            "[journal]\ncommit_ms = 10\nsegment_mb = 1\nfree_floor_gb = 0\n"
            f'[timescale]\nport = {settings.port}\nuser = "{settings.user}"\ndbname = "{settings.dbname}"\n'
            'flush_ms = 20\nbatch_rows = 700\n[log]\nformat = "json"\n'
        )

    def start(self, *names: str) -> None:
        for name in names:
            with self.log.open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "tickbay", "process", name, "--config", str(self._file)],
                    env=os.environ | {"DB_PASSWORD": self.settings.password},
                    stdin=subprocess.DEVNULL,
                    stderr=log,
                )

    def end(self, name: str, number: int = signal.SIGTERM) -> int:
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(timeout=30)

    def append(self, stream: str, records: Records) -> None:
        """Be the feed: publish, waiting for the journal where the ring is full (RING-2)."""
        path = self.run_dir / "rings" / f"{stream}.ring"
        ring = wait_for(lambda: attached(path, parse_stream(stream)[1]), f"{path.name} is made")
        ring.produce(os.getpid(), 1)
        for start in range(0, len(records), 100):
            while True:
                try:
                    ring.append(records[start : start + 100])
                    break
                except RingFull:
                    time.sleep(0.001)
        ring.close()

    def wait_for_report(self, is_so: Callable[[Report], bool], what: str) -> Report:
        def look() -> Report | None:
            report = read_report(self.run_dir, WRITER)
            return report if report is not None and is_so(report) else None

        return wait_for(look, what, log=self.log)

    def sequences(self, table: str = "book_changes") -> list[int]:
        with psycopg.connect(conninfo_of(self.settings)) as connection:
            if connection.execute("SELECT to_regclass(%s)", [table]).fetchone() == (None,):
                return []
            return [seq for (seq,) in connection.execute(f"SELECT seq FROM {table} ORDER BY seq")]

    def wait_for_rows(self, count: int, table: str = "book_changes") -> None:
        wait_for(lambda: len(self.sequences(table)) >= count, f"{count} rows of {table}", log=self.log)


def attached(path: Path, kind: Kind) -> Ring | None:
    try:
        return Ring.attach(path, kind)
    except RingMissing:
        return None


@pytest.fixture
def engine_on(tmp_path: Path, shm_dir: Path) -> Iterator[Callable[[Timescale], Engine]]:
    """Make an engine on a database; whatever of it still runs is killed afterwards."""
    engines: list[Engine] = []

    def make(settings: Timescale) -> Engine:
        engines.append(Engine(tmp_path, shm_dir / "run", settings))
        return engines[-1]

    yield make
    for engine in engines:
        for name in list(engine.processes):
            engine.end(name, signal.SIGKILL)


EngineOn = Callable[[Timescale], Engine]


@pytest.mark.slow
@pytest.mark.parametrize("server", ["postgres_server", "timescale_server"])
def test_what_feeds_publish_is_in_the_database(
    engine_on: EngineOn, server: str, request: pytest.FixtureRequest
) -> None:
    engine = engine_on(fresh_database(request.getfixturevalue(server)))
    engine.start("journal", WRITER)
    quotes = made(Kind.QUOTE, 300, at_ns=TODAY_NS)
    quotes["flags"] = 4
    engine.append("feed-1.quote", quotes)
    engine.append(BOOKS, made(Kind.BOOK, 5000, at_ns=TODAY_NS))
    engine.append("feed-1.gap", made(Kind.GAP, 10, at_ns=TODAY_NS))
    engine.append("universe.instrument", made(Kind.INSTRUMENT, 50, at_ns=TODAY_NS))
    for table, count in (("option_quotes", 300), ("book_changes", 5000), ("data_gaps", 10), ("instruments", 50)):
        engine.wait_for_rows(count, table)
        assert engine.sequences(table) == list(range(1, count + 1))
    report = engine.wait_for_report(
        lambda found: found.streams.get(BOOKS, {}).get("committed") == 5000, "what it committed"
    )
    assert report.state == "live"
    assert report.counters["rows"] == 5360
    assert report.counters["quarantined"] == report.counters["retries"] == 0
    assert engine.end(WRITER) == 0


@pytest.mark.slow
def test_asked_to_stop_it_commits_all_that_is_durable_and_ends_with_0(
    engine_on: EngineOn, postgres_server: EmbeddedServer
) -> None:
    engine = engine_on(fresh_database(postgres_server))
    engine.start("journal", WRITER)
    engine.wait_for_report(lambda report: report.state == "live", "the writer has its database")
    engine.append(BOOKS, made(Kind.BOOK, 20_000, at_ns=TODAY_NS))
    assert engine.end("journal") == 0  # so all of it is durable
    assert engine.end(WRITER) == 0
    assert engine.sequences() == list(range(1, 20_001))
    cursor = read_cursor(engine.data_dir / "cursors" / "timescale.cursor", Files())
    with psycopg.connect(conninfo_of(engine.settings)) as connection:
        rows = connection.execute("SELECT stream, epoch, seq FROM sink_cursor WHERE seq > 0").fetchall()
    assert {stream: Position(epoch, seq) for stream, epoch, seq in rows} == {BOOKS: cursor[BOOKS]}
    assert cursor[BOOKS].seq == 20_000


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_loses_nothing_and_doubles_nothing(
    engine_on: EngineOn, postgres_server: EmbeddedServer
) -> None:
    """SINK-1, RING-1: it also falls behind the ring meanwhile, and reads on from the journal."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    engine = engine_on(fresh_database(postgres_server))
    engine.start("journal", WRITER)
    total = 60_000
    records = made(Kind.BOOK, total, at_ns=TODAY_NS)

    def feed() -> None:
        for start in range(0, total, 1000):
            engine.append(BOOKS, records[start : start + 1000])
            time.sleep(0.08)

    feeding = threading.Thread(target=feed)
    feeding.start()
    engine.wait_for_rows(1)
    kills = 0
    while feeding.is_alive():
        engine.end(WRITER, signal.SIGKILL)
        kills += 1
        engine.start(WRITER)
        time.sleep(chance.uniform(0.4, 1.0))  # long enough to be in the middle of something
    feeding.join()
    engine.wait_for_rows(total)
    assert engine.sequences() == list(range(1, total + 1))
    assert kills >= 3


@pytest.mark.slow
def test_while_the_database_is_away_the_journal_fills_and_then_everything_arrives(engine_on: EngineOn) -> None:
    """SINK-3. Away at the start; away again, as by a crash, in the middle."""
    with running(fsync="on") as server:
        settings = fresh_database(server)
        server.stop()
        engine = engine_on(settings)
        engine.start("journal", WRITER)
        engine.append(BOOKS, made(Kind.BOOK, 4000, at_ns=TODAY_NS))  # four times what the ring holds
        down = engine.wait_for_report(lambda found: found.state == "degraded", "degraded")
        assert "refused" in down.detail
        server.start()
        engine.wait_for_rows(4000)
        server.stop("immediate")
        records = made(Kind.BOOK, 4000, at_ns=TODAY_NS)
        records["recv_ns"] = time.time_ns()
        engine.append(BOOKS, records)
        behind = engine.wait_for_report(
            lambda found: found.state == "degraded" and found.gauges["lag_rows"] == 4000 == found.counters["rows"],
            "says that it is behind again",
        )
        assert behind.gauges["lag_s"] > 0
        server.start()
        engine.wait_for_rows(8000)
        assert engine.sequences() == list(range(1, 8001))
        engine.wait_for_report(lambda found: found.state == "live", "live again")
        assert engine.end(WRITER) == 0


@pytest.mark.slow
def test_a_wrong_password_parks_the_writer_and_is_told_to_nobody(
    engine_on: EngineOn, postgres_server: EmbeddedServer
) -> None:
    settings = fresh_database(postgres_server)
    wrong = "canary-4711-canary"
    engine = engine_on(Timescale(port=settings.port, user=settings.user, dbname=settings.dbname, password=wrong))
    engine.start("journal", WRITER)
    report = engine.wait_for_report(lambda found: found.state == "degraded", "degraded")
    assert "check timescale.user and the password" in report.detail
    assert engine.processes["journal"].poll() is None
    log = engine.log.read_text()
    assert sum('"event":"sink_parked"' in line for line in log.splitlines()) == 1
    Orders(engine.data_dir, "timescale").resume()
    engine.wait_for_report(lambda found: found.counters["retries"] == 2, "asked again, a minute before its time")
    assert engine.end(WRITER) == 0
    log = engine.log.read_text()
    everything = log + "".join(path.read_text() for path in (engine.run_dir / "health").iterdir())
    assert wrong not in everything
