"""The feed process against a venue: what goes wrong on the wire, and what is on record afterwards."""

from __future__ import annotations

import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feed_case import FeedCase, ScriptedVenue, Simulator, accept, refuse, ticker_frame, trade_frame
from tickbay import producer
from tickbay.config import Venue
from tickbay.errors import ConfigError, RingFault
from tickbay.gap import Cause, Gap
from tickbay.link import make_tls
from tickbay.producer import Producer
from tickbay.quarantine import read_entries
from tickbay.record import FeedState, Kind

TRADES = "trades.option.ETH.100ms"
INSTRUMENT = "ETH-1JAN27-3000-C"
TICKER = f"ticker.{INSTRUMENT}.100ms"

MakeCase = Callable[..., FeedCase]
MakeSimulator = Callable[..., Simulator]


@pytest.fixture
def make_case(shm_dir: Path, tmp_path: Path) -> Iterator[MakeCase]:
    cases: list[FeedCase] = []

    def make(**options: int) -> FeedCase:
        cases.append(FeedCase(shm_dir, tmp_path / "data", **options))
        return cases[-1]

    yield make
    for case in cases:
        case.close()


@pytest.fixture
def case(make_case: MakeCase) -> FeedCase:
    return make_case()


@pytest.fixture
def make_simulator(tmp_path: Path) -> Iterator[MakeSimulator]:
    running: list[Simulator] = []

    def make(*arguments: str) -> Simulator:
        running.append(Simulator(tmp_path, *arguments))
        return running[-1]

    yield make
    for simulator in running:
        simulator.close()


def channels_of(simulator: Simulator) -> list[str]:
    """Tickers and books of all options, and their trades."""
    names = simulator.options()
    return [*(f"{kind}.{name}.100ms" for name in names for kind in ("ticker", "book")), TRADES]


def begin(case: FeedCase, simulator: Simulator, **venue: object) -> list[str]:
    """A feed with every channel of the simulator live."""
    channels = channels_of(simulator)
    case.configure(simulator.ws_url, **venue)
    case.assign(*channels)
    case.start()
    case.until_live(len(channels))
    return channels


def text(records: np.ndarray[Any, Any], name: str) -> list[str]:
    return [value.decode() for value in records[name].tolist()]


def ended(case: FeedCase, cause: Cause) -> bool:
    """Was there a hole of that cause, and has every one of them ended?"""
    gaps = case.gaps(cause)
    return len(gaps) > 0 and set(gaps["from_ns"].tolist()) == set(gaps["from_ns"][gaps["to_ns"] > 0].tolist())


# -------------------------------------------------------------------- a good venue


