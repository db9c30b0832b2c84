"""The healer's decisions: histories of captures, gaps, deaths and answers, against a venue that knows every trade."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tickbay.gap import Cause, Gap
from tickbay.healer.case import Host
from tickbay.healer.plan import Ask, AskRange, AskWindow, Patience, Plan
from tickbay.record import Kind
from tickbay.venues.venue import Printed

S = 10**9
NAMES = ("A", "B")
PAGE = 3
DAY = 86_400
PATIENCE = Patience(settle_ns=2 * S, recent_ns=DAY * S, tries_max=3, history=True, wait_ns=lambda _failures: S)


def markets_of(_feed: str) -> list[str]:
    return ["any"]


class World:
    """Two instruments that trade once a second each, a feed that captures or not, and a healer that may die."""

    def __init__(self) -> None:
        self.now = 1000  # seconds, of every clock
        self.traded: dict[str, list[int]] = {name: [] for name in NAMES}  # seconds; the n-th trade is number n + 1
        self.captured: dict[str, set[int]] = {name: set() for name in NAMES}
        self.published: list[tuple[str, int]] = []
        self.gone: set[tuple[str, int]] = set()
        self.records: list[Gap] = []  # of the feed
        self.told: list[Gap] = []  # by the healer
        self.hole_since = 0
        self.came_late = False
        self.memory: bytes | None = None
        self.saved = (0, 0, 0, 0)  # how much of captured, published, records, told the memory knows
        self.log: list[tuple[str, int, int]] = []  # what was captured: name, number, second
        self.plan = Plan(PATIENCE)
        self.pending: Ask | None = None

    def trade(self, name: str, *, live: bool) -> None:
        self.now += 1  # more of one millisecond than a page holds are not found by time: the next trade tells
        self.traded[name].append(self.now)
        number = len(self.traded[name])
        if live and not self.hole_since:
            self.captured[name].add(number)
            self.log.append((name, number, self.now))
            self.take(self.log[-1])

    def take(self, entry: tuple[str, int, int]) -> None:
        name, number, second = entry
        self.plan.captured(name, [(number, number)], from_ns=second * S, to_ns=second * S, mono_ns=self.now * S)

    def cut(self) -> None:
        self.now += 1  # two holes never begin at once
        self.hole_since = self.hole_since or self.now
        self.tell_hole(0)

    def mend(self) -> None:
        if self.hole_since:
            self.records.append(self.tell_hole(self.now))
            self.hole_since = 0

    def tell_hole(self, to: int) -> Gap:
        gap = Gap(cause=Cause.DISCONNECT, from_ns=self.hole_since * S, to_ns=to * S, feed="feed-1")
        self.plan.gap(gap, markets_of, self.now * S)
        return gap

    def pass_time(self) -> None:
        self.now += 1

    def pass_days(self) -> None:
        """The venue's own host has nothing any more of what was. No answer takes so long."""
        self.now += 0 if self.pending else 3 * DAY

    def save(self) -> None:
        self.memory = orjson.dumps(self.plan.said())
        self.saved = len(self.log), len(self.published), len(self.records), len(self.told)
        self.plan.saved()

    def die(self) -> None:
        """kill -9: all that is known is the memory, and the streams behind it."""
        self.plan, self.pending = Plan(PATIENCE), None
        if self.memory is not None:
            self.plan.remember(orjson.loads(self.memory), self.now * S)
        log, published, records, told = self.saved
        for name, number in self.published[published:]:
            self.plan.fetched(name, [(number, number)], self.traded[name][number - 1] * S)
        for gap in self.told[told:]:
            if gap.to_ns:
                self.plan.closed(gap)
            else:
                self.plan.reopened(gap, self.now * S, self.now * S)
        for entry in self.log[log:]:
            self.take(entry)
        for gap in self.records[records:]:
            self.plan.gap(gap, markets_of, self.now * S)
        if self.hole_since:
            self.tell_hole(0)

    def check(self) -> None:
        self.plan.check(["any"], (self.now - 3) * S, self.now * S)

    def answer(self, *, down: bool = False) -> bool:
        """One question and what comes of it; False where there is none."""
        ask, self.pending = self.pending or self.next(), None
        if ask is None:
            self.told += self.plan.reports()
            return False
        if down:
            self.plan.down(ask, self.now * S)
        elif isinstance(ask, AskWindow):
            self.list(ask)
        else:
            self.fetch(ask)
        self.told += self.plan.reports()
        return True

    def ask(self) -> None:
        """A question whose answer takes its time."""
        self.now += 3
        self.pending = self.pending or self.next()

    def next(self) -> Ask | None:
        return self.plan.ask(self.now * S, self.now * S)

    def late(self) -> None:
        """A trade that seemed lost comes by itself."""
        for name in NAMES:
            for number in range(1, len(self.traded[name])):
                if number not in self.captured[name] and (name, number) not in self.published:
                    self.came_late = True
                    self.captured[name].add(number)
                    self.log.append((name, number, self.now))
                    self.take(self.log[-1])
                    return

    def list(self, ask: AskWindow) -> None:
        if ask.window.market == "any":
            self.plan.split(ask, NAMES)
            return
        if ask.window.host is Host.RECENT and ask.window.from_ns < (self.now - DAY) * S:
            self.plan.listed(ask, (), False, self.now * S)  # that is what the venue says, also of what it has
            return
        found = sorted(
            (Printed(name, number, second * S)
            for name, seconds in self.traded.items()
            for number, second in enumerate(seconds, 1)
            if ask.window.market in (name, "X") and (name, number) not in self.gone
            and ask.window.from_ns <= second * S <= ask.window.to_ns),
            key=lambda each: each.exch_ns,
        )  # fmt: skip
        self.plan.listed(ask, found[:PAGE], len(found) > PAGE, self.now * S)
        for each in found[:PAGE]:
            if self.plan.owed(each, self.now * S):
                self.publish(each.instrument, each.number)

    def publish(self, name: str, number: int) -> None:
        self.published.append((name, number))
        self.plan.fetched(name, [(number, number)], self.traded[name][number - 1] * S)

    def fetch(self, ask: AskRange) -> None:
        there = range(ask.first, min(ask.last, len(self.traded[ask.instrument])) + 1)
        held = [number for number in there if (ask.instrument, number) not in self.gone]
        if ask.host is Host.RECENT:
            seconds = self.traded[ask.instrument]  # the other half is only in the history
            held = [number for number in held if number % 2 and seconds[number - 1] > self.now - DAY]
        for number in held[:PAGE]:
            if self.plan.lacking(ask.instrument, number):
                self.publish(ask.instrument, number)
        self.plan.answered(ask, held[:PAGE], len(held) > PAGE, self.now * S)

    def settle(self) -> None:
        self.mend()
        self.rest()

    def rest(self) -> None:
        for _ in range(150):  # each even trade takes two hosts in turn
            self.now += 3
            self.check()
            for _ in range(200):
                if not self.answer():
                    break
            self.now += 2


