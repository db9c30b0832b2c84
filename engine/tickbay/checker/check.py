"""Does a book agree with its ticker? The rule, for one instrument at a time. Pure.

Both come from the venue on channels of their own, in any order and up to a tenth of a second apart, so a ticker agrees
with what the book's best price is, or was a moment ago. One that does not agree means nothing yet: either may be
ahead. What counts is that no ticker agrees for `patience_ns`, and several spoke in it.

What is compared are best prices: a level that is wrong farther back shows when it becomes the best one. Amounts are
not compared: an amount may change in the tenth of a second in which a price stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

from tickbay.checker.folded_book import FoldedBook, Side

LATE_NS = 1_000_000_000  # a ticker may tell of a best price that ceased so little before
SPEAKS_MIN = 3  # tickers that must have said so: one alone may be late, whatever time has passed
FIELDS = ("recv_ns", "conn", "bid_price", "ask_price", "state")  # of a quote: what Told.of() takes
OPEN = "open"  # the venue's word: in any other state (settlement, locked, …) book and ticker stand still apart


class Told(NamedTuple):
    """What a ticker says; a price is None where that side is empty."""

    recv_ns: int
    conn: int
    bid: float | None
    ask: float | None
    state: str

    @classmethod
    def of(cls, recv_ns: int, conn: int, bid_price: float, ask_price: float, state: bytes) -> Told:
        """Of the FIELDS of a quote, as numpy's tolist() gives them."""
        bid, ask = (None if isnan(price) else price for price in (bid_price, ask_price))
        return cls(recv_ns, conn, bid, ask, state.decode())


@dataclass(frozen=True, slots=True)
class Disagreement:
    since_ns: int  # our clock: when they agreed last
    seen_ns: int  # the newest ticker that did not
    detail: str


class Check:
    """The book and the tickers of one instrument on one feed."""

    def __init__(self, patience_ns: int) -> None:
        self.book = FoldedBook()
        self.spoke_ns = 0  # recv_ns of its newest record, ticker or book
        self._patience_ns = patience_ns
        self._agreed_ns = 0  # recv_ns of the newest ticker that did
        self._differs_ns = 0  # of the first one that did not, since then; 0: none
        self._speaks = 0  # how many did not

    @property
    def differs(self) -> bool:
        return bool(self._differs_ns)

    def begin_again(self) -> None:
        """Somebody was told: the book is not known before its next snapshot."""
        self.book.forget()
        self._differs_ns = 0

    def judge(self, told: Told) -> Disagreement | None:
        """A ticker, once the book is folded up to its time or beyond."""
        book = self.book
        comparable = book.whole_ns and told.conn == book.conn and told.recv_ns >= book.whole_ns and told.state == OPEN
        sides = ((book.bids, told.bid), (book.asks, told.ask))
        since_ns = told.recv_ns - LATE_NS
        comparable = comparable and all(side.known_ns < since_ns for side, _ in sides)
        agrees = comparable and all(side.had(price, since_ns) for side, price in sides)
        if agrees:
            self._agreed_ns = told.recv_ns
        if agrees or not comparable or self._differs_ns < book.whole_ns:
            self._differs_ns, self._speaks = 0, 0
        if agrees or not comparable:
            return None
        self._differs_ns = self._differs_ns or told.recv_ns
        self._speaks += 1
        if told.recv_ns - self._differs_ns < self._patience_ns or self._speaks < SPEAKS_MIN:
            return None
        return Disagreement(max(self._agreed_ns, book.whole_ns), told.recv_ns, _detail(book.bids, book.asks, told))


def _detail(bids: Side, asks: Side, told: Told) -> str:
    return f"book {_shown(bids.best)}/{_shown(asks.best)}, ticker {_shown(told.bid)}/{_shown(told.ask)}"


def _shown(price: float | None) -> str:
    return "-" if price is None else f"{price:.8g}"
