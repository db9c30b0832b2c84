"""What a process says of itself: counters, gauges, state and a heartbeat, in `run/health/<process>.json`.

Each process beats at least once a second from its main loop, so a hang shows. The supervisor reads the heartbeats
(SUP-2), `tickbay status` everything.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tickbay.identity import Identity, write_atomically

RATE_WINDOW_S = 10.0
RATE_STEP_S = 0.5  # at most one remembered sample per so long, so the window has a bounded number of them
FILE_BYTES_MAX = 1 << 20


def heartbeat_ns() -> int:
    """The clock of heartbeats: never set back, the same for every process of this boot, and it goes on while the
    machine sleeps.
    """
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Health:
    """A process's own figures. Plain attributes: set them, then beat()."""

    def __init__(self, run_dir: Path, process: str, role: str) -> None:
        self.process = process
        self.role = role
        self.state = "starting"  # starting, live, degraded, waiting, stopping, stopped, failed
        self.detail = ""  # one line for a person: what it waits for, why it is degraded
        self.counters: dict[str, int] = {}  # since the process started; only grow
        self.gauges: dict[str, float] = {}
        self.streams: dict[str, dict[str, int]] = {}  # figures of each stream that it reads or writes
        # How long each stage of a tick's way takes: stage → feed or sink → histogram (ARCHITECTURE.md, "Stages").
        self.stages: dict[str, dict[str, dict[str, object]]] = {}
        self.children: dict[str, dict[str, object]] = {}  # the supervisor's view of each process
        self.last_error = ""
        self.last_error_ns = 0  # unix
        self.on_beat: Callable[[], None] | None = None
        self._path = run_dir / "health" / f"{process}.json"
        self._identity = Identity.own()
        self._started_ns = time.time_ns()
        self._samples: deque[tuple[float, dict[str, int]]] = deque(maxlen=int(RATE_WINDOW_S / RATE_STEP_S) + 1)
        self._write_failures = 0

    def error(self, sentence: str) -> None:
        """Remember the last error, for status."""
        self.last_error = sentence
        self.last_error_ns = time.time_ns()

    def rates(self) -> dict[str, float]:
        """Each counter's growth per second over about the last RATE_WINDOW_S."""
        now = time.monotonic()
        if not self._samples or now - self._samples[-1][0] >= RATE_STEP_S:
            self._samples.append((now, dict(self.counters)))
        then, counters = next(
            (sample for sample in self._samples if now - sample[0] <= RATE_WINDOW_S), self._samples[-1]
        )
        elapsed = now - then
        if elapsed < RATE_STEP_S:
            return {}
        return {name: (value - counters.get(name, 0)) / elapsed for name, value in self.counters.items()}

    def beat(self) -> None:
        """Write the file. A tmpfs that somebody else filled must not end capture: then the old file is overwritten in
        place.
        """
        content = orjson.dumps(self._report(), option=orjson.OPT_SERIALIZE_NUMPY)
        try:
            write_atomically(self._path, content)
        except OSError:
            self._write_failures += 1
            self._overwrite(content)
        if self.on_beat is not None:
            self.on_beat()

    def _overwrite(self, content: bytes) -> None:
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return  # not even that: the heartbeat grows old, and the supervisor says so
        try:
            length = os.fstat(fd).st_size
            os.pwrite(fd, content.ljust(length), 0)  # JSON followed by blanks is JSON
        except OSError:
            pass  # as above
        finally:
            os.close(fd)

    def _report(self) -> dict[str, object]:
        return {
            "process": self.process,
            "role": self.role,
            "pid": self._identity.pid,
            "start_time": self._identity.start_time,
            "boot_id": self._identity.boot_id,
            "started_ns": self._started_ns,
            "heartbeat_ns": heartbeat_ns(),
            "state": self.state,
            "detail": self.detail,
            "last_error": self.last_error,
            "last_error_ns": self.last_error_ns,
            "counters": self.counters,
            "rates": self.rates(),
            "gauges": self.gauges,
            "streams": self.streams,
            "stages": self.stages,
            "children": self.children,
            "write_failures": self._write_failures,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What a process said last, as somebody else reads it."""

    process: str
    role: str
    identity: Identity
    started_ns: int
    heartbeat_ns: int
    state: str
    detail: str
    last_error: str
    last_error_ns: int
    counters: dict[str, int]
    rates: dict[str, float]
    gauges: dict[str, float]
    streams: dict[str, dict[str, int]]
    stages: dict[str, dict[str, dict[str, Any]]]
    children: dict[str, dict[str, Any]]

    def age_s(self) -> float:
        """Seconds since the heartbeat."""
        return (heartbeat_ns() - self.heartbeat_ns) / 1e9


def read_report(run_dir: Path, process: str) -> Report | None:
    """The last report of `process`, or None where there is none that can be read (also: just being overwritten)."""
    try:
        with open(f"{run_dir}/health/{process}.json", "rb") as file:  # noqa: PTH123 - half the cost of a Path's open()
            value = orjson.loads(file.read(FILE_BYTES_MAX))
        identity = Identity(value.pop("pid"), value.pop("start_time"), value.pop("boot_id"))
        value.pop("write_failures")
        value["gauges"] = {name: gauge for name, gauge in value["gauges"].items() if gauge is not None}  # NaN is null
        return Report(identity=identity, **value)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def read_reports(run_dir: Path) -> dict[str, Report]:
    """The last report of every process that ever ran in `run_dir`, by name."""
    try:
        names = sorted(path.stem for path in (run_dir / "health").glob("*.json"))
    except OSError:
        return {}
    reports = {name: read_report(run_dir, name) for name in names}
    return {name: report for name, report in reports.items() if report is not None}
