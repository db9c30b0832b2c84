"""When to start a process again that died: a pure function of when it died before. Used by the supervisor.

One decaying number decides: each failure weighs 1 when it happens and half as much after HALF_LIFE_S. The first
failure after quiet times costs the shortest wait, each one on top doubles it, and quiet times forgive. It never gives
up (SUP-2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tickbay import config

# With it a process that dies at once each time settles at the longest wait: 13 tries in five minutes at 15 to 30 s.
HALF_LIFE_S = 120.0
HISTORY_MAX = 1001  # failures remembered: one more than supervisor.degraded_restarts may be
DOUBLINGS_MAX = 30  # any backoff_max_s is reached long before


def weight(failures: Sequence[float], now_s: float) -> float:
    """How unwell the process is: 1 for a failure just now, decaying."""
    return sum(math.exp2((failure_s - now_s) / HALF_LIFE_S) for failure_s in failures)


def delay_s(failures: Sequence[float], now_s: float, *, limits: config.Supervisor, jitter: float) -> float:
    """How long to wait after the last of `failures`. `jitter`, from 0 to 1, chooses between half of the wait and all of
    it, so that processes which died together do not come back together.
    """
    doublings = min(max(weight(failures, now_s) - 1.0, 0.0), DOUBLINGS_MAX)
    return min(limits.backoff_min_s * math.exp2(doublings), limits.backoff_max_s) * (0.5 + 0.5 * jitter)


def excessive(failures: Sequence[float], now_s: float, *, limits: config.Supervisor) -> bool:
    """Did it die so often lately that a person must look? (It is started again all the same.)"""
    recent = sum(1 for failure_s in failures if now_s - failure_s < limits.degraded_window_s)
    return recent > limits.degraded_restarts
