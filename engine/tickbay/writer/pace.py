"""How soon a writer commits again: much comes, then at once when the journal has made it durable, for the delay counts;
little comes, then `flush_s` later, for a transaction of a few rows costs nearly as much as one of a thousand. Pure.
"""

from __future__ import annotations

# At so many rows a second a transaction's own cost (about 2 ms of CPU, the server's included, for the three tables of
# ticks) is down to half of what its rows cost when each group commit of the journal (100 ms) gets one.
BUSY_ROWS_S = 4_000
LOOK_S = 0.005  # how often a busy writer looks whether something more is durable: 0.2 % of a core


class Pace:
    def __init__(self, now_s: float) -> None:
        self.busy = False
        self._taken_s = now_s

    def taken(self, rows: int, now_s: float) -> None:
        """All that there was has been taken, `rows` of it since the last time."""
        self.busy = rows >= BUSY_ROWS_S * (now_s - self._taken_s)
        self._taken_s = now_s
