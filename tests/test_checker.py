"""When a book disagrees with its ticker, and when it only seems to: histories of both, without a process."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
import orjson
import pytest

from tickbay._native import FOLDED_PAST_MAX
from tickbay.checker.check import LATE_NS, SPEAKS_MIN, Disagreement
from tickbay.checker.comparison import SILENT_NS, Comparison
from tickbay.record import Flag, Kind, Records, blank

S = 1_000_000_000
MS = 1_000_000
BEGIN_NS = 1_800_000_000 * S
PATIENCE_S = 5
BID, ASK = 1, 2
Change = tuple[int, float, float]  # side, price, amount


class Venue:
    """Instruments: their books' messages and their tickers, in the order in which a test lets them come."""

    def __init__(self, name: bytes = b"ETH-1") -> None:
        self.comparison = Comparison(PATIENCE_S * S)
        self.name = name
        self.messages: list[Records] = []  # of its books
        self.now_ns, self.conn, self.change_id = BEGIN_NS, 7, 100

    def book(self, changes: Sequence[Change], *, snapshot: bool = False, skips: int = 0, again: bool = False) -> None:
        """One message: a record for each change, one of no price where there is none. `skips` ids are lost before."""
        before = self.change_id + skips
        self.change_id = before + (not again)
        records = blank(Kind.BOOK, max(len(changes), 1))
        records["instrument"], records["recv_ns"], records["conn"] = self.name, self.now_ns, self.conn
        records["change_id"], records["prev_change_id"] = self.change_id, 0 if snapshot else before
        records["flags"] = Flag.SNAPSHOT if snapshot else 0
        records["flags"][-1] |= Flag.LAST
        for record, (side, price, amount) in zip(records, changes or [(0, nan, 0.0)], strict=True):
            record["side"], record["price"], record["amount"] = side, price, amount
        self.messages.append(records)
        self.comparison.fold(records)

    def ticker(
        self, bid: float, ask: float, *, state: bytes = b"open", at_ns: int = 0, conn: int = 0
    ) -> Disagreement | None:
        """NaN: that side is empty."""
        quote = blank(Kind.QUOTE, 1)
        quote["instrument"], quote["recv_ns"], quote["conn"] = self.name, at_ns or self.now_ns, conn or self.conn
        quote["bid_price"], quote["ask_price"], quote["state"] = bid, ask, state
        self.comparison.hear(quote)
        for instrument, check, found in self.comparison.judge():
            assert instrument == self.name.decode()
            self.check = check
            return found
        return None

    @property
    def knows(self) -> bool:
        return self.comparison.books == 1

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * S)

    def tickers(self, bid: float, ask: float, *, seconds: int) -> list[Disagreement]:
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
    assert venue.tickers(nan, nan, seconds=20) == [], "an empty side is one that both have"


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


def test_a_ticker_of_a_time_that_the_book_has_forgotten_means_nothing(venue: Venue) -> None:
    """Where the checker gets no CPU, tickers are old when it comes to them."""
    old = []
    for _ in range(20):
        venue.sleep(1)
        old.append(venue.now_ns)
    for _ in range(FOLDED_PAST_MAX + 2):
        venue.sleep(1)
        venue.book([(BID, 10.0, 0.0)])
        venue.sleep(1)
        venue.book([(BID, 10.0, 1.0)])
    assert [venue.ticker(8.0, 11.0, at_ns=at_ns) for at_ns in old] == [None] * 20
    assert not venue.comparison.differ


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


@pytest.mark.parametrize("state", [b"settlement", b"locked", b"closed", b"never seen"])
def test_what_is_not_open_is_not_compared(venue: Venue, state: bytes) -> None:
    for _ in range(20):
        venue.sleep(1)
        assert venue.ticker(9.0, 12.0, state=state) is None
    assert not venue.comparison.differ


def test_a_book_of_which_something_is_missing_is_not_known_until_its_next_snapshot(venue: Venue) -> None:
    venue.book([(BID, 10.0, 0.0)], skips=3)
    assert venue.tickers(1.0, 2.0, seconds=20) == []
    venue.book([(BID, 8.0, 1.0)])
    assert not venue.knows
    venue.book([(BID, 8.0, 1.0)], snapshot=True)
    assert venue.tickers(8.0, nan, seconds=20) == []
    assert venue.tickers(8.0, 9.0, seconds=20), "and is compared again"


