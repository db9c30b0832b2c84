"""The feed process against a venue: ticks, channels, broken chains, bad frames, errors, a full ring."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from feed_case import (
    BOOK,
    INSTRUMENT,
    SLOTS,
    TICKER,
    TRADES,
    FeedCase,
    ScriptedVenue,
    accept,
    begin,
    book_frame,
    channels_of,
    ended,
    options_of,
    refuse,
    text,
    ticker_frame,
    trade_frame,
)
from simulator import Simulator, simulating
from tickbay.feed.quarantine import read_entries
from tickbay.gap import Cause
from tickbay.record import FeedState, Kind

Simulate = Callable[..., Simulator]


@pytest.fixture
def case(request: pytest.FixtureRequest, shm_dir: Path, tmp_path: Path) -> Iterator[FeedCase]:
    """The parameter, if there is one: slots of each ring."""
    case = FeedCase(shm_dir, tmp_path / "data", slots=getattr(request, "param", SLOTS))
    yield case
    case.close()


@pytest.fixture
def simulate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Simulator]]:
    """Start a simulated venue of four options, each with a folder of its own."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(
            simulating(tmp_path_factory.mktemp("sim"), "--instruments", "ETH=4", *arguments)
        )


# -------------------------------------------------------------------- a good venue


@pytest.mark.slow
def test_every_frame_of_the_venue_is_recorded_and_counted(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--hold", "--rate", "2000", "--frames", "3000")
    begin(case, simulator)
    simulator.start()
    case.until(lambda: simulator.status()["frames"] >= 3000, "the venue sends")
    sent = simulator.status()
    case.until(lambda: case.health().counters["frames"] >= sent["frames"], "the feed counts")
    case.end()
    counted = case.health().counters
    recorded = {kind: case.records(kind) for kind in (Kind.QUOTE, Kind.TRADE, Kind.BOOK)}
    assert counted["quotes"] == len(recorded[Kind.QUOTE]) > 0
    assert counted["trades"] == len(recorded[Kind.TRADE]) > 0
    assert counted["books"] == len(recorded[Kind.BOOK]) > 0
    assert (counted["undecodable"], counted["gaps"], counted["overflows"]) == (0, 0, 0)
    assert len(case.gaps()) == 0
    for records in recorded.values():
        assert records["seq"].tolist() == list(range(1, len(records) + 1))
        assert len(set(records["conn"].tolist())) == 1
    assert set(text(recorded[Kind.QUOTE], "instrument")) == set(options_of(simulator))


@pytest.mark.slow
def test_heartbeats_are_asked_for_and_test_requests_answered(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--hold", "--heartbeat-scale", "0.03")  # a test request each 0.3 s, or the end
    channels = channels_of(simulator)[-1:]
    case.configure(simulator.ws_url)
    case.assign(*channels)
    case.start()
    case.until_live(1)
    time.sleep(2.5)
    assert case.health().counters["reconnects"] == 0
    assert case.health().counters["frames"] > 8
    assert len(case.gaps()) == 0


@pytest.mark.slow
def test_a_feed_is_stopped_politely_and_says_so(case: FeedCase, simulate: Simulate) -> None:
    begin(case, simulate("--rate", "50"))
    assert case.end() == 0
    status = case.records(Kind.STATUS)
    assert status["state"][-1] == FeedState.STOPPING
    assert status["quotes"][-1] == len(case.records(Kind.QUOTE))
    assert text(status, "process")[-1] == "feed-1"
    assert case.health().state == "stopped"
    assert not (case.run_dir / "sockets" / "feed-1.sock").exists()


def test_channels_come_and_go_without_another_connection(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "100")
    channels = begin(case, simulator)
    conn = case.ask("status")["conn"]
    case.assign(*channels[:2])
    case.until(lambda: case.ask("status")["channels_held"] == 2, "the others were given back")
    case.assign(*channels[:5])
    case.until_live(5)
    assert case.ask("status")["conn"] == conn
    assert len(case.gaps()) == 0


def test_the_control_socket_refuses_what_it_does_not_know(case: FeedCase, simulate: Simulate) -> None:
    begin(case, simulate("--hold", "--heartbeat-scale", "0.1"))
    for request in ({"op": "explode"}, {"op": "disagreement"}, {"op": "disagreement", "instrument": 7}):
        reply = case.ask(**request)
        assert not reply["ok"]
        assert reply["error"].startswith("a feed knows")


# -------------------------------------------------------------------- FEED-2: what the venue does not acknowledge


def test_a_channel_left_out_of_the_reply_is_asked_for_again(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "200")
    book = f"book.{options_of(simulator)[0]}.100ms"
    simulator.fault(f"refuse channel={book} count=2")
    begin(case, simulator)
    case.until(lambda: case.health().counters["refusals"] == 2, "they are counted")
    (opened, closed) = case.gaps()
    assert opened["cause"] == closed["cause"] == Cause.REFUSED
    assert opened["to_ns"] == 0
    assert opened["from_ns"] == closed["from_ns"] < closed["to_ns"]
    assert (opened["kind"], opened["instrument"].decode()) == (Kind.BOOK, options_of(simulator)[0])


@pytest.mark.slow
def test_a_channel_refused_for_ever_is_a_hole_that_status_shows(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "200")
    channels = channels_of(simulator)
    simulator.fault(f"refuse channel={channels[0]} count=0")
    case.configure(simulator.ws_url)
    case.assign(*channels)
    case.start()
    case.until_live(len(channels) - 1)
    case.until(lambda: len(case.gaps(Cause.REFUSED)) == 1, "a gap says that it is refused")
    case.until(lambda: case.health().state == "degraded", "health")
    assert case.ask("status")["troubled"] == [channels[0]]
    assert channels[0] in case.health().detail
    assert case.gaps()["to_ns"].tolist() == [0]


# -------------------------------------------------------------------- FEED-1: breaks


@pytest.mark.slow
def test_a_broken_book_is_resubscribed_alone_and_its_hole_known(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "300")
    begin(case, simulator)
    name = options_of(simulator)[1]
    simulator.fault(f"drop channel=book.{name}.100ms")
    case.until(lambda: ended(case, Cause.SEQUENCE), "the hole ends")
    (opened, closed) = case.gaps()
    assert opened["instrument"].decode() == closed["instrument"].decode() == name
    assert opened["kind"] == Kind.BOOK
    assert (opened["to_ns"], closed["to_ns"] > closed["from_ns"]) == (0, True)
    books = case.records(Kind.BOOK)
    ours = books[books["instrument"] == name.encode()]
    broken = ours[(ours["recv_ns"] > opened["from_ns"]) & (ours["recv_ns"] <= closed["to_ns"])]
    assert opened["last_missing"] == broken["prev_change_id"][0], "the change before the one that broke it"
    before = ours[ours["recv_ns"] <= opened["from_ns"]]
    assert opened["first_missing"] == before["change_id"][-1], "the last one that we have"
    case.until(lambda: case.health().counters["resyncs"] == 1, "it is counted")
    assert case.health().counters["reconnects"] == 0
    snapshots = books[(books["prev_change_id"] == 0) & (books["recv_ns"] > opened["from_ns"])]
    assert set(text(snapshots, "instrument")) == {name}, "only that book began anew"


def test_a_snapshot_that_nobody_asked_for_is_a_hole_that_is_over(case: FeedCase) -> None:
    """FEED-1: it hides the changes before it. The same one again, as the venue sends now and then, hides nothing."""

    def answer(request: dict[str, Any]) -> list[Any]:
        frames = [book_frame(10), book_frame(10)] if request["method"] == "public/subscribe" else []
        return [*accept(request), *frames]

    with ScriptedVenue(answer).running() as venue:
        case.configure(venue.ws_url)
        case.assign(BOOK)
        case.start()
        case.until_live(1)
        venue.send(book_frame(12, 10), book_frame(30), book_frame(31, 30))
        case.until(lambda: len(case.records(Kind.BOOK)) == 5 and len(case.gaps()) > 0, "the gap")
        time.sleep(0.3)
        (gap,) = case.gaps()
        books = case.records(Kind.BOOK)
    assert (Cause(gap["cause"]), gap["kind"], gap["instrument"].decode()) == (Cause.SEQUENCE, Kind.BOOK, INSTRUMENT)
    assert (gap["first_missing"], gap["last_missing"]) == (12, 30)
    assert (gap["from_ns"], gap["to_ns"]) == (books["recv_ns"][2], books["recv_ns"][3])
    assert venue.asked("unsubscribe") == [], "all of it is known from there on"


@pytest.mark.slow
def test_missing_trades_are_known_by_number(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "1000", "--hold")
    begin(case, simulator)
    simulator.start()
    case.until(lambda: len(case.records(Kind.TRADE)) > 20, "trades")
    simulator.fault(f"drop channel={TRADES}")
    case.until(lambda: len(case.gaps(Cause.SEQUENCE)) > 0, "the gap")
    gap = case.gaps(Cause.SEQUENCE)[0]
    assert gap["kind"] == Kind.TRADE
    trades = case.records(Kind.TRADE)
    ours = trades[trades["instrument"] == gap["instrument"]]["trade_seq"].tolist()
    assert gap["count"] == gap["last_missing"] - gap["first_missing"] + 1 > 0
    assert gap["first_missing"] - 1 in ours
    assert gap["last_missing"] + 1 in ours
    assert not set(range(gap["first_missing"], gap["last_missing"] + 1)) & set(ours)
    assert 0 < gap["from_ns"] < gap["to_ns"]


@pytest.mark.slow
def test_repeated_frames_are_recorded_and_are_no_gap(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "300")
    begin(case, simulator)
    simulator.fault("duplicate channel=book.* count=5")
    case.until(lambda: case.health().counters["repeats"] >= 5, "repeats")
    assert len(case.gaps()) == 0


# -------------------------------------------------------------------- FEED-1: frames that are none


def test_an_undecodable_frame_is_kept_byte_for_byte_and_its_neighbours_recorded(case: FeedCase) -> None:
    bad = [b'{"jsonrpc":"2.0","method":"subscription","params":{"chan', b"\x00\xff no json", trade_frame(4)[:-1]]
    frames = [trade_frame(1), bad[0], trade_frame(2), bad[1], bad[2], trade_frame(3)]
    with ScriptedVenue().running() as venue:
        case.configure(venue.ws_url)
        case.assign(TRADES)
        case.start()
        case.until_live(1)
        venue.send(*frames)
        case.until(lambda: len(case.records(Kind.TRADE)) == 3, "the neighbours")
        case.until(lambda: case.gaps(Cause.UNDECODABLE)["count"].sum() == 3, "all three in gaps")
        assert len(case.gaps()) == 2, "one bad frame does not cost the connection"
    entries = list(read_entries(case.data_dir / "quarantine" / "feed-1.frames"))
    assert [entry.frame for entry in entries] == bad
    gaps = case.gaps(Cause.UNDECODABLE)
    assert gaps["count"].tolist() == [1, 2], "the first at once, what follows within a second together"
    assert gaps["from_ns"].tolist() == [entries[0].recv_ns, entries[1].recv_ns]
    assert gaps["to_ns"][-1] == entries[2].recv_ns
    assert case.records(Kind.TRADE)["trade_seq"].tolist() == [1, 2, 3]


@pytest.mark.slow
def test_malformed_and_truncated_frames_in_a_stream_cost_nothing_else(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "500")
    begin(case, simulator)
    simulator.fault("malformed channel=ticker.* count=2")
    simulator.fault("truncated channel=ticker.* count=2")
    case.until(lambda: case.gaps(Cause.UNDECODABLE)["count"].sum() == 4, "four frames in gaps")
    assert len(list(read_entries(case.data_dir / "quarantine" / "feed-1.frames"))) == 4
    assert case.health().counters["reconnects"] == 0


@pytest.mark.slow
def test_a_frame_larger_than_allowed_ends_the_connection_and_is_a_hole(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "300")
    channels = begin(case, simulator, frame_bytes_max=65536)
    simulator.fault("oversized bytes=200000")
    case.until(lambda: ended(case, Cause.DISCONNECT), "the hole")
    case.until_live(len(channels))
    assert text(case.gaps(), "detail")[0].startswith("we closed: Received frame with payload size exceeding")


# -------------------------------------------------------------------- silence of one channel


@pytest.mark.slow
def test_a_silent_ticker_is_a_hole_of_that_ticker_alone(case: FeedCase) -> None:
    other = "ETH-1JAN27-3100-C"
    silent = True

    def answer(request: dict[str, Any]) -> list[Any]:
        frames = [] if silent else [ticker_frame(INSTRUMENT)]
        if request["method"] == "public/subscribe":
            asked.append(request["params"]["channels"])
            return [*accept(request), *frames, ticker_frame(other)]
        return accept(request)

    asked: list[list[str]] = []
    with ScriptedVenue(answer).running() as venue:
        case.configure(venue.ws_url, stale_s=0.8)
        case.assign(TICKER, f"ticker.{other}.100ms", TRADES)
        case.start()
        case.until(lambda: len(asked) == 1, "subscribed")
        while len(venue.asked("unsubscribe")) == 0:
            venue.send(ticker_frame(other))
            case.until(lambda: True, "drain")
            time.sleep(0.1)
        assert venue.asked("unsubscribe") == [[TICKER]]
        silent = False
        case.until(lambda: ended(case, Cause.STALE), "it speaks again")
        assert asked[-1] == [TICKER], "alone"
        (opened, _closed) = case.gaps()
    assert (opened["kind"], opened["instrument"].decode()) == (Kind.QUOTE, INSTRUMENT)


# -------------------------------------------------------------------- errors of the venue


@pytest.mark.slow
def test_unthrottled_channels_fall_back_where_the_venue_wants_a_login(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "300")
    raw = [name.replace("100ms", "raw") for name in channels_of(simulator)]
    case.configure(simulator.ws_url)
    case.assign(*raw)
    case.start()
    case.until_live(len(raw))
    case.until(lambda: len(case.records(Kind.QUOTE)) > 10, "ticks")
    assert len(case.gaps()) == 0


@pytest.mark.parametrize(("code", "cause"), [(11056, Cause.REFUSED), (11051, Cause.MAINTENANCE)])
def test_a_venue_that_will_not_serve_us_is_left_alone_for_a_while(case: FeedCase, code: int, cause: Cause) -> None:
    served = False

    def answer(request: dict[str, Any]) -> list[Any]:
        return accept(request) if served else refuse(request, code)

    with ScriptedVenue(answer).running() as venue:
        case.configure(venue.ws_url)
        case.assign(TRADES)
        case.start()
        case.until(lambda: len(case.gaps(cause)) == 1, "the hole")
        served = True
        case.until_live(1)
        case.until(lambda: ended(case, cause), "its end")
    assert str(code) in text(case.gaps(), "detail")[0]


def test_a_venue_that_is_not_there_is_tried_again_until_it_is(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "300")
    channels = channels_of(simulator)
    simulator.stop()
    case.configure(simulator.ws_url)
    case.assign(*channels)
    case.start()
    case.until(lambda: len(case.gaps(Cause.DISCONNECT)) == 1, "a hole from the start on")
    case.until_lost("")
    port = simulator.ws_url.split(":")[2].split("/")[0]
    simulate("--rate", "300", "--port", port)
    case.until_live(len(channels))
    assert ended(case, Cause.DISCONNECT)


def test_without_an_assignment_a_feed_waits(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "300")
    channels = channels_of(simulator)
    case.configure(simulator.ws_url)
    case.start()
    case.until(lambda: (case.run_dir / "sockets" / "feed-1.sock").exists(), "the socket")
    assert not case.ask("assign")["ok"]
    case.until(lambda: case.health().state == "waiting", "health")
    (case.data_dir / "universe" / "assignment.json").write_text("{")
    assert not case.ask("assign")["ok"]
    case.assign(*channels)
    case.until_live(len(channels))
    assert simulator.status()["frames"] >= 0


# -------------------------------------------------------------------- a journal that does not keep up


@pytest.mark.slow
@pytest.mark.parametrize("case", [512], indirect=True)
def test_a_full_ring_is_a_hole_with_the_number_of_lost_records_and_books_begin_anew(
    case: FeedCase, simulate: Simulate
) -> None:
    simulator = simulate("--rate", "1500")
    channels = begin(case, simulator)
    case.durable = False
    case.until(lambda: len(case.gaps(Cause.OVERFLOW)) >= 2, "quotes and books overflow")
    case.until(lambda: case.health().state == "degraded", "health")
    time.sleep(0.5)
    case.durable = True
    case.until(lambda: ended(case, Cause.OVERFLOW), "the holes end")
    case.until_live(len(channels))
    gaps = case.gaps(Cause.OVERFLOW)
    lost = {kind: gaps["count"][(gaps["kind"] == kind) & (gaps["to_ns"] > 0)].sum() for kind in (Kind.QUOTE, Kind.BOOK)}
    assert min(lost.values()) > 0
    case.until(lambda: case.health().counters["lost_records"] == gaps["count"].sum(), "every lost record is in a gap")
    assert case.health().counters["resyncs"] > 0
