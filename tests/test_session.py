"""Sessions as histories: what happened, at what time, and what was done about it."""

from __future__ import annotations

import pytest

from session_case import BEGIN_NS, BOOK, INSTRUMENT, TICKER, TRADES, World
from tickbay.events import Event as LogEvent
from tickbay.feed.action import NS_PER_S
from tickbay.feed.channels import REFUSALS_MAX
from tickbay.feed.life import TABLE, Event
from tickbay.feed.subscription import Place
from tickbay.gap import Cause, Gap
from tickbay.record import FeedState, Kind

# -------------------------------------------------------------------- the tables


def test_the_table_answers_every_event_that_can_happen_in_a_state() -> None:
    outside = {  # what the session asks of itself in one state only, and what nobody can say of that state
        (FeedState.WAITING, Event.CONNECTED),
        (FeedState.WAITING, Event.FAULT),
        (FeedState.WAITING, Event.SETTLED),
        (FeedState.CONNECTING, Event.DUE),
        (FeedState.CONNECTING, Event.FAULT),
        (FeedState.CONNECTING, Event.SETTLED),
        (FeedState.SUBSCRIBING, Event.DUE),
        (FeedState.SUBSCRIBING, Event.CONNECTED),
        (FeedState.LIVE, Event.DUE),
        (FeedState.LIVE, Event.CONNECTED),
        (FeedState.LIVE, Event.SETTLED),
        (FeedState.STOPPING, Event.DUE),
        (FeedState.STOPPING, Event.FAULT),
        (FeedState.STOPPING, Event.SETTLED),
    }
    assert {(state, event) for state in FeedState for event in Event} == TABLE.keys() | outside
    assert not TABLE.keys() & outside


# -------------------------------------------------------------------- connecting


def test_a_session_without_channels_does_not_connect() -> None:
    world = World()
    world.sleep(5)
    assert world.connects == 0
    world.assign(TICKER)
    world.sleep(0.1)
    assert world.connects == 1


def test_a_connection_asks_for_heartbeats_first_and_then_for_every_channel() -> None:
    world = World()
    world.live(TICKER, BOOK, TRADES)
    assert [request["method"] for request in world.sent] == ["public/set_heartbeat", "public/subscribe"]
    assert world.sent[0]["params"] == {"interval": 10}
    assert world.requests("subscribe") == [[TICKER, BOOK, TRADES]]
    assert world.gaps == [], "the first start of a feed misses nothing"


def test_a_test_request_is_answered_with_public_test() -> None:
    world = World()
    world.live(TRADES)
    world.do(world.session.test_requested(world.at))
    assert world.sent[-1]["method"] == "public/test"
    world.answer()
    assert world.session.strays == 0


def test_waits_double_up_to_the_longest_and_go_on_for_ever() -> None:
    world = World(chance=1.0)
    world.assign(TRADES)
    waits: list[float] = []
    for _ in range(10):
        world.sleep(0.1)
        began = world.connects
        world.lose("refused")
        lost_ns = world.mono_ns
        while world.connects == began:
            world.sleep(0.1)
        waits.append((world.mono_ns - lost_ns) / NS_PER_S)
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60, 60], abs=0.11)
    assert len(world.gaps) == 1, "one hole, however often it was tried"


def test_a_connection_that_lived_well_is_forgiven_and_one_that_did_not_is_not() -> None:
    world = World()
    world.live(TRADES)
    for expected_s in (1, 1, 1):  # lives 6 s each time, far longer than the wait before
        world.sleep(6)
        world.lose()
        began, connects = world.mono_ns, world.connects
        while world.connects == connects:
            world.sleep(0.1)
        assert (world.mono_ns - began) / NS_PER_S == pytest.approx(expected_s, abs=0.11)
        world.connect()
        world.answer()
        world.sleep(0.2)
    for expected_s in (2, 4):  # lives a fifth of a second
        world.lose()
        began, connects = world.mono_ns, world.connects
        while world.connects == connects:
            world.sleep(0.1)
        assert (world.mono_ns - began) / NS_PER_S >= expected_s - 1.01
        world.connect()
        world.answer()
        world.sleep(0.2)
    assert world.session._losses >= 2


