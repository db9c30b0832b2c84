"""What the supervisor does to processes: find, start, signal, reap them, hear of their end. Thin; supervisor.py and
restart.py decide. The simulation (tests/simulation) has another machine.

SUP-1: a child has its own session and no pipe to the supervisor, so it lives on when the supervisor dies; the next
one finds it by its pid file. Signals go through the pidfd only, so never to another process that got the same number.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from tickbay.config import CONNECT_VARIABLE, SECRET_VARIABLES, SECRETS
from tickbay.connect_string import without_secrets
from tickbay.health import Report, read_report
from tickbay.identity import Identity, pid_file

Spawn = Callable[[str], "subprocess.Popen[bytes]"]  # name → the running process

# Not for children: the watchdog and the readiness that systemd waits for are the supervisor's.
SUPERVISOR_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Running(Protocol):
    """A process that was started or found, until reap()."""

    identity: Identity
    fingerprint: str  # of the configuration that it runs with, where it was found; empty: with ours

    def signal(self, number: signal.Signals) -> None:
        """Nothing where it has just ended."""

    def on_end(self, ended: Callable[[], None]) -> None:
        """Call `ended` once, from the event loop, when it is gone."""

    def reap(self) -> int | None:
        """It has ended: forget it. Returns its status as subprocess does, None where it was not started by us."""


class Machine(Protocol):
    def find(self, name: str) -> Running | None:
        """The process of this name that lives already."""

    def start(self, name: str) -> Running:
        """OSError where the system cannot."""

    def names(self) -> list[str]:
        """Of all processes that ever ran here."""

    def report(self, name: str) -> Report | None:
        """What the process of this name said last."""


class RunningProcess:
    """A real process. `process`: our own child."""

    def __init__(
        self,
        identity: Identity,
        pidfd: int,
        *,
        fingerprint: str = "",
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self.identity = identity
        self.fingerprint = fingerprint
        self._pidfd = pidfd
        self._process = process

    def signal(self, number: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return

    def on_end(self, ended: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        def readable() -> None:
            loop.remove_reader(self._pidfd)
            ended()

        loop.add_reader(self._pidfd, readable)

    def reap(self) -> int | None:
        status = self._process.wait() if self._process is not None else None
        os.close(self._pidfd)
        return status


class ThisMachine:
    """The real one: pid files and health files in `run_dir`."""

    def __init__(self, run_dir: Path, spawn: Spawn) -> None:
        self._run_dir = run_dir
        self._spawn = spawn
        self._reports: dict[str, tuple[tuple[int, int], Report | None]] = {}  # of each file as it was read last

    def find(self, name: str) -> Running | None:
        written = pid_file(self._run_dir, name)
        pidfd = written.identity.open() if written is not None else None
        if written is None or pidfd is None:
            return None
        return RunningProcess(written.identity, pidfd, fingerprint=written.fingerprint)

    def start(self, name: str) -> Running:
        process = self._spawn(name)
        # It is our own and not reaped yet, so the number cannot mean another process.
        pidfd = os.pidfd_open(process.pid)
        identity = Identity.of(process.pid) or Identity(process.pid, 0, "")  # it ended already: reaped like any other
        return RunningProcess(identity, pidfd, process=process)

    def names(self) -> list[str]:
        return [path.stem for path in (self._run_dir / "pids").glob("*.json")]

    def report(self, name: str) -> Report | None:
        """What it said last. Asked for twice as often as it speaks: a file that is the same is not read again."""
        try:
            found = os.stat(f"{self._run_dir}/health/{name}.json")  # noqa: PTH116 - a Path costs ten times as much
        except OSError:
            return None
        stamp = (found.st_ino, found.st_mtime_ns)
        if name not in self._reports or self._reports[name][0] != stamp:
            self._reports[name] = (stamp, read_report(self._run_dir, name))
        return self._reports[name][1]


NOBODY = "?"  # begins the name of no process
HOLDERS = {"venue": "feed-", "timescale": "writer-", "questdb": "writer-"}  # whose secrets are whose


def secrets_of(name: str, env: Mapping[str, str]) -> dict[str, str]:
    """The variables with the secrets of a process. Who parses what a venue sends does not hold the password of a
    database, who writes to a database does not hold the key of a venue, and nobody else holds any."""
    found: dict[str, str] = {}
    for variable, (table, _, credential) in SECRETS.items():
        if not name.startswith(HOLDERS.get(table, NOBODY)):
            continue
        named = f"{variable}_FILE"
        found |= {each: env[each] for each in (variable, named) if each in env}
        path = Path(env.get("CREDENTIALS_DIRECTORY", "")) / credential
        if not env.get(variable) and not env.get(named) and env.get("CREDENTIALS_DIRECTORY") and path.exists():
            found[named] = str(path)  # not the directory: it has the secrets of all
    return found


def spawn_process(config_path: Path | None, env: Mapping[str, str]) -> Spawn:
    """The real spawn: a fresh interpreter (never a fork of a process that has threads and an event loop)."""

    def spawn(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "tickbay", "process", name]
        if config_path is not None:
            command += ["--config", str(config_path.absolute())]
        hidden = SUPERVISOR_VARIABLES + SECRET_VARIABLES
        child_env = {variable: value for variable, value in env.items() if variable not in hidden}
        child_env |= secrets_of(name, env)
        if not name.startswith("writer-") and CONNECT_VARIABLE in env:
            child_env[CONNECT_VARIABLE] = without_secrets(env[CONNECT_VARIABLE])
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=child_env, start_new_session=True)  # noqa: S603 - our own interpreter

    return spawn
