"""What every process of tickbay shares: its name and title, directories, signals, log, health, and how it ends.

`python -m tickbay process <name>` calls main(), which prepares a ProcessContext and calls `run(context)` of the
role's module. Exit status: 0 stopped as asked · 1 failed, to be restarted · 2 the operator must change something ·
128+n a second signal n.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import re
import select
import signal
import stat
import time
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from setproctitle import setproctitle

from tickbay import __version__, identity
from tickbay.clock import MACHINE, Clock
from tickbay.config import Config, add_argument, find, load, secrets_of
from tickbay.errors import ConfigError
from tickbay.event_file import EventFile
from tickbay.events import Event, Events
from tickbay.files import Files
from tickbay.health import Health

# A role's module has run(context), returning when the process should end.
ROLES = {
    "universe": "tickbay.universe.universe",
    "journal": "tickbay.journal.journal",
    "feed": "tickbay.feed.feed",
    "merger": "tickbay.merger.merger",
    "writer": "tickbay.writer.writer",
    "healer": "tickbay.healer.healer",
    "checker": "tickbay.checker.checker",
    "metrics": "tickbay.metrics.metrics",
}
NAME = re.compile(
    r"universe|journal|healer|checker|metrics"
    r"|feed-[1-9][0-9]{0,2}[ab]?|merger-[1-9][0-9]{0,2}|writer-[a-z][a-z0-9]{0,15}"
)
RUN_FOLDERS = ("rings", "health", "pids", "sockets", "events")
DATA_FOLDERS = ("journal", "cursors", "quarantine", "universe", "healer", "checker", "merger")
MEMORY_FILESYSTEMS = ("tmpfs", "ramfs")


class Stopping:
    """Set once, by the first SIGTERM or SIGINT. Safe to set from a signal handler, unlike threading.Event, whose lock
    the interrupted thread may hold."""

    def __init__(self) -> None:
        self.on_repeat: Callable[[], None] | None = None  # called at a second signal, right before the end
        self._set = False
        self._callbacks: list[Callable[[], object]] = []
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._eventfd, select.POLLIN)

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        if not self._set:
            self._set = True
            os.eventfd_write(self._eventfd, 1)
            self._run_callbacks()

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Call `callback` in the main thread when set; at once if it already is. It must be safe within a signal
        handler (in an event loop: `lambda: loop.call_soon_threadsafe(...)`)."""
        self._callbacks.append(callback)
        if self._set:
            self._run_callbacks()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until set or for so long; returns whether it is set."""
        if not self._set:
            self._poll.poll(timeout_s * 1000)
        return self._set

    def _run_callbacks(self) -> None:
        while self._callbacks:
            self._callbacks.pop(0)()


@dataclass(frozen=True, slots=True)
class ProcessContext:
    """What a role's run() gets."""

    name: str  # "feed-1"
    config: Config
    health: Health
    events: Events
    stopping: Stopping
    files: Files = field(default_factory=Files)
    clock: Clock = MACHINE

    @property
    def role(self) -> str:
        return self.name.partition("-")[0]

    @property
    def argument(self) -> str:
        """What follows the role in the name: "1" of feed-1, "timescale" of writer-timescale, "" of journal."""
        return self.name.partition("-")[2]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="universe, journal, healer, checker, metrics, feed-N, merger-N or writer-<sink>")
    add_argument(parser)


def main(arguments: Namespace) -> int:
    """Be process `arguments.name` until it is told to stop; returns the exit status."""
    name = arguments.name
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"no process is called {name!r}: expected universe, journal, healer, checker, metrics, feed-N, merger-N"
            " or writer-<sink>"
        )
    config = load(find(arguments.config, os.environ), os.environ)
    with running(name, config) as context:
        return guarded(context, lambda: importlib.import_module(ROLES[context.role]).run(context))


