"""clock.py: how far our clock is from the venue's, and whether it was set; two clocks and a line between them."""

from __future__ import annotations

import random

import pytest

from session_case import TRADES, World
from tickbay.events import Event
from tickbay.feed.action import NS_PER_S, Moment, Outbox
from tickbay.feed.clock import SAMPLE_S_MAX, SAMPLES, Offset, StepWatch, VenueClock

MS = 1_000_000
BEGIN = Moment(5 * NS_PER_S, 1_700_000_000 * NS_PER_S)


def later(at: Moment, ns: int) -> Moment:
    return Moment(at.mono_ns + ns, at.wall_ns + ns)


def answer(clock: VenueClock, at: Moment, *, offset_ns: int, there_ns: int, back_ns: int, work_ns: int = MS) -> Moment:
    """One request and its answer over a line that is `there_ns` and `back_ns` long."""
    came_ns = at.wall_ns + there_ns + offset_ns
    heard = later(at, there_ns + work_ns + back_ns)
    clock.answered(at, heard, came_ns, came_ns + work_ns)
    return heard


def test_over_a_line_that_is_as_long_both_ways_the_offset_is_exact() -> None:
    clock = VenueClock(Outbox(), off_ns=100 * MS)
    heard = answer(clock, BEGIN, offset_ns=-250 * MS, there_ns=20 * MS, back_ns=20 * MS)
    found = clock.offset(heard.mono_ns)
    assert found is not None and found.offset_ns == -250 * MS
    assert 20 * MS <= found.error_ns <= 21 * MS


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_line_the_true_offset_lies_within_the_bound(seed: int) -> None:
    chance = random.Random(seed)
    clock, at, offset_ns = VenueClock(Outbox(), off_ns=100 * MS), BEGIN, chance.randrange(-(10**12), 10**12)
    for _ in range(50):
        there_ns, back_ns = (int(chance.lognormvariate(16, 1.5)) for _ in range(2))
        heard = answer(clock, at, offset_ns=offset_ns, there_ns=there_ns, back_ns=back_ns, work_ns=chance.randrange(MS))
        found = clock.offset(heard.mono_ns)
        assert found is not None and abs(found.offset_ns - offset_ns) <= found.error_ns
        at = later(heard, 10 * NS_PER_S)


def test_the_answer_with_the_shortest_way_is_believed_until_eight_newer_ones_came() -> None:
    clock, at = VenueClock(Outbox(), off_ns=100 * MS), BEGIN
    at = answer(clock, at, offset_ns=7 * MS, there_ns=MS, back_ns=MS)
    for number in range(SAMPLES):
        found = clock.offset(at.mono_ns)
        assert found is not None and found.offset_ns == 7 * MS, number
        at = answer(clock, later(at, NS_PER_S), offset_ns=7 * MS, there_ns=90 * MS, back_ns=10 * MS)
    found = clock.offset(at.mono_ns)
    assert found is not None and found.offset_ns == 47 * MS and found.error_ns >= 50 * MS


def test_the_bound_grows_with_age_and_an_old_answer_says_nothing() -> None:
    clock = VenueClock(Outbox(), off_ns=100 * MS)
    heard = answer(clock, BEGIN, offset_ns=0, there_ns=MS, back_ns=MS)
    fresh, old = clock.offset(heard.mono_ns), clock.offset(heard.mono_ns + 600 * NS_PER_S)
    assert fresh is not None and old is not None and old.error_ns - fresh.error_ns == 9 * MS
    assert clock.offset(heard.mono_ns + int((SAMPLE_S_MAX + 1) * NS_PER_S)) is None


def test_an_answer_that_cannot_be_is_not_believed() -> None:
    clock = VenueClock(Outbox(), off_ns=100 * MS)
    heard = later(BEGIN, 10 * MS)
    clock.answered(BEGIN, heard, 0, 0)  # it does not tell
    clock.answered(BEGIN, heard, 50, 20)  # it went before it came
    clock.answered(BEGIN, heard, BEGIN.wall_ns, BEGIN.wall_ns + 11 * MS)  # it worked for longer than we waited
    clock.answered(
        BEGIN, Moment(heard.mono_ns, heard.wall_ns + 5 * MS), BEGIN.wall_ns, BEGIN.wall_ns + MS
    )  # ours was set
    assert clock.offset(heard.mono_ns) is None


def test_only_what_is_certainly_beyond_the_limit_exceeds_it() -> None:
    assert Offset(150 * MS, 49 * MS).exceeds(100 * MS) and Offset(-150 * MS, 49 * MS).exceeds(100 * MS)
    assert not Offset(150 * MS, 51 * MS).exceeds(100 * MS) and not Offset(-150 * MS, 51 * MS).exceeds(100 * MS)


def test_a_step_of_the_clock_is_seen_once_and_a_slow_correction_or_a_sleep_is_none() -> None:
    watch, boot = StepWatch(), 10**12
    assert watch.step_ns(10**18, boot) == 0, "nothing is known before the first look"
    assert watch.step_ns(10**18 + 30 * NS_PER_S, boot + 30 * NS_PER_S) == 0, "asleep: both clocks went on"
    assert watch.step_ns(10**18 + 31 * NS_PER_S + 90 * MS, boot + 31 * NS_PER_S) == 0, "slewed"
    assert watch.step_ns(10**18 + 32 * NS_PER_S - 110 * MS, boot + 32 * NS_PER_S) == -200 * MS
    assert watch.step_ns(10**18 + 33 * NS_PER_S - 110 * MS, boot + 33 * NS_PER_S) == 0, "told once"


def say(world: World, offset_us: int) -> None:
    """The venue answers the last request, its clock ahead by so much; there and back takes 40 ms."""
    sent_us = world.wall_ns // 1000
    world.wall_ns += 40 * MS
    world.mono_ns += 40 * MS
    middle = sent_us + 20_000 + offset_us
    world.reply(world.sent[-1]["id"], result="ok", usIn=middle - 1000, usOut=middle + 1000)


def told(world: World) -> list[Event]:
    clock = {Event.CLOCK_OFF, Event.CLOCK_RIGHT, Event.CLOCK_STEPPED}
    return [action.event for action in world.told if action.event in clock]


def test_a_clock_that_is_off_is_told_once_and_when_it_is_right_again() -> None:
    world = World()
    world.assign(TRADES)
    world.connect()
    say(world, 119_000)  # ± 20 ms: perhaps not
    assert told(world) == []
    for _ in range(2):
        world.do(world.session.test_requested(world.at))
        say(world, 125_000)
    offset = world.session.clock.offset(world.mono_ns)
    assert offset is not None
    for _ in range(SAMPLES):
        world.do(world.session.test_requested(world.at))
        say(world, 0)
    assert told(world) == [Event.CLOCK_OFF, Event.CLOCK_RIGHT]


def test_after_a_step_the_offset_is_not_known_until_the_next_answer() -> None:
    world = World()
    world.assign(TRADES)
    world.connect()
    say(world, 0)
    assert world.session.clock.offset(world.mono_ns) is not None
    world.do(world.session.clock_stepped(-3 * NS_PER_S, world.at))
    assert told(world) == [Event.CLOCK_STEPPED] and world.session.clock.offset(world.mono_ns) is None