def test_too_many_connections_means_the_longest_wait_at_once() -> None:
    world = World()
    world.assign(TRADES)
    world.sleep(0.1)
    world.lose("HTTP 429", slow=True)
    world.sleep(59)
    assert world.connects == 1
    world.sleep(2)
    assert world.connects == 2


# -------------------------------------------------------------------- FEED-1: the feed's own hole


def test_a_lost_connection_is_a_hole_from_the_last_message_until_everything_is_back() -> None:
    world = World()
    world.live(TICKER, BOOK, TRADES)
    world.sleep(3, speaking=[(Kind.QUOTE, INSTRUMENT)])
    last_ns = world.heard.last
    world.sleep(2)
    world.lose("the venue closed: 1001 going away")
    opened = Gap(cause=Cause.DISCONNECT, from_ns=last_ns, detail="the venue closed: 1001 going away")
    assert world.gaps == [opened], "written when it is found, so that a crash cannot hide it"
    world.sleep(1.2)
    world.connect()
    world.answer()
    back_ns = world.wall_ns
    world.sleep(0.2)
    assert world.requests("subscribe")[-1] == [TICKER, BOOK, TRADES], "everything is asked for again"
    assert len(world.gaps) == 2
    assert (world.gaps[1].cause, world.gaps[1].from_ns) == (Cause.DISCONNECT, last_ns)
    assert back_ns <= world.gaps[1].to_ns <= back_ns + NS_PER_S // 5
    assert world.open_holes() == []
    assert world.session.outbox.gaps.total == 1
    assert world.session.reconnects == 1


def test_a_restart_is_a_hole_from_the_last_record_of_the_earlier_life() -> None:
    world = World(known_ns=BEGIN_NS - 90 * NS_PER_S)
    world.live(TICKER)
    assert [gap.cause for gap in world.gaps] == [Cause.RESTART, Cause.RESTART]
    assert {gap.from_ns for gap in world.gaps} == {BEGIN_NS - 90 * NS_PER_S}
    assert world.gaps[0].to_ns == 0
    assert world.gaps[1].to_ns >= BEGIN_NS


def test_holes_in_which_the_earlier_life_died_end_with_the_restarts() -> None:
    orphans = [
        Gap(cause=Cause.DISCONNECT, from_ns=BEGIN_NS - 95 * NS_PER_S, detail="x"),
        Gap(cause=Cause.REFUSED, from_ns=BEGIN_NS - 99 * NS_PER_S, kind=Kind.BOOK, instrument=INSTRUMENT),
    ]
    for known_ns in (BEGIN_NS - 90 * NS_PER_S, 0):  # 0: it died before it had captured anything
        world = World(known_ns=known_ns, orphans=orphans)
        world.live(TICKER)
        assert world.gaps[0].from_ns == (known_ns or BEGIN_NS - 99 * NS_PER_S)
        (end_ns,) = {gap.to_ns for gap in world.gaps[1:]}
        assert end_ns >= BEGIN_NS
        assert [(gap.cause, gap.from_ns) for gap in world.gaps[2:]] == [(gap.cause, gap.from_ns) for gap in orphans]
        assert world.session.outbox.gaps.total == 1, "the others were counted in their life"


def test_a_start_that_cannot_connect_is_a_hole_from_the_start_on() -> None:
    world = World()
    world.assign(TRADES)
    world.sleep(0.5)
    world.lose("refused")
    assert [(gap.cause, gap.from_ns) for gap in world.gaps] == [(Cause.DISCONNECT, BEGIN_NS)]


def test_a_second_loss_within_a_hole_is_the_same_hole() -> None:
    world = World()
    world.live(TICKER)
    for _ in range(3):
        world.sleep(1)
        world.lose()
        world.sleep(40)
        world.connect()  # lost again before the answer
    world.answer()
    world.sleep(0.2)
    assert len(world.gaps) == 2
    assert world.gaps[0].from_ns == world.gaps[1].from_ns


def test_a_silent_connection_is_closed_and_its_hole_says_stale() -> None:
    world = World(silent_s=15.0)
    world.live(TRADES)
    last_ns = world.wall_ns
    world.sleep(14.7, silent=True)
    assert world.closes == []
    world.sleep(0.5, silent=True)
    assert len(world.closes) == 1
    assert world.session.state is FeedState.WAITING
    assert world.gaps[0].cause is Cause.STALE
    assert world.gaps[0].from_ns <= last_ns, "GAP-1"
    world.lose()  # its end is told later: it is known already
    assert len(world.gaps) == 1


