"""Sessions as histories: what happened, at what time, and what was done about it. No socket, no clock, no waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickbay import config
from tickbay.action import NS_PER_S, Action, Close, Connect, Moment, Report, Send, Tell
from tickbay.backoff import Backoff
from tickbay.channels import REFUSALS_MAX, REQUESTS_MAX
from tickbay.credits import Credits
from tickbay.events import Event as LogEvent
from tickbay.gap import Cause, Gap
from tickbay.record import FeedState, Kind
from tickbay.session import TABLE, Event, Session
from tickbay.subscription import LIFE, Place
from tickbay.venues import deribit

BEGIN_NS = 1_800_000_000 * NS_PER_S
TICKER = "ticker.ETH-1JAN27-3000-C.100ms"
BOOK = "book.ETH-1JAN27-3000-C.100ms"
TRADES = "trades.option.ETH.100ms"
INSTRUMENT = "ETH-1JAN27-3000-C"


@dataclass
class FakeHeard:
    count: int = 0
    last: int = 0
    times: dict[tuple[Kind, str], int] = field(default_factory=dict)

    def frames(self) -> int:
        return self.count

    def last_ns(self) -> int:
        return self.last

    def of(self, kind: Kind, instrument: str) -> int:
        return self.times.get((kind, instrument), 0)


class World:
    """A session, and everything around it: a clock, and a venue that remembers what it was asked."""

    def __init__(
        self,
        *,
        known_ns: int = 0,
        orphans: Iterable[Gap] = (),
        feeds: int = 1,
        chance: float = 1.0,
        **limits: object,
    ) -> None:
        self.mono_ns = 5 * NS_PER_S
        self.wall_ns = BEGIN_NS
        self.heard = FakeHeard()
        self.limits = config.Venue(**limits)  # type: ignore[arg-type]  # a test's keywords, checked by the dataclass
        self.session = Session(
            deribit,
            self.limits,
            feeds=feeds,
            heard=self.heard,
            random=lambda: chance,
            at=self.at,
            known_ns=known_ns,
            orphans=list(orphans),
        )
        self.sent: list[dict[str, object]] = []  # requests, as the venue reads them
        self.sent_bytes: list[int] = []
        self.gaps: list[Gap] = []
        self.told: list[Tell] = []
        self.connects = 0
        self.closes: list[str] = []
        self.answered = 0  # requests that answer() has seen

    @property
    def at(self) -> Moment:
        return Moment(self.mono_ns, self.wall_ns)

    def do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Connect():
                    self.connects += 1
                case Close(detail):
                    self.closes.append(detail)
                case Send(payload):
                    self.sent.append(orjson.loads(payload))
                    self.sent_bytes.append(len(payload))
                case Report(gap):
                    self.gaps.append(gap)
                case Tell():
                    self.told.append(action)

    def sleep(self, seconds: float, *, speaking: Iterable[tuple[Kind, str]] = (), silent: bool = False) -> None:
        """Let time pass in ticks; the venue's heartbeats come unless `silent`, and messages of `speaking`."""
        for _ in range(round(seconds * 10)):
            self.mono_ns += NS_PER_S // 10
            self.wall_ns += NS_PER_S // 10
            self.heard.count += not silent
            for key in speaking:
                self.hear(*key)
            self.do(self.session.tick(self.at))

    def hear(self, kind: Kind, instrument: str) -> None:
        self.heard.times[kind, instrument] = self.heard.last = self.wall_ns
        self.heard.count += 1

    def assign(self, *names: str, expires_ns: int = 0) -> None:
        self.do(self.session.assign(dict.fromkeys(names, expires_ns), self.at))

    def connect(self) -> None:
        self.do(self.session.tick(self.at))
        assert self.connects, "no connection was asked for"
        self.heard.times.clear()
        self.do(self.session.connected(self.at))

    def lose(self, detail: str = "the connection broke", **more: bool) -> None:
        self.do(self.session.lost(detail, self.at, **more))

    def reply(self, id: object, **fields: object) -> None:
        self.do(self.session.replied(orjson.dumps({"jsonrpc": "2.0", "id": id, **fields}), self.at))

    def answer(self, *, refuse: Callable[[str], bool] = lambda _: False, speak: bool = True, error: int = 0) -> None:
        """Answer every request not answered yet, as the venue does: only accepted channels, in another order; a ticker
        and a book send their first message. With `error`, every request about channels so far gets that code."""
        until = len(self.sent)
        while self.answered < (until if error else len(self.sent)):
            request = self.sent[self.answered]
            self.answered += 1
            names = channels_of(request)
            accepted = [name for name in reversed(names) if not refuse(name)]
            if error and names:
                self.reply(request["id"], error={"code": error, "message": "as asked by the test"})
                continue
            if speak and request["method"] == "public/subscribe":
                for name in accepted:
                    channel = deribit.channel(name)
                    if channel.kind is not Kind.TRADE:
                        self.hear(channel.kind, channel.instrument)
            self.reply(request["id"], result=accepted if names else "ok")

    def live(self, *names: str) -> None:
        """Assigned, connected, everything accepted and heard."""
        self.assign(*names)
        self.connect()
        self.answer()
        self.sleep(0.2)
        assert self.session.state is FeedState.LIVE
        assert self.session.channels.live() == len(names)

    def requests(self, method: str) -> list[list[str]]:
        return [channels_of(request) for request in self.sent if request["method"] == f"public/{method}"]

    def events(self) -> list[LogEvent]:
        return [tell.event for tell in self.told]

    def place(self, name: str) -> Place:
        return self.session.channels.subscriptions[name].place

    def open_holes(self) -> list[Gap]:
        """Holes that were reported and did not end."""
        ended = {(gap.cause, gap.kind, gap.instrument, gap.from_ns) for gap in self.gaps if gap.to_ns}
        return [
            gap
            for gap in self.gaps
            if not gap.to_ns and (gap.cause, gap.kind, gap.instrument, gap.from_ns) not in ended
        ]