def test_a_message_that_was_sent_twice_changes_nothing(venue: Venue) -> None:
    venue.book([(BID, 10.0, 0.0)])
    venue.book([(BID, 10.0, 5.0)], again=True)
    assert venue.tickers(9.0, 11.0, seconds=20) == [] and venue.knows


def test_a_ticker_of_another_connection_or_from_before_the_snapshot_is_not_compared(venue: Venue) -> None:
    before_ns = venue.now_ns - 1
    for _ in range(20):
        assert venue.ticker(1.0, 2.0, at_ns=before_ns) is None
        venue.sleep(1)
        assert venue.ticker(1.0, 2.0, conn=venue.conn + 1) is None


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
    said = orjson.loads(orjson.dumps(venue.comparison.said()))  # as it is kept
    later = Venue()
    later.comparison.remember(said)
    later.change_id = venue.change_id
    later.book([(BID, 10.0, 0.0)])
    assert later.tickers(9.0, 11.0, seconds=20) == [] and later.comparison.said()["ETH-1"][0] == BEGIN_NS
    assert later.tickers(10.0, 11.0, seconds=20) != []
    stale = Venue()
    stale.comparison.remember(said)
    assert stale.knows
    stale.book([(BID, 10.0, 0.0)], skips=5)
    assert not stale.knows


def test_a_book_in_the_middle_of_a_message_is_not_remembered(venue: Venue) -> None:
    half = blank(Kind.BOOK, 1)
    half["instrument"], half["recv_ns"], half["conn"] = venue.name, venue.now_ns, venue.conn
    half["change_id"], half["prev_change_id"], half["price"] = venue.change_id + 1, venue.change_id, 10.5
    venue.comparison.fold(half)
    assert venue.comparison.said() == {}


def test_records_that_were_lost_may_have_been_of_any_book(venue: Venue) -> None:
    venue.comparison.forget()
    venue.book([(BID, 10.0, 0.0)])
    assert venue.tickers(1.0, 2.0, seconds=20) == []


def test_a_flood_of_messages_is_folded_as_one_at_a_time_would_be() -> None:
    """Of many instruments in turn, with levels by the hundred, in pieces that end anywhere."""
    venues = [Venue(b"ETH-%d" % number) for number in range(40)]
    for venue in venues:
        levels = [(BID, 1000.0 - place, 1.0) for place in range(300)] + [
            (ASK, 1001.0 + place, 1.0) for place in range(300)
        ]
        venue.book(levels, snapshot=True)
        for step in range(50):
            venue.book([(BID, 1000.0 - step, 0.0), (ASK, 1001.0 + 2 * step, 0.0)])
    flood = [message for messages in zip(*(venue.messages for venue in venues), strict=True) for message in messages]
    together, records = Comparison(PATIENCE_S * S), np.concatenate(flood)
    for begin in range(0, len(records), 997):
        together.fold(records[begin : begin + 997])
    said = together.said()
    assert len(said) == 40
    for _, _, _, bids, asks in said.values():
        assert bids == [float(price) for price in range(701, 951)]
        assert asks == [float(price) for price in range(1300, 1000, -1) if price > 1100 or price % 2 == 0]


def test_a_book_that_has_long_been_silent_behind_the_others_is_forgotten() -> None:
    """Each day's expired books were kept for ever."""
    venue = Venue()
    for venue.name, before_ns in (b"expired", SILENT_NS + 1), (b"quiet", SILENT_NS), (b"live", 0):
        venue.now_ns = BEGIN_NS - before_ns
        venue.book([(BID, 10.0, 1.0)], snapshot=True)
    venue.comparison.forget_silent()
    assert venue.comparison.said().keys() == {"quiet", "live"}
    venue.name, venue.now_ns = b"quiet", BEGIN_NS + 1  # its book stands still, but its ticker speaks
    venue.ticker(10.0, nan)
    venue.name = b"live"
    venue.now_ns = BEGIN_NS + SILENT_NS
    venue.book([(BID, 10.0, 2.0)])
    venue.comparison.forget_silent()
    assert venue.comparison.said().keys() == {"quiet", "live"}
    Comparison(PATIENCE_S * S).forget_silent()