def test_time_in_which_we_stood_still_ourselves_is_not_silence_of_the_venue() -> None:
    world = World(silent_s=15.0, stale_s=10.0)
    world.live(TICKER)
    world.mono_ns += 300 * NS_PER_S  # suspended: what came meanwhile waits in the socket
    world.wall_ns += 300 * NS_PER_S
    world.do(world.session.tick(world.at))
    assert world.closes == []
    assert world.place(TICKER) is Place.LIVE


def test_a_feed_hole_ends_though_one_channel_is_refused_and_that_one_has_its_own() -> None:
    world = World()
    world.live(TICKER, BOOK, TRADES)
    world.sleep(2, speaking=[(Kind.QUOTE, INSTRUMENT)])
    last_ns = world.heard.last
    world.lose()
    world.sleep(1.2)
    world.connect()
    world.answer(refuse=lambda name: name == BOOK)
    world.sleep(0.2)
    assert [gap.cause for gap in world.gaps] == [Cause.DISCONNECT, Cause.DISCONNECT]
    assert world.gaps[1].to_ns, "the others are whole"
    for _ in range(REFUSALS_MAX):
        world.sleep(8)
        world.answer(refuse=lambda name: name == BOOK)
    (own,) = world.open_holes()
    assert (own.cause, own.kind, own.instrument) == (Cause.REFUSED, Kind.BOOK, INSTRUMENT)
    assert own.from_ns == last_ns, "GAP-1: it is missing since the connection was lost"


def test_the_table_of_a_stopping_session_does_nothing_but_close() -> None:
    world = World()
    world.live(TICKER)
    world.do(world.session.stop(world.at))
    assert len(world.closes) == 1
    world.lose()
    world.sleep(100)
    assert (world.connects, world.gaps) == (1, [])


# -------------------------------------------------------------------- errors with a branch


def test_10028_cools_down_and_asks_nothing_until_the_pool_is_full() -> None:
    world = World()
    world.assign(TRADES)
    world.connect()
    world.answer(error=10028)
    assert LogEvent.SESSION_HASTY in world.events()
    world.sleep(2.9)
    assert len(world.requests("subscribe")) == 1
    world.lose("the venue closed: 1000")  # as announced
    world.sleep(1.5)
    world.connect()
    world.answer()
    assert world.session.channels.live() == 1


def test_11051_is_an_expected_hole_and_a_slow_return() -> None:
    world = World()
    world.live(TRADES)
    world.lose()
    world.sleep(1.2)
    world.connect()
    world.answer(error=11051)
    assert world.closes == ["11051 as asked by the test"]
    causes = [(gap.cause, gap.expected, bool(gap.to_ns)) for gap in world.gaps]
    assert causes == [
        (Cause.DISCONNECT, False, False),
        (Cause.DISCONNECT, False, True),
        (Cause.MAINTENANCE, True, False),
    ]
    assert world.gaps[2].from_ns == world.gaps[1].to_ns, "one hole follows the other without a hole between"
    connects = world.connects
    world.sleep(59)
    assert world.connects == connects
    world.sleep(2)
    world.connect()
    world.answer()
    assert world.gaps[-1].cause is Cause.MAINTENANCE
    assert world.open_holes() == []


def test_11056_waits_long_and_is_a_refusal() -> None:
    world = World()
    world.live(TRADES)
    world.lose()
    world.sleep(1.2)
    world.connect()
    world.answer(error=11056)
    assert world.session.state is FeedState.WAITING
    world.sleep(59)
    assert world.connects == 2


def test_13778_takes_the_throttled_channels_instead() -> None:
    world = World()
    raw = [name.replace("100ms", "raw") for name in (TICKER, BOOK)]
    world.assign(*raw, TRADES)
    world.connect()
    world.answer(error=13778)
    world.sleep(0.2)
    world.answer()
    world.sleep(0.2)
    assert sorted(world.requests("subscribe")[-1]) == sorted([TICKER, BOOK, TRADES])
    assert world.session.channels.live() == 3
    assert world.gaps == []
    assert world.events().count(LogEvent.RAW_REFUSED) == 1
    world.assign(*raw)
    assert world.session.channels.live() == 2, "the same channels, by the names that we have them under"