@contextmanager
def running(name: str, config: Config) -> Iterator[ProcessContext]:
    """Become `name`: directories, lock, title, signals, log and health. ConfigError where that cannot be."""
    os.umask(0o077)
    make_directories(config)
    identity.claim(config.run_dir, name, config.fingerprint())
    setproctitle(f"tickbay: {name}")
    faulthandler.enable()
    health = Health(config.run_dir, name, name.partition("-")[0])
    events = Events(
        name,
        level=config.log.level,
        format=config.log.format,
        secrets=secrets_of(config),
        on_error=health.error,
        kept=EventFile(config.run_dir, name),
    )
    health.on_beat = events.settle
    context = ProcessContext(name, config, health, events, Stopping())
    _handle_signals(context)
    health.beat()
    events.emit(Event.PROCESS_STARTED, version=__version__)
    yield context


def guarded(context: ProcessContext, run: Callable[[], int | None]) -> int:
    """Call `run`; turn however it ends into an event, a last health report and an exit status."""
    began = time.monotonic()
    try:
        status = run() or 0
        context.health.state = "stopped"
        context.events.emit(Event.PROCESS_STOPPED, uptime_s=round(time.monotonic() - began, 1))
    except ConfigError as error:
        status = 2
        context.health.state = "failed"
        context.events.emit(Event.PROCESS_REFUSED, error=error)
    except Exception as error:  # noqa: BLE001 - the one place: a process's main. It ends here, and is restarted
        status = 1
        context.health.state = "failed"
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno} {last.name}"
        context.events.emit(Event.PROCESS_FAILED, error=f"{type(error).__name__}: {error}", where=where)
    context.events.settle(all=True)
    context.health.beat()
    return status


def _handle_signals(context: ProcessContext) -> None:
    def stop(number: int, _frame: FrameType | None) -> None:
        if context.stopping.is_set():
            if context.stopping.on_repeat is not None:
                context.stopping.on_repeat()
            os._exit(128 + number)  # a second time: at once, which is safe by design (the journal recovers)
        context.health.state = "stopping"
        context.events.emit(Event.PROCESS_STOPPING, signal=signal.Signals(number).name)
        context.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal went away: capture goes on
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def make_directories(config: Config) -> None:
    """Make run_dir and data_dir with their folders, 0700. ConfigError says which cannot be and what to do."""
    for key, top, folders in (("run_dir", config.run_dir, RUN_FOLDERS), ("data_dir", config.data_dir, DATA_FOLDERS)):
        try:
            top.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in folders:
                (top / folder).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{key} {top}: cannot be made: {error.strerror}: give the user it or set another {key}"
            ) from error
        for path in (top, *(top / folder for folder in folders)):
            _check_directory(key, path)


def _check_directory(key: str, path: Path) -> None:
    status = path.lstat() if key == "run_dir" else path.stat()  # in /dev/shm anybody may have put a link there
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{key} {path}: is not a directory: remove it or set another {key}")
    if key == "run_dir":
        if status.st_uid != os.geteuid():
            raise ConfigError(f"{key} {path}: belongs to user {status.st_uid}, not to us: set another {key}")
        if status.st_mode & 0o077:
            path.chmod(0o700)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"{key} {path}: cannot be written: chown it to user {os.geteuid()} or set another {key}")


def filesystem(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that `path` lies on ("tmpfs"), from the kernel's list of mounts; "" where it is not
    known.
    """
    text = Path("/proc/self/mountinfo").read_text() if mounts is None else mounts
    best, found = -1, ""
    for line in text.splitlines():
        place, _, kind = line.partition(" - ")
        point = place.split()[4].replace("\\040", " ")
        if path.resolve().is_relative_to(point) and len(point) >= best:  # the last mount over a place is the one seen
            best, found = len(point), kind.split()[0]
    return found


def warn_of_slow_rings(config: Config, events: Events) -> None:
    kind = filesystem(config.run_dir)
    if kind not in MEMORY_FILESYSTEMS:
        events.emit(Event.RUN_DIR_NOT_TMPFS, path=config.run_dir, filesystem=kind or "unknown")
