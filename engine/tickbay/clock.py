"""The machine's clocks, as an argument: whoever decides something by time is given one, so that the simulation can run
an hour of restarts and outages in a millisecond (tests/simulation).
"""

from __future__ import annotations

import time


class Clock:
    """The real ones."""

    def now_s(self) -> float:
        """For how long something takes: never set back. Its zero means nothing."""
        return time.monotonic()

    def unix_ns(self) -> int:
        """For what is stored and shown: nanoseconds since 1970. It may step."""
        return time.time_ns()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


MACHINE = Clock()