def channels_of(request: dict[str, object]) -> list[str]:
    params = request["params"]
    assert isinstance(params, dict)
    names: list[str] = params.get("channels", [])
    return names


def options(count: int) -> list[str]:
    return [f"ticker.ETH-1JAN27-{number}-C.100ms" for number in range(count)]


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


def test_a_channel_can_become_live_from_wherever_it_is() -> None:
    reaches = {Place.LIVE}
    while more := {before for (before, _), after in LIFE.items() if after in reaches} - reaches:
        reaches |= more
    assert reaches == set(Place)


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


def test_jitter_takes_up_to_half_of_a_wait() -> None:
    shortest = Backoff(min_s=1, max_s=60, random=lambda: 0.0)
    longest = Backoff(min_s=1, max_s=60, random=lambda: 1.0)
    for failures in (0, 3, 9, 10_000):
        assert shortest.wait_ns(failures) * 2 == longest.wait_ns(failures)
    assert longest.wait_ns(10_000) == longest.longest_ns() == 60 * NS_PER_S


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
    assert world.session.outbox.gaps == 1
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
        assert world.session.outbox.gaps == 1, "the others were counted in their life"


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


# -------------------------------------------------------------------- FEED-2: asked against acknowledged


def test_a_channel_that_was_not_acknowledged_is_asked_for_again() -> None:
    world = World()
    world.assign(TICKER, BOOK, TRADES)
    world.connect()
    world.answer(refuse=lambda name: name == BOOK)
    refused_ns = world.wall_ns
    world.sleep(1.2)
    assert world.requests("subscribe")[-1] == [BOOK], "only that one"
    world.answer()
    world.sleep(0.2)
    assert world.session.channels.live() == 3
    (opened, closed) = world.gaps
    assert (opened.cause, opened.kind, opened.instrument) == (Cause.REFUSED, Kind.BOOK, INSTRUMENT)
    assert opened.from_ns <= refused_ns < closed.to_ns, "a hole that is over when it is reported is whole at once"


