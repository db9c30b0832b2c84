"""Holes by the thousand, as a lost connection leaves them: how much is asked, walked and remembered for them."""

from __future__ import annotations

import gc
import tracemalloc

from tickbay.gap import Cause, Gap
from tickbay.healer.case import Host
from tickbay.healer.plan import AskRange, AskWindow, Patience, Plan
from tickbay.record import Kind
from tickbay.venues.venue import Printed

S = 10**9
NAMES = tuple(f"ETH-{number}-C" for number in range(12))
PATIENCE = Patience(settle_ns=10 * S, recent_ns=86_400 * S, tries_max=3, history=False, wait_ns=lambda _failures: S)


def markets_of(_feed: str) -> list[str]:
    return ["option.ETH"]


def captured(plan: Plan, number: int, now: int) -> None:
    """Of each instrument the trade of this number, in this second."""
    for name in NAMES:
        plan.captured(name, [(number, number)], from_ns=now * S, to_ns=now * S, mono_ns=now * S)


def lost_connection(plan: Plan, number: int, now: int) -> list[Printed]:
    """Each instrument's trade of this number is lost at the end of a cut of two seconds; each next one tells of it."""
    plan.gap(Gap(cause=Cause.DISCONNECT, from_ns=now * S, feed="feed-1"), markets_of, now * S)
    ended = Gap(cause=Cause.DISCONNECT, from_ns=now * S, to_ns=(now + 2) * S, feed="feed-1")
    plan.gap(ended, markets_of, (now + 2) * S)
    captured(plan, number + 1, now + 3)
    for name in NAMES:
        told = Gap(
            cause=Cause.SEQUENCE, kind=Kind.TRADE, instrument=name, from_ns=now * S, to_ns=(now + 3) * S,
            first_missing=number, last_missing=number, count=1, feed="feed-1",
        )  # fmt: skip
        plan.gap(told, markets_of, (now + 3) * S)
    return [Printed(name, number, (now + 2) * S) for name in NAMES]


def list_once(plan: Plan, lost: list[Printed]) -> None:
    """The only question, as soon as it is asked, and its answer."""
    now = lost[0].exch_ns // S + 11
    assert plan.ask((now - 1) * S, (now - 1) * S) is None
    ask = plan.ask(now * S, now * S)
    assert isinstance(ask, AskWindow)
    plan.listed(ask, lost, False, now * S)
    for trade in lost:
        if plan.owed(trade, now * S):
            plan.fetched(trade.instrument, [(trade.number, trade.number)], trade.exch_ns)


def test_what_a_lost_connection_took_of_every_instrument_is_one_question_and_not_one_for_each() -> None:
    """HEAL-2: each of the gaps that told of it is ended all the same."""
    plan = Plan(PATIENCE)
    captured(plan, 1, 1000)
    lost = lost_connection(plan, 2, 1001)
    list_once(plan, lost)
    ends = plan.reports()
    assert plan.ask(1100 * S, 1100 * S) is None and not plan.cases and plan.missing == 0
    assert sorted(gap.instrument for gap in ends) == sorted(["", *NAMES]) and all(gap.healed for gap in ends)
    (whole,) = [gap for gap in ends if not gap.instrument]
    assert whole.count == len(NAMES)


def test_a_listed_trade_is_published_only_where_it_is_missing_was_told_of_and_cannot_come_any_more() -> None:
    """HEAL-1, FEED-1."""
    plan = Plan(PATIENCE)
    captured(plan, 1, 1000)
    lost = lost_connection(plan, 2, 1001)
    name, number, exch_ns = lost[0]
    old_ns = exch_ns + 11 * S
    assert plan.owed(lost[0], old_ns) and not plan.owed(lost[0], old_ns - 1), "it may be on its way"
    assert not plan.owed(Printed(name, number - 1, exch_ns), old_ns), "it was captured"
    assert not plan.owed(Printed(name, number + 2, exch_ns), old_ns), "nobody said that it is missing"
    assert not plan.owed(Printed("another", number, exch_ns), old_ns)
    captured(plan, 5, 1020)
    assert plan.lacking(name, 4) and not plan.owed(Printed(name, 4, exch_ns), old_ns), "no gap tells of it yet"
    plan.closed(Gap(cause=Cause.SEQUENCE, instrument=name, from_ns=1001 * S, first_missing=2, last_missing=2))
    assert not plan.owed(lost[0], old_ns), "it was given up, and its gap says so"


