"""When a book disagrees with its ticker, and when it only seems to: histories of both, without a process."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import pytest

from tickbay.checker.check import LATE_NS, SPEAKS_MIN, Check, Disagreement, Told
from tickbay.checker.checker import SILENT_NS, forget_silent
from tickbay.checker.folded_book import PAST_MAX, PAST_NS, Level
from tickbay.record import Flag

S = 1_000_000_000
MS = 1_000_000
BEGIN_NS = 1_800_000_000 * S
PATIENCE_S = 5
BID, ASK = 1, 2
Change = tuple[int, float, float]  # side, price, amount


class Venue:
    """One instrument: its book's messages and its tickers, in the order in which a test lets them come."""

    def __init__(self) -> None:
        self.check = Check(PATIENCE_S * S)
        self.now_ns, self.conn, self.change_id = BEGIN_NS, 7, 100

    def book(self, changes: Sequence[Change], *, snapshot: bool = False, skips: int = 0, again: bool = False) -> None:
        """One message: a record for each change, one of no price where there is none. `skips` ids are lost before."""
        before = self.change_id + skips
        self.change_id = before + (not again)
        for place, (side, price, amount) in enumerate(changes or [(0, nan, 0.0)]):
            last = Flag.LAST if place == max(len(changes), 1) - 1 else Flag(0)
            flags = last | (Flag.SNAPSHOT if snapshot else Flag(0))
            previous = 0 if snapshot else before
            level = Level(self.now_ns, self.conn, flags, self.change_id, previous, price, amount, side)
            self.check.book.take(level)

    def ticker(self, bid: float | None, ask: float | None, state: str = "open") -> Disagreement | None:
        return self.check.judge(Told(self.now_ns, self.conn, bid, ask, state))

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * S)

    def tickers(self, bid: float | None, ask: float | None, *, seconds: int) -> list[Disagreement]:
        """One a second."""
        found = []
        for _ in range(seconds):
            self.sleep(1)
            found.append(self.ticker(bid, ask))
        return [each for each in found if each is not None]


@pytest.fixture
def venue() -> Venue:
    venue = Venue()
    venue.book([(BID, 10.0, 1.0), (BID, 9.0, 1.0), (ASK, 11.0, 1.0)], snapshot=True)
    return venue


def test_a_book_that_follows_its_ticker_never_disagrees(venue: Venue) -> None:
    assert venue.tickers(10.0, 11.0, seconds=20) == []
    venue.book([(BID, 10.0, 0.0)])
    assert venue.tickers(9.0, 11.0, seconds=20) == []
    venue.book([(ASK, 11.0, 0.0), (BID, 9.0, 0.0)])
    assert venue.tickers(None, None, seconds=20) == [], "an empty side is one that both have"


def test_a_change_that_was_lost_without_a_broken_chain_is_told_with_when_both_agreed_last(venue: Venue) -> None:
    venue.tickers(10.0, 11.0, seconds=3)
    agreed_ns = venue.now_ns
    venue.book([])  # it was to take the bid of 10 away
    (found,) = venue.tickers(9.0, 11.0, seconds=PATIENCE_S + 1)
    assert (found.since_ns, found.seen_ns) == (agreed_ns, venue.now_ns)
    assert found.detail == "book 10/11, ticker 9/11"


def test_a_ticker_that_is_behind_or_ahead_of_the_book_means_nothing(venue: Venue) -> None:
    for _ in range(30):  # each price lives for a moment only, and no ticker is told at the right one
        venue.sleep(0.4)
        venue.book([(BID, 10.0, 0.0)])
        assert venue.ticker(10.0, 11.0) is None, "behind"
        venue.sleep(0.4)
        assert venue.ticker(10.0, 11.0) is None, "ahead"
        venue.book([(BID, 10.0, 2.0)])
    assert LATE_NS > 400 * MS


def test_a_best_price_is_forgotten_when_no_ticker_can_tell_of_it_any_more(venue: Venue) -> None:
    """64 were kept a side, however old: the memory of 830 books grew for half an hour, by 15 MB."""
    bids = venue.check.book.bids
    for _ in range(100):
        venue.sleep(PAST_NS / S)
        venue.book([(BID, 10.0, 0.0)])
        venue.sleep(PAST_NS / S)
        venue.book([(BID, 10.0, 1.0)])
    assert bids.had(9.0, since_ns=venue.now_ns), "it ceased right now"
    assert bids.past == 2 and PAST_NS > 2 * LATE_NS


