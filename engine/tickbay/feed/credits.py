"""How many requests a venue still lets us make: a pool that each call takes from and that fills up with time. Pure."""

from __future__ import annotations

NANO = 1_000_000_000


class Credits:
    """FEED-3: the calls made never cost more than the pool and what has come back since.

    `mono_ns` is a clock that never steps back. A call that costs more than the whole pool would never be made: then
    the pool is one call. Counted in billionths of a credit, so that a nanosecond's refill is a whole number.
    """

    def __init__(self, *, pool: int, cost: int, refill_per_s: int, mono_ns: int) -> None:
        self._pool = max(pool, cost) * NANO
        self._cost = cost * NANO
        self._refill_per_ns = max(refill_per_s, 1)
        self._left = self._pool
        self._seen_ns = mono_ns

    def take(self, mono_ns: int) -> bool:
        """Pay for one call now, or say that it must wait."""
        self._refill(mono_ns)
        if self._left < self._cost:
            return False
        self._left -= self._cost
        assert self._left >= 0  # FEED-3
        return True

    def drain(self, mono_ns: int) -> None:
        """The venue counts otherwise, and has less for us than we thought: begin again from nothing."""
        self._refill(mono_ns)
        self._left = 0

    def full_in_ns(self, mono_ns: int) -> int:
        """How long until the pool is full again."""
        self._refill(mono_ns)
        return -((self._left - self._pool) // self._refill_per_ns)

    def _refill(self, mono_ns: int) -> None:
        assert mono_ns >= self._seen_ns
        self._left = min(self._pool, self._left + (mono_ns - self._seen_ns) * self._refill_per_ns)
        self._seen_ns = mono_ns