def test_what_was_traded_before_the_first_capture_is_no_hole() -> None:
    """With every start there was one for each instrument that had traded in the ten seconds before."""
    plan = Plan(PATIENCE)
    plan.check(["option.ETH"], 990 * S, 1000 * S)
    captured(plan, 5, 1000)
    assert plan.ask(1050 * S, 1050 * S) is None
    plan.check(["option.ETH"], 1060 * S, 1060 * S)
    ask = plan.ask(1060 * S, 1060 * S)
    assert isinstance(ask, AskWindow)
    before = [Printed(name, 4, 1000 * S - 1) for name in NAMES]
    behind = [Printed(name, 6, 1000 * S + 1) for name in NAMES[:1]]
    plan.listed(ask, before + behind, False, 1060 * S)
    plan.reports()
    assert plan.missing == 1 and plan.checked_ns == 1060 * S
    assert plan.ask(1080 * S, 1080 * S) == AskRange(NAMES[0], 6, 6, Host.RECENT)


def test_where_nothing_was_captured_at_all_the_venue_is_asked_who_traded_since_the_start() -> None:
    """FEED-1: a channel may be mute from the beginning."""
    plan = Plan(PATIENCE)
    for now in (1000, 1060):
        plan.check(["option.ETH"], now * S, now * S)
    ask = plan.ask(1060 * S, 1060 * S)
    assert isinstance(ask, AskWindow)
    plan.listed(ask, [Printed(NAMES[0], 6, 1000 * S)], False, 1060 * S)
    assert plan.ask(1080 * S, 1080 * S) == AskRange(NAMES[0], 6, 6, Host.RECENT)


def test_while_a_connection_stays_lost_its_trades_are_published_from_the_list_of_each_check() -> None:
    """FEED-1: the beginning of its gap told of them; the end counts them."""
    plan = Plan(PATIENCE)
    captured(plan, 1, 1000)
    plan.gap(Gap(cause=Cause.DISCONNECT, from_ns=1001 * S, feed="feed-1"), markets_of, 1001 * S)
    lost = [Printed(name, 2, 1030 * S) for name in NAMES]
    plan.check(["option.ETH"], 1060 * S, 1071 * S)
    check = plan.ask(1071 * S, 1071 * S)
    assert isinstance(check, AskWindow)
    plan.listed(check, lost, False, 1071 * S)
    assert all(plan.owed(trade, 1071 * S) for trade in lost)
    assert not plan.owed(Printed(NAMES[0], 2, 999 * S), 1071 * S), "it was traded before that"
    for trade in lost:
        plan.fetched(trade.instrument, [(trade.number, trade.number)], trade.exch_ns)
    plan.reports()
    ended = Gap(cause=Cause.DISCONNECT, from_ns=1001 * S, to_ns=1080 * S, feed="feed-1")
    plan.gap(ended, markets_of, 1080 * S)
    ask = plan.ask(1091 * S, 1091 * S)
    assert isinstance(ask, AskWindow) and plan.ask(1100 * S, 1100 * S) is None
    plan.listed(ask, lost, False, 1091 * S)
    (end,) = plan.reports()
    assert end.healed and end.count == len(NAMES)


def test_a_gap_that_names_its_trades_needs_no_markets() -> None:
    """To know them is to read the assignment of every channel."""

    def unasked(feed: str) -> list[str]:
        raise AssertionError(f"the markets of {feed}")

    plan = Plan(PATIENCE)
    for kind, first in ((Kind.TRADE, 5), (Kind.QUOTE, 0), (Kind.BOOK, 7)):
        plan.gap(
            Gap(cause=Cause.SEQUENCE, kind=kind, instrument="A", from_ns=S, to_ns=2 * S, first_missing=first,
                last_missing=first, feed="feed-1"),
            unasked,
            0,
        )  # fmt: skip
    assert len(plan.cases) == 1


def test_memory_does_not_grow_with_the_holes_that_were_healed() -> None:
    """It did: each left a range behind in three places."""
    plan = Plan(PATIENCE)
    captured(plan, 1, 0)
    before = 0
    tracemalloc.start()
    for cycle in range(1, 81):
        now = 60 * cycle
        list_once(plan, lost_connection(plan, 2 * cycle, now))
        plan.check(["option.ETH"], (now + 20) * S, (now + 20) * S)
        plan.reports()
        check = plan.ask((now + 21) * S, (now + 21) * S)
        assert isinstance(check, AskWindow)
        plan.listed(check, [], False, (now + 21) * S)
        plan.reports()
        plan.saved()
        if cycle == 40:
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert not plan.cases
    assert grown < 8 * 40 * len(NAMES), f"{grown} bytes after 40 times {len(NAMES)} holes"  # a range is 16
