"""`tickbay demo` (`make run`): everything on this machine, from nothing to ticks in a database, and all of it ended.

In: a folder. Out: in that folder a PostgreSQL server of its own, the simulated venue's ledger, the engine's data and
log; on the terminal the live status, and at the end what was captured and the audit's verdict.

    simulator ──ws──► tickbay up ──► embedded PostgreSQL          (--venue deribit: the live public feed, no simulator)

The engine is an ordinary `tickbay up` over an ordinary tickbay.toml: nothing is special but where it lies.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tickbay import audit
from tickbay import config as configuration
from tickbay.config import Questdb
from tickbay.embedded import USER, EmbeddedServer
from tickbay.embedded_questdb import EmbeddedQuestdb
from tickbay.errors import ConfigError
from tickbay.identity import is_running
from tickbay.lifeline import tied
from tickbay.sinks.questdb_server import QuestdbServer
from tickbay.status import snapshot, status

DATABASE = "tickbay"
CONFIG = "tickbay.toml"
MARKER = "made-by-tickbay-demo"  # in a folder that may be emptied
OPTIONS = 830  # ETH options that the simulated venue lists, as many as the real one
REFRESH_S = 1.0
PLAIN_REFRESH_S = 5.0  # where the output is no terminal
START_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 30.0  # for the writer to store what was sent, before the engine is stopped
STOP_TIMEOUT_S = 40.0  # more than supervisor.stop_timeout_s: the supervisor decides
HTTP_TIMEOUT_S = 5.0
IDLE_LAG_ROWS = 50  # heartbeats go on, so the lag is never 0 for long
CLEAR = "\x1b[H\x1b[J"
CAPTURED = (
    "option_quotes",
    "option_trades",
    "delta_one_quotes",
    "delta_one_trades",
    "book_changes",
    "data_gaps",
    "collector_status",
    "instruments",
    "quarantine",
)


class Interrupted:
    """Ctrl-C, SIGTERM and a terminal that is closed (not under nohup) end the show, not the program: what was started
    must be stopped in order.
    """

    def __init__(self) -> None:
        self.set = False
        self.again = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._note)

    def _note(self, _number: int, _frame: object) -> None:
        self.again = self.set
        self.set = True


@dataclass(frozen=True, slots=True)
class Simulator:
    ws_url: str
    rest_url: str
    ledger: Path

    def ask(self, path: str) -> dict[str, Any]:
        """POST to /sim/<path>."""
        return self._call(path, b"")

    def all_is_read(self) -> bool:
        """Whether, once told to stop, every client has taken what it was sent."""
        return all(each["read"] == each["frames"] for each in self._call("status")["connections"])

    def _call(self, path: str, data: bytes | None = None) -> dict[str, Any]:
        url = f"{self.rest_url.split('/api/')[0]}/sim/{path}"
        with urllib.request.urlopen(url, data, timeout=HTTP_TIMEOUT_S) as answer:  # noqa: S310 - our own simulator
            return dict(json.load(answer))


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--venue", choices=("sim", "deribit"), default="sim", help="simulated, or the live public feed")
    parser.add_argument(
        "--seconds", type=float, metavar="N", default=0.0, help="stop after N seconds of capture (default: at Ctrl-C)"
    )
    parser.add_argument(
        "--rate", type=float, default=0.0, help="frames a second of the simulator (default: as recorded)"
    )
    parser.add_argument("--flat-out", action="store_true", help="the simulator sends as fast as the engine takes it")
    parser.add_argument(
        "--sinks", type=sinks, default=("timescale",), help="timescale (the default), or timescale,questdb"
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path("data"),
        help="everything goes into DIR/<venue>, DIR/sim is emptied at each start (default: ./data)",
    )


def sinks(text: str) -> tuple[str, ...]:
    """The databases to start. The first is always there: the audit reads it."""
    names = tuple(text.split(","))
    if names[0] != "timescale" or not set(names) <= {"timescale", "questdb"}:
        raise ArgumentTypeError(f"{text!r}: expected timescale or timescale,questdb")
    return names


def main(arguments: Namespace) -> int:
    """Run until Ctrl-C or for --seconds; exit status 0 where the audit found all that was sent."""
    interrupted = Interrupted()
    with ExitStack() as stack:
        folder = stack.enter_context(own_folder(arguments.dir.absolute(), arguments.venue))
        server = stack.enter_context(database(folder / "postgres"))
        venue = stack.enter_context(ExitStack())
        simulator = venue.enter_context(simulated(folder, arguments)) if arguments.venue == "sim" else None
        questdb = stack.enter_context(questdb_server(folder / "questdb")) if "questdb" in arguments.sinks else None
        config = write_config(folder, stack.enter_context(memory_dir()), server, simulator, questdb)
        os.environ["DB_PASSWORD"] = server.password  # for the engine and the audit; the file does not have it
        with engine(folder, config) as up:
            seconds = show(up, config, interrupted, arguments.seconds)
            print("\nstopping: what was received is journalled and stored …", flush=True)
            if simulator is not None:
                simulator.ask("stop")
                wait_until_stored(simulator, config, interrupted)
        venue.close()  # on a busy machine the simulator is slow to notice that all is over; then its ledger is whole
        print(f"\ncaptured in {seconds:.0f} s, in {folder}:\n{captured(server)}\n")
        if questdb is not None:
            print(f"in QuestDB:\n{captured_in_questdb(questdb)}\n")
        return audit.run(configuration.load(config, os.environ), ledger=simulator.ledger if simulator else None)


@contextmanager
def own_folder(top: Path, venue: str) -> Iterator[Path]:
    """`top`/<venue>, nobody else's meanwhile. ConfigError where another demo runs, or what is there is of none."""
    folder = top / venue
    with ExitStack() as stack:
        try:
            top.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = stack.enter_context((top / f"{venue}.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            make_folder(folder, empty=venue == "sim")
        except BlockingIOError:
            raise ConfigError(f"another demo runs in {folder}: end it, or choose another --dir") from None
        except OSError as error:
            raise ConfigError(f"{error.filename or folder}: {error.strerror}: choose another --dir") from error
        yield folder


def make_folder(folder: Path, *, empty: bool) -> None:
    """The simulator's is emptied, for its ledger tells of one run; a live record stays."""
    wait_for_end_of_killed(folder)
    if empty and folder.exists():
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise ConfigError(f"{folder} was made by no demo: move it away, or choose another --dir")
        EmbeddedServer(folder / "postgres").stop("immediate")  # of a demo that was killed
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / MARKER).write_text("Made by `tickbay demo`. It empties the folder sim at each start.\n")


def wait_for_end_of_killed(folder: Path) -> None:
    """The engine of a demo that was killed stores what it has (lifeline.py); then nobody needs its rings any more."""
    try:
        text = (folder / CONFIG).read_text()
    except FileNotFoundError:
        return
    run_dir = Path(tomllib.loads(text)["run_dir"])
    names = [path.stem for path in run_dir.glob("pids/*.lock")]
    complaint = f"the engine of the last demo does not end: see {folder / 'engine.log'}"
    wait_for(lambda: not any(is_running(run_dir, name) for name in names), complaint, STOP_TIMEOUT_S)
    shutil.rmtree(run_dir, ignore_errors=True)


@contextmanager
def database(folder: Path) -> Iterator[EmbeddedServer]:
    """A PostgreSQL server with an empty database, or with that of last time."""
    server = EmbeddedServer(folder)
    server.start()
    try:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        yield server
    finally:
        server.stop()


@contextmanager
def questdb_server(folder: Path) -> Iterator[EmbeddedQuestdb]:
    """A QuestDB server, with what it had last time."""
    server = EmbeddedQuestdb(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def simulated(folder: Path, arguments: Namespace) -> Iterator[Simulator]:
    """The simulated venue on free ports, with a ledger."""
    ports, ledger = folder / "sim.json", folder / "ledger"
    pace = ["--flat-out", "--slow-s", "0"] if arguments.flat_out else ["--rate", str(arguments.rate)]
    command = ["sim", "--port", "0", "--rest-port", "0", "--instruments", f"ETH={OPTIONS}"]
    with child([*command, *pace, "--ledger", str(ledger), "--ports-file", str(ports)], folder / "sim.log"):
        wait_for(ports.exists, f"the simulator does not start: see {folder / 'sim.log'}")
        addresses = json.loads(ports.read_text())
        yield Simulator(addresses["ws_url"], addresses["rest_url"], ledger)


def write_config(
    folder: Path,
    run_dir: Path,
    server: EmbeddedServer,
    simulator: Simulator | None,
    questdb: EmbeddedQuestdb | None = None,
) -> Path:
    """tickbay.toml in `folder`."""
    venue = f'[venue]\nws_url = "{simulator.ws_url}"\nrest_url = "{simulator.rest_url}"\n\n' if simulator else ""
    path = folder / CONFIG
    path.write_text(
        f'data_dir = "engine"\nrun_dir = "{run_dir}"\n\n{venue}'
        "[metrics]\nport = 0\n[health]\nport = 0\n[web]\nport = 0\n"  # beside an engine that has the usual ones
        f'[timescale]\nport = {server.port}\nuser = "{USER}"\ndbname = "{DATABASE}"\n'
        + (f"[questdb]\nenabled = true\nport = {questdb.port}\n" if questdb else "")
    )
    return path


@contextmanager
def memory_dir() -> Iterator[Path]:
    """A folder for the rings, in memory where this machine has a place for that."""
    shared = Path("/dev/shm")  # noqa: S108 - the folder in it is made private
    path = Path(tempfile.mkdtemp(prefix="tickbay-demo-", dir=shared if os.access(shared, os.W_OK) else None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def engine(folder: Path, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`tickbay up`; at the end SIGTERM: it stores what it has and exits."""
    with child(["up", "--config", str(config)], folder / "engine.log", stop_timeout_s=STOP_TIMEOUT_S) as up:
        yield up


@contextmanager
def child(command: Sequence[str], log: Path, *, stop_timeout_s: float = 10.0) -> Iterator[subprocess.Popen[bytes]]:
    """`tickbay <command>` until the block ends, then SIGTERM, also where we are killed. In a session of its own: Ctrl-C
    is ours to handle."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "tickbay", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=tied(),
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            status = process.wait(stop_timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if status:
            print(f"tickbay {command[0]} ended with status {status}: see {log}", file=sys.stderr)


def wait_for(done: Callable[[], bool], complaint: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """ConfigError with `complaint` where it is not done in time."""
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise ConfigError(complaint)
        time.sleep(0.05)


def show(up: subprocess.Popen[bytes], config: Path, interrupted: Interrupted, seconds: float) -> float:
    """The live status until Ctrl-C, or for `seconds` from when the engine captures; how long that was, in seconds.
    ConfigError where the engine ends by itself.
    """
    live = sys.stdout.isatty()
    settings = configuration.load(config, os.environ)
    started = shown = time.monotonic()
    began: float | None = None
    while not interrupted.set and not (seconds and began is not None and time.monotonic() - began >= seconds):
        if up.poll() is not None:
            raise ConfigError(f"the engine ended with status {up.returncode}: see {config.parent / 'engine.log'}")
        time.sleep(0.1)
        if began is None and (captures(settings) or time.monotonic() - started >= START_TIMEOUT_S):
            began = time.monotonic()
        if time.monotonic() - shown >= (REFRESH_S if live else PLAIN_REFRESH_S):
            shown = time.monotonic()
            page = status.render(snapshot.collect(settings), colours=live)
            print(f"{CLEAR if live else ''}{page}\n{'(Ctrl-C ends it)' if live else ''}", flush=True)
    return time.monotonic() - began if began is not None else 0.0


def captures(settings: configuration.Config) -> bool:
    """Whether every feed and every writer is at work."""
    at_work = [each.state == "live" for each in snapshot.collect(settings).processes if each.role in ("feed", "writer")]
    return bool(at_work) and all(at_work)


def wait_until_stored(simulator: Simulator, config: Path, interrupted: Interrupted) -> None:
    """Until the feeds have read all that was sent, so that the audit knows what is lost, and the writers have stored
    it; a second Ctrl-C, or DRAIN_TIMEOUT_S."""
    settings = configuration.load(config, os.environ)
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while not simulator.all_is_read() and time.monotonic() < deadline and not interrupted.again:
        time.sleep(0.05)
    while time.monotonic() < deadline and not interrupted.again:
        writers = [process for process in snapshot.collect(settings).processes if process.role == "writer"]
        if all(writer.lag_rows is not None and writer.lag_rows < IDLE_LAG_ROWS for writer in writers):
            return
        time.sleep(0.2)


def captured(server: EmbeddedServer) -> str:
    """The rows of each table that has any, and how large the database is."""
    lines = []
    with psycopg.connect(server.conninfo(DATABASE)) as connection:
        for table in CAPTURED:
            if connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() == (None,):
                continue  # the writer never came as far as its schema
            count = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
            if count and count[0]:
                lines.append(f"  {table:<18}{count[0]:>14,} rows")
        size = connection.execute("SELECT pg_size_pretty(pg_database_size(%s))", (DATABASE,)).fetchone()
        lines.append(f"  {'in all':<18}{size[0] if size else '':>14}")
    return "\n".join(lines)


def captured_in_questdb(questdb: EmbeddedQuestdb) -> str:
    """The rows of each table that has any."""
    server = QuestdbServer(Questdb(port=questdb.port))
    try:
        there = {name for (name,) in server.query("SELECT table_name FROM tables()")}
        counts = {
            table: server.query(f"SELECT count() FROM {table}")[0][0]  # noqa: S608 - names of our own
            for table in CAPTURED
            if table in there
        }
    finally:
        server.close()
    return "\n".join(f"  {table:<18}{count:>14,} rows" for table, count in counts.items() if count)
