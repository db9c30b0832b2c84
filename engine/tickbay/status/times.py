"""Of what the processes say: how long each stage of a tick takes, and how far this machine's clock is from the
venue's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tickbay.health import Report

# In the order of the way. The journal tells the first two, each writer the others; `commit` is how long one batch took.
STAGES = ("exchange_to_receive", "receive_to_durable", "durable_to_commit", "receive_to_commit", "commit")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatus:
    """One stage of a tick's way (ARCHITECTURE.md, "Stages"), of about the last minute."""

    stage: str
    subject: str  # a feed or a sink
    records: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStatus:
    """The venue's clock less this machine's is `offset_ms`, give or take `error_ms`, as the surest feed says."""

    offset_ms: float
    error_ms: float
    feed: str

    def complaint(self, limit_ms: float) -> str:
        """What is wrong with it; "" where nothing is for certain."""
        if abs(self.offset_ms) - self.error_ms <= limit_ms:
            return ""
        return f"this machine's clock is {self.sentence()}: set it by NTP; records keep the times that were read"

    def sentence(self) -> str:
        side = "behind" if self.offset_ms > 0 else "ahead of"
        return f"{abs(self.offset_ms):,.1f} ms {side} the venue's, give or take {self.error_ms:.1f} ms"


def stages_of(reports: Mapping[str, Report]) -> tuple[StageStatus, ...]:
    """From the reports of living processes."""
    found = []
    for report in reports.values():
        for stage, subjects in report.stages.items():
            for subject, told in subjects.items():
                recent = told["recent"]
                found.append(
                    StageStatus(
                        stage=stage,
                        subject=subject,
                        records=recent["count"],
                        p50_ms=_milliseconds(recent["p50_ns"]),
                        p99_ms=_milliseconds(recent["p99_ns"]),
                    )
                )
    return tuple(found)


def clock_of(reports: Mapping[str, Report]) -> ClockStatus | None:
    """From the reports of living feeds; None where no venue has answered yet."""
    known = [
        (report.gauges["clock_error_ms"], report.gauges["clock_offset_ms"], name)
        for name, report in reports.items()
        if {"clock_error_ms", "clock_offset_ms"} <= report.gauges.keys()
    ]
    if not known:
        return None
    error_ms, offset_ms, feed = min(known)
    return ClockStatus(offset_ms=round(offset_ms, 3), error_ms=round(error_ms, 3), feed=feed)


def _milliseconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else round(duration_ns / 1e6, 3)
