"""Of what the mergers say: how the two legs of each pair do beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tickbay.health import Report
from tickbay.legs import LEGS


@dataclass(frozen=True, slots=True, kw_only=True)
class LegStatus:
    """One leg of a pair, since its merger started; lateness is of the last minute."""

    feed: str
    records: int
    first_share: float | None  # of what both or one brought: how much this one brought first, 0 to 1
    missed: int  # messages that only the other one brought
    late_p50_ms: float  # of its copies behind the first ones
    late_p99_ms: float


def legs_of(reports: Mapping[str, Report]) -> tuple[LegStatus, ...]:
    """Both legs of every merger that lives."""
    found = []
    for name, report in sorted(reports.items()):
        if report.role != "merger" or f"{LEGS[0]}_first" not in report.counters:
            continue
        counters, gauges = report.counters, report.gauges
        first = sum(counters[f"{leg}_first"] for leg in LEGS)
        found += [
            LegStatus(
                feed=f"feed-{name.partition('-')[2]}{leg}",
                records=counters[f"{leg}_records"],
                first_share=counters[f"{leg}_first"] / first if first else None,
                missed=counters[f"{leg}_missed"],
                late_p50_ms=gauges[f"{leg}_late_p50_ms"],
                late_p99_ms=gauges[f"{leg}_late_p99_ms"],
            )
            for leg in LEGS
        ]
    return tuple(found)