@pytest.mark.slow
def test_every_frame_of_the_venue_is_recorded_and_counted(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--hold", "--rate", "2000", "--frames", "3000")
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
    assert set(text(recorded[Kind.QUOTE], "instrument")) == set(simulator.options())


@pytest.mark.slow
def test_heartbeats_are_asked_for_and_test_requests_answered(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--hold", "--heartbeat-scale", "0.03")  # a test request each 0.3 s, or the end
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
def test_a_feed_is_stopped_politely_and_says_so(case: FeedCase, make_simulator: MakeSimulator) -> None:
    begin(case, make_simulator("--rate", "50"))
    assert case.end() == 0
    status = case.records(Kind.STATUS)
    assert status["state"][-1] == FeedState.STOPPING
    assert status["quotes"][-1] == len(case.records(Kind.QUOTE))
    assert text(status, "process")[-1] == "feed-1"
    assert case.health().state == "stopped"
    assert not (case.run_dir / "sockets" / "feed-1.sock").exists()


def test_channels_come_and_go_without_another_connection(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--rate", "100")
    channels = begin(case, simulator)
    conn = case.ask("status")["conn"]
    case.assign(*channels[:2])
    case.until_live(2)
    case.assign(*channels[:5])
    case.until_live(5)
    assert case.ask("status")["conn"] == conn
    assert len(case.gaps()) == 0


def test_the_control_socket_refuses_what_it_does_not_know(case: FeedCase, make_simulator: MakeSimulator) -> None:
    begin(case, make_simulator("--hold", "--heartbeat-scale", "0.1"))
    for request in ({"op": "explode"}, {"op": "resync"}, {"op": "resync", "instrument": 7}):
        reply = case.ask(**request)
        assert not reply["ok"]
        assert reply["error"].startswith("a feed knows")


# -------------------------------------------------------------------- FEED-2: what the venue does not acknowledge


def test_a_channel_left_out_of_the_reply_is_asked_for_again(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--rate", "200")
    book = f"book.{simulator.options()[0]}.100ms"
    simulator.fault(f"refuse channel={book} count=2")
    begin(case, simulator)
    case.until(lambda: case.health().counters["refusals"] == 2, "they are counted")
    (opened, closed) = case.gaps()
    assert opened["cause"] == closed["cause"] == Cause.REFUSED
    assert opened["to_ns"] == 0
    assert opened["from_ns"] == closed["from_ns"] < closed["to_ns"]
    assert (opened["kind"], opened["instrument"].decode()) == (Kind.BOOK, simulator.options()[0])


@pytest.mark.slow
def test_a_channel_refused_for_ever_is_a_hole_that_status_shows(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--rate", "200")
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
def test_a_broken_book_is_resubscribed_alone_and_its_hole_known(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--rate", "300")
    begin(case, simulator)
    name = simulator.options()[1]
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


@pytest.mark.slow
def test_missing_trades_are_known_by_number(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--rate", "1000", "--hold")
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
def test_repeated_frames_are_recorded_and_are_no_gap(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--rate", "300")
    begin(case, simulator)
    simulator.fault("duplicate channel=book.* count=5")
    case.until(lambda: case.health().counters["repeats"] >= 5, "repeats")
    assert len(case.gaps()) == 0


@pytest.mark.slow
def test_a_resync_on_request_begins_book_and_ticker_anew(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--rate", "200")
    begin(case, simulator)
    assert case.ask("resync", instrument=simulator.options()[0]) == {"ok": True}
    case.until(lambda: len(case.gaps()) == 4, "two short holes")
    assert ended(case, Cause.SEQUENCE)
    assert set(text(case.gaps(), "instrument")) == {simulator.options()[0]}
    assert set(case.gaps()["kind"].tolist()) == {Kind.QUOTE, Kind.BOOK}


# -------------------------------------------------------------------- FEED-1: the connection


@pytest.mark.slow
def test_every_kind_of_close_is_a_hole_with_its_code_and_everything_comes_back(
    case: FeedCase, make_simulator: MakeSimulator
) -> None:
    simulator = make_simulator("--rate", "300")
    channels = begin(case, simulator)
    conns = [case.ask("status")["conn"]]
    for number, code in enumerate((1000, 1001, 1008, 1011, 1012, 4000), start=1):
        simulator.fault(f"close code={code} reason=test")
        case.until_gaps(Cause.DISCONNECT, 2 * number)
        case.until_live(len(channels))
        opened, closed = case.gaps(Cause.DISCONNECT)[-2:]
        assert text(case.gaps(Cause.DISCONNECT), "detail")[-1] == f"the venue closed: {code} test"
        assert opened["from_ns"] == closed["from_ns"]
        assert (opened["to_ns"], opened["instrument"], opened["kind"]) == (0, b"", 0)
        conns.append(case.ask("status")["conn"])
        assert conns[-1] > conns[-2]
        quotes = case.records(Kind.QUOTE)
        silent = (quotes["recv_ns"] > opened["from_ns"]) & (quotes["conn"] <= conns[-2])
        assert not silent.any(), "GAP-1: nothing of the old connection came after the hole began"
    case.until(lambda: case.health().counters["reconnects"] == 6, "reconnects")


@pytest.mark.slow
def test_a_reset_connection_and_an_asked_for_one_are_made_anew(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--rate", "300")
    channels = begin(case, simulator)
    simulator.fault("kill")
    case.until(lambda: ended(case, Cause.DISCONNECT), "the hole of the reset")
    case.until_live(len(channels))
    assert case.ask("reconnect") == {"ok": True}
    case.until(lambda: len(case.gaps(Cause.DISCONNECT)) == 4, "the hole of the new one")
    case.until_live(len(channels))
    details = text(case.gaps(), "detail")
    assert details[2:] == ["a new connection was asked for"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["half_open", "stall seconds=60"])
def test_a_silent_socket_is_given_up(case: FeedCase, make_simulator: MakeSimulator, fault: str) -> None:
    simulator = make_simulator("--rate", "300")
    channels = begin(case, simulator, silent_s=1.0)
    simulator.fault(fault)
    case.until(lambda: ended(case, Cause.STALE), "the hole ends")
    case.until_live(len(channels))
    opened = case.gaps(Cause.STALE)[0]
    first = case.records(Kind.QUOTE)["conn"][0]
    recorded = [case.records(kind) for kind in (Kind.QUOTE, Kind.TRADE, Kind.BOOK)]
    newest_ns = max(int(records["recv_ns"][records["conn"] == first].max(initial=0)) for records in recorded)
    assert opened["from_ns"] == newest_ns, "from the last message of that connection"


@pytest.mark.slow
def test_maintenance_is_an_expected_hole(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--rate", "300")
    channels = begin(case, simulator)
    simulator.fault("maintenance state=on")
    case.until(lambda: len(case.gaps(Cause.MAINTENANCE)) == 1, "the venue says so")
    assert case.gaps(Cause.MAINTENANCE)["expected"].tolist() == [1]
    simulator.fault("maintenance state=off")
    case.until_live(len(channels))
    case.until(lambda: ended(case, Cause.MAINTENANCE) and ended(case, Cause.DISCONNECT), "both holes end")


def test_a_feed_killed_goes_on_behind_its_last_record_and_knows_the_hole(
    case: FeedCase, make_simulator: MakeSimulator
) -> None:
    simulator = make_simulator("--rate", "300")
    channels = begin(case, simulator)
    case.until(lambda: len(case.records(Kind.BOOK)) > 100, "books")
    case.end(signal.SIGKILL)
    before = {kind: case.records(kind) for kind in (Kind.QUOTE, Kind.TRADE, Kind.BOOK)}
    case.start()
    case.until_live(len(channels))
    case.until(lambda: ended(case, Cause.RESTART), "the hole of the restart")
    opened, closed = case.gaps(Cause.RESTART)
    newest_ns = max(int(records["recv_ns"].max()) for records in before.values() if len(records))
    assert opened["from_ns"] == newest_ns
    for kind, records in before.items():
        after = case.records(kind)
        assert after["seq"].tolist() == list(range(1, len(after) + 1))
        assert after[: len(records)].tobytes() == records.tobytes(), "what was recorded is untouched"
        new = after[len(records) :]
        assert len(new) == 0 or new["conn"].min() > records["conn"].max(initial=0)
        inside = (new["recv_ns"] > opened["from_ns"]) & (new["recv_ns"] < opened["recv_ns"])
        assert not inside.any()
    assert closed["to_ns"] > newest_ns


@pytest.mark.slow
def test_a_feed_whose_ring_was_replaced_ends_so_that_nothing_is_written_where_nobody_reads(
    case: FeedCase, make_simulator: MakeSimulator
) -> None:
    begin(case, make_simulator("--rate", "300"))
    path = case.rings[Kind.QUOTE].path
    shutil.copyfile(path, path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)
    assert case.process is not None
    assert case.process.wait(10) == 1
    assert "is not ours any more" in case.health().last_error


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
def test_malformed_and_truncated_frames_in_a_stream_cost_nothing_else(
    case: FeedCase, make_simulator: MakeSimulator
) -> None:
    simulator = make_simulator("--rate", "500")
    begin(case, simulator)
    simulator.fault("malformed channel=ticker.* count=2")
    simulator.fault("truncated channel=ticker.* count=2")
    case.until(lambda: case.gaps(Cause.UNDECODABLE)["count"].sum() == 4, "four frames in gaps")
    assert len(list(read_entries(case.data_dir / "quarantine" / "feed-1.frames"))) == 4
    assert case.health().counters["reconnects"] == 0


@pytest.mark.slow
def test_a_frame_larger_than_allowed_ends_the_connection_and_is_a_hole(
    case: FeedCase, make_simulator: MakeSimulator
) -> None:
    simulator = make_simulator("--rate", "300")
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
def test_unthrottled_channels_fall_back_where_the_venue_wants_a_login(
    case: FeedCase, make_simulator: MakeSimulator
) -> None:
    simulator = make_simulator("--rate", "300")
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


def test_a_venue_that_is_not_there_is_tried_again_until_it_is(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--rate", "300")
    channels = channels_of(simulator)
    simulator.close()
    case.configure(simulator.ws_url)
    case.assign(*channels)
    case.start()
    case.until(lambda: len(case.gaps(Cause.DISCONNECT)) == 1, "a hole from the start on")
    case.until_lost("")
    port = simulator.ws_url.split(":")[2].split("/")[0]
    make_simulator("--rate", "300", "--port", port)
    case.until_live(len(channels))
    assert ended(case, Cause.DISCONNECT)
    assert case.process is not None


def test_without_an_assignment_a_feed_waits(case: FeedCase, make_simulator: MakeSimulator) -> None:
    simulator = make_simulator("--rate", "300")
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
def test_a_full_ring_is_a_hole_with_the_number_of_lost_records_and_books_begin_anew(
    make_case: MakeCase, make_simulator: MakeSimulator
) -> None:
    case = make_case(slots=512)
    simulator = make_simulator("--rate", "1500")
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


def test_gaps_wait_in_order_while_their_ring_is_full(case: FeedCase) -> None:
    """FEED-1."""
    writer = Producer("feed-1", case.rings)
    capacity = case.rings[Kind.GAP].capacity
    for number in range(capacity + 3):
        writer.write_gap(Gap(cause=Cause.STALE, from_ns=number + 1), recv_ns=5)
    assert writer.flush() == 3
    case.gaps()
    assert writer.flush() == 0
    assert case.gaps()["from_ns"].tolist() == list(range(1, capacity + 4))
    assert writer.lost_gaps == 0


def test_rings_that_nobody_makes_are_waited_for_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "ATTACH_S", 0.2)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        time.sleep(seconds)
        return False

    with pytest.raises(RingFault, match="is the journal process running"):
        Producer.attach(tmp_path, "feed-1", wait=wait)
    assert len(waits) >= 2
    assert Producer.attach(tmp_path, "feed-1", wait=lambda _seconds: True) is None


# -------------------------------------------------------------------- LINK-1


def test_an_unencrypted_venue_elsewhere_is_refused() -> None:
    """LINK-1."""
    for url in ("ws://www.deribit.com/ws/api/v2", "ws://192.0.2.1/", "http://127.0.0.1/", "ws:///"):
        with pytest.raises(ConfigError, match="expected wss://"):
            make_tls(Venue(ws_url=url))
    assert make_tls(Venue(ws_url="ws://127.0.0.1:1/")) is None
    assert make_tls(Venue(ws_url="ws://[::1]:1/")) is None


def test_a_ca_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "none.pem"):
        with pytest.raises(ConfigError, match=r"venue\.ca_file"):
            make_tls(Venue(ca_file=tmp_path / name))


def certificate(folder: Path, name: str, host: str) -> tuple[Path, Path]:
    """A self-signed certificate for `host`, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={host}"]
    command += ["-addext", f"subjectAltName={'IP' if host[0].isdigit() else 'DNS'}:{host}"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the certificates, is not installed")
def test_only_the_right_certificate_for_the_right_host_is_accepted(
    case: FeedCase, make_simulator: MakeSimulator, tmp_path: Path
) -> None:
    """LINK-1."""
    ours = certificate(tmp_path, "ours", "127.0.0.1")
    elsewhere = certificate(tmp_path, "elsewhere", "www.example.com")
    right = make_simulator("--rate", "300", "--tls", *map(str, ours))
    channels = channels_of(right)
    wrong = make_simulator("--hold", "--tls", *map(str, elsewhere))
    for url, ca_file, reason in (
        (right.ws_url, None, "certificate refused: self"),
        (right.ws_url, elsewhere[0], "certificate refused: self"),
        (wrong.ws_url, elsewhere[0], "certificate refused: IP address mismatch"),
    ):
        case.configure(url, **({"ca_file": str(ca_file)} if ca_file else {}))
        case.assign(*channels)
        case.start()
        case.until_lost(reason)
        case.end()
    assert right.status()["frames"] == 0, "nothing was asked of it"
    case.configure(right.ws_url, ca_file=str(ours[0]))
    case.start()
    case.until_live(len(channels))


def test_the_venue_is_always_verified_and_spoken_to_by_tls_1_2_or_newer() -> None:
    """LINK-1."""
    context = make_tls(Venue())
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