STEPS: dict[str, Any] = {
    "live A": lambda world: world.trade("A", live=True),
    "live B": lambda world: world.trade("B", live=True),
    "lost A": lambda world: world.trade("A", live=False),
    "lost B": lambda world: world.trade("B", live=False),
    "cut": World.cut, "mend": World.mend, "pass": World.pass_time, "days": World.pass_days,
    "save": World.save, "die": World.die,
    "check": World.check, "ask": World.ask, "late": World.late, "answer": World.answer,
    "down": lambda world: world.answer(down=True),
}  # fmt: skip

# What must come together to be a danger, which chance alone would seldom bring together.
LOST = ("live A", "lost A", "live A", "ask")
TALES = {
    "late answer": (*LOST, "late", "answer"),
    "death behind it": (*LOST, "answer", "die"),
    "death before": (*LOST, "die"),
    "quiet days": ("check", *["answer"] * 9, "days", "check", *["answer"] * 9),
}


def was_told(world: World, name: str, number: int) -> bool:
    """FEED-1: that it was missing, by its number or by the time."""
    traded_ns = world.traded[name][number - 1] * S
    return any(gap.instrument == name and gap.first_missing <= number <= gap.last_missing for gap in world.told) or any(
        gap.from_ns - S <= traded_ns <= gap.to_ns + S for gap in world.records
    )


