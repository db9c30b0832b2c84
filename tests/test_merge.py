"""Two legs into one, without processes: random courses of two connections against plain sets; what is a hole of both.
PAIR-1, GAP-1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickbay._native import MERGE_LATE_NS, Merge
from tickbay.config import load
from tickbay.errors import ConfigError
from tickbay.feed.backoff import apart
from tickbay.gap import Cause, Gap
from tickbay.legs import feeds, merger_of, place_of, recorders_of
from tickbay.merger.cover import Cover
from tickbay.merger.late import Late, percentile_ns
from tickbay.record import DTYPES, Flag, Kind, Records, blank

NAMES = ("ETH-A", "ETH-B")
EVENTS = 40
S = 10**9


@dataclass
class Legs:
    """A market of which two legs bring a part each, in any order of arrival, to one merge."""

    merge: Merge = field(default_factory=Merge)
    out: list[Records] = field(default_factory=list)
    held: list[Records] = field(default_factory=lambda: [np.empty(0, DTYPES[Kind.TRADE])] * 2)
    breaks: list[tuple[int, int]] = field(default_factory=list)
    now_ns: int = S  # no arrival has a time of the venue's: of equal ones the merge takes the latter for none

    def give(self, kind: Kind, leg: int, records: Records) -> None:
        records["recv_ns"] = self.now_ns = self.now_ns + 1
        records["conn"] = 1
        self._run(kind, leg, records, again=False)
        self.again(kind, release_ns=0)

    def again(self, kind: Kind, *, release_ns: int) -> None:
        before = -1
        while before != (before := sum(map(len, self.held))) and before:
            for leg, waiting in enumerate(self.held):
                self.held[leg] = waiting[:0]
                self._run(kind, leg, waiting, again=True, release_ns=release_ns)

    def _run(self, kind: Kind, leg: int, records: Records, *, again: bool, release_ns: int = 0) -> None:
        none = np.empty(0, DTYPES[kind])
        legs = (records, none) if leg == 0 else (none, records)
        turn = self.merge.run(kind, legs, (release_ns, release_ns), again=again)
        assert turn.consumed[leg] == len(records)
        self.out.append(np.frombuffer(turn.out, DTYPES[kind]))
        self.held[leg] = np.concatenate([self.held[leg], np.frombuffer(turn.held[leg], DTYPES[kind])])
        self.breaks += [(told.first_missing, told.last_missing) for told in turn.breaks]

    def published(self) -> Records:
        return np.concatenate(self.out)


def trade(name: str, number: int) -> Records:
    record = blank(Kind.TRADE)
    record["instrument"], record["trade_seq"], record["flags"] = name.encode(), number, Flag.LAST
    return record


def quote(name: str, number: int) -> Records:
    record = blank(Kind.QUOTE)
    record["instrument"], record["exch_ns"], record["bid_price"] = name.encode(), number, number / 8
    return record


# What happens to each event on each leg, and whose turn it is.
courses = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.booleans()), max_size=6 * EVENTS)


def play(legs: Legs, course: list[tuple[int, int, bool]], kind: Kind) -> tuple[list[set[int]], list[set[int]]]:
    """Returns what each leg has lost, and brought, of both instruments: number * 2 + instrument."""
    place = [[1, 1], [1, 1]]
    lost: list[set[int]] = [set(), set()]
    brought: list[set[int]] = [set(), set()]

    def bring(leg: int, instrument: int, *, loses: bool) -> None:
        number = place[leg][instrument]
        place[leg][instrument] += 1
        (lost if loses else brought)[leg].add(number * 2 + instrument)
        if not loses:
            make = trade if kind is Kind.TRADE else quote
            legs.give(kind, leg, make(NAMES[instrument], number))

    for leg in (0, 1):
        legs.merge.connected(leg, 1)
        for instrument in (0, 1):
            bring(leg, instrument, loses=False)
    for leg, instrument, arrives in course:
        bring(leg, instrument, loses=not arrives)
    ends = [max(place[0][instrument], place[1][instrument]) for instrument in (0, 1)]
    for leg in (0, 1):  # and all that is under way arrives
        for instrument in (0, 1):
            while place[leg][instrument] < ends[instrument]:
                bring(leg, instrument, loses=False)
    return lost, brought


@settings(max_examples=150, deadline=None)
@given(courses)
def test_every_trade_that_either_leg_brought_is_published_once(course: list[tuple[int, int, bool]]) -> None:
    legs = Legs()
    lost, brought = play(legs, course, Kind.TRADE)
    unreleased = legs.published()
    legs.again(Kind.TRADE, release_ns=legs.now_ns)
    found = legs.published()
    keys = (found["trade_seq"].astype(int) * 2 + (found["instrument"] == NAMES[1].encode())).tolist()
    assert sorted(keys) == sorted(brought[0] | brought[1])
    if not lost[0] & lost[1]:
        assert legs.breaks == [] and len(unreleased) == len(found)
        for name in NAMES:  # in order
            numbers = found["trade_seq"][found["instrument"] == name.encode()]
            assert (np.diff(numbers.astype(np.int64)) == 1).all()


@settings(max_examples=100, deadline=None)
@given(courses)
def test_every_ticker_that_either_leg_brought_is_published_once(course: list[tuple[int, int, bool]]) -> None:
    legs = Legs(held=[np.empty(0, DTYPES[Kind.QUOTE])] * 2)
    _, brought = play(legs, course, Kind.QUOTE)
    found = legs.published()
    keys = (found["exch_ns"] * 2 + (found["instrument"] == NAMES[1].encode())).tolist()
    assert sorted(keys) == sorted(brought[0] | brought[1])
    figures = [legs.merge.figures(leg) for leg in (0, 1)]
    assert figures[0].first + figures[1].first == len(found)
    assert figures[0].second + figures[1].second == len(brought[0] & brought[1])
    legs.merge.judge(1 << 60)
    assert [legs.merge.figures(leg).only for leg in (0, 1)] == [
        len(brought[leg] - brought[1 - leg]) for leg in (0, 1)
    ]  # fmt: skip


# Amounts of the best bid, all at one time of the venue; and which leg brings its next one, or loses it.
amounts = st.lists(st.integers(1, 3), max_size=12)
turns = st.lists(st.tuples(st.integers(0, 1), st.booleans()), max_size=40)


@settings(max_examples=150, deadline=None)
@given(amounts, turns, st.booleans())
def test_best_prices_that_come_back_are_published_as_often_as_either_leg_brought_them(
    sent: list[int], turns: list[tuple[int, bool]], loses: bool
) -> None:
    sent = [amount for place, amount in enumerate(sent) if place == 0 or sent[place - 1] != amount]
    legs = Legs(held=[np.empty(0, DTYPES[Kind.BBO])] * 2)
    ahead, brought = [list(sent), list(sent)], [list[int](), list[int]()]
    for leg, arrives in [*turns, *((leg, True) for leg in (0, 1) for _ in sent)]:
        if not ahead[leg]:
            continue
        amount = ahead[leg].pop(0)
        if arrives or not loses:
            record = blank(Kind.BBO)
            record["instrument"], record["bid_amount"] = NAMES[0].encode(), amount
            legs.give(Kind.BBO, leg, record)
            brought[leg] += [amount] if brought[leg][-1:] != [amount] else []
    found = [int(amount) for amount in legs.published()["bid_amount"]] if legs.out else []
    assert found == sent or loses
    for amount in (1, 2, 3):
        assert found.count(amount) == max(came.count(amount) for came in brought)


@settings(max_examples=60, deadline=None)
@given(courses, st.integers(0, 5 * EVENTS))
def test_a_merge_that_begins_anew_goes_on_where_the_last_one_died(
    course: list[tuple[int, int, bool]], death: int
) -> None:
    """Killed behind any record: the next life reads both legs from the start, and what was published from the pair."""
    one = Legs()
    play(one, course[:death], Kind.TRADE)
    two = Legs()
    kept = one.merge.chains() if death % 2 else b""
    two.merge.restore(kept)
    two.merge.published(Kind.TRADE, one.published())
    _, brought = play(two, course, Kind.TRADE)
    two.again(Kind.TRADE, release_ns=two.now_ns)
    found = np.concatenate([one.published(), two.published()])
    keys = (found["trade_seq"].astype(int) * 2 + (found["instrument"] == NAMES[1].encode())).tolist()
    assert len(keys) == len(set(keys)) and set(keys) >= brought[0] | brought[1]


# -------- holes


def hole(from_s: float, to_s: float = 0, **more: object) -> Gap:
    return Gap(cause=Cause.DISCONNECT, from_ns=int(from_s * S), to_ns=int(to_s * S), **more)  # type: ignore[arg-type]  # fields of a dataclass


def told(cover: Cover, leg: int, gap: Gap, late_s: tuple[float, float] = (0.1, 0.1)) -> list[tuple[float, float]]:
    late_ns = int(late_s[0] * S), int(late_s[1] * S)
    return [(gap.from_ns / S, gap.to_ns / S) for gap in cover.add(leg, gap, late_ns=late_ns)]


def test_a_hole_of_one_leg_is_none_of_the_pair() -> None:
    cover = Cover()
    assert told(cover, 0, hole(10)) == [] and told(cover, 0, hole(10, 20)) == []
    assert told(cover, 1, hole(21)) == []


def test_what_both_legs_lack_is_told_when_it_begins_and_when_it_ends() -> None:
    """GAP-1: as wide as the two connections may be apart."""
    cover = Cover()
    told(cover, 0, hole(10))
    assert told(cover, 1, hole(15)) == [(14.9, 0)] and len(cover.open()) == 1
    assert told(cover, 0, hole(10, 20)) == [(14.9, 20.1)] and not cover.open()
    assert told(cover, 1, hole(15, 30)) == []


def test_two_holes_that_are_nearer_than_the_second_leg_is_late_may_share_a_message() -> None:
    """GAP-1: the first hole's messages were still on their way over the second leg."""
    cover = Cover()
    told(cover, 0, hole(10, 20))
    assert told(cover, 1, hole(21, 25), late_s=(2, 0.1)) == [], "the first leg's lateness takes nothing from the second"
    assert told(cover, 1, hole(21, 25), late_s=(0.1, 2)) == [(19.0, 0), (19.0, 22.0)]


