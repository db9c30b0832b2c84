"""Growth: what a frame costs with 10 options and with 10,000, over one connection and over eight.

The whole path as in pipeline.py, flat out, each run with servers of its own; the audit has found every row before it
counts. What is compared is the CPU of the processes on a tick's way. That of a feed alone tells more, because the
others take the frames in batches, whose size depends on what the machine does besides. The points come in turn, for the
host's speed changes within minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.result import Result, Size, main, median
from bench.whole_path import Outcome, Plan, run

CHANNELS_MAX = 32_000  # so that one connection may carry all; the venue would not allow it
CAPTURE = ("feed-", "journal", "writer-")  # the way of a tick; the others look at it from aside


@dataclass(frozen=True, slots=True)
class Point:
    options: int
    feeds: int


INSTRUMENTS = (Point(10, 2), Point(830, 2), Point(10_000, 2))
FEEDS = (Point(830, 1), Point(830, 8))
SMALL = (Point(20, 2),)
TURNS = 3


def measure(size: Size) -> Result:
    result = Result("growth", size)
    points = SMALL if size.small else (*INSTRUMENTS, *FEEDS)
    outcomes: dict[Point, list[Outcome]] = {point: [] for point in points}
    for _ in range(size.of(TURNS, 1)):
        for point in points:
            outcomes[point].append(run(plan_of(point, size), size))
    costs = {point: add(result, point, runs) for point, runs in outcomes.items()}
    done = [outcome for runs in outcomes.values() for outcome in runs]
    result.checked = f"{len(done)} runs; of the last: {done[-1].verdict}"
    if not size.small:
        tell(result, costs)
    return result


def add(result: Result, point: Point, runs: list[Outcome]) -> float:
    """The figures of a point, medians of its runs; what a frame costs, µs."""
    name = f"{point.options:,} options, {point.feeds} feeds"
    cost = result.add(f"{name}: capture's CPU", median([cost_us(each) for each in runs]), "µs/frame")
    result.add(f"{name}: rows a frame", median([each.stored.rows / each.frames for each in runs]), "")
    for process in sorted(runs[0].cpu_s):
        if process.startswith(CAPTURE):
            each_us = [1e6 * each.cpu_s[process] / each.frames for each in runs]
            result.add(f"{name}: CPU {process}", median(each_us), "µs/frame")
    return cost


def plan_of(point: Point, size: Size) -> Plan:
    return Plan(
        name="growth",
        options=point.options,
        feeds=point.feeds,
        pace=("--flat-out",),
        frames=size.of(1_500_000, 2_000),  # the snapshots of the beginning are a hundredth of them at most
        channels_max=CHANNELS_MAX,
    )


def cost_us(outcome: Outcome) -> float:
    """Of one frame, of the processes on its way."""
    spent = sum(seconds for process, seconds in outcome.cpu_s.items() if process.startswith(CAPTURE))
    return 1e6 * spent / outcome.frames


def tell(result: Result, costs: dict[Point, float]) -> None:
    few, many = (costs[point] for point in (INSTRUMENTS[0], INSTRUMENTS[-1]))
    one, eight = (costs[point] for point in FEEDS)
    result.aim("growth", "a frame's cost, 10,000 options / 10", 1.1, many / few, "x", most=True)
    result.aim("growth", "a frame's cost, 8 feeds / 1", 1.1, eight / one, "x", most=True)


if __name__ == "__main__":
    main(measure)
