"""The universe process against a real HTTP server, real rings and real control sockets."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from patience import PATIENCE_S, wait_for
from rest_server import RestServer, option
from tickbay import control
from tickbay.gap import Cause
from tickbay.health import read_report
from tickbay.record import Kind, Records
from tickbay.ring import Ring, create
from tickbay.universe.assignment import Assignment, assignment_path, read_assignment
from tickbay.universe.catalogue import catalogue_path, read_catalogue

Answer = TypeVar("Answer")


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
            f'[venue]\nrest_url = "{self.venue.url}"\nws_url = "ws://127.0.0.1:1/"\nbackoff_min_s = 0.1\n'
            "[universe]\nrefresh_s = 0.2\ntimeout_s = 5\nlinger_s = 0\n"
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
def test_a_name_in_a_rule_that_expires_is_an_expected_end_also_for_the_next_process(somewhere: Place) -> None:
    rule = "[[select]]\nnames = ['A', 'B']\n"
    somewhere.start(rule)
    catalogue = catalogue_path(somewhere.data_dir)
    somewhere.records(Kind.INSTRUMENT)
    wait_for(lambda: len(somewhere.records(Kind.INSTRUMENT)) == 2, "two records")
    wait_for(lambda: set(read_catalogue(catalogue).recorded) == {"A", "B"}, "the versions to be known as recorded")
    somewhere.venue.listed["ETH", "option"] = [option("B"), option("C")]
    wait_for(lambda: len(somewhere.records(Kind.INSTRUMENT)) == 4, "the end of one and a new one")
    wait_for(lambda: "C" in read_catalogue(catalogue).recorded, "the versions to be known as recorded")
    for _ in range(2):
        calls = len(somewhere.venue.calls)
        wait_for(lambda: len(somewhere.venue.calls) > calls + 4, "more fetches")  # noqa: B023 - called in this turn
        assert somewhere.health() == ("live", "")
        assert somewhere.stop() == 0
        somewhere.start(rule)
    assert b"does not list it" not in somewhere.log.read_bytes()


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
    ended, end = wait_for(lambda: _at_least(somewhere.records(Kind.GAP), 3), "the gap's end")[1:]
    assert (ended["cause"], ended["instrument"]) == (Cause.EXPIRED, b"A")
    assert (end["cause"], end["instrument"], end["from_ns"]) == (Cause.REFUSED, b"B", hole["from_ns"])
    assert end["to_ns"] > end["from_ns"]

    def counted() -> dict[str, int]:
        report = read_report(somewhere.run_dir, "universe")
        counters = report.counters if report is not None else {}
        return {name: count for name, count in counters.items() if name.startswith("gaps.") and count}

    wait_for(lambda: counted() == {"gaps.refused": 1, "gaps.expired": 1}, "them to be counted, each once")
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
