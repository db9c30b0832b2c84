"""A venue's day in a minute: an expiry at 08:00 UTC, new strikes, a maintenance, three disconnects, a lost range of
trades. At its end nothing is lost, nothing is there twice, and every hole is one that the script explains.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from faults.rig import HASTY, Rig, folders
from patience import wait_for
from simulator import simulating
from tickbay.audit.verdict import Verdict
from tickbay.embedded import EmbeddedServer
from tickbay.sim.ledger import LedgerReader
from whole_engine import query, tickbay, whole_engine

pytestmark = pytest.mark.slow

MARKET = ("--instruments", "ETH=60", "--no-limits", "--rate", "600")
# Listings are fetched once; from then on the universe lives by what is announced.
MORE = (
    f"{HASTY}[heal]\nsettle_s = 0.5\ncheck_s = 2.5\nrequests_per_s = 50\n[universe]\nrefresh_s = 3600\nlinger_s = 1\n"
)
STEP_S = 5  # of a certificate
DROPS = 20
EXPIRY_DROPS = 100  # one trade in 15 is of what expires: that none of these is happens once in a thousand runs
HOLES = "SELECT feed, kind, cause, instrument, expected, healed, from_ns, to_ns FROM gaps"
# Holes of which trades lack: those that were healed have a second row, of kind trade, for that.
UNHEALED = """
    SELECT feed, cause, instrument FROM gaps AS g
    WHERE coalesce(kind, 'trade') = 'trade' AND cause <> 'expired' AND NOT healed AND NOT EXISTS (
        SELECT FROM gaps AS h WHERE h.healed AND (h.feed, h.cause, h.from_ns) = (g.feed, g.cause, g.from_ns))"""


@dataclass
class Day:
    """What became of it."""

    rig: Rig
    expired: list[str] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    holes: list[Any] = field(default_factory=list)  # rows of HOLES
    traded: set[tuple[str, int]] = field(default_factory=set)  # instrument and number: all that the venue tells of
    accepted: tuple[int, int] = (0, 0)  # connections before and after the expiry
    period_s: tuple[int, int] = (0, 0)
    verdict: Verdict = field(default_factory=Verdict)


@pytest.fixture(scope="module")
def day(postgres_server: EmbeddedServer) -> Iterator[Day]:
    with (
        folders() as (folder, run_dir),
        simulating(folder, *MARKET) as simulator,
        whole_engine(folder, run_dir, postgres_server, simulator, more=MORE) as rig,
    ):
        yield live_through(Day(rig))


def live_through(day: Day) -> Day:
    rig, simulator = day.rig, day.rig.simulator
    rig.up()
    rig.wait_flowing()
    wait_for(lambda: len(simulator.announced_to()) == 1, "the universe's own connection")
    begin_s = border()

    simulator.fault(f"drop channel=trades.* count={DROPS}")  # 02:00, in all of the chain
    wait_for(lambda: events(rig).count("drop") == DROPS, "a range of trades to be lost")
    time.sleep(2)
    disconnect(rig, "kill", 0)  # 05:00
    time.sleep(2)
    expire(day)  # 08:00
    disconnect(rig, "close", 1)  # 11:00
    time.sleep(2)
    maintain(rig)  # 15:00
    time.sleep(2)
    disconnect(rig, "too_slow", 0)  # 20:00

    wait_for(lambda: is_whole(rig), "the end of every hole")  # 24:00
    day.period_s = begin_s, border()
    border()  # the heartbeat that proves the end
    day.holes = query(rig, HOLES)
    simulator.end_data()
    day.traded = trades_of(day)
    wait_for(lambda: day.traded <= stored(rig), "every trade that the venue tells of")
    day.verdict = rig.finish()
    return day


def disconnect(rig: Rig, how: str, place: int) -> None:
    feeds = rig.simulator.feeds()
    rig.simulator.fault(f"{how} connection={feeds[place]}")
    wait_for(lambda: len(set(rig.simulator.feeds()) - {feeds[place]}) == len(feeds), "a new connection")
    rig.wait_flowing()


def expire(day: Day) -> None:
    """Trading pauses, the expiry is delivered, and strikes of the next one are listed."""
    rig, simulator = day.rig, day.rig.simulator
    before = simulator.status()["accepted"]
    options = [
        item["instrument_name"] for item in simulator.call("public/get_instruments", currency="ETH", kind="option")
    ]
    expiries = list(dict.fromkeys(name.split("-")[1] for name in options))
    day.expired = [name for name in options if name.split("-")[1] == expiries[0]]
    simulator.fault(f"drop channel=trades.* count={EXPIRY_DROPS}")  # nobody asks for the last ones before they expire
    wait_for(lambda: events(rig).count("drop") == DROPS + EXPIRY_DROPS, "more trades to be lost")
    simulator.fault(f"settle name=ETH-{expiries[0]}-*-? seconds=3")
    ended = "SELECT count(*) FROM gaps WHERE cause = 'expired' AND expected"
    wait_for(lambda: query(rig, ended) == [(len(day.expired),)], "the expiry's end to be told")
    day.listed = [f"ETH-{expiries[1]}-{strike}-{side}" for strike in (9950, 9960, 9970) for side in "CP"]
    for name in day.listed:
        simulator.fault(f"list name={name}")
    wait_for(lambda: all(is_recorded(rig, name) for name in day.listed), "new strikes to be recorded")
    day.accepted = before, simulator.status()["accepted"]


def maintain(rig: Rig) -> None:
    told = "SELECT count(*) FROM data_gaps WHERE cause = 'maintenance' AND instrument IS NULL AND to_ns IS NULL"
    rig.simulator.fault("maintenance state=on")
    wait_for(lambda: query(rig, told) == [(2,)], "both feeds to know why")
    time.sleep(2)
    rig.simulator.fault("maintenance state=off")
    wait_for(lambda: not query(rig, f"{HOLES} WHERE open"), "the feeds to be back")
    rig.wait_flowing()


def is_recorded(rig: Rig, name: str) -> bool:
    """Ticks, a book and the reference data."""
    return all(
        query(rig, f"SELECT FROM {table} WHERE instrument = %s LIMIT 1", name)
        for table in ("option_quotes", "book_changes", "instruments")
    )


def trades_of(day: Day) -> set[tuple[str, int]]:
    """What the venue tells of each instrument since the first trade of it that we have; also of those that expired."""
    first = dict(query(day.rig, "SELECT instrument, min(trade_seq) FROM option_trades GROUP BY 1"))
    found = set()
    for name, number in first.items():
        more = True
        while more:
            asked = {"instrument_name": name, "start_seq": number, "count": 1000, "sorting": "asc"}
            answer = day.rig.simulator.call("public/get_last_trades_by_instrument", **asked)
            found |= {(name, trade["trade_seq"]) for trade in answer["trades"]}
            more, number = answer["has_more"], number + 1000
    return found


def stored(rig: Rig) -> set[tuple[str, int]]:
    return set(query(rig, "SELECT instrument, trade_seq FROM option_trades"))


def is_whole(rig: Rig) -> bool:
    return not query(rig, UNHEALED) and not query(rig, f"{HOLES} WHERE open")


def events(rig: Rig) -> list[str]:
    rig.simulator.status()  # the ledger is flushed
    return [event["event"] for event in LedgerReader(rig.folder / "ledger").events()]


def border(seconds: int = 0) -> int:
    """Sleep until the next border of a certificate's steps that is so far away; returns it, in unix seconds."""
    at = (int(time.time()) // STEP_S + 1) * STEP_S + seconds
    time.sleep(max(0.0, at - time.time()))
    return at


def certificate(day: Day, store: str) -> dict[str, Any]:
    begin, end = (datetime.fromtimestamp(second, UTC) for second in day.period_s)
    period = [f"{begin:%Y-%m-%d}", "--from", f"{begin:%H:%M:%S}", "--to", f"{end:%H:%M:%S}"]
    _, out, err = tickbay(
        "certificate", *period, "--store", store, "--json", "--config", str(day.rig.file), env=day.rig.env
    )
    assert out, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_nothing_that_was_sent_is_lost_twice_or_different_and_no_fault_is_without_its_gap(day: Day) -> None:
    verdict = day.verdict
    assert verdict.good and verdict.faults == 3 and verdict.healed >= DROPS + EXPIRY_DROPS, verdict
    wrong = verdict.lost, verdict.twice, verdict.different, verdict.stray, verdict.holes, verdict.unrecorded
    assert wrong == (0,) * 6, verdict


def test_every_trade_of_the_day_is_there_once_also_those_of_instruments_that_have_expired(day: Day) -> None:
    """HEAL-1, HEAL-2: the lost range, what was traded while a connection was cut, and during the maintenance."""
    assert len(day.traded) > 200 and day.traded <= stored(day.rig)
    assert query(day.rig, "SELECT FROM option_trades GROUP BY instrument, trade_seq HAVING count(*) > 1") == []
    healed = query(day.rig, "SELECT instrument FROM option_trades WHERE healed")
    assert len(healed) >= DROPS + EXPIRY_DROPS
    assert {name for (name,) in healed} & {*day.expired}, "of what expired before it was asked for"


def test_every_hole_is_one_that_the_script_explains(day: Day) -> None:
    holes = day.holes
    told = Counter((cause, kind, expected) for _, kind, cause, _, expected, healed, _, _ in holes if not healed)
    # One that maintenance cut is told as a lost connection first, and ends there when its feed hears of that.
    cut = [hole for hole in holes if hole[1:4] == (None, "disconnect", None) and hole[7] > hole[6]]
    assert len(cut) == 3 and told.pop(("disconnect", None, False)) <= 3 + 2, holes
    assert told.pop(("expired", None, True)) == len(day.expired)
    assert {hole[3] for hole in holes if hole[2] == "expired"} == {*day.expired}
    kept_away = [hole for hole in holes if hole[1:4] == (None, "maintenance", None) and not hole[5]]
    assert {hole[0] for hole in kept_away} == {"feed-1", "feed-2"} and all(hole[4] for hole in kept_away)
    assert {cause for cause, _, expected in told if not expected} <= {"sequence"}, told
    assert {cause for cause, _, expected in told if expected} == {"maintenance"}, told
    # A trade's sequence shows what nobody was sent: the lost range, and what happened while a connection was cut.
    assert {kind for cause, kind, _ in told if cause == "sequence"} <= {"trade"}, told
    assert all(hole[7] is not None for hole in holes), "nothing lasts"


@pytest.mark.parametrize("store", ["timescale", "journal"])
def test_its_certificate_has_no_hole_without_a_name(day: Day, store: str) -> None:
    found = certificate(day, store)
    figures = found["summary"]
    told = f"{figures['percent']} % covered, {figures['gaps']} gaps, {figures['gaps_healed']} of them healed"
    print(f"     {store}: {told}, {figures['unexplained']} without a name", file=sys.stderr)
    assert found["verdict"] != "cannot tell" and found["gaps"]
    assert found["unexplained"] == [], found["reasons"]
    assert {item["instrument"] for item in found["instruments"]} >= {*day.expired, *day.listed}
    assert min(item["percent"] for item in found["instruments"]) > 0


def test_new_strikes_are_recorded_at_once_and_nobody_connects_anew_for_an_expiry(day: Day) -> None:
    assert day.accepted[0] == day.accepted[1]
    listed = {
        event["instrument"]: event["at_ns"]
        for event in LedgerReader(day.rig.folder / "ledger").events()
        if event["event"] == "list"
    }
    first = dict(query(day.rig, "SELECT instrument, min(recv_ns) FROM option_quotes GROUP BY 1"))
    seconds = [(first[name] - listed[name]) / 1e9 for name in day.listed]
    print(f"     from listing to first quote: {min(seconds):.3f} to {max(seconds):.3f} s", file=sys.stderr)
    assert len(seconds) == 6 and min(seconds) > 0
    for name in day.expired:
        states = query(day.rig, "SELECT state FROM instruments WHERE instrument = %s ORDER BY epoch, seq", name)
        assert [state for (state,) in states] == ["open", "settlement", "delivered"]
