"""How a leg does beside the other one: its share of first arrivals, what it missed, how late its copies come. Pure.

In: the counters of native/merge.h, which only grow. Out: figures of about the last minute, for health and the
heartbeat.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from tickbay._native import MERGE_LATE_NS

WINDOW_S = 60.0
STEPS = 6


def percentile_ns(counts: Sequence[int], share: float) -> int:
    """The upper end of the bucket in which that share of all arrivals is reached; 0 where there are none."""
    wanted, seen = share * sum(counts), 0
    for count, upper_ns in zip(counts, MERGE_LATE_NS, strict=True):
        seen += count
        if count and seen >= wanted:
            return upper_ns
    return 0


class Late:
    """Of one leg: call note() now and then."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Sequence[int]]] = deque(maxlen=STEPS + 1)
        self._now: Sequence[int] = (0,) * len(MERGE_LATE_NS)

    def note(self, now_s: float, counts: Sequence[int]) -> None:
        if not self._samples or now_s - self._samples[-1][0] >= WINDOW_S / STEPS:
            self._samples.append((now_s, tuple(counts)))
        self._now = counts

    def percentile_ns(self, share: float) -> int:
        """Of second arrivals, of about the last minute."""
        before = self._samples[0][1] if self._samples else (0,) * len(self._now)
        return percentile_ns([now - then for now, then in zip(self._now, before, strict=True)], share)
