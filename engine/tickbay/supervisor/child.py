"""One process under the supervisor: how it is started or adopted, signalled, watched and reaped. Thin; restart.py
decides.

SUP-1: a child has its own session and no pipe to the supervisor, so it lives on when the supervisor dies; the next
one finds it by its pid file. Signals go through the pidfd only, so never to another process that got the same number.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path

from tickbay.config import CONNECT_VARIABLE, SECRET_VARIABLES, Config
from tickbay.connect_string import without_secrets
from tickbay.health import read_report
from tickbay.identity import Identity, pid_file
from tickbay.supervisor.restart import HISTORY_MAX

Spawn = Callable[[str], "subprocess.Popen[bytes]"]  # name → the running process

# Not for children: the watchdog and the readiness that systemd waits for are the supervisor's.
SUPERVISOR_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

# States in a report that do not say that the process has begun its work.
ENDS = ("starting", "stopping", "stopped", "failed")


class Leaving(Enum):
    """Why a child is being stopped on purpose; its end is then no failure."""

    NO = "no"
    RESTART = "restart"  # asked for: comes back at once
    STOP = "stop"  # for good


class Child:
    """Plain state; the supervisor's loop changes it."""

    def __init__(self, name: str, run_dir: Path) -> None:
        self.name = name
        self.role = name.partition("-")[0]
        self.identity: Identity | None = None  # None: not running
        self.pidfd = -1
        self.adopted = False
        self.fingerprint = ""  # of the configuration that an adopted child runs with
        self.leaving = Leaving.NO
        self.leaving_s = 0.0  # since when, time.monotonic()
        self.due_s: float | None = None  # when to start it again, time.monotonic()
        self.failures: deque[float] = deque(maxlen=HISTORY_MAX)  # time.monotonic() of each
        self.restarts = 0  # since the engine was started; survives the supervisor
        self.excessive = False  # it died too often lately
        self.killed = False  # it was sent SIGKILL and its end is only waited for
        self.fresh_s = 0.0  # when its heartbeat was last seen to move, time.monotonic()
        self.beaten = False  # it has beaten since it was started
        self.past_start = False  # and has said that it does its work
        self.state = ""  # as it said last
        self._heartbeat_ns = 0
        self._run_dir = run_dir
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self.identity is not None

    @property
    def pid(self) -> int:
        return self.identity.pid if self.identity is not None else 0

    def adopt(self) -> bool:
        """Take over the process of this name that lives already, if there is one."""
        written = pid_file(self._run_dir, self.name)
        pidfd = written.identity.open() if written is not None else None
        if written is None or pidfd is None:
            return False
        self._begin(written.identity, pidfd)
        self.adopted, self.fingerprint = True, written.fingerprint
        return True

    def start(self, spawn: Spawn) -> None:
        """Start it. OSError where the system cannot."""
        process = spawn(self.name)
        self._process = process
        # It is our own and not reaped yet, so the number cannot mean another process.
        pidfd = os.pidfd_open(process.pid)
        identity = Identity.of(process.pid) or Identity(process.pid, 0, "")  # it ended already: reaped like any other
        self._begin(identity, pidfd)
        self.adopted, self.fingerprint = False, ""

    def _begin(self, identity: Identity, pidfd: int) -> None:
        assert self.identity is None, self.name
        self.identity, self.pidfd = identity, pidfd
        self.leaving, self.due_s = Leaving.NO, None
        self.beaten = self.past_start = self.killed = False
        self.fresh_s, self._heartbeat_ns = time.monotonic(), 0

    def signal(self, number: signal.Signals) -> None:
        """Through the pidfd; nothing where it has just ended."""
        try:
            if self.running:
                signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def leave(self, reason: Leaving) -> None:
        """Ask it to end."""
        self.leaving, self.leaving_s, self.due_s = reason, time.monotonic(), None
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once. It is safe: a killed process is what every other one is built to survive."""
        self.killed = True
        self.signal(signal.SIGKILL)

    def reap(self) -> int | None:
        """Its pidfd says that it ended: forget the process. Returns its status as subprocess does, None if adopted."""
        status = self._process.wait() if self._process is not None else None
        os.close(self.pidfd)
        self.identity, self.pidfd, self._process = None, -1, None
        return status

    def observe(self) -> None:
        """Look at its heartbeat. What counts is when it moved on our own clock: a machine that slept, or a supervisor
        that was stopped for a while, takes no living child for a silent one.
        """
        report = read_report(self._run_dir, self.name)
        if report is None or report.identity != self.identity or report.heartbeat_ns == self._heartbeat_ns:
            return
        self._heartbeat_ns = report.heartbeat_ns
        self.fresh_s, self.beaten = time.monotonic(), True
        self.past_start |= report.state not in ENDS
        self.state = report.state

    def silent_s(self) -> float:
        """Since its heartbeat last moved (or since it was started)."""
        return time.monotonic() - self.fresh_s


def spawn_process(config_path: Path | None, env: Mapping[str, str]) -> Spawn:
    """The real spawn: a fresh interpreter (never a fork of a process that has threads and an event loop)."""

    def spawn(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "tickbay", "process", name]
        if config_path is not None:
            command += ["--config", str(config_path.absolute())]
        # Who parses what a venue sends does not hold the password of a database.
        hidden = SUPERVISOR_VARIABLES + (() if name.startswith("writer-") else SECRET_VARIABLES)
        child_env = {variable: value for variable, value in env.items() if variable not in hidden}
        if not name.startswith("writer-") and CONNECT_VARIABLE in env:
            child_env[CONNECT_VARIABLE] = without_secrets(env[CONNECT_VARIABLE])
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=child_env, start_new_session=True)  # noqa: S603 - our own interpreter

    return spawn


def process_names(config: Config) -> list[str]:
    """Every process that this configuration wants, in the order in which they are started."""
    writers = [f"writer-{sink}" for sink in config.sinks]
    return ["journal", *writers, "universe", *(f"feed-{number}" for number in range(1, config.feeds.count + 1))]
