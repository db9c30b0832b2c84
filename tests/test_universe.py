"""Rules and placement as pure functions; the process against a real HTTP server, real rings and real control
sockets.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rest_server import EXPIRY_MS, RestServer, option
from tickbay import control
from tickbay.assignment import Assignment, assignment_path, read_assignment, write_assignment
from tickbay.catalogue import Catalogue, catalogue_path, read_catalogue, write_catalogue
from tickbay.config import Select
from tickbay.errors import VenueFault
from tickbay.gap import Cause
from tickbay.health import read_report
from tickbay.instrument import Instrument, InstrumentKind, read_instrument
from tickbay.placement import place
from tickbay.record import Kind, Records
from tickbay.ring import Ring, create
from tickbay.selection import DAY_NS, Listing, Market, Unit, select

NOW_NS = 1_800_000_000 * 10**9
PATIENCE_S = 30.0
ETH = Market("ETH", "option")


def listed(*items: Instrument, **open_interest: float) -> Listing:
    return Listing({ETH: items}, {name.replace("_", "-"): value for name, value in open_interest.items()})


def made(name: str, **fields: Any) -> Instrument:
    return read_instrument(option(name, **fields))


# What an instrument is


def test_reference_data_comes_from_fields_and_not_from_the_name() -> None:
    item = made("BTC-1JAN30-9-P")  # every part of this name contradicts the fields
    record = item.record(now_ns=5, conn=6)[0]
    assert (record["strike"], record["option_type"], record["base_currency"]) == (2500.0, b"call", b"ETH")
    assert record["expiration_ns"] == EXPIRY_MS * 10**6
    assert (record["instrument"], record["exch_ns"], record["conn"], record["kind"]) == (b"BTC-1JAN30-9-P", 5, 6, 1)


def test_absent_reference_data_is_absent_in_the_record() -> None:
    said = {"instrument_name": "ETH-PERPETUAL", "kind": "future", "settlement_period": "perpetual"}
    item = read_instrument(said)
    record = item.record(now_ns=1, conn=1)[0]
    assert item.kind is InstrumentKind.PERPETUAL
    assert np.isnan(record["strike"]) and np.isnan(record["tick_size"])
    assert record["option_type"] == b"" and record["expiration_ns"] == 0


def test_an_expiry_in_the_year_3000_is_none() -> None:
    item = made("ETH-PERPETUAL", kind="future", expiration_timestamp=32_503_708_800_000)
    assert item.expiration_ns == 0 and item.kind is InstrumentKind.PERPETUAL


@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        option("E" * 49),
        option("A.B"),
        option('A"B'),
        option("A B"),
        option("Ä"),
        option("A\0B"),
        option("ETH-1", kind="warrant"),
        option("ETH-1", strike="2500"),
        option("ETH-1", strike=float("inf")),
        option("ETH-1", expiration_timestamp=-1),
        option("ETH-1", expiration_timestamp=1 << 63),
        option("ETH-1", price_index="x" * 33),
    ],
)
def test_an_instrument_that_cannot_be_recorded_is_refused_whole(said: Any) -> None:
    with pytest.raises(VenueFault):
        read_instrument(said)


# Rules


def test_a_rule_takes_the_ticker_and_book_of_every_live_instrument_and_the_trades_of_all() -> None:
    gone = made("GONE", expiration_timestamp=NOW_NS // 10**6 - 1)
    selection = select([Select()], listed(made("A"), made("B"), gone), now_ns=NOW_NS)
    assert {name: unit.channels for name, unit in selection.units.items()} == {
        "A": ["ticker.A.100ms", "book.A.100ms"],
        "B": ["ticker.B.100ms", "book.B.100ms"],
        "trades.option.ETH.100ms": ["trades.option.ETH.100ms"],
    }
    assert selection.units["A"].expires_ns == EXPIRY_MS * 10**6
    assert selection.units["trades.option.ETH.100ms"].expires_ns == 0


def test_top_takes_those_with_the_highest_open_interest() -> None:
    selection = select([Select(top=2)], listed(made("A"), made("B"), made("C"), A=1, B=3, C=2), now_ns=NOW_NS)
    assert selection.instruments == {"B", "C"}


def test_top_keeps_one_that_falls_just_below_the_border() -> None:
    before = select([Select(top=2)], listed(made("A"), made("B"), made("C"), A=1, B=3, C=2), now_ns=NOW_NS)
    after = listed(made("A"), made("B"), made("C"), A=2.1, B=3, C=2)
    assert select([Select(top=2)], after, now_ns=NOW_NS, selected=before.instruments).instruments == {"B", "C"}
    assert select([Select(top=2)], after, now_ns=NOW_NS).instruments == {"B", "A"}
    far = listed(made("A"), made("B"), made("C"), made("D"), A=4, B=3, C=0, D=5)
    assert select([Select(top=2)], far, now_ns=NOW_NS, selected=before.instruments).instruments == {"B", "D"}


def test_days_max_takes_what_expires_within_so_many_days_and_nothing_that_never_does() -> None:
    soon = made("SOON", expiration_timestamp=(NOW_NS + DAY_NS) // 10**6)
    late = made("LATE", expiration_timestamp=(NOW_NS + 3 * DAY_NS) // 10**6)
    selection = select([Select(days_max=2)], listed(soon, late, made("NEVER", expiration_timestamp=0)), now_ns=NOW_NS)
    assert selection.instruments == {"SOON"}


def test_names_take_only_these_and_say_which_are_not_listed() -> None:
    selection = select([Select(names=("B", "X"))], listed(made("A"), made("B")), now_ns=NOW_NS)
    assert selection.instruments == {"B"} and selection.unlisted == ("X",)


def test_rules_are_united() -> None:
    rules = [Select(names=("A",), channels=("ticker",)), Select(names=("A", "B"), channels=("book", "ticker"))]
    selection = select(rules, listed(made("A"), made("B")), now_ns=NOW_NS)
    assert {name: unit.channels for name, unit in selection.units.items()} == {
        "A": ["ticker.A.100ms", "book.A.100ms"],
        "B": ["book.B.100ms", "ticker.B.100ms"],
    }


def test_one_that_is_halted_stays_and_one_that_was_delivered_does_not() -> None:
    halted = made("H", is_active=False, state="halted")
    delivered = made("D", is_active=False, state="delivered")
    assert select([Select()], listed(halted, delivered), now_ns=NOW_NS).instruments == {"H"}


# Placement


def units(*names: str, size: int = 2) -> dict[str, Unit]:
    return {name: Unit([f"{kind}.{name}" for kind in ("ticker", "book", "x")[:size]]) for name in names}


def test_830_options_spread_evenly_over_four_feeds_with_ticker_and_book_together() -> None:
    names = [f"ETH-{number}" for number in range(830)]
    selection = select([Select()], listed(*(made(name) for name in names)), now_ns=NOW_NS)
    feeds = [f"feed-{number}" for number in range(1, 5)]
    placement = place({}, selection.units, feeds=feeds, channels_max=1000)
    loads = [sum(len(selection.units[name].channels) for name in placement.feeds[feed]) for feed in feeds]
    assert sum(loads) == 830 * 2 + 1 and max(loads) - min(loads) <= 2
    assert not placement.refused


moves = st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=60)


@given(moves=moves, count=st.integers(1, 5), channels_max=st.integers(1, 30))
def test_one_instrument_that_comes_or_goes_moves_no_other(
    moves: list[tuple[bool, int]], count: int, channels_max: int
) -> None:
    feeds = [f"feed-{number}" for number in range(1, count + 1)]
    wanted: dict[str, Unit] = {}
    current: Mapping[str, tuple[str, ...]] = dict.fromkeys(feeds, ())
    for comes, number in moves:
        wanted = wanted | units(f"I{number}") if comes else {k: v for k, v in wanted.items() if k != f"I{number}"}
        placement = place(current, wanted, feeds=feeds, channels_max=channels_max)
        before = {name: feed for feed, names in current.items() for name in names}
        after = {name: feed for feed, names in placement.feeds.items() for name in names}
        assert all(after[name] == feed for name, feed in before.items() if name in wanted)
        assert set(after) | set(placement.refused) == set(wanted) and not set(after) & set(placement.refused)
        assert all(2 * len(names) <= channels_max for names in placement.feeds.values())
        room = any(2 * len(names) + 2 <= channels_max for names in placement.feeds.values())
        assert not (placement.refused and room), "what is refused would have fitted"
        current = placement.feeds


def test_a_new_feed_takes_its_share_and_nothing_else_moves() -> None:
    wanted = units(*(f"I{number}" for number in range(12)))
    before = place({}, wanted, feeds=["feed-1", "feed-2"], channels_max=100).feeds
    after = place(before, wanted, feeds=["feed-1", "feed-2", "feed-3"], channels_max=100).feeds
    assert [len(after[feed]) for feed in ("feed-1", "feed-2", "feed-3")] == [4, 4, 4]
    assert set(after["feed-1"]) < set(before["feed-1"]) and set(after["feed-2"]) < set(before["feed-2"])


def test_a_feed_that_is_gone_leaves_its_instruments_to_the_others() -> None:
    wanted = units(*(f"I{number}" for number in range(12)))
    before = place({}, wanted, feeds=["feed-1", "feed-2", "feed-3"], channels_max=100).feeds
    after = place(before, wanted, feeds=["feed-1", "feed-2"], channels_max=100).feeds
    assert set(before["feed-1"]) <= set(after["feed-1"]) and set(before["feed-2"]) <= set(after["feed-2"])
    assert len(after["feed-1"]) == len(after["feed-2"]) == 6


# Files


def test_an_assignment_reads_back_as_written(tmp_path: Path) -> None:
    assignment = Assignment(3, {"feed-1": ("ticker.A.100ms",)}, {"ticker.A.100ms": 9}, {"B": 4})
    write_assignment(tmp_path / "a.json", assignment)
    assert read_assignment(tmp_path / "a.json") == assignment
    assert assignment.channels_of("feed-1") == {"ticker.A.100ms": 9} and assignment.channels_of("feed-2") == {}


def test_a_damaged_assignment_is_a_fault_and_none_is_none(tmp_path: Path) -> None:
    assert read_assignment(tmp_path / "a.json") is None
    for text in ("", "[]", '{"version": 1}', '{"version": 1, "feeds": []}', '{"version": "x", "feeds": {}}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(VenueFault):
            read_assignment(tmp_path / "a.json")


def test_a_catalogue_reads_back_as_written_and_a_damaged_one_is_empty(tmp_path: Path) -> None:
    catalogue = Catalogue(listed(made("A"), A=2.5), 77, {"A": made("A")})
    write_catalogue(tmp_path / "c.json", catalogue)
    read = read_catalogue(tmp_path / "c.json")
    assert read.listing is not None and list(read.listing.instruments[ETH]) == [made("A")]
    assert (read.listing.open_interest, read.fetched_ns, read.recorded) == ({"A": 2.5}, 77, {"A": made("A")})
    (tmp_path / "c.json").write_bytes((tmp_path / "c.json").read_bytes()[:-5])
    assert read_catalogue(tmp_path / "c.json") == Catalogue()


# The process

Answer = TypeVar("Answer")


def wait_for(question: Callable[[], Answer | None], what: str) -> Answer:
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        if answer := question():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"waited {PATIENCE_S:g} s for {what}")


class Place:
    """A run_dir with the universe's rings, a data_dir, a venue, and the universe process between them."""

    def __init__(self, run_dir: Path, tmp_path: Path, venue: RestServer) -> None:
        self.run_dir, self.data_dir, self.venue = run_dir, tmp_path / "data", venue
        self.file = tmp_path / "tickbay.toml"
        self.log = tmp_path / "log"
        self.process: subprocess.Popen[bytes] | None = None
        (run_dir / "rings").mkdir()
        self.rings = {kind: self._ring(kind) for kind in (Kind.INSTRUMENT, Kind.GAP)}

    def _ring(self, kind: Kind) -> Ring:
        stream = f"universe.{kind.name.lower()}"
        path = self.run_dir / "rings" / f"{stream}.ring"
        create(path, kind, 2048, stream=stream, boot_id="boot", epoch=1, first_seq=1)
        return Ring.attach(path, kind)

    def start(self, more: str = "") -> None:
        self.file.write_text(
            f'run_dir = "{self.run_dir}"\ndata_dir = "{self.data_dir}"\n'
            f'[venue]\nrest_url = "{self.venue.url}"\nbackoff_min_s = 0.1\n'
            "[universe]\nrefresh_s = 0.2\ntimeout_s = 5\n"
            f"{more}"
        )
        command = [sys.executable, "-m", "tickbay", "process", "universe", "--config", str(self.file)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def assignment(self) -> Assignment:
        return read_assignment(assignment_path(self.data_dir)) or Assignment()

    def channels(self) -> set[str]:
        return {channel for channels in self.assignment().feeds.values() for channel in channels}

    def records(self, kind: Kind) -> Records:
        """All that was published, which we then call durable, as the journal would."""
        ring = self.rings[kind]
        records = ring.read(1)
        ring.set_durable(ring.head - 1)
        return records

    def health(self) -> tuple[str, str]:
        report = read_report(self.run_dir, "universe")
        return (report.state, report.detail) if report else ("", "")


@pytest.fixture
def somewhere(shm_dir: Path, tmp_path: Path) -> Iterator[Place]:
    with RestServer() as venue:
        venue.listed["ETH", "option"] = [option("A"), option("B")]
        found = Place(shm_dir, tmp_path, venue)
        yield found
        if found.process is not None:
            found.process.kill()
            found.process.wait()
        for ring in found.rings.values():
            ring.close()


@pytest.mark.slow
def test_new_and_ended_instruments_reach_the_feeds_and_the_journal_while_running(somewhere: Place) -> None:
    somewhere.start("[feeds]\ncount = 2\n")
    wait_for(lambda: "ticker.A.100ms" in somewhere.channels(), "an assignment")
    first = somewhere.assignment()
    wait_for(lambda: len(somewhere.records(Kind.INSTRUMENT)) == 2, "two records")
    wait_for(lambda: somewhere.health() == ("live", ""), "health")
    catalogue = catalogue_path(somewhere.data_dir)
    wait_for(lambda: set(read_catalogue(catalogue).recorded) == {"A", "B"}, "the versions to be known as recorded")

    somewhere.venue.listed["ETH", "option"] = [option("B", tick_size=0.5), option("C")]
    wait_for(lambda: "ticker.C.100ms" in somewhere.channels(), "the new one")
    second = somewhere.assignment()
    assert second.version > first.version and "ticker.A.100ms" not in somewhere.channels()
    assert [feed for feed, channels in first.feeds.items() if "ticker.B.100ms" in channels] == [
        feed for feed, channels in second.feeds.items() if "ticker.B.100ms" in channels
    ]
    records = wait_for(lambda: _at_least(somewhere.records(Kind.INSTRUMENT), 5), "three more records")
    later = {record["instrument"].decode(): record for record in records[2:]}
    assert set(later) == {"A", "B", "C"}
    assert (later["A"]["is_active"], later["A"]["state"]) == (0, b"ended")
    assert later["B"]["tick_size"] == 0.5 and later["C"]["state"] == b"open"
    wait_for(lambda: set(read_catalogue(catalogue).recorded) == {"B", "C"}, "the versions to be known as recorded")
    assert somewhere.stop() == 0

    # What is recorded already is not recorded again by the next process.
    somewhere.start("[feeds]\ncount = 2\n")
    calls = len(somewhere.venue.calls)
    wait_for(lambda: len(somewhere.venue.calls) > calls + 1, "two fetches")
    assert len(somewhere.records(Kind.INSTRUMENT)) == 5
    assert somewhere.assignment() == second
    assert somewhere.stop() == 0


@pytest.mark.slow
def test_a_feed_is_told_of_its_new_assignment(somewhere: Place) -> None:
    heard: list[Any] = []
    (somewhere.run_dir / "sockets").mkdir()

    async def feed(stop: asyncio.Event) -> None:
        async def handle(request: Mapping[str, Any]) -> Mapping[str, Any]:
            heard.append((dict(request), somewhere.assignment().version))
            return {}

        server = control.Server(somewhere.run_dir / "sockets" / "feed-1.sock", handle)
        await server.start()
        await stop.wait()
        await server.stop()

    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(feed(stop),))
    thread.start()
    try:
        somewhere.start("[feeds]\ncount = 1\n")
        wait_for(lambda: heard, "the first word")
        somewhere.venue.listed["ETH", "option"].append(option("C"))
        wait_for(lambda: "ticker.C.100ms" in somewhere.channels(), "the new one")
        wait_for(lambda: heard[-1] == ({"op": "assign"}, somewhere.assignment().version), "the second word")
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
    assert somewhere.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "refuse", "garbage"])
