"""The channels of a session as histories: asked, refused, silent, broken, added and removed."""

from __future__ import annotations

from session_case import BEGIN_NS, BOOK, INSTRUMENT, TICKER, TRADES, World, break_book, channels_of, options
from tickbay.events import Event as LogEvent
from tickbay.feed.action import NS_PER_S
from tickbay.feed.channels import REFUSALS_MAX, REQUESTS_MAX
from tickbay.feed.subscription import LIFE, Place
from tickbay.gap import Cause, Gap
from tickbay.record import FeedState, Kind
from tickbay.venues import deribit


def test_a_channel_can_become_live_from_wherever_it_is() -> None:
    reaches = {Place.LIVE}
    while more := {before for (before, _), after in LIFE.items() if after in reaches} - reaches:
        reaches |= more
    assert reaches == set(Place)


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
    assert world.session.outbox.gaps.total == 1
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


# -------------------------------------------------------------------- breaks and silence of one channel


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


def leap(world: World) -> None:
    """A whole book comes now, to which the listener says that it is ahead of the chain."""
    since_ns = world.heard.times[Kind.BOOK, INSTRUMENT]
    world.hear(Kind.BOOK, INSTRUMENT)
    world.do(world.session.leapt(INSTRUMENT, world.at, since_ns=since_ns, recv_ns=world.wall_ns, expected=10, got=20))


def test_a_snapshot_that_nobody_asked_for_hides_what_came_before_it() -> None:
    """FEED-1: and is over, so nothing is resubscribed."""
    world = World()
    world.live(TICKER, BOOK)
    world.sleep(1, speaking=[(Kind.QUOTE, INSTRUMENT), (Kind.BOOK, INSTRUMENT)])
    since_ns = world.heard.times[Kind.BOOK, INSTRUMENT]
    world.sleep(0.3, speaking=[(Kind.QUOTE, INSTRUMENT)])
    leap(world)
    (gap,) = world.gaps
    assert gap.key == (Cause.SEQUENCE, Kind.BOOK, INSTRUMENT, since_ns) and gap.to_ns == world.wall_ns
    assert (gap.first_missing, gap.last_missing) == (10, 20)
    world.sleep(1, speaking=[(Kind.QUOTE, INSTRUMENT)])
    assert len(world.gaps) == 1 and world.requests("unsubscribe") == [] and world.place(BOOK) is Place.LIVE


def test_a_snapshot_that_was_asked_for_is_no_other_hole() -> None:
    world = World()
    world.live(BOOK)
    agreed_ns = world.wall_ns
    world.sleep(5)
    disagree(world, agreed_ns)
    world.sleep(0.2)
    world.answer(speak=False)
    assert world.place(BOOK) is Place.AWAITED
    leap(world)
    assert [gap.cause for gap in world.gaps] == [Cause.DISAGREEMENT]
    world.sleep(0.2)
    assert world.place(BOOK) is Place.LIVE, "that is what was waited for"
    since_ns, recv_ns = agreed_ns, world.session.channels.subscriptions[BOOK].whole_ns
    world.do(world.session.leapt(INSTRUMENT, world.at, since_ns=since_ns, recv_ns=recv_ns, expected=10, got=20))
    assert {gap.cause for gap in world.gaps} == {Cause.DISAGREEMENT} and world.open_holes() == []


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


def test_one_ticker_that_is_silent_among_others_is_stale_sooner_than_many_at_once() -> None:
    names = [f"ETH-1JAN27-{strike}-C" for strike in range(1000, 1020)]
    others = [(Kind.QUOTE, name) for name in names[1:]]
    world = World(stale_s=10.0, ticker_stale_s=3.0)
    world.live(*(f"ticker.{name}.100ms" for name in names))
    world.sleep(2.5, speaking=others)
    assert world.gaps == []
    world.sleep(1.0, speaking=others)
    (hole,) = world.gaps
    assert (hole.cause, hole.instrument) == (Cause.STALE, names[0])
    world = World(stale_s=10.0, ticker_stale_s=3.0)
    world.live(*(f"ticker.{name}.100ms" for name in names))
    world.sleep(9.0, speaking=others[:10])  # half of them: not theirs, perhaps
    assert world.gaps == []
    world.sleep(2.0, speaking=others[:10])
    assert {hole.instrument for hole in world.gaps} == {names[0], *names[11:]}


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


def test_a_book_that_disagrees_with_its_ticker_is_a_gap_from_when_they_agreed_and_is_sent_anew() -> None:
    """CHECK-1, FEED-1. Only while it stands as the one who compared them saw it."""
    world = World()
    world.live(TICKER, BOOK)
    agreed_ns = world.wall_ns
    world.sleep(5, speaking=[(Kind.QUOTE, INSTRUMENT)])
    disagree(world, agreed_ns)
    (gap,) = world.open_holes()
    assert (gap.cause, gap.kind, gap.from_ns, gap.detail) == (Cause.DISAGREEMENT, Kind.BOOK, agreed_ns, "why")
    disagree(world, agreed_ns)
    assert len(world.gaps) == 1, "it is being seen to"
    world.sleep(0.2)
    assert world.requests("unsubscribe") == [[BOOK]]
    world.heard.times.pop((Kind.BOOK, INSTRUMENT))
    for _ in range(3):
        world.answer()
        world.sleep(0.2)
    assert world.open_holes() == [] and world.gaps[-1].to_ns > agreed_ns and world.place(BOOK) is Place.LIVE
    seen_ns = world.session.channels.subscriptions[BOOK].whole_ns - 1
    world.do(world.session.disagreed(INSTRUMENT, world.at, since_ns=agreed_ns, seen_ns=seen_ns, detail="of before"))
    assert world.open_holes() == [] and world.place(BOOK) is Place.LIVE, "it is another book by now"


def disagree(world: World, since_ns: int) -> None:
    world.do(world.session.disagreed(INSTRUMENT, world.at, since_ns=since_ns, seen_ns=world.wall_ns, detail="why"))
