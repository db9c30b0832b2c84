"""The table of known gaps, the newest since this machine was started. All are in the database (`tickbay gaps`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tickbay.config import Config
from tickbay.status.snapshot import Status
from tickbay.status.status import NOTHING, duration
from tickbay.top.panel import Panel, count, stamp
from tickbay.top.table import Cell, Column
from tickbay.watch.holes import Hole, Holes

HOLES = {"open": "bad", "missing": "warn", "healed": "good", "announced": "dim"}
# By order: by what to sort. In the order of "state" they come: the open ones, then the newest.
VALUES: dict[str, Callable[[Hole], Any]] = {
    "from": lambda hole: hole.gap.from_ns or None,
    "lasted": lambda hole: hole.seconds,
    "cause": lambda hole: hole.gap.cause.name,
    "feed": lambda hole: hole.feed,
    "instrument": lambda hole: hole.gap.instrument,
    "missing": lambda hole: hole.gap.count or None,
    "kind": lambda hole: hole.gap.kind or 0,
}


class Gaps(Panel):
    name = "Gaps"
    attention = "open or missing"
    columns = (
        Column("STATE", 9, order="state"), Column("FROM (UTC)", 14, order="from"),
        Column("LASTED", 7, True, "lasted"), Column("CAUSE", 12, order="cause"), Column("FEED", 8, order="feed"),
        Column("INSTRUMENT", 23, order="instrument"), Column("MISSING", 7, True, "missing"),
        Column("KIND", 6, order="kind"), Column("DETAIL", 64),
    )  # fmt: skip

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._holes = Holes(config.run_dir)
        self._all: list[Hole] = []
        self._rows: list[Hole] = []

    def look(self, status: Status) -> None:  # noqa: ARG002 - it reads the rings
        self._holes.refresh()
        self._all = self._holes.newest()
        found = [
            hole
            for hole in self._all
            if self.has_text(hole.gap.instrument, hole.feed, hole.gap.cause.name, hole.state, hole.gap.detail)
            and not (self.only and hole.state not in ("open", "missing"))
        ]
        self._rows = self.in_order(found, VALUES.get(self.order))

    def __len__(self) -> int:
        return len(self._rows)

    def cells(self, row: int) -> Sequence[Cell]:
        hole = self._rows[row]
        gap = hole.gap
        return (
            Cell(hole.state, HOLES[hole.state]),
            Cell(stamp(gap.from_ns) if gap.from_ns else "unknown"),
            Cell("lasts" if hole.seconds is None else duration(hole.seconds, fine=True)),
            Cell(gap.cause.name.lower()),
            Cell(hole.feed),
            Cell(gap.instrument or "all"),
            Cell(count(gap.count or None)),
            Cell(gap.kind.name.lower() if gap.kind else "all"),
            Cell(gap.detail, "dim"),
        )

    def detail(self, row: int) -> dict[str, str]:
        hole = self._rows[row]
        gap = hole.gap
        return {
            "state": hole.state,
            "cause": gap.cause.name.lower(),
            "feed": hole.feed,
            "kind": gap.kind.name.lower() if gap.kind else "all",
            "instrument": gap.instrument or "all of the feed's",
            "from": stamp(gap.from_ns, whole=True) if gap.from_ns else "unknown",
            "to": stamp(gap.to_ns, whole=True) if gap.to_ns else "it lasts",
            "first missing": str(gap.first_missing or NOTHING),
            "last missing": str(gap.last_missing or NOTHING),
            "count": count(gap.count or None),
            "announced by the venue": "yes" if gap.expected else "no",
            "detail": gap.detail,
        }

    def summary(self) -> str:
        return ", ".join(f"{sum(hole.state == state for hole in self._all):,} {state}" for state in HOLES)
