"""What a venue does wrong, one thing after another, to a whole engine; and what the ledger tells of each.

One engine for all of them, in the order of this file; at the end the audit compares every row.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from faults.rig import HASTY, Rig, folders
from patience import wait_for
from simulator import simulating
from tickbay.embedded import EmbeddedServer
from whole_engine import query, tickbay, whole_engine

pytestmark = pytest.mark.slow

MARKET = ("--instruments", "ETH=40", "--no-limits", "--rate", "400")
MORE = f"{HASTY}[heal]\nsettle_s = 0.5\ncheck_s = 1\nrequests_per_s = 50\n[check]\ndisagree_s = 2\n"


@pytest.fixture(scope="module")
def rig(postgres_server: EmbeddedServer) -> Iterator[Rig]:
    with (
        folders() as (folder, run_dir),
        simulating(folder, *MARKET) as simulator,
        whole_engine(folder, run_dir, postgres_server, simulator, more=MORE) as rig,
    ):
        rig.up()
        rig.wait_flowing()
        yield rig


def since(rig: Rig) -> int:
    """Now, after what a test before has left is over."""
    wait_for(lambda: not gaps(rig, 0, "to_ns IS NULL"), "no hole to be open")
    rig.wait_live()
    return time.time_ns()


def gaps(rig: Rig, from_ns: int, condition: str = "true") -> list[Any]:
    """(feed, kind, cause, instrument, from_ns, to_ns, detail) of what was missing since then; not fetched trades."""
    columns = "feed, kind, cause, instrument, from_ns, to_ns, detail"
    lasted = "NOT healed AND (to_ns IS NULL OR to_ns >= %s)"
    return query(rig, f"SELECT {columns} FROM gaps WHERE {lasted} AND {condition}", from_ns)


def events(rig: Rig, action: str) -> int:
    rig.simulator.status()
    return (rig.folder / "ledger" / "events.jsonl").read_text().count(f'"event": "{action}"')


def test_a_change_that_is_lost_without_a_trace_is_found_by_the_ticker_and_the_book_is_sent_anew(rig: Rig) -> None:
    """CHECK-1."""
    from_ns = since(rig)
    (name,) = rig.simulator.call("public/get_instruments", currency="ETH", kind="option")[:1]
    book = f"book.{name['instrument_name']}.100ms"
    rig.simulator.fault(f"hollow channel={book} count=40")
    wait_for(lambda: bool(gaps(rig, from_ns, "cause = 'disagreement' AND to_ns IS NOT NULL")), "the gap and its end")
    for _, kind, cause, instrument, began_ns, ended_ns, detail in gaps(rig, from_ns):
        assert (kind, cause, instrument) == ("book", "disagreement", name["instrument_name"])
        assert re.fullmatch(r"book \S+/\S+, ticker \S+/\S+", detail)
        snapshot = "SELECT FROM book_changes WHERE instrument = %s AND snapshot AND recv_ns BETWEEN %s AND %s"
        assert query(rig, snapshot, instrument, began_ns + 1, ended_ns), "it ended with a new snapshot"
    status, told, _ = tickbay("gaps", "--config", str(rig.file), "--cause", "disagreement", env=rig.env)
    assert status == 0 and name["instrument_name"] in told


def test_tickers_whose_times_go_backwards_and_frames_that_come_twice_are_recorded_as_they_came(rig: Rig) -> None:
    from_ns = since(rig)
    before = query(rig, "SELECT count(*) FROM option_quotes WHERE recv_ns - exch_ns > 50e9")[0][0]
    rig.simulator.fault("older channel=ticker.* seconds=60 count=20")
    rig.simulator.fault("duplicate channel=ticker.* count=20")
    rig.simulator.fault("duplicate channel=book.* count=20")
    wait_for(lambda: events(rig, "older") == 20 and events(rig, "duplicate") == 40, "all of it to be sent")
    old = "SELECT count(*) FROM option_quotes WHERE recv_ns - exch_ns > 50e9"
    wait_for(lambda: query(rig, old)[0][0] == before + 20, "each to be stored")
    assert gaps(rig, from_ns) == [], "nothing is missing"


def test_a_channel_that_is_refused_without_a_word_is_asked_for_until_it_comes(rig: Rig) -> None:
    """FEED-2. Its hole begins with the connection's and lasts longer."""
    from_ns = since(rig)
    name = query(rig, "SELECT instrument FROM option_quotes LIMIT 1")[0][0]
    rig.simulator.fault(f"refuse channel=ticker.{name}.100ms count=4")
    for connection in rig.simulator.feeds():
        rig.simulator.fault(f"kill connection={connection}")
    wait_for(lambda: events(rig, "refuse") == 4, "it to be refused")
    refused = f"cause = 'refused' AND instrument = '{name}' AND to_ns IS NOT NULL"
    wait_for(lambda: bool(gaps(rig, from_ns, refused)), "the gap and its end")
    others = {gap[2] for gap in gaps(rig, from_ns, f"instrument IS DISTINCT FROM '{name}'")}
    assert others <= {"disconnect", "sequence"}


def test_a_request_that_was_one_too_many_costs_the_connection_and_what_that_costs_is_named(rig: Rig) -> None:
    from_ns = since(rig)
    rig.simulator.fault("hasty")
    rig.simulator.fault(f"kill connection={rig.simulator.feeds()[-1]}")  # it asks anew, and that is one too many
    wait_for(lambda: events(rig, "hasty") == 1, "the refusal")
    ended = "cause = 'disconnect' AND instrument IS NULL AND to_ns IS NOT NULL"
    wait_for(lambda: bool(gaps(rig, from_ns, ended)), "the gap and its end")


def test_a_venue_that_takes_no_more_connections_is_asked_again_until_it_does(rig: Rig) -> None:
    from_ns = since(rig)
    rig.simulator.fault("full state=on")
    rig.simulator.fault(f"kill connection={rig.simulator.feeds()[0]}")
    log = rig.folder / "engine.log"
    wait_for(lambda: "HTTP 429" in log.read_text(), "the refusal")
    lasting = "cause = 'disconnect' AND instrument IS NULL AND to_ns IS NULL"
    wait_for(lambda: bool(gaps(rig, from_ns, lasting)), "the gap, which lasts")
    rig.simulator.fault("full state=off")
    wait_for(lambda: bool(gaps(rig, from_ns, "instrument IS NULL AND to_ns IS NOT NULL")), "the end")


def test_after_all_of_it_every_row_is_as_sent_or_in_a_gap_that_is_named(rig: Rig) -> None:
    since(rig)
    verdict = rig.finish()
    assert verdict.good and verdict.unrecorded == 0, verdict