def test_a_ticker_of_a_time_that_the_book_has_forgotten_means_nothing(venue: Venue) -> None:
    """Where the checker gets no CPU, tickers are old when it comes to them."""
    old = []
    for _ in range(20):
        venue.sleep(1)
        old.append(venue.now_ns)
    for _ in range(PAST_MAX + 2):
        venue.sleep(1)
        venue.book([(BID, 10.0, 0.0)])
        venue.sleep(1)
        venue.book([(BID, 10.0, 1.0)])
    assert [venue.check.judge(Told(at_ns, venue.conn, 8.0, 11.0, "open")) for at_ns in old] == [None] * 20
    assert not venue.check.differs


def test_what_comes_to_agree_in_time_is_not_told(venue: Venue) -> None:
    for _ in range(4):
        assert venue.tickers(9.0, 11.0, seconds=PATIENCE_S - 1) == []
        venue.tickers(10.0, 11.0, seconds=1)


def test_one_late_ticker_tells_nothing_however_long_it_was_silent_before(venue: Venue) -> None:
    venue.ticker(9.0, 11.0)
    for _ in range(SPEAKS_MIN - 2):
        venue.sleep(100)
        assert venue.ticker(9.0, 11.0) is None
    venue.sleep(100)
    assert venue.ticker(9.0, 11.0) is not None


@pytest.mark.parametrize("state", ["settlement", "locked", "closed", "a word never seen"])
def test_what_is_not_open_is_not_compared(venue: Venue, state: str) -> None:
    for _ in range(20):
        venue.sleep(1)
        assert venue.ticker(9.0, 12.0, state) is None
    assert not venue.check.differs


def test_a_book_of_which_something_is_missing_is_not_known_until_its_next_snapshot(venue: Venue) -> None:
    venue.book([(BID, 10.0, 0.0)], skips=3)
    assert venue.tickers(1.0, 2.0, seconds=20) == []
    venue.book([(BID, 8.0, 1.0)])
    assert not venue.check.book.whole_ns
    venue.book([(BID, 8.0, 1.0)], snapshot=True)
    assert venue.tickers(8.0, None, seconds=20) == []
    assert venue.tickers(8.0, 9.0, seconds=20), "and is compared again"


def test_a_message_that_was_sent_twice_changes_nothing(venue: Venue) -> None:
    venue.book([(BID, 10.0, 0.0)])
    venue.book([(BID, 10.0, 5.0)], again=True)
    assert venue.tickers(9.0, 11.0, seconds=20) == []


def test_a_ticker_of_another_connection_or_from_before_the_snapshot_is_not_compared(venue: Venue) -> None:
    before_ns = venue.now_ns - 1
    for _ in range(20):
        assert venue.check.judge(Told(before_ns, venue.conn, 1.0, 2.0, "open")) is None
        venue.sleep(1)
        assert venue.check.judge(Told(venue.now_ns, venue.conn + 1, 1.0, 2.0, "open")) is None


def test_once_told_nothing_is_told_again_before_the_next_snapshot_and_then_only_after_as_long(venue: Venue) -> None:
    assert len(venue.tickers(9.0, 11.0, seconds=PATIENCE_S + 1)) == 1
    venue.check.begin_again()
    assert venue.tickers(9.0, 11.0, seconds=20) == []
    venue.book([(BID, 10.0, 1.0), (ASK, 11.0, 1.0)], snapshot=True)
    whole_ns = venue.now_ns
    assert venue.tickers(9.0, 11.0, seconds=PATIENCE_S) == []
    (found,) = venue.tickers(9.0, 11.0, seconds=1)
    assert found.since_ns == whole_ns, "they never agreed since"


def test_books_are_remembered_and_one_that_moved_on_meanwhile_is_not_trusted(venue: Venue) -> None:
    said = venue.check.book.said()
    assert said is not None
    later = Venue()
    later.check.book.remember(said)
    later.change_id = venue.change_id
    later.book([(BID, 10.0, 0.0)])
    assert later.tickers(9.0, 11.0, seconds=20) == [] and later.check.book.whole_ns == BEGIN_NS
    assert later.tickers(10.0, 11.0, seconds=20) != []
    stale = Venue()
    stale.check.book.remember(said)
    stale.book([(BID, 10.0, 0.0)], skips=5)
    assert not stale.check.book.whole_ns


def test_a_book_that_has_long_been_silent_behind_the_others_is_forgotten() -> None:
    """Each day's expired books were kept for ever."""
    checks = {name: Check(PATIENCE_S * S) for name in ("live", "quiet", "expired")}
    checks["live"].spoke_ns = BEGIN_NS
    checks["quiet"].spoke_ns = BEGIN_NS - SILENT_NS
    checks["expired"].spoke_ns = BEGIN_NS - SILENT_NS - 1
    forget_silent(checks)
    assert checks.keys() == {"live", "quiet"}
    forget_silent({})
