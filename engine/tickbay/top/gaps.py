"""The table of known gaps, the newest since this machine was started. All are in the database (`tickbay gaps`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tickbay.config import Config
from tickbay.status.snapshot import Status
from tickbay.status.status import NOTHING, duration
from tickbay.top.panel import Panel, count, stamp
from tickbay.top.table import Cell, Column
from tickbay.watch.folded_gaps import FoldedGap, FoldedGaps

STYLES = {"open": "bad", "missing": "warn", "healed": "good", "announced": "dim"}
# By order: by what to sort. In the order of "state" they come: the open ones, then the newest.
VALUES: dict[str, Callable[[FoldedGap], Any]] = {
    "from": lambda folded: folded.gap.from_ns or None,
    "lasted": lambda folded: folded.seconds,
    "cause": lambda folded: folded.gap.cause.name,
    "feed": lambda folded: folded.feed,
    "instrument": lambda folded: folded.gap.instrument,
    "missing": lambda folded: folded.gap.count or None,
    "kind": lambda folded: folded.gap.kind or 0,
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
        self._gaps = FoldedGaps(config.run_dir)
        self._all: list[FoldedGap] = []
        self._rows: list[FoldedGap] = []

    def look(self, status: Status) -> None:  # noqa: ARG002 - it reads the rings
        self._gaps.refresh()
        self._all = self._gaps.newest()
        found = [
            folded
            for folded in self._all
            if self.has_text(folded.gap.instrument, folded.feed, folded.gap.cause.name, folded.state, folded.gap.detail)
            and not (self.only and folded.state not in ("open", "missing"))
        ]
        self._rows = self.in_order(found, VALUES.get(self.order))

    def __len__(self) -> int:
        return len(self._rows)

    def cells(self, row: int) -> Sequence[Cell]:
        folded = self._rows[row]
        gap = folded.gap
        return (
            Cell(folded.state, STYLES[folded.state]),
            Cell(stamp(gap.from_ns) if gap.from_ns else "unknown"),
            Cell("lasts" if folded.seconds is None else duration(folded.seconds, fine=True)),
            Cell(gap.cause.name.lower()),
            Cell(folded.feed),
            Cell(gap.instrument or "all"),
            Cell(count(gap.count or None)),
            Cell(gap.kind.name.lower() if gap.kind else "all"),
            Cell(gap.detail, "dim"),
        )

    def detail(self, row: int) -> dict[str, str]:
        folded = self._rows[row]
        gap = folded.gap
        return {
            "state": folded.state,
            "cause": gap.cause.name.lower(),
            "feed": folded.feed,
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
        return ", ".join(f"{sum(folded.state == state for folded in self._all):,} {state}" for state in STYLES)