def test_a_channel_that_stays_refused_becomes_a_gap_and_is_asked_for_on_and_on() -> None:
    world = World()
    world.assign(TICKER, TRADES)
    world.connect()
    for _ in range(600):
        world.answer(refuse=lambda name: name == TICKER)
        world.sleep(1)
    asked = [names for names in world.requests("subscribe") if TICKER in names]
    assert REFUSALS_MAX + 9 <= len(asked) <= REFUSALS_MAX + 11, "three quickly, then one a minute"
    (hole,) = world.open_holes()
    assert hole.cause is Cause.REFUSED
    assert world.session.outbox.gaps == 1
    assert LogEvent.CHANNEL_REFUSED in world.events()
    assert world.session.state is FeedState.LIVE, "known to be refused is settled"
    assert world.session.channels.troubled() == [TICKER]
    for _ in range(61):
        world.answer()
        world.sleep(1, speaking=[(Kind.QUOTE, INSTRUMENT)] if world.place(TICKER) is Place.LIVE else [])
    assert world.open_holes() == []


def test_an_error_for_many_channels_is_halved_until_it_names_the_one() -> None:
    names = options(8)
    bad = names[5]
    world = World()
    world.assign(*names)
    world.connect()
    for _ in range(40):
        while world.answered < len(world.sent):
            request = world.sent[world.answered]
            if bad in channels_of(request):
                world.answered += 1
                world.reply(request["id"], error={"code": -32602, "message": "Invalid params"})
            else:
                before = world.answered
                rest = world.sent[before + 1 :]
                del world.sent[before + 1 :]
                world.answer()
                world.sent += rest
        world.sleep(0.5, speaking=[(Kind.QUOTE, deribit.channel(name).instrument) for name in names if name != bad])
    assert world.session.channels.live() == 7
    assert world.session.channels.troubled() == [bad]


def test_a_request_without_an_answer_counts_as_a_refusal() -> None:
    world = World()
    world.assign(TRADES)
    world.connect()
    world.reply(world.sent[0]["id"], result="ok")
    world.sleep(9.9)
    assert len(world.requests("subscribe")) == 1
    world.sleep(1.5)
    assert len(world.requests("subscribe")) == 2


def test_no_answer_to_set_heartbeat_ends_the_connection() -> None:
    world = World()
    world.assign(TRADES)
    world.connect()
    world.reply(world.sent[1]["id"], result=[TRADES])
    world.sleep(10.2)
    assert world.closes == ["no answer to set_heartbeat"]


def test_answers_to_nothing_change_nothing() -> None:
    """FEED-4."""
    world = World()
    world.live(TICKER)
    sent = len(world.sent)
    world.reply(999, result=[TICKER])
    world.reply(None, error={"code": 10028, "message": "too_many_requests"})
    world.reply("1", result=[])
    world.reply(world.sent[1]["id"], result=[])  # an answer that came before
    world.do(world.session.replied(b"{}", world.at))
    world.do(world.session.replied(b"\xff", world.at))
    assert world.session.strays == 6
    assert len(world.sent) == sent
    assert world.session.channels.live() == 1


def test_the_answers_of_a_lost_connection_do_not_count_for_the_next() -> None:
    """FEED-4."""
    world = World()
    world.assign(TRADES)
    world.connect()
    old = world.sent[1]["id"]
    world.lose()
    world.sleep(1.2)
    world.connect()
    world.reply(old, result=[TRADES])
    assert world.session.channels.live() == 0
    assert world.session.strays == 1


def test_data_that_comes_before_the_answer_counts() -> None:
    world = World()
    world.assign(TICKER)
    world.connect()
    world.hear(Kind.QUOTE, INSTRUMENT)
    world.answer(speak=False)
    world.sleep(0.1)
    assert world.place(TICKER) is Place.LIVE


def test_a_channel_of_no_kind_that_we_record_is_told_and_left_out() -> None:
    world = World()
    world.live(TICKER)
    world.assign(TICKER, "chart.trades.ETH-PERPETUAL.1")
    assert LogEvent.CHANNEL_UNKNOWN in world.events()
    assert world.session.channels.troubled() == ["chart.trades.ETH-PERPETUAL.1"]
    assert len(world.requests("subscribe")) == 1


# -------------------------------------------------------------------- FEED-3: batches and credits


def test_a_request_is_bounded_by_count() -> None:
    world = World(channels_per_call=100)
    world.assign(*options(250))
    world.connect()
    assert [len(names) for names in world.requests("subscribe")] == [100, 100, 50]


def test_a_request_is_bounded_by_bytes() -> None:
    world = World(channels_per_call=500, request_bytes_max=2048)
    world.assign(*options(200))
    world.connect()
    for _ in range(20):
        world.answer()
        world.sleep(0.5)
    assert max(world.sent_bytes) <= 2048
    assert sum(len(names) for names in world.requests("subscribe")) == 200


