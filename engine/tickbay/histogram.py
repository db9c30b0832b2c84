"""How long something took, as counts in fixed buckets: four to each doubling, from a microsecond to over an hour.

Comes in: arrays of nanoseconds, a batch at a time, no object for each. Goes out: a plain value for health
(`Histogram.report()`), whose form ARCHITECTURE.md describes ("Stages"). Used by the journal and the writers.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

FIRST_BITS, LAST_BITS = 10, 42  # 1.024 µs and 73 minutes: below the one and from the other on there is one bucket each
LONGEST_NS = 1 << LAST_BITS  # counts as so long in the sum: one insane time must not spoil it for ever
PARTS = 4  # of each doubling: a value is known to 25 %
PART_BITS = 2
BUCKETS = (LAST_BITS - FIRST_BITS) * PARTS + 2
_MANTISSA_BITS = 52
_BIAS = 1023
_BASE = ((FIRST_BITS + _BIAS) << PART_BITS) - 1
RECENT_S = 60.0
RECENT_STEP_S = 10.0

# The upper end of each bucket in nanoseconds, not part of it; the last one has none.
ENDS_NS: tuple[int | None, ...] = (
    *((PARTS + place % PARTS) << (FIRST_BITS - PART_BITS + place // PARTS) for place in range(BUCKETS - 1)),
    None,
)


def bucket_counts(durations_ns: npt.NDArray[np.int64]) -> Counts:
    """How many of `durations_ns` lie in each bucket; what is negative lies in the first.

    A double's exponent and the first bits of its mantissa, as they lie in memory, are the number of its bucket.
    """
    inside = np.clip(durations_ns, (1 << FIRST_BITS) - 1, 1 << LAST_BITS).astype(np.float64)
    places = (inside.view(np.int64) >> (_MANTISSA_BITS - PART_BITS)) - _BASE
    return np.bincount(places, minlength=BUCKETS)


def quantile_ns(counts: Counts, share: float) -> float:
    """The duration below which `share` (0 to 1) of all lie, taken as even within a bucket; NaN of none. Of the last
    bucket only its beginning is known."""
    total = int(counts.sum())
    if not total:
        return math.nan
    sums = np.cumsum(counts)
    wanted = share * total
    place = min(int(np.searchsorted(sums, wanted)), BUCKETS - 1)
    begin, end = (ENDS_NS[place - 1] or 0) if place else 0, ENDS_NS[place]
    if end is None:
        return float(begin)
    before = int(sums[place - 1]) if place else 0
    return begin + (end - begin) * (wanted - before) / max(1, int(counts[place]))


class Histogram:
    """The durations of one stage, since the process started and of the last minute."""

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(BUCKETS, np.int64)
        self.sum_ns = 0
        self.negative = 0  # a clock was set back, or ours is behind the venue's
        self._past: deque[tuple[float, Counts]] = deque(maxlen=int(RECENT_S / RECENT_STEP_S))

    def add(self, durations_ns: npt.NDArray[np.int64]) -> None:
        if len(durations_ns):
            self.counts += bucket_counts(durations_ns)
            self.sum_ns += int(np.clip(durations_ns, -LONGEST_NS, LONGEST_NS).sum())
            self.negative += int(np.count_nonzero(durations_ns < 0))

    def report(self, now_s: float) -> dict[str, object]:
        """For health, at `now_s` of a clock that never steps. To be called about once a second."""
        if not self._past or now_s - self._past[-1][0] >= RECENT_STEP_S:
            self._past.append((now_s, self.counts.copy()))
        since_s, before = self._past[0]
        recent = self.counts - before if now_s > since_s else self.counts
        filled = np.flatnonzero(self.counts)
        return {
            "count": int(self.counts.sum()),
            "sum_ns": self.sum_ns,
            "negative": self.negative,
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
