"""Any history of a session: whatever happened, at the end everything asked for is live and every hole has ended."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from session_case import TRADES, World
from tickbay.feed.action import NS_PER_S
from tickbay.feed.subscription import Place
from tickbay.record import FeedState, Kind

CHANNELS = [TRADES, *(f"{kind}.ETH-1JAN27-{n}-C.100ms" for kind in ("ticker", "book") for n in range(4))]

STAYS_S = 60  # longer than any patience of a session's

steps = st.one_of(
    st.tuples(st.just("sleep"), st.floats(0.1, 12.0)),
    st.tuples(st.just("answer"), st.sets(st.sampled_from(CHANNELS), max_size=3)),
    st.tuples(st.just("error"), st.sampled_from([10028, 11051, 11056, -32602, -32600, 10041])),
    st.tuples(st.just("lose"), st.booleans()),
    st.tuples(st.just("assign"), st.sets(st.sampled_from(CHANNELS))),
    st.tuples(st.just("break"), st.integers(0, 3)),
    st.tuples(st.just("test"), st.none()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=30), st.floats(0.0, 1.0))
def test_after_any_history_everything_asked_for_is_live_and_every_hole_has_ended(
    history: list[tuple[str, object]], chance: float
) -> None:
    world = World(chance=chance, channels_per_call=3, stale_s=5.0)
    world.assign(*CHANNELS)
    wanted = set(CHANNELS)
    for step, value in history:
        if step == "assign":
            assert isinstance(value, set)
            wanted = value
        play(world, step, value)
        check(world)
    settled_s = 0
    for _ in range(300):  # a venue that behaves again
        if world.session.state is FeedState.CONNECTING:
            world.heard.times.clear()
            world.do(world.session.connected(world.at))
        world.answer()
        world.sleep(1, speaking=speaking(world))
        check(world)
        settled_s = settled_s + 1 if world.session.channels.live() == len(wanted) and not world.open_holes() else 0
        if settled_s == STAYS_S:
            break
    assert world.session.channels.live() == len(wanted)
    assert world.session.channels.subscriptions.keys() == wanted
    assert world.open_holes() == []


def speaking(world: World) -> list[tuple[Kind, str]]:
    return [
        (s.channel.kind, s.channel.instrument)
        for s in world.session.channels.subscriptions.values()
        if s.place in (Place.AWAITED, Place.LIVE) and s.channel.kind is not Kind.TRADE
    ]


def play(world: World, step: str, value: object) -> None:
    match step, value:
        case "sleep", float(seconds):
            world.sleep(round(seconds, 1))
        case "answer", set() as refused:
            world.answer(refuse=lambda name: name in refused)
        case "error", int(code):
            world.answer(error=code)
        case "assign", set() as names:
            world.assign(*sorted(names))
        case "test", _:
            world.do(world.session.test_requested(world.at))
        case "break", int(number):
            name = f"ETH-1JAN27-{number}-C"
            world.heard.times.pop((Kind.BOOK, name), None)
            world.do(
                world.session.broken(Kind.BOOK, name, world.at, since_ns=0, recv_ns=world.wall_ns, expected=1, got=2)
            )
        case "lose", bool(made):
            if world.session.state is FeedState.CONNECTING and made:
                world.heard.times.clear()
                world.do(world.session.connected(world.at))
            else:
                world.lose()


def check(world: World) -> None:
    """What must hold at any time."""
    ids = [request["id"] for request in world.sent]
    assert len(ids) == len(set(ids)), "FEED-4"
    assert max(map(len, world.requests("subscribe")), default=0) <= 3
    spent = 3000 * (len(world.requests("subscribe")) + len(world.requests("unsubscribe")))
    assert spent <= 30_000 + 10_000 * (world.mono_ns - 5 * NS_PER_S) / NS_PER_S, "FEED-3"
    for gap in world.gaps:
        assert gap.to_ns == 0 or gap.from_ns <= gap.to_ns
        assert gap.from_ns <= world.wall_ns
    open_keys = [(gap.kind, gap.instrument) for gap in world.open_holes()]
    assert len(open_keys) == len(set(open_keys)), "one hole at a time"
    for subscription in world.session.channels.subscriptions.values():
        assert subscription.hole is None or subscription.place is not Place.LIVE, "what is live has no hole"
