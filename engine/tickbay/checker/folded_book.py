"""One book as its records make it: the levels, the best prices, and what they were a moment ago. Pure.

In: the records of a stream `<feed>.book`, of one instrument, in order. A book is known from a snapshot on, until a
change does not follow the one before: then it is unknown, and the feed brings a new snapshot by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from tickbay.record import Flag

# How long a best price that ceased is remembered: a ticker is looked at within two turns, and may be late by LATE_NS.
PAST_NS = 10_000_000_000
PAST_MAX = 256  # and at most so many a side: a channel of 100 ms has ten in a second
BID = 1  # enum book_side
LAST, SNAPSHOT = int(Flag.LAST), int(Flag.SNAPSHOT)  # an enum's & costs as much as all else that is done with a level


class Level(NamedTuple):
    """One record of a book, in the order of FIELDS."""

    recv_ns: int
    conn: int
    flags: int
    change_id: int
    prev_change_id: int
    price: float  # NaN: none
    amount: float  # 0: the level is gone
    side: int


FIELDS = list(Level._fields)


class Side:
    """The levels of one side and its best price; None while it is empty."""

    def __init__(self, *, is_bid: bool) -> None:
        self.levels: dict[float, float] = {}
        self.best: float | None = None
        self._is_bid = is_bid
        self._moved = False  # the best price may be another one than before this message
        self._past: deque[tuple[float | None, int]] = deque()  # price, when it ceased to be the best
        self.known_ns = 0  # since when every best price is remembered

    @property
    def past(self) -> int:
        """How many best prices are remembered."""
        return len(self._past)

    def change(self, price: float, amount: float) -> None:
        """One level; an amount of 0 takes it away."""
        if not amount:
            self.levels.pop(price, None)
            self._moved |= price == self.best
            return
        self.levels[price] = amount
        if self.best is None or (price > self.best if self._is_bid else price < self.best):
            self._moved = True

    def settle(self, now_ns: int) -> None:
        """A message is whole."""
        if not self._moved:
            return
        self._moved = False
        best = (max if self._is_bid else min)(self.levels, default=None)
        if best != self.best:
            while self._past and (self._past[0][1] < now_ns - PAST_NS or len(self._past) == PAST_MAX):
                self.known_ns = self._past.popleft()[1]
            self._past.append((self.best, now_ns))
            self.best = best

    def had(self, price: float | None, since_ns: int) -> bool:
        """Is it the best price, or was it at any time since then? Asked of no time before known_ns."""
        return price == self.best or any(past == price and ended >= since_ns for past, ended in self._past)

    def begin(self) -> None:
        self.levels.clear()
        self._past.clear()
        self.known_ns = 0
        self._moved = True


class FoldedBook:
    def __init__(self) -> None:
        self.whole_ns = 0  # recv_ns of the snapshot; 0: the book is not known
        self.conn = 0
        self.bids, self.asks = Side(is_bid=True), Side(is_bid=False)
        self._change_id = 0
        self._in_message = False
        self._skips = False  # the message that is being read

    def forget(self) -> None:
        self.whole_ns = 0
        self.bids.begin()
        self.asks.begin()

    def said(self) -> list[object] | None:
        """For remember(); None where the book is not known, or not whole at the moment."""
        if not self.whole_ns or self._in_message:
            return None
        sides = [list(side.levels.items()) for side in (self.bids, self.asks)]
        return [self.whole_ns, self.conn, self._change_id, *sides]

    def remember(self, said: Sequence[Any]) -> None:
        """As it was. Nothing depends on its being new: what does not follow it makes it unknown."""
        self.whole_ns, self.conn, self._change_id, bids, asks = said
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            side.begin()
            side.levels.update(levels)
            side.settle(self.whole_ns)

    def take(self, level: Level) -> None:
        """The next record of this book."""
        if not self._in_message:
            self._begin(level)
        self._in_message = not level.flags & LAST
        if self._skips:
            return
        if level.price == level.price:  # not NaN
            (self.bids if level.side == BID else self.asks).change(level.price, level.amount)
        if not self._in_message:
            self.bids.settle(level.recv_ns)
            self.asks.settle(level.recv_ns)

    def _begin(self, level: Level) -> None:
        """The first record of a message."""
        if level.flags & SNAPSHOT:
            self.forget()
            self.whole_ns, self.conn, self._change_id, self._skips = level.recv_ns, level.conn, level.change_id, False
            return
        known = bool(self.whole_ns) and level.conn == self.conn
        self._skips = not known or level.change_id <= self._change_id  # a message that was sent twice changes nothing
        if known and not self._skips and level.prev_change_id != self._change_id:
            self.forget()
            self._skips = True
        if not self._skips:
            self._change_id = level.change_id