# Each was wrong once: what was published before a death was asked for once more; a hole told before one had no course;
# its own tries counted for the next hole; an end that was told was told again; a hole was taken for one of a later gap.
@example(["lost B", "quiet days", "late answer", "ask", "save", "answer", "death before"], set())
@example(["lost B", "quiet days", "death behind it"], set())
@example(["death before", "death behind it", "death before"], set())
@example(["live A", "death before", "death before", "quiet days", "ask", "answer", "late"], {("A", 4)})
@example(["death before", "cut"], set())
@example(["death behind it", "late answer", "lost A", *["quiet days", "death behind it", "ask"] * 2], {("A", 8)})
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(sorted([*STEPS, *TALES])), max_size=60),
    st.sets(st.tuples(st.sampled_from(NAMES), st.integers(1, 9)), max_size=4),
)
def test_whatever_happens_every_trade_is_there_once_and_every_gap_is_ended(
    steps: list[str], gone: set[tuple[str, int]]
) -> None:
    """HEAL-1, HEAL-2."""
    world = World()
    world.gone = gone
    world.trade("A", live=True)
    for name in steps:
        for step in TALES.get(name, (name,)):
            STEPS[step](world)
    world.pass_time()
    world.settle()
    assert len(world.published) == len(set(world.published)), "published twice"
    for name in NAMES:
        fetched = {number for each, number in world.published if each == name}
        assert not fetched & world.captured[name], "published though it was captured"
        lost = set(range(1, len(world.traded[name]) + 1)) - fetched - world.captured[name]
        assert lost <= {number for each, number in gone if each == name}
    assert all(was_told(world, name, number) for name, number in world.published), "fetched, and nobody told of it"
    open_gaps = [gap for gap in world.told if gap.to_ns == 0]
    ends = [gap for gap in world.told if gap.to_ns]
    assert not world.plan.cases
    assert all(gap.from_ns <= gap.to_ns for gap in ends)
    for gap in [*world.records, *open_gaps]:
        (end,) = [
            each
            for each in ends
            if (each.feed, each.cause, each.instrument, each.from_ns, each.first_missing)
            == (gap.feed, gap.cause, gap.instrument, gap.from_ns, gap.first_missing)
        ]
        assert end.kind is Kind.TRADE and end.to_ns >= gap.to_ns
        for number in range(gap.first_missing, gap.last_missing + 1 if gap.first_missing else 0):
            traded_ns = world.traded[gap.instrument][number - 1] * S  # what came late gives no order to what it passed
            assert world.came_late or gap.from_ns - S <= traded_ns <= end.to_ns + S, "GAP-1"
        assert end.healed or gone, end


def test_a_trade_that_may_be_on_its_way_is_not_called_missing_before_the_next_check() -> None:
    """HEAL-1, GAP-1."""
    world = World()
    world.trade("A", live=True)
    world.now += 10
    world.trade("A", live=False)
    world.check()
    world.now += 5
    while world.answer():
        pass
    assert world.published == [] == world.told
    world.settle()
    assert world.published == [("A", 2)]
    begun, ended = world.told
    assert begun.to_ns == 0 and begun.from_ns <= world.traded["A"][1] * S <= ended.to_ns and ended.healed


def test_a_refused_list_is_asked_again_and_then_given_up_with_its_reason() -> None:
    world = World()
    world.trade("A", live=True)
    world.cut()
    world.pass_time()
    world.mend()
    for _ in range(3):
        world.now += 5
        ask = world.next()
        assert ask is not None
        world.plan.refused(ask, "no such currency", world.now * S)
    (end,) = world.plan.reports()
    assert not end.healed and end.detail == "not healed: no such currency"