def test_a_venue_that_fails_leaves_the_last_known_in_force(somewhere: Place, fault: str) -> None:
    somewhere.start("[feeds]\ncount = 1\n")
    wait_for(lambda: "ticker.A.100ms" in somewhere.channels(), "an assignment")
    wait_for(lambda: len(somewhere.records(Kind.INSTRUMENT)) == 2, "two records")
    wait_for(lambda: set(read_catalogue(catalogue_path(somewhere.data_dir)).recorded) == {"A", "B"}, "the catalogue")
    somewhere.venue.fault = fault
    wait_for(lambda: somewhere.health()[0] == "degraded", "degraded health")
    assert somewhere.stop() == 0
    before = somewhere.assignment()
    somewhere.start("[feeds]\ncount = 1\n")  # while the venue is still away
    wait_for(lambda: somewhere.health()[0] == "degraded", "degraded health")
    assert somewhere.assignment() == before
    somewhere.venue.fault = ""
    wait_for(lambda: somewhere.health() == ("live", ""), "health")
    assert somewhere.log.read_text().count('"universe_stale"') >= 2
    assert somewhere.stop() == 0


@pytest.mark.slow
def test_a_venue_that_never_answered_is_asked_on_and_on_and_health_says_so(somewhere: Place) -> None:
    somewhere.venue.fault = "500"
    somewhere.start()
    wait_for(lambda: len(somewhere.venue.calls) >= 3, "three calls")
    wait_for(lambda: somewhere.health()[0] == "waiting", "health")
    assert "no instruments are known" in somewhere.health()[1]
    somewhere.venue.fault = ""
    wait_for(lambda: "ticker.A.100ms" in somewhere.channels(), "an assignment")
    assert somewhere.stop() == 0


