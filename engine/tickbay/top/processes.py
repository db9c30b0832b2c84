"""The table of processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tickbay.config import Config
from tickbay.health import read_reports
from tickbay.metrics.usage import usage
from tickbay.status.snapshot import ProcessStatus, Status
from tickbay.status.status import NOTHING, duration
from tickbay.top.panel import Panel, count, shown
from tickbay.top.table import Cell, Column

STATES = {"live": "good", "down": "bad", "hung": "bad", "failed": "bad"}  # all else: warn
SPAN_S = 0.9  # CPU is measured over at least so long: the kernel counts hundredths of a second


@dataclass(frozen=True, slots=True)
class Used:
    """Of a process, measured last."""

    pid: int | None
    at: float  # monotonic seconds
    cpu_s: float
    percent: float | None  # of one core; None: not known yet
    memory_bytes: int


class Processes(Panel):
    name = "Processes"
    attention = "not live"
    columns = (
        Column("PROCESS", 16, order="process"), Column("STATE", 8, order="state"), Column("PID", 7, True),
        Column("UP", 6, True, "up"), Column("RST", 4, True, "restarts"), Column("CPU%", 6, True, "cpu"),
        Column("MEM MB", 7, True, "memory"), Column("ROWS/S", 8, True, "rows"), Column("LAG", 7, True, "lag"),
        Column("GAPS", 5, True, "gaps"), Column("RING", 5, True), Column("BEAT", 5, True),
        Column("DETAIL OR LAST ERROR", 120),
    )  # fmt: skip

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._run_dir = config.run_dir
        self._rows: list[ProcessStatus] = []
        self._all = 0
        self._used: dict[str, Used] = {}

    def look(self, status: Status) -> None:
        self._measure(status)
        self._all = len(status.processes)
        found = [
            process
            for process in status.processes
            if self.has_text(process.name, process.state, process.detail)
            and not (self.only and process.state == "live")
        ]
        self._rows = self.in_order(found, self._values().get(self.order))

    def _measure(self, status: Status) -> None:
        """What each process uses of the machine now."""
        reports, now = read_reports(self._run_dir), time.monotonic()
        before, self._used = self._used, {}
        for process in status.processes:
            report = reports.get(process.name)
            used = usage(report.identity) if report is not None and process.pid is not None else None
            if used is None:
                continue
            last = before.get(process.name)
            if last is None or last.pid != process.pid:
                last = Used(process.pid, now, used.cpu_s, None, 0)
            if now - last.at > SPAN_S:
                percent = 100 * (used.cpu_s - last.cpu_s) / (now - last.at)
                last = Used(process.pid, now, used.cpu_s, percent, 0)
            self._used[process.name] = replace(last, memory_bytes=used.memory_bytes)

    def _values(self) -> dict[str, Callable[[ProcessStatus], Any]]:
        """By order: by what to sort. In the order of "process" they come."""
        return {
            "state": lambda process: process.state,
            "up": lambda process: process.uptime_s,
            "restarts": lambda process: process.restarts,
            "cpu": lambda process: self._percent(process),
            "memory": lambda process: self._memory(process),
            "rows": lambda process: process.rows_per_s,
            "lag": lambda process: process.lag_s,
            "gaps": lambda process: process.gaps,
        }

    def _percent(self, process: ProcessStatus) -> float | None:
        used = self._used.get(process.name)
        return used.percent if used is not None else None

    def _memory(self, process: ProcessStatus) -> int | None:
        used = self._used.get(process.name)
        return used.memory_bytes if used is not None else None

    def __len__(self) -> int:
        return len(self._rows)

    def cells(self, row: int) -> Sequence[Cell]:
        process = self._rows[row]
        percent, memory = self._percent(process), self._memory(process)
        error = f"{duration(process.last_error_s)} ago: {process.last_error}" if process.last_error else ""
        return (
            Cell(process.name),
            Cell(process.state, STATES.get(process.state, "warn")),
            Cell(NOTHING if process.pid is None else str(process.pid)),
            Cell(duration(process.uptime_s)),
            Cell(count(process.restarts), "warn" if process.restarts else ""),
            Cell(NOTHING if percent is None else f"{percent:.1f}"),
            Cell(NOTHING if memory is None else f"{memory / 1e6:.0f}"),
            Cell(count(process.rows_per_s)),
            Cell(duration(process.lag_s, fine=True)),
            Cell(count(process.gaps), "warn" if process.gaps else ""),
            Cell(NOTHING if process.ring_fill is None else f"{process.ring_fill:.0%}"),
            Cell(duration(process.heartbeat_s, fine=True)),
            Cell(process.detail or error, "warn" if process.detail else "dim"),
        )

    def detail(self, row: int) -> dict[str, str]:
        process = self._rows[row]
        return {name: shown(getattr(process, name)) for name in ProcessStatus.__dataclass_fields__}

    def summary(self) -> str:
        return f"{len(self._rows)} of {self._all} processes"