def test_a_pair_depends_on_a_leg_while_the_other_one_is_away_and_until_that_is_as_far_again() -> None:
    cover = Cover()

    def depends(at_s: float) -> list[bool]:
        return [cover.depends_on(leg, int(at_s * S), late_ns=(S, S)) for leg in (0, 1)]

    told(cover, 0, hole(1, instrument="ETH-A", kind=Kind.QUOTE))
    assert depends(2) == [False, False], "one channel is no reason to keep the other leg from all"
    told(cover, 0, hole(10))
    assert depends(11) == [False, True]
    told(cover, 0, hole(10, 20))
    assert depends(22) == [False, True] and depends(22.1) == [False, False]


def test_holes_of_other_instruments_or_kinds_have_nothing_in_common() -> None:
    cover = Cover()
    told(cover, 0, hole(10, instrument="ETH-A", kind=Kind.QUOTE))
    assert told(cover, 1, hole(11, instrument="ETH-B", kind=Kind.QUOTE)) == []
    assert told(cover, 1, hole(11, instrument="ETH-A", kind=Kind.BOOK)) == []
    (gap,) = cover.add(1, hole(12), late_ns=(0, 0))
    assert (gap.instrument, gap.kind) == ("ETH-A", Kind.QUOTE)
    assert cover.has(Kind.QUOTE, "ETH-A", 13 * S, 14 * S) and not cover.has(Kind.QUOTE, "ETH-B", 13 * S, 14 * S)


