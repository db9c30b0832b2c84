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

from tickbay._native import FOLDED_AGREES, FOLDED_DIFFERS, FOLDED_UNKNOWN, FoldedBook, Ticker

LATE_NS = 1_000_000_000  # a ticker may tell of a best price that ceased so little before
SPEAKS_MIN = 3  # tickers that must have said so: one alone may be late, whatever time has passed
OPEN = b"open"  # the venue's word: in any other state (settlement, locked, …) book and ticker stand still apart


@dataclass(frozen=True, slots=True)
class Disagreement:
    since_ns: int  # our clock: when they agreed last
    seen_ns: int  # the newest ticker that did not
    detail: str


class Check:
    """The book and the tickers of one instrument on one feed."""

    def __init__(self, book: FoldedBook, patience_ns: int) -> None:
        self.book = book
        self.spoke_ns = 0  # recv_ns of its newest ticker
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

    def judge(self, ticker: Ticker) -> Disagreement | None:
        """A ticker, once the book is folded up to its time or beyond."""
        book = self.book
        self.spoke_ns = ticker.recv_ns
        verdict = FOLDED_UNKNOWN
        if ticker.state == OPEN:
            since_ns = ticker.recv_ns - LATE_NS
            verdict = book.compare(ticker.conn, ticker.recv_ns, ticker.bid_price, ticker.ask_price, since_ns)
        if verdict == FOLDED_AGREES:
            self._agreed_ns = ticker.recv_ns
        if verdict != FOLDED_DIFFERS or self._differs_ns < book.whole_ns:
            self._differs_ns, self._speaks = 0, 0
        if verdict != FOLDED_DIFFERS:
            return None
        self._differs_ns = self._differs_ns or ticker.recv_ns
        self._speaks += 1
        if ticker.recv_ns - self._differs_ns < self._patience_ns or self._speaks < SPEAKS_MIN:
            return None
        detail = (
            f"book {_shown(book.bid)}/{_shown(book.ask)}, ticker {_shown(ticker.bid_price)}/{_shown(ticker.ask_price)}"
        )
        return Disagreement(max(self._agreed_ns, book.whole_ns), ticker.recv_ns, detail)


def _shown(price: float) -> str:
    return "-" if isnan(price) else f"{price:.8g}"