def test_a_check_that_was_refused_in_part_confirms_nothing_and_is_begun_again_from_where_the_last_one_ended() -> None:
    """A certificate relies on what was checked."""
    world = World()
    world.trade("A", live=True)
    world.check()
    world.settle()
    confirmed = world.plan.checked_ns
    world.trade("B", live=False)
    world.now += 10
    world.plan.check(["X", "Y"], world.now * S, world.now * S)
    refusals = 0
    while (ask := world.next()) is not None or world.plan.cases:
        world.now += 5
        if isinstance(ask, AskWindow) and ask.window.market == "Y":
            world.plan.refused(ask, "no such currency", world.now * S)
            refusals += 1
        elif isinstance(ask, AskWindow):
            world.list(ask)
        elif ask is not None:
            world.fetch(ask)
        world.told += world.plan.reports()
    assert refusals == PATIENCE.tries_max
    assert world.published == [("B", 1)], "what the other market told counts"
    assert world.plan.checked_ns == confirmed
    world.plan.check(["X", "Y"], world.now * S, world.now * S)
    (case,) = world.plan.cases
    assert case.gap.from_ns == confirmed and {window.market for window in case.windows} == {"X", "Y"}


def days_of_quiet(world: World) -> None:
    """Long enough for what was traded before to be forgotten, unless there is a reason not to."""
    for _ in range(3):
        world.rest()
        world.pass_days()


def test_an_instrument_that_rests_for_days_is_forgotten_and_healed_again_when_it_trades() -> None:
    """HEAL-1. The memory does not grow with every instrument that ever traded."""
    world = World()
    for _ in range(3):
        world.trade("A", live=True)
        world.trade("B", live=True)
    days_of_quiet(world)
    world.trade("B", live=True)
    world.settle()
    assert set(world.plan.courses) == {"B"} and world.told == []
    world.save()
    world.die()
    world.trade("A", live=False)
    world.trade("A", live=True)
    world.trade("A", live=False)
    world.settle()
    assert sorted(world.published) == [("A", 4), ("A", 6)]
    assert sum(gap.count for gap in world.told if gap.healed) == 2


def test_nothing_that_was_traded_in_a_hole_that_lasts_is_forgotten() -> None:
    """HEAL-1: its end will ask who traded in it, and what is forgotten would seem to be missing."""
    world = World()
    world.trade("A", live=True)
    world.cut()
    world.trade("A", live=False)
    world.hole_since, since = 0, world.hole_since
    world.trade("A", live=True)  # of another feed
    world.hole_since = since
    days_of_quiet(world)
    assert world.published == [("A", 2)] and set(world.plan.courses) == {"A"}
    world.save()
    world.die()
    world.settle()
    assert world.published == [("A", 2)] and not world.plan.cases
    days_of_quiet(world)
    assert world.plan.courses == {}, "the hole is over"


def test_a_short_gap_of_long_ago_is_asked_of_the_history_and_not_healed_where_there_is_none() -> None:
    """The venue's own host answers with nothing, as if nobody had traded."""
    for history in (True, False):
        world = World()
        world.plan = Plan(replace(PATIENCE, history=history))
        world.trade("A", live=True)
        world.cut()
        world.trade("A", live=False)
        world.mend()
        world.pass_days()
        ask = world.next()
        assert (isinstance(ask, AskWindow) and ask.window.host is Host.HISTORY) if history else ask is None
        world.pending = ask
        for _ in range(9):
            world.now += 3
            world.answer()
        (end,) = world.told
        assert world.published == ([("A", 2)] if history else [])
        older = "not healed: older than heal.recent_hours, no heal.history_url"
        assert len(older) < 64, "of the record's field"
        assert (end.healed, end.detail) == ((True, "1 trades fetched") if history else (False, older))


def test_a_gap_that_began_before_what_the_recent_host_has_is_asked_of_each_host_for_its_part() -> None:
    world = World()
    world.trade("A", live=True)
    world.cut()
    world.now += DAY
    world.mend()
    world.now += DAY // 2
    asked = [world.next(), world.next()]
    windows = [ask.window for ask in asked if isinstance(ask, AskWindow)]
    recent, old = sorted(windows, key=lambda window: -window.from_ns)
    assert (recent.host, old.host) == (Host.RECENT, Host.HISTORY)
    assert recent.from_ns > (world.now - DAY) * S and old.to_ns >= recent.from_ns


def test_after_records_that_the_journal_deleted_nothing_older_is_called_missing() -> None:
    world = World()
    world.trade("A", live=True)
    world.plan.forget(world.now * S + S)
    world.now += 10
    world.traded["A"] += [world.now] * 2
    world.trade("A", live=True)
    world.settle()
    assert sorted(world.published) == [("A", 2), ("A", 3)], "of what came after that, all; of what was before, nothing"
