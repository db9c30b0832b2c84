"""A figure: what is asked, how it is found, what was reached."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MODULE = re.compile(r"(r\d\d|sim)_\w+")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run: a sentence with figures, and whether it is what was asked."""

    reached: str
    good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    name: str  # "R1"
    asked: str
    size: int
    size_deep: int
    run: Callable[[int, int], Outcome]  # size, seed


@dataclass(frozen=True, slots=True)
class Result:
    figure: Figure
    outcome: Outcome
    seconds: float
    command: str

    def __str__(self) -> str:
        end = "OK" if self.outcome.good else "NOT REACHED"
        return f"{self.figure.name:<4} {self.outcome.reached}, {self.seconds:.0f} s  {end}"


def figures() -> list[Figure]:
    """Every figure that has a module here, in order."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*_*.py") if MODULE.fullmatch(path.stem))
    found = []
    for name in names:
        match = MODULE.fullmatch(name)
        assert match, name
        module = importlib.import_module(f"faults.{name}")
        found.append(
            Figure(
                name=match[1].upper().replace("R0", "R"),
                asked=module.ASKED,
                size=module.SIZE,
                size_deep=module.SIZE_DEEP,
                run=module.run,
            )
        )
    return found


def reach(figure: Figure, *, deep: bool, seed: int) -> Result:
    """Run it. What the engine could not do at all is an exception, and that is the outcome then."""
    began = time.monotonic()
    command = f"python -m tests.faults {figure.name.lower()}{' --deep' if deep else ''} --seed {seed}"
    try:
        outcome = figure.run(figure.size_deep if deep else figure.size, seed)
    except (AssertionError, OSError) as error:
        outcome = Outcome(f"{type(error).__name__}: {error}", good=False)
    return Result(figure, outcome, time.monotonic() - began, command)


def table(results: Sequence[Result]) -> str:
    """For a closing note: id, asked, reached, seconds, command."""
    lines = ["| id | asked | reached | seconds | command |", "|---|---|---|---|---|"]
    for result in results:
        reached = result.outcome.reached + ("" if result.outcome.good else ": NOT REACHED")
        lines.append(
            f"| {result.figure.name} | {result.figure.asked} | {reached} | {result.seconds:.0f} | `{result.command}` |"
        )
    return "\n".join(lines)