def test_credits_are_shared_by_the_feeds_and_never_exceeded() -> None:
    """FEED-3."""
    # A pool of 7,500 and 2,500 a second: two calls, then five in six seconds.
    world = World(channels_per_call=1, feeds=4, stale_s=1000.0)
    world.assign(*options(30))
    world.connect()
    times: list[float] = []
    began = world.mono_ns
    for _ in range(400):
        times += [(world.mono_ns - began) / NS_PER_S] * (len(world.requests("subscribe")) - len(times))
        world.answer()
        world.sleep(0.1)
    assert len(times) == 30
    for index, time_s in enumerate(times):
        assert (index + 1) * 3000 <= 7500 + 2500 * time_s + 1


def test_few_requests_are_under_way_at_a_time() -> None:
    world = World(channels_per_call=1, subscribe_cost=0)
    world.assign(*options(30))
    world.connect()
    assert len(world.requests("subscribe")) == REQUESTS_MAX


def test_a_cost_above_the_whole_pool_is_still_paid_in_the_end() -> None:
    credits = Credits(pool=100, cost=3000, refill_per_s=1000, mono_ns=0)
    assert credits.take(0)
    assert not credits.take(2 * NS_PER_S)
    assert credits.take(3 * NS_PER_S)


@given(st.lists(st.tuples(st.integers(0, 3 * NS_PER_S), st.booleans()), max_size=60), st.integers(1, 40_000))
def test_credits_are_never_exceeded_whatever_the_rhythm(steps: list[tuple[int, bool]], pool: int) -> None:
    """FEED-3."""
    credits = Credits(pool=pool, cost=3000, refill_per_s=777, mono_ns=0)
    now_ns = spent = 0
    for wait_ns, drain in steps:
        now_ns += wait_ns
        if drain:
            credits.drain(now_ns)
        while credits.take(now_ns):
            spent += 3000
        assert spent * NS_PER_S <= max(pool, 3000) * NS_PER_S + 777 * now_ns


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


# -------------------------------------------------------------------- breaks and silence of one channel


def break_book(world: World, *, expected: int = 10, got: int = 13) -> None:
    since_ns = world.heard.times.pop((Kind.BOOK, INSTRUMENT), 0)  # not chained any more
    world.do(
        world.session.broken(
            Kind.BOOK,
            INSTRUMENT,
            world.at,
            since_ns=since_ns,
            recv_ns=world.wall_ns,
            expected=expected,
            got=got,
        )
    )


def test_a_broken_book_is_given_back_and_taken_again_alone() -> None:
    world = World()
    world.live(TICKER, BOOK, TRADES, "book.ETH-1JAN27-3100-C.100ms")
    world.sleep(1, speaking=[(Kind.QUOTE, INSTRUMENT), (Kind.BOOK, INSTRUMENT)])
    whole_ns = world.heard.times[Kind.BOOK, INSTRUMENT]
    world.sleep(0.3, speaking=[(Kind.QUOTE, INSTRUMENT)])
    break_book(world)
    assert world.requests("unsubscribe") == [[BOOK]]
    assert world.gaps == [
        Gap(
            cause=Cause.SEQUENCE,
            kind=Kind.BOOK,
            instrument=INSTRUMENT,
            from_ns=whole_ns,
            first_missing=10,
            last_missing=13,
            detail=BOOK,
        )
    ]
    world.answer()
    assert world.requests("subscribe")[-1] == [BOOK], "only after it was given back: else no snapshot comes"
    world.answer()
    world.sleep(0.2)
    assert world.open_holes() == []
    assert world.session.channels.live() == 4
    assert world.session.channels.resyncs == 1
    assert world.session.state is FeedState.LIVE, "one book's trouble is not the connection's"


def test_a_book_without_its_snapshot_stays_a_hole() -> None:
    world = World()
    world.live(BOOK)
    break_book(world)
    world.answer(speak=False)
    world.answer(speak=False)
    world.sleep(5)
    assert len(world.open_holes()) == 1
    world.hear(Kind.BOOK, INSTRUMENT)
    world.sleep(0.2)
    assert world.open_holes() == []
    assert world.gaps[-1].to_ns >= world.wall_ns - NS_PER_S