def test_a_cover_that_was_kept_ends_the_hole_that_it_had_told() -> None:
    before = Cover()
    told(before, 0, hole(10))
    gaps = before.add(1, hole(15), late_ns=(S, S))
    cover = Cover.of_state(before.state(), gaps)
    assert told(cover, 1, hole(15, 18)) == [(14.0, 18.1)]


def test_of_several_holes_that_an_earlier_life_told_each_is_ended() -> None:
    """The second leg came and went again while the first one was away: else the second hole would last for ever."""
    before = Cover()
    told(before, 0, hole(10))
    gaps = before.add(1, hole(15), late_ns=(S, S))
    gaps += before.add(1, hole(15, 18), late_ns=(S, S))
    gaps += before.add(1, hole(18.5), late_ns=(S, S))
    assert [gap.from_ns / S for gap in gaps if not gap.to_ns] == [14, 17.5]
    cover = Cover.of_state(before.state(), gaps)
    assert len(cover.open()) == 1, "it lasts, whoever told it"
    assert told(cover, 1, hole(18.5, 20)) == [(17.5, 20.1)]
    assert cover.open() == []


def test_a_leg_s_broken_chain_is_judged_by_its_ids_and_not_by_time() -> None:
    cover = Cover()
    told(cover, 0, Gap(cause=Cause.SEQUENCE, from_ns=1, kind=Kind.BOOK, instrument="ETH-A"))
    assert cover.add(1, Gap(cause=Cause.SEQUENCE, from_ns=1, kind=Kind.BOOK, instrument="ETH-A"), late_ns=(S, S)) == []