@pytest.mark.slow
def test_what_no_feed_has_room_for_is_a_gap_until_there_is_room(somewhere: Place) -> None:
    """FEED-1"""
    somewhere.start("[feeds]\ncount = 1\nchannels_max = 3\n")
    hole = wait_for(lambda: _at_least(somewhere.records(Kind.GAP), 1), "a gap")[0]
    assert (hole["cause"], hole["instrument"], hole["to_ns"]) == (Cause.REFUSED, b"B", 0)
    assert hole["from_ns"] == somewhere.assignment().refused["B"]
    wait_for(lambda: "no feed has room for 1 " in somewhere.health()[1], "degraded health")
    somewhere.venue.listed["ETH", "option"] = [option("B")]
    wait_for(lambda: "ticker.B.100ms" in somewhere.channels(), "room")
    end = wait_for(lambda: _at_least(somewhere.records(Kind.GAP), 2), "the gap's end")[1]
    assert (end["cause"], end["instrument"], end["from_ns"]) == (Cause.REFUSED, b"B", hole["from_ns"])
    assert end["to_ns"] > end["from_ns"]
    wait_for(lambda: somewhere.health() == ("live", ""), "health")
    assert somewhere.stop() == 0


@pytest.mark.slow
def test_one_bad_instrument_is_refused_alone(somewhere: Place) -> None:
    somewhere.venue.listed["ETH", "option"].append(option("N" * 49))
    somewhere.start("[[select]]\ntop = 1\n")
    somewhere.venue.open_interest = {"B": 5.0}
    wait_for(lambda: "ticker.B.100ms" in somewhere.channels(), "the one with open interest")
    wait_for(lambda: "1 instruments cannot be recorded" in somewhere.health()[1], "degraded health")
    assert "get_book_summary_by_currency" in somewhere.venue.calls
    assert somewhere.stop() == 0
    assert '"instrument_refused"' in somewhere.log.read_text()


def _at_least(records: Records, count: int) -> list[np.void] | None:
    return list(records) if len(records) >= count else None
