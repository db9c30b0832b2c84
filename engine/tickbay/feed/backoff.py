"""How long to wait before trying again: doubling, bounded, and never the same for two who fail together. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable

NS_PER_S = 1_000_000_000
DOUBLINGS_MAX = 30  # from any sensible least wait, far beyond any sensible greatest


def apart(feed: str) -> Callable[[], float]:
    """Chance for a Backoff. The legs of a pair take the lower and the upper half: when both lose their connection at
    once, they do not come back, and fail again, at the same moment."""
    begin = {"a": 0.0, "b": 0.5}.get(feed[-1])
    return random.random if begin is None else lambda: begin + random.random() / 2


class Backoff:
    """`random` gives numbers from 0 to 1. A wait is between half of what the doubling says and all of it."""

    def __init__(self, *, min_s: float, max_s: float, random: Callable[[], float]) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._random = random

    def wait_ns(self, failures: int) -> int:
        """After having failed `failures` times before this one."""
        whole_s = min(self._max_s, self._min_s * 2.0 ** min(failures, DOUBLINGS_MAX))
        return int(whole_s * (0.5 + 0.5 * self._random()) * NS_PER_S)

    def longest_ns(self) -> int:
        """When it will not help to come back soon."""
        return self.wait_ns(DOUBLINGS_MAX)
