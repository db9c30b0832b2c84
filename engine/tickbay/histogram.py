"""How long something took, as counts in fixed buckets: four to each doubling, from a microsecond to over an hour.

Comes in: arrays of nanoseconds, a batch at a time, counted in C (native/histogram.h). Goes out: a plain value for
health (`Histogram.report()`), whose form ARCHITECTURE.md describes ("Stages"). Used by the journal and the writers.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import numpy.typing as npt

from tickbay._native import HISTOGRAM_BUCKETS, HISTOGRAM_FIRST_BITS, HISTOGRAM_PART_BITS, HistogramCounts

Counts = npt.NDArray[np.int64]

PARTS = 1 << HISTOGRAM_PART_BITS  # of each doubling: a value is known to 25 %
RECENT_S = 60.0
RECENT_STEP_S = 10.0

# The upper end of each bucket in nanoseconds, not part of it; the last one has none.
ENDS_NS: tuple[int | None, ...] = (
    *(
        (PARTS + place % PARTS) << (HISTOGRAM_FIRST_BITS - HISTOGRAM_PART_BITS + place // PARTS)
        for place in range(HISTOGRAM_BUCKETS - 1)
    ),
    None,
)


def quantile_ns(counts: Counts, share: float) -> float:
    """The duration below which `share` (0 to 1) of all lie, taken as even within a bucket; NaN of none. Of the last
    bucket only its beginning is known."""
    total = int(counts.sum())
    if not total:
        return math.nan
    sums = np.cumsum(counts)
    wanted = share * total
    place = min(int(np.searchsorted(sums, wanted)), HISTOGRAM_BUCKETS - 1)
    begin, end = (ENDS_NS[place - 1] or 0) if place else 0, ENDS_NS[place]
    if end is None:
        return float(begin)
    before = int(sums[place - 1]) if place else 0
    return begin + (end - begin) * (wanted - before) / max(1, int(counts[place]))


class Histogram:
    """The durations of one stage, since the process started and of the last minute."""

    def __init__(self) -> None:
        self._every = HistogramCounts()
        self.counts: Counts = np.frombuffer(self._every.counts, np.int64)
        self._past: deque[tuple[float, Counts]] = deque(maxlen=int(RECENT_S / RECENT_STEP_S))

    def add(self, durations_ns: npt.NDArray[np.int64]) -> None:
        self._every.add(durations_ns)

    def report(self, now_s: float) -> dict[str, object]:
        """For health, at `now_s` of a clock that never steps. To be called about once a second."""
        if not self._past or now_s - self._past[-1][0] >= RECENT_STEP_S:
            self._past.append((now_s, self.counts.copy()))
        since_s, before = self._past[0]
        recent = self.counts - before if now_s > since_s else self.counts
        filled = np.flatnonzero(self.counts)
        return {
            "count": int(self.counts.sum()),
            "sum_ns": self._every.sum_ns,
            "negative": self._every.negative,  # a clock was set back, or ours is behind the venue's
            "buckets": [[ENDS_NS[place], int(self.counts[place])] for place in filled],
            "recent": {
                "seconds": round(now_s - since_s, 1),
                "count": int(recent.sum()),
                "p50_ns": _whole(quantile_ns(recent, 0.50)),
                "p99_ns": _whole(quantile_ns(recent, 0.99)),
            },
        }


def _whole(value_ns: float) -> int | None:
    return None if math.isnan(value_ns) else round(value_ns)