# -------- names and figures


@pytest.mark.parametrize(
    ("stream", "merger"),
    [("feed-1a.quote", "merger-1"), ("feed-12b.gap", "merger-12"), ("feed-1a.status", ""), ("feed-1.quote", "")],
)
def test_a_leg_s_stream_is_taken_by_its_merger(stream: str, merger: str) -> None:
    assert merger_of(stream) == merger
    assert merger_of("pair-1.quote") == "" == merger_of("nonsense")


def test_a_place_is_what_both_legs_and_their_pair_record() -> None:
    assert {place_of(feed) for feed in ("feed-7", "feed-7a", "feed-7b", "pair-7")} == {"feed-7"}


def test_what_a_pair_has_its_legs_captured() -> None:
    assert recorders_of("pair-7") == ["feed-7a", "feed-7b"]
    assert [recorders_of(feed) for feed in ("feed-7", "feed-7a", "healer")] == [["feed-7"], ["feed-7a"], ["healer"]]


def test_two_legs_do_not_come_back_at_the_same_moment() -> None:
    first, second = apart("feed-1a"), apart("feed-1b")
    assert all(first() < 0.5 <= second() < 1 for _ in range(100))
    assert len({apart("feed-1")() > 0.5 for _ in range(100)}) == 2


def test_a_pair_s_second_connection_counts(tmp_path: Path) -> None:
    file = tmp_path / "tickbay.toml"
    file.write_text("[feeds]\ncount = 15\nredundancy = 2\n")
    with pytest.raises(ConfigError, match="needs 30 connections"):
        load(file, {})
    file.write_text("[feeds]\ncount = 14\nredundancy = 2\n")
    assert len(feeds(load(file, {}))) == 28


def test_the_healer_of_pairs_waits_longer_than_a_merger_holds_back(tmp_path: Path) -> None:
    """HEAL-1: what is held back was captured."""
    file = tmp_path / "tickbay.toml"
    for value in (0.5, 5):
        file.write_text(f"[feeds]\nredundancy = 2\n[heal]\nsettle_s = {value}\n")
        with pytest.raises(ConfigError, match=r"heal\.settle_s = .* may hold a trade that long"):
            load(file, {})
    file.write_text("[feeds]\nredundancy = 2\n")
    assert load(file, {}).heal.settle_s > 5


def test_lateness_is_of_the_last_minute() -> None:
    late, counts = Late(), [0] * len(MERGE_LATE_NS)
    late.note(0.0, counts)
    counts[30] = 100
    late.note(1.0, counts)
    assert late.percentile_ns(0.5) == MERGE_LATE_NS[30] and percentile_ns([0] * len(MERGE_LATE_NS), 1.0) == 0
    for step in range(1, 9):
        late.note(10.0 * step, counts)
    assert late.percentile_ns(0.99) == 0