def test_a_book_that_breaks_again_and_again_is_resubscribed_ever_more_slowly() -> None:
    world = World()
    world.live(BOOK)
    for _ in range(1200):
        if world.place(BOOK) is Place.LIVE:
            break_book(world)
        world.answer()
        world.sleep(0.1)
        world.answer()
    assert 5 <= len(world.requests("unsubscribe")) <= 8, "0, 1, 3, 7, 15, 31, 63 seconds, then each minute"
    assert world.session.channels.resyncs == len(world.requests("unsubscribe")) + (world.place(BOOK) is Place.LEAVING)


def test_many_books_that_break_together_share_requests() -> None:
    names = [f"book.ETH-1JAN27-{number}-C.100ms" for number in range(60)]
    world = World()
    world.live(*names)
    for name in names:
        world.do(
            world.session.broken(
                Kind.BOOK, deribit.channel(name).instrument, world.at, since_ns=1, recv_ns=2, expected=1, got=2
            )
        )
    for _ in range(20):
        world.answer()
        world.sleep(0.2)
    assert len(world.requests("unsubscribe")) <= REQUESTS_MAX + 1
    assert world.session.channels.live() == 60


def test_a_missing_trade_is_a_gap_with_its_numbers_and_nothing_is_resubscribed() -> None:
    world = World()
    world.live(TRADES)
    world.do(
        world.session.broken(
            Kind.TRADE, INSTRUMENT, world.at, since_ns=BEGIN_NS, recv_ns=BEGIN_NS + 7, expected=5, got=8
        )
    )
    assert world.gaps == [
        Gap(
            cause=Cause.SEQUENCE,
            kind=Kind.TRADE,
            instrument=INSTRUMENT,
            from_ns=BEGIN_NS,
            to_ns=BEGIN_NS + 7,
            first_missing=5,
            last_missing=7,
            count=3,
        )
    ]
    assert world.requests("unsubscribe") == []


def test_a_silent_ticker_is_a_hole_and_is_subscribed_anew_alone() -> None:
    world = World(stale_s=10.0)
    world.live(TICKER, BOOK, TRADES, "ticker.ETH-1JAN27-3100-C.100ms")
    other = (Kind.QUOTE, "ETH-1JAN27-3100-C")
    last_ns = world.heard.times[Kind.QUOTE, INSTRUMENT]
    world.sleep(9.5, speaking=[other])
    assert world.gaps == []
    world.sleep(1.5, speaking=[other])
    (hole,) = world.gaps
    assert (hole.cause, hole.kind, hole.instrument, hole.from_ns) == (Cause.STALE, Kind.QUOTE, INSTRUMENT, last_ns)
    assert world.requests("unsubscribe") == [[TICKER]], "trades and an unchanged book may be silent"
    world.answer()
    world.answer()
    world.sleep(0.2, speaking=[other])
    assert world.open_holes() == []
    assert LogEvent.CHANNEL_SILENT in world.events()


def test_an_expired_option_is_silent_without_a_gap() -> None:
    world = World(stale_s=10.0)
    expires_ns = BEGIN_NS + 5 * NS_PER_S
    world.assign(TICKER, BOOK, expires_ns=expires_ns)
    world.connect()
    world.answer()
    world.sleep(60)
    assert world.gaps == []
    world.assign()
    world.answer()
    assert world.gaps == []
    assert world.session.channels.subscriptions == {}


def test_an_expired_option_that_the_venue_refuses_is_no_gap_and_holds_nothing_up() -> None:
    world = World()
    world.live(TICKER, TRADES)
    world.assign(TICKER, TRADES, expires_ns=world.wall_ns)
    world.lose()
    world.sleep(1.2)
    world.connect()
    world.answer(refuse=lambda name: name == TICKER)
    world.sleep(30)
    world.answer(refuse=lambda name: name == TICKER)
    assert world.session.state is FeedState.LIVE
    assert {gap.cause for gap in world.gaps} == {Cause.DISCONNECT}
    assert world.open_holes() == []


