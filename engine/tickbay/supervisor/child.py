"""One process under the supervisor, as plain state: whether it runs, since when it is silent, when to start it again.
machine.py acts, restart.py and the supervisor decide.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from enum import Enum

from tickbay import legs
from tickbay.config import Config
from tickbay.supervisor.machine import Machine, Running
from tickbay.supervisor.restart import HISTORY_MAX

# States in a report that do not say that the process has begun its work.
ENDS = ("starting", "stopping", "stopped", "failed")


class Leaving(Enum):
    """Why a child is being stopped on purpose; its end is then no failure."""

    NO = "no"
    RESTART = "restart"  # asked for: comes back at once
    STOP = "stop"  # for good


class Child:
    """The supervisor's loop changes it. All times are those of `now_s`."""

    def __init__(self, name: str, machine: Machine, now_s: Callable[[], float]) -> None:
        self.name = name
        self.role = name.partition("-")[0]
        self.adopted = False
        self.leaving = Leaving.NO
        self.leaving_s = 0.0  # since when
        self.due_s: float | None = None  # when to start it again
        self.failures: deque[float] = deque(maxlen=HISTORY_MAX)  # when each was
        self.restarts = 0  # since the engine was started; survives the supervisor
        self.excessive = False  # it died too often lately
        self.killed = False  # it was sent SIGKILL and its end is only waited for
        self.fresh_s = 0.0  # when its heartbeat was last seen to move
        self.beaten = False  # it has beaten since it was started
        self.past_start = False  # and has said that it does its work
        self.state = ""  # as it said last
        self.state_s = 0.0  # since when it says so
        self._heartbeat_ns = 0
        self._machine = machine
        self._now_s = now_s
        self._process: Running | None = None

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def captures(self) -> bool:
        """Does it take part in recording? One that only watches is never waited for."""
        return self.role not in ("metrics", "checker")

    @property
    def pid(self) -> int:
        return self._process.identity.pid if self._process is not None else 0

    @property
    def fingerprint(self) -> str:
        """Of the configuration that an adopted child runs with."""
        return self._process.fingerprint if self._process is not None else ""

    def adopt(self) -> bool:
        """Take over the process of this name that lives already, if there is one."""
        found = self._machine.find(self.name)
        if found is None:
            return False
        self._begin(found)
        self.adopted = True
        return True

    def start(self) -> None:
        """Start it. OSError where the system cannot."""
        self._begin(self._machine.start(self.name))
        self.adopted = False

    def _begin(self, process: Running) -> None:
        assert self._process is None, self.name
        self._process = process
        self.leaving, self.due_s = Leaving.NO, None
        self.beaten = self.past_start = self.killed = False
        self.fresh_s, self._heartbeat_ns = self._now_s(), 0

    def on_end(self, ended: Callable[[], None]) -> None:
        """Call `ended` when it is gone."""
        assert self._process is not None, self.name
        self._process.on_end(ended)

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.signal(number)

    def leave(self, reason: Leaving) -> None:
        """Ask it to end."""
        self.leaving, self.leaving_s, self.due_s = reason, self._now_s(), None
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once. It is safe: a killed process is what every other one is built to survive."""
        self.killed = True
        self.signal(signal.SIGKILL)

    def reap(self) -> int | None:
        """It has ended: forget the process. Returns its status as subprocess does, None if adopted."""
        process, self._process = self._process, None
        assert process is not None, self.name
        return process.reap()

    def observe(self) -> None:
        """Look at its heartbeat. What counts is when it moved on our own clock: a machine that slept, or a supervisor
        that was stopped for a while, takes no living child for a silent one.
        """
        report = self._machine.report(self.name)
        if report is None or self._process is None or report.identity != self._process.identity:
            return
        if report.heartbeat_ns == self._heartbeat_ns:
            return
        self._heartbeat_ns = report.heartbeat_ns
        if not self.beaten or report.state != self.state:
            self.state_s = self._now_s()
        self.fresh_s, self.beaten = self._now_s(), True
        self.past_start |= report.state not in ENDS
        self.state = report.state

    def silent_s(self) -> float:
        """Since its heartbeat last moved (or since it was started)."""
        return self._now_s() - self.fresh_s


def process_names(config: Config) -> list[str]:
    """Every process that this configuration wants, in the order in which they are started."""
    writers = [f"writer-{sink}" for sink in config.sinks]
    watching = ["metrics"] if config.metrics.enabled or config.health.enabled or config.web.enabled else []
    healing = ["healer"] if config.heal.enabled else []
    comparable = any({"ticker", "book"} <= {*rule.channels} for rule in config.select)
    checking = ["checker"] if config.check.enabled and comparable else []
    return ["journal", *writers, "universe", *legs.mergers(config), *legs.feeds(config), *healing, *checking, *watching]
