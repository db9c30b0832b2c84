"""The known gaps of late, taken from the rings of gap records: also while no database answers, and without its
password.

In: the rings of gap records. Out: each gap once, as it was recorded last (gap.py: it is recorded when found, when it
ends, when it is healed). A ring has the newest few thousand since the machine was started; all of them are in the
database: `tickbay gaps`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from tickbay.gap import Gap
from tickbay.record import Kind
from tickbay.watch.tail import Tail

GAPS_MAX = 5000  # remembered, the newest


@dataclass(frozen=True, slots=True)
class FoldedGap:
    feed: str  # whose
    gap: Gap
    recv_ns: int  # when it was told last

    @property
    def open(self) -> bool:
        return self.gap.to_ns == 0

    @property
    def state(self) -> str:
        """open, healed, announced (by the venue), missing"""
        if self.gap.healed:
            return "healed"
        if self.open:
            return "open"
        return "announced" if self.gap.expected else "missing"

    @property
    def seconds(self) -> float | None:
        return None if self.open else (self.gap.to_ns - self.gap.from_ns) / 1e9


class FoldedGaps:
    """Not for several threads."""

    def __init__(self, run_dir: Path) -> None:
        self._tail = Tail(run_dir, Kind.GAP)
        self._known: OrderedDict[tuple[object, ...], FoldedGap] = OrderedDict()

    def newest(self) -> list[FoldedGap]:
        """The open ones, then the others, the newest of each first."""
        return sorted(self._known.values(), key=lambda folded: (not folded.open, -folded.gap.from_ns))

    def refresh(self) -> None:
        """Read what has come since the last time."""
        for stream, block in self._tail.blocks():
            for record in block:
                gap = Gap.of_record(record)
                self._tell(FoldedGap(gap.feed or stream.rpartition(".")[0], gap, int(record["recv_ns"])))

    def _tell(self, folded: FoldedGap) -> None:
        key = (folded.feed, folded.gap.first_missing, *folded.gap.key)
        known = self._known.get(key)
        if known is not None and (known.gap.healed, not known.open) > (folded.gap.healed, not folded.open):
            return
        self._known[key] = folded
        self._known.move_to_end(key)
        while len(self._known) > GAPS_MAX:
            self._known.popitem(last=False)