def test_a_resync_on_request_is_a_short_known_hole() -> None:
    world = World()
    world.live(TICKER, BOOK)
    world.do(world.session.resync(INSTRUMENT, world.at))
    assert sorted(world.requests("unsubscribe")[0]) == [BOOK, TICKER]
    world.answer()
    world.sleep(0.1)
    world.answer()
    world.sleep(0.2)
    assert world.session.channels.live() == 2
    assert world.open_holes() == []
    assert {gap.kind for gap in world.gaps} == {Kind.BOOK, Kind.QUOTE}


# -------------------------------------------------------------------- live add and remove


def test_channels_come_and_go_on_a_live_connection() -> None:
    world = World()
    world.live(TICKER, BOOK)
    world.assign(TICKER, TRADES)
    assert world.requests("subscribe")[-1] == [TRADES]
    assert world.requests("unsubscribe") == [[BOOK]]
    world.answer()
    assert world.session.channels.subscriptions.keys() == {TICKER, TRADES}
    assert (world.connects, world.closes, world.gaps) == (1, [], [])


def test_a_removed_channel_leaves_no_open_hole() -> None:
    world = World(stale_s=10.0)
    world.live(TICKER, TRADES)
    world.sleep(11)
    assert len(world.open_holes()) == 1
    world.assign(TRADES)
    world.answer()
    assert world.open_holes() == []
    assert world.session.channels.subscriptions.keys() == {TRADES}


def test_a_channel_removed_while_its_request_is_under_way_is_given_back() -> None:
    world = World()
    world.live(TRADES)
    world.assign(TRADES, BOOK)
    world.assign(TRADES)
    world.answer()
    assert world.requests("unsubscribe") == [[BOOK]]
    world.answer()
    assert world.session.channels.subscriptions.keys() == {TRADES}


def test_a_channel_that_comes_back_while_it_leaves_has_a_known_hole() -> None:
    world = World()
    world.live(TRADES, BOOK)
    world.assign(TRADES)
    world.assign(TRADES, BOOK)
    world.answer()
    world.answer()
    world.sleep(0.2)
    assert world.session.channels.live() == 2
    assert [gap.cause for gap in world.gaps] == [Cause.REBALANCE, Cause.REBALANCE]
    assert world.open_holes() == []


def test_a_new_connection_on_request_is_made_at_once() -> None:
    world = World()
    world.live(TRADES)
    world.sleep(1)
    world.do(world.session.reconnect(world.at))
    assert len(world.closes) == 1
    world.sleep(0.1)
    assert world.connects == 2


def test_the_clock_offset_is_the_middle_of_the_venues_work_less_the_middle_of_our_wait() -> None:
    world = World()
    world.assign(TRADES)
    world.connect()
    sent_us = world.wall_ns // 1000
    world.wall_ns += 40_000_000
    world.mono_ns += 40_000_000
    world.reply(world.sent[0]["id"], result="ok", usIn=sent_us + 19_000 + 500_000, usOut=sent_us + 21_000 + 500_000)
    assert world.session.clock_offset_ns == 500_000_000


# -------------------------------------------------------------------- any history

CHANNELS = [TRADES, *(f"{kind}.ETH-1JAN27-{n}-C.100ms" for kind in ("ticker", "book") for n in range(4))]

steps = st.one_of(
    st.tuples(st.just("sleep"), st.floats(0.1, 12.0)),
    st.tuples(st.just("answer"), st.sets(st.sampled_from(CHANNELS), max_size=3)),
    st.tuples(st.just("error"), st.sampled_from([10028, 11051, 11056, -32602, -32600, 10041])),
    st.tuples(st.just("lose"), st.booleans()),
    st.tuples(st.just("assign"), st.sets(st.sampled_from(CHANNELS))),
    st.tuples(st.just("break"), st.integers(0, 3)),
    st.tuples(st.just("test"), st.none()),
    st.tuples(st.just("reconnect"), st.none()),
    st.tuples(st.just("resync"), st.integers(0, 3)),
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
    for _ in range(300):  # a venue that behaves again
        if world.session.state is FeedState.CONNECTING:
            world.heard.times.clear()
            world.do(world.session.connected(world.at))
        world.answer()
        world.sleep(1, speaking=speaking(world))
        check(world)
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
        case "reconnect", _:
            world.do(world.session.reconnect(world.at))
        case "resync", int(number):
            world.do(world.session.resync(f"ETH-1JAN27-{number}-C", world.at))
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
