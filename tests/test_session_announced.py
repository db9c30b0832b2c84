"""What the venue announced changes what a session makes of silence, refusals and lost connections. Pure."""

from __future__ import annotations

from session_case import BOOK, INSTRUMENT, TICKER, TRADES, World
from tickbay.feed.subscription import Place
from tickbay.gap import Cause
from tickbay.record import FeedState, Kind

SPOKEN = (Kind.QUOTE, INSTRUMENT)
OTHER = "ticker.BTC-1JAN27-90000-C.100ms"
LATER_S = 12.0  # longer than a ticker may be silent


def announce(world: World, *paused: str, maintenance: bool = False) -> None:
    maintenance_ns = world.wall_ns if maintenance else 0
    world.do(world.session.announced(frozenset(paused), maintenance_ns, world.at))


def test_a_paused_ticker_has_an_expected_gap_and_is_not_asked_for_again() -> None:
    world = World()
    world.live(TICKER, OTHER)
    announce(world, TICKER)
    world.sleep(LATER_S, speaking=[(Kind.QUOTE, "BTC-1JAN27-90000-C")])
    assert [(gap.cause, gap.expected, gap.instrument) for gap in world.open_holes()] == [
        (Cause.MAINTENANCE, True, INSTRUMENT)
    ]
    assert world.requests("unsubscribe") == [] and world.session.channels.resyncs == 0
    announce(world)
    world.sleep(1, speaking=[SPOKEN, (Kind.QUOTE, "BTC-1JAN27-90000-C")])
    assert world.open_holes() == [] and world.place(TICKER) is Place.LIVE
    assert [gap.to_ns > gap.from_ns for gap in world.gaps] == [False, True]


def test_a_channel_that_is_to_speak_again_gets_the_time_to() -> None:
    world = World()
    world.live(TICKER)
    announce(world, TICKER)
    world.sleep(LATER_S)
    announce(world)
    world.sleep(5)
    assert world.requests("unsubscribe") == [], "it was unlocked five seconds ago"
    world.sleep(LATER_S)
    assert world.requests("unsubscribe") == [[TICKER]], "it should have spoken by now"


def test_a_paused_channel_that_is_refused_is_asked_for_slowly_and_with_an_expected_gap() -> None:
    world = World(backoff_min_s=0.1, backoff_max_s=60)
    world.live(TICKER)
    world.lose()
    announce(world, TICKER)
    world.sleep(2)
    world.connect()
    world.answer(refuse=lambda name: name == TICKER)
    asked = len(world.requests("subscribe"))
    world.sleep(30)
    world.answer(refuse=lambda name: name == TICKER)
    assert len(world.requests("subscribe")) == asked, "no storm while it is locked"
    assert (Cause.MAINTENANCE, True) in {(gap.cause, gap.expected) for gap in world.open_holes()}
    assert world.session.state is FeedState.LIVE


def test_a_connection_that_is_cut_after_maintenance_was_announced_has_an_expected_gap_and_comes_back_slowly() -> None:
    world = World(backoff_min_s=0.1, backoff_max_s=60)
    world.live(TICKER)
    announce(world, maintenance=True)
    world.lose("the venue closed: 1001 maintenance")
    (hole,) = world.open_holes()
    assert (hole.cause, hole.expected) == (Cause.MAINTENANCE, True)
    connects = world.connects
    world.sleep(50, silent=True)
    assert world.connects == connects
    announce(world)
    world.sleep(0.2, silent=True)
    assert world.connects == connects + 1, "it is over: no reason to wait"


def test_a_cut_of_which_the_announcement_comes_later_is_explained_from_its_beginning() -> None:
    """GAP-1"""
    world = World()
    world.live(TICKER)
    world.lose("the venue closed: 1001 maintenance")
    (before,) = world.open_holes()
    assert (before.cause, before.expected) == (Cause.DISCONNECT, False)
    world.sleep(0.3, silent=True)
    announce(world, maintenance=True)
    (hole,) = world.open_holes()
    assert (hole.cause, hole.expected, hole.from_ns) == (Cause.MAINTENANCE, True, before.from_ns)
    ended = [gap for gap in world.gaps if gap.cause is Cause.DISCONNECT and gap.to_ns]
    assert [gap.to_ns - gap.from_ns for gap in ended] == [0], "nothing of it is left unexplained"


def test_a_connection_that_was_lost_long_before_maintenance_stays_lost_for_another_reason() -> None:
    world = World(backoff_min_s=60, backoff_max_s=60)
    world.live(TICKER)
    world.lose()
    world.sleep(20, silent=True)
    announce(world, maintenance=True)
    (hole,) = world.open_holes()
    assert (hole.cause, hole.expected) == (Cause.DISCONNECT, False)


def test_maintenance_that_is_over_explains_no_later_cut() -> None:
    world = World()
    world.live(TICKER)
    announce(world, maintenance=True)
    world.lose()
    world.sleep(70, silent=True)
    world.connect()
    world.answer()
    world.sleep(1, speaking=[SPOKEN])
    assert world.session.state is FeedState.LIVE
    world.lose("the connection broke")
    assert [gap.cause for gap in world.open_holes()] == [Cause.DISCONNECT]


def test_during_settlement_requests_are_made_again_a_little_later_and_nobody_is_blamed() -> None:
    world = World(backoff_min_s=1)
    world.assign(TICKER, BOOK, TRADES)
    world.connect()
    world.answer(error=10041)
    assert world.closes == [] and {world.place(name) for name in (TICKER, BOOK, TRADES)} == {Place.QUEUED}
    asked = len(world.requests("subscribe"))
    world.sleep(0.5)
    assert len(world.requests("subscribe")) == asked
    world.sleep(1)
    world.answer()
    world.sleep(0.2)
    assert world.session.state is FeedState.LIVE
    assert world.session.channels.refusals == 0 and world.gaps == []


def test_a_heartbeat_that_is_refused_during_settlement_is_asked_for_again() -> None:
    world = World(backoff_min_s=1)
    world.assign(TICKER)
    world.connect()
    first = next(request for request in world.sent if request["method"] == "public/set_heartbeat")
    world.reply(first["id"], error={"code": 10041, "message": "settlement_in_progress"})
    world.sleep(2)
    assert len([request for request in world.sent if request["method"] == "public/set_heartbeat"]) == 2
    assert world.closes == []
