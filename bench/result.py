"""One bench's result: its figures and the goals they are held against, with the machine, the commit and the seed.

A figure is only ever made after the bench has checked that what it timed was done right. On a shared machine times
wander and ratios within one run hold: goals are ratios wherever performance allows it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much to do. `small`: just enough to prove that the bench works, for `make check`."""

    small: bool = False
    seed: int = 1

    def of(self, full: int, small: int) -> int:
        return small if self.small else full


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    value: float
    unit: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """`reached` is to be at least (or, with `most`, at most) `limit`."""

    stage: str
    what: str
    limit: float
    reached: float
    unit: str
    most: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        return self.reached <= self.limit if self.most else self.reached >= self.limit


@dataclass(slots=True)
class Result:
    bench: str
    size: Size
    figures: list[Figure] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    checked: str = ""  # what was checked before any of these was believed
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str, note: str = "") -> float:
        self.figures.append(Figure(name, value, unit, note))
        return value

    def aim(self, stage: str, what: str, limit: float, reached: float, unit: str = "", *, most: bool = False) -> None:
        self.goals.append(Goal(stage, what, limit, reached, unit, most))

    def render(self) -> str:
        where = machine()
        lines = [f"{self.bench}: {where['cpu']}, {where['cores']} cores, load {where['load']}, commit {commit()}"]
        lines[0] += f", seed {self.size.seed}"
        lines.append(f"  checked: {self.checked}")
        lines += [f"  {each.name:<58}{show(each.value):>12} {each.unit}  {each.note}" for each in self.figures]
        for goal in self.goals:
            sense, verdict = "≤" if goal.most else "≥", "reached" if goal.met else "MISSED"
            lines.append(f"  goal {goal.what} {sense} {show(goal.limit)}{goal.unit}: {show(goal.reached)}  {verdict}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def write(self, folder: Path = RESULTS) -> Path:
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.bench}.json"
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        document = {"when": when, "machine": machine(), "commit": commit(), **asdict(self)}
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        return path


def show(value: float) -> str:
    """Three digits that count, or all of a whole number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> dict[str, object]:
    """What a reader must know to compare. The load is that of the moment: others may be at work here."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = models[0].partition(":")[2].strip() if models else platform.machine()
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "compiler": compiler,
    }


def commit() -> str:
    """With a + where the tree has changes."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return found or "unknown"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def native(program: str, *arguments: object) -> dict[str, object]:
    """Run a program of native/bench and take what it says. CalledProcessError where its own check failed."""
    subprocess.run(["make", "-s", "-C", str(ROOT / "native"), "bench"], check=True)
    binary = ROOT / "native" / "build" / "none" / program
    answer = subprocess.run([binary, *map(str, arguments)], check=True, capture_output=True, text=True)
    return dict(json.loads(answer.stdout))


def main(measure: Callable[[Size], Result]) -> None:
    """`python -m bench.<this>`: measure, print, write."""
    parser = ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--small", action="store_true", help="prove only that it works; nothing is written")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    result = measure(Size(small=arguments.small, seed=arguments.seed))
    print(result.render())
    if not arguments.small:
        print(f"  → {result.write().relative_to(ROOT)}")
