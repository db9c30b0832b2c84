"""The engine under test: simulated venue → `tickbay up` → PostgreSQL, all real processes, and the audit of every row.

A figure breaks some of it while data flow, then calls finish(): the data end, everything is stored, the engine stops,
and the simulator's ledger is compared with the journal and with the database, row by row.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from patience import PATIENCE_S, seconds_until, wait_for
from servers import postgres
from simulator import ENGINE, Simulator, simulating
from tickbay.audit.database import Database
from tickbay.audit.stored import Postgres
from tickbay.audit.stored_journal import JournalDatabase
from tickbay.audit.verdict import Verdict, audit_ledger
from tickbay.config import Timescale, load
from tickbay.embedded import EmbeddedServer
from tickbay.files import Files
from tickbay.health import Report, read_report
from tickbay.identity import Identity, pid_file
from tickbay.journal.journal_reader import JournalReader
from tickbay.legs import merger_of, place_of
from tickbay.sim.ledger import LedgerReader
from tickbay.status.snapshot import StreamStatus, collect
from tickbay.supervisor.child import process_names

STOP_S = 60.0
RIVAL = "rival"
DATA = (".quote", ".trade", ".book")  # the streams of which every row is compared
SETTINGS = """
data_dir = "{data_dir}"
run_dir = "{run_dir}"
[venue]
ws_url = "{ws_url}"
rest_url = "{rest_url}"
backoff_min_s = 0.1
backoff_max_s = 0.5
stale_s = 10
ticker_stale_s = 10  # the simulator may be paced slower than a venue
[feeds]
count = {feeds}
[journal]
free_floor_gb = 0
[metrics]
enabled = false
[health]
enabled = false
[web]
enabled = false
[timescale]
{server}
"""
# Kills come by the second here, and each must be answered: with the default back-off the engine would mostly wait.
HASTY = """
[supervisor]
heartbeat_timeout_s = 3
backoff_min_s = 0.1
backoff_max_s = 0.5
"""


class Rig:
    """Made by rigged()."""

    def __init__(
        self, folder: Path, run_dir: Path, server: EmbeddedServer, database: Timescale, simulator: Simulator
    ) -> None:
        self.folder, self.run_dir = folder, run_dir
        self.server, self.database, self.simulator = server, database, simulator
        self.file = folder / "tickbay.toml"
        self.env = os.environ | {"DB_PASSWORD": database.password, "PYTHONPATH": str(ENGINE)}
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._rival: subprocess.Popen[bytes] | None = None
        self._journal: subprocess.Popen[bytes] | None = None  # without a supervisor

    # ------------------------------------------------------------ processes

    @property
    def names(self) -> list[str]:
        """Every process of the engine."""
        return ["supervisor", *process_names(load(self.file, self.env))]

    def allow_silence(self, seconds: float) -> None:
        """How long a channel may be silent before it is stale; to be said before up()."""
        self.file.write_text(re.sub(r"stale_s = \d+", f"stale_s = {seconds:g}", self.file.read_text()))

    def up(self) -> None:
        """`tickbay up`, beside whatever an earlier one left running."""
        assert self._supervisor is None or self._supervisor.poll() is not None
        self._supervisor = self._spawn("-m", "tickbay", "up", "--config", str(self.file))

    def start_rival(self, database: Timescale | None = None) -> None:
        """A second writer for the engine's database, or for another one."""
        database = database or self.database
        file = self.folder / f"{RIVAL}.toml"
        own, other = _server_lines(self.database), _server_lines(database)
        file.write_text(self.file.read_text().replace(own, other))
        script = str(Path(__file__).with_name("rival.py"))
        self._rival = self._spawn(script, str(file), str(self.folder / RIVAL), DB_PASSWORD=database.password)

    def start_journal(self) -> None:
        """The journal's process and nothing else."""
        self._journal = self._spawn("-m", "tickbay", "process", "journal", "--config", str(self.file))

    def _spawn(self, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        with (self.folder / "engine.log").open("ab") as log:
            return subprocess.Popen([sys.executable, *arguments], env=self.env | env, stdout=log, stderr=log)

    def identity(self, name: str) -> Identity | None:
        """Of a process that lives now."""
        for process, known in ((self._rival, RIVAL), (self._supervisor, "supervisor")):
            if name == known:
                return Identity.of(process.pid) if process is not None and process.poll() is None else None
        written = pid_file(self.run_dir, name)
        return written.identity if written is not None and written.identity.alive() else None

    def report(self, name: str) -> Report | None:
        """Of a process that lives."""
        report = read_report(self.run_dir, name)
        return report if report is not None and report.identity.alive() else None

    def state(self, name: str) -> str:
        """As it says itself; empty where it does not live."""
        report = self.report(name)
        return report.state if report is not None else ""

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Whether it was there to be signalled."""
        identity = self.identity(name)
        pidfd = identity.open() if identity is not None else None
        if pidfd is None:
            return False
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)
        return True

    def kill(self, name: str) -> bool:
        """`kill -9`; whether it lived. The supervisor and the rival are started again at once, as systemd would."""
        if not self.signal(name, signal.SIGKILL):
            return False
        if name == "supervisor":
            assert self._supervisor is not None
            self._supervisor.wait()
            self.up()
        elif name == RIVAL:
            assert self._rival is not None
            self._rival.wait()
            self.start_rival()
        return True

    def kill_backend(self) -> bool:
        """`kill -9` of a session of a writer in the server, which then ends all others and recovers."""
        try:
            with psycopg.connect(self.server.conninfo(), connect_timeout=5) as connection:
                query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tickbay %' LIMIT 1"
                found = connection.execute(query).fetchone()
        except psycopg.OperationalError:
            return False  # it recovers from the last one
        if found is None:
            return False
        os.kill(found[0], signal.SIGKILL)
        return True

    def restart_all(self) -> None:
        """`tickbay restart --all`."""
        command = [sys.executable, "-m", "tickbay", "restart", "--all", "--config", str(self.file)]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=5 * STOP_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    # ------------------------------------------------------------ progress

    def streams(self) -> list[StreamStatus]:
        """Of market data that the sinks take: not those of a pair's legs."""
        status = collect(load(self.file, self.env))
        return [each for each in status.streams if each.stream.endswith(DATA) and not merger_of(each.stream)]

    def published(self) -> int:
        return sum(each.last for each in self.streams())

    @property
    def sinks(self) -> tuple[str, ...]:
        """What the engine writes to."""
        return ("timescale", "questdb") if load(self.file, self.env).questdb.enabled else ("timescale",)

    def committed(self, sink: str = "timescale") -> int:
        """Rows of market data that a sink has, as of about the last second."""
        return sum(each.committed.get(sink, 0) for each in self.streams())

    def stored(self) -> int:
        """The same as the database has it, of all streams: it moves with every commit, whoever makes it."""
        with psycopg.connect(self.server.conninfo(self.database.dbname)) as connection:
            found = connection.execute("SELECT coalesce(sum(seq), 0)::bigint FROM sink_cursor").fetchone()
        return int(found[0]) if found else 0

    def set_committed(self, stream: str, seq: int) -> None:
        """Tell the sink that it has a stream up to here."""
        with psycopg.connect(self.server.conninfo(self.database.dbname)) as connection:
            connection.execute("UPDATE sink_cursor SET seq = %s WHERE stream = %s", (seq, stream))

    def restarts(self) -> int:
        """How often a process of the engine died and came back."""
        report = self.report("supervisor")
        assert report is not None, "there is a supervisor"
        return sum(int(child["restarts"]) for child in report.children.values())

    def lag(self) -> int:
        """Rows that the slowest sink has yet to take."""
        return self.published() - min(self.committed(sink) for sink in self.sinks)

    def wait_live(self, *names: str) -> None:
        """Until these processes are live; without names: all."""
        wanted = names or self.names
        log = self.folder / "engine.log"
        wait_for(lambda: all(self.state(name) == "live" for name in wanted), f"{', '.join(wanted)} to be live", log=log)

    def wait_flowing(self) -> None:
        """Until every feed records and the sink stores."""
        before = {each.stream: each.committed.get("timescale", 0) for each in self.streams()}
        feeds = [name for name in self.names if name.startswith("feed-")]

        def flows() -> bool:
            now = {each.stream: each.committed.get("timescale", 0) for each in self.streams()}
            live = [report for report in map(self.report, feeds) if report is not None and report.state == "live"]
            moved = [stream for stream in now if stream.endswith(".quote") and now[stream] > before.get(stream, 0)]
            return len(live) == len(feeds) and len(moved) == len({place_of(feed) for feed in feeds})

        wait_for(flows, f"data to flow: see {self.folder / 'engine.log'}")

    def wait_commit(self, patience_s: float = PATIENCE_S) -> float:
        """Until the database has more than now; seconds."""
        before = self.stored()
        return seconds_until(lambda: self.stored() > before, "a commit", patience_s)

    def finish(self, *, patience_s: float = PATIENCE_S) -> Verdict:
        """End the data, let all be stored, stop the engine, and compare."""
        self.simulator.end_data()
        self._wait_read()
        wait_for(lambda: self.lag() == 0, "everything to be stored", patience_s)
        self.stop()
        self.simulator.stop()
        ledger = LedgerReader(self.folder / "ledger")
        journal = JournalReader(Files(), self.folder / "data" / "journal")
        self._audited(JournalDatabase(journal), ledger, "the journal")
        journal.close()
        with psycopg.connect(self.server.conninfo(self.database.dbname)) as connection:
            return self._audited(Postgres(connection), ledger, "")

    def _audited(self, database: Database, ledger: LedgerReader, name: str) -> Verdict:
        """What is wrong in the journal is wrong whatever a figure makes of its database."""
        verdict = audit_ledger(database, ledger)
        for line in verdict.lines:
            print(f"     {name}: {line}" if name else f"     {line}", file=sys.stderr)
        assert verdict.good or not name, f"{name}: {verdict}"
        return verdict

    def _wait_read(self) -> None:
        """Until the feeds have taken all that was sent: nothing comes any more."""
        seen = -1
        while (now := self.published()) != seen:
            seen = now
            time.sleep(1.5)

    def stop(self) -> None:
        """The orderly end of engine and rival: exit status 0, but of a rival that has only begun to start."""
        supervisor = self._supervisor
        if supervisor is not None:
            wait_for(lambda: supervisor.poll() is not None or self.report("supervisor"), "the supervisor to be at work")
        for process in (self._rival, supervisor):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process, allowed in ((self._rival, (0, -signal.SIGTERM)), (supervisor, (0,))):
            assert process is None or process.wait(STOP_S) in allowed, f"status {process.returncode}"

    def kill_all(self) -> None:
        """Whatever still runs, also what was stopped by SIGSTOP. The supervisor first: it would start others."""
        for name in (*self.names, RIVAL):
            self.signal(name, signal.SIGKILL)
        for process in (self._rival, self._journal, self._supervisor):
            if process is not None:
                process.kill()
                process.wait()


def _server_lines(database: Timescale) -> str:
    return f'port = {database.port}\nuser = "{database.user}"\ndbname = "{database.dbname}"'


def counted(verdict: Verdict) -> str:
    """For a figure: what the audit found."""
    return (
        f"{verdict.lost + verdict.holes} lost, {verdict.twice} twice, {verdict.different + verdict.stray} wrong of "
        f"{verdict.stored:,} rows, {verdict.known:,} in known gaps"
    )


def server_pids(server: EmbeddedServer) -> list[int]:
    """Every process of a database server, the first one first."""
    first = int((server.directory / "db" / "postmaster.pid").read_text().split()[0])
    found = [first]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended while we looked
        if parent == first:
            found.append(int(path.parent.name))
    return found


@contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """One on a disk and one in memory, gone afterwards; with TICKBAY_FAULTS_KEEP set they stay, to look into."""
    memory = Path("/dev/shm")
    made = [
        Path(tempfile.mkdtemp(prefix="tickbay-faults-")),
        Path(tempfile.mkdtemp(prefix="tickbay-faults-", dir=memory if memory.is_dir() else None)),
    ]
    try:
        yield made[0], made[1]
    finally:
        for folder in made:
            if "TICKBAY_FAULTS_KEEP" in os.environ:
                print(f"     kept: {folder}", file=sys.stderr)
            else:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def rigged(*, rate: float, seed: int, feeds: int = 2, options: int = 200, supervisor: str = HASTY) -> Iterator[Rig]:
    """Everything started and flowing, at `rate` frames a second; gone afterwards."""
    venue = ["--instruments", f"ETH={options}", "--rate", str(rate), "--seed", str(seed), "--no-limits"]
    with ExitStack() as stack:
        folder, run_dir = stack.enter_context(folders())
        server = stack.enter_context(postgres.running())
        simulator = stack.enter_context(simulating(folder, *venue))
        rig = Rig(folder, run_dir, server, postgres.fresh_database(server), simulator)
        rig.file.write_text(
            SETTINGS.format(
                data_dir=folder / "data",
                run_dir=run_dir,
                ws_url=simulator.ws_url,
                rest_url=simulator.rest_url,
                feeds=feeds,
                server=_server_lines(rig.database),
            )
            + supervisor
        )
        stack.callback(rig.kill_all)
        rig.up()
        rig.wait_flowing()
        yield rig
