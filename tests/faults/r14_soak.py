"""R14: hours of work in minutes: does anything grow that should not? Memory, descriptors, files; with faults of the
venue going on."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from faults.figure import Outcome
from faults.rig import Rig, counted, rigged
from patience import seconds_until

ASKED = (
    "2 min at 20,000 frames/s with faults: RSS slope of each process <= 100 KiB/min, as the flatter of those of both "
    "halves, descriptors +-4, no files left"
)
SIZE, SIZE_DEEP = 120, 24 * 3600  # seconds after the warm-up
RATE = 20_000.0  # frames/s
FEEDS = 4
WARM_UP_S = 36.0  # rings and caches are touched once all over, and every fault has come twice
SAMPLE_S = 1.0
FAULT_S, WARM_UP_FAULT_S = 5.0, 2.0
BEHIND_S = 8.0  # a writer's largest batch follows two smaller ones: seven seconds of rows in all
HEAL_PATIENCE_S = 180.0
OFTEN = "[universe]\nrefresh_s = 5\n[heal]\ncheck_s = 10\n"  # a process does all that it ever does in the warm-up
FAULTS = (
    "kill count=1",
    "malformed count=1",
    "drop channel=book.ETH-* count=1",
    "duplicate count=1",
    "truncated count=1",
    "close count=1",
    "drop channel=trades.* count=1",
    "stall seconds=1 count=1",
)
SLOPE_MAX_KIB, DESCRIPTORS_MAX = 100.0, 4
# What may lie there after a stop: all else was forgotten. A spare that was being made is found by the next start.
RUN_FILES = {".ring", ".json", ".lock", ".times", ".log", ".older"}  # the last three are bounded
DATA_FILES = {".seg", ".idx", ".spare", ".spare-new", ".cursor", ".frames", ".older", ".json", "clean"}


@dataclass(slots=True)
class Watched:
    """One process over time."""

    times_s: list[float] = field(default_factory=list)
    kib: list[int] = field(default_factory=list)  # resident, without the rings
    descriptors: list[int] = field(default_factory=list)

    def slope_kib(self) -> float:
        """Growth per minute that goes on: of the lines with the smallest squares through the first and the second half,
        the flatter one. A leak is in both; a single step, as when the kernel folds an arena into a huge page (+532 KiB
        seen), is in one."""
        half = len(self.times_s) // 2
        halves = ((self.times_s[:half], self.kib[:half]), (self.times_s[half:], self.kib[half:]))
        return min(float(np.polyfit(times_s, kib, 1)[0]) * 60 for times_s, kib in halves)

    def most_kib(self) -> int:
        """How far it ever was above where it began."""
        return max(self.kib) - self.kib[0]

    def spread(self) -> int:
        """How far the number of descriptors ever was from where it began."""
        return max(abs(count - self.descriptors[0]) for count in self.descriptors)


def run(size: int, seed: int) -> Outcome:
    with rigged(rate=RATE, seed=seed, feeds=FEEDS, options=830, supervisor=OFTEN) as rig:
        _reconnect_each(rig)
        _fall_behind(rig)
        _soak(rig, WARM_UP_S, {}, fault_s=WARM_UP_FAULT_S)
        backlog = _to_heal(rig)
        healed_s = seconds_until(lambda: not any(_to_heal(rig)), "all to be healed", HEAL_PATIENCE_S)
        watched = {name: Watched() for name in rig.names}
        _soak(rig, size, watched, fault_s=FAULT_S)
        restarts = rig.restarts()
        verdict = rig.finish()
        left = _left(rig)
    grown = {name: process.slope_kib() for name, process in watched.items()}
    spread = {name: process.spread() for name, process in watched.items()}
    widest = max(spread, key=lambda name: spread[name])
    worst = max(grown, key=lambda name: grown[name])
    most = max(process.most_kib() for process in watched.values())
    steady = grown[worst] <= SLOPE_MAX_KIB and spread[widest] <= DESCRIPTORS_MAX
    return Outcome(
        f"{size} s at {RATE:,.0f} frames/s with a fault every {FAULT_S:g} s: RSS slope at most {grown[worst]:+.0f} "
        f"KiB/min ({worst}), at most {most} KiB above the start, "
        f"descriptors +-{spread[widest]} ({widest}), {len(left)} files left{_named(left)}, "
        f"{restarts} restarts; before it {backlog[0]} gaps with {backlog[1]:,} trades were healed in {healed_s:.0f} s; "
        f"{counted(verdict)}",
        good=verdict.good and steady and not left and not restarts,
    )


def _reconnect_each(rig: Rig) -> None:
    """Every feed loses its connection twice: the memory of a subscription in a burst of data is taken once."""
    for _ in range(2):
        for connection in rig.simulator.feeds():
            rig.simulator.fault(f"kill connection={connection}")
            time.sleep(SAMPLE_S)
    feeds = [name for name in rig.names if name.startswith("feed-")]
    rig.wait_live(*feeds)


def _fall_behind(rig: Rig) -> None:
    """Who takes what others made is once late with it: the memory of its largest batches is taken once."""
    readers = [name for name in rig.names if name.startswith(("writer-", "healer", "checker"))]
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for name in readers:
            rig.signal(name, number)
        time.sleep(BEHIND_S)


def _to_heal(rig: Rig) -> tuple[int, int]:
    """Gaps that the healer has not ended, and the trades that it knows to be missing."""
    report = rig.report("healer")
    assert report is not None, "the healer died"
    return int(report.gauges["cases"]), int(report.gauges["missing"])


def _soak(rig: Rig, seconds: float, watched: dict[str, Watched], *, fault_s: float) -> None:
    began = time.monotonic()
    faults = 0
    while (now := time.monotonic() - began) < seconds:
        if now >= faults * fault_s:
            rig.simulator.fault(FAULTS[faults % len(FAULTS)])
            faults += 1
        for name, process in watched.items():
            identity = rig.identity(name)
            assert identity is not None, f"{name} died"
            process.times_s.append(now)
            process.kib.append(_resident_kib(identity.pid))
            process.descriptors.append(len(list(Path(f"/proc/{identity.pid}/fd").iterdir())))
        time.sleep(SAMPLE_S)


def _resident_kib(pid: int) -> int:
    """Without the rings: their size is fixed at the start, but their pages count only once they were touched, and a
    ring is not once round in the warm-up."""
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(("RssAnon:", "RssFile:")))


def _left(rig: Rig) -> list[str]:
    found = []
    for folder, known in ((rig.run_dir, RUN_FILES), (rig.folder / "data", DATA_FILES)):
        files = [path for path in folder.rglob("*") if not path.is_dir()]
        found += [path.name for path in files if not {path.suffix, path.name} & known]
    return found


def _named(left: list[str]) -> str:
    return f" ({', '.join(left)})" if left else ""
