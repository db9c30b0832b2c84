"""What a process does now and then, beside its work: one timer for each of it."""

from __future__ import annotations

from tickbay.clock import MACHINE, Clock


class Timer:
    """Due at once, or after `first_s`, and then each `period_s` from when it was asked and due."""

    def __init__(self, period_s: float, *, first_s: float = 0.0, clock: Clock = MACHINE) -> None:
        self._period_s = period_s
        self._clock = clock
        self._due_s = clock.now_s() + first_s

    def due(self) -> bool:
        now_s = self._clock.now_s()
        if now_s < self._due_s:
            return False
        self._due_s = now_s + self._period_s
        return True

    def soon(self) -> None:
        """Due when it is asked next."""
        self._due_s = self._clock.now_s()
