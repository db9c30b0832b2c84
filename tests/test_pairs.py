"""Two connections with the same channels (`feeds.redundancy = 2`), real processes: whatever becomes of one of them,
every row of the market is stored once. PAIR-1, GAP-1.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from faults.rig import HASTY, Rig
from patience import PATIENCE_S, wait_for
from simulator import Simulator, simulating
from tickbay.embedded import EmbeddedServer
from tickbay.health import heartbeat_ns
from whole_engine import query, tickbay, whole_engine

pytestmark = pytest.mark.slow

MARKET = ("--instruments", "ETH=60", "--rate", "1000", "--no-limits", "--clock", "market")
QUIET = "[heal]\nenabled = false\n"
LEGS = ("feed-1a", "feed-1b")
MERGER_KILLS = 20
DROPS = ("drop channel=book.* count=8", "drop channel=trades.* count=3", "drop channel=ticker.* count=20")
DROPPED = 31  # messages by these, of which each is a record or more
APART_S = 3.0  # a leg that a busy machine held back for a second is not known to be whole yet: GAP-1 would tell a hole
GAPS = (
    "SELECT cause, kind, instrument, to_ns IS NOT NULL, from_ns, to_ns, recv_ns, detail FROM data_gaps"
    " WHERE stream = 'pair-1.gap' ORDER BY seq"
)


def paired(rig: Rig) -> Rig:
    """The engine of `rig` with two legs instead of one feed, which are patient: an overloaded simulator is silent on
    both."""
    rig.file.write_text(rig.file.read_text().replace("[feeds]\n", "[feeds]\nredundancy = 2\n"))
    rig.allow_silence(PATIENCE_S)
    return rig


def both_live(rig: Rig) -> bool:
    return all(rig.state(leg) == "live" for leg in LEGS)


def wait_whole(rig: Rig) -> None:
    """Until either leg could be broken next: the merger says that it depends on neither, after both had come back."""
    wait_for(lambda: both_live(rig), "both legs to record again")
    since_ns = heartbeat_ns()

    def needs_neither() -> bool:
        report = rig.report("merger-1")
        return report is not None and report.state == "live" and report.heartbeat_ns > since_ns

    wait_for(needs_neither, "the pair to be whole")
    rig.wait_commit()


def of_pair(rig: Rig) -> list[tuple[object, ...]]:
    """The pair's gaps: cause, kind, instrument, whether it is over, and what tells why."""
    return query(rig, GAPS)


def kill_again_and_again(rig: Rig, name: str, times: int) -> None:
    chance = random.Random(7)
    killed = 0
    while killed < times:
        time.sleep(chance.uniform(0.05, 0.4))
        killed += rig.kill(name)


def kill(rig: Rig, name: str) -> None:
    """`kill -9`, and wait for the next life."""
    before = rig.identity(name)
    assert rig.kill(name)
    wait_for(lambda: rig.identity(name) not in (None, before), f"{name} to be replaced")


def break_each_leg(rig: Rig, simulator: Simulator) -> None:
    """Every way in which one connection fails while the other one stands, under load, for both in turn."""
    for place in (0, 1):
        for lines in (
            DROPS,
            ("duplicate channel=* count=10", "reorder channel=book.* count=3"),
            ("late seconds=2",),
            ("stall seconds=2",),
            ("malformed count=3",),
            ("close code=1001 reason=leaving",),
            ("kill",),
        ):
            connection = simulator.feeds()[place]
            for line in lines:
                simulator.fault(f"{line} connection={connection}")
            time.sleep(2.5 if "seconds" in lines[0] else 0.8)
            wait_whole(rig)
    for leg in LEGS:
        time.sleep(APART_S)
        kill(rig, leg)
        wait_whole(rig)


def test_nothing_is_lost_or_stored_twice_while_one_leg_of_a_pair_stands(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    """PAIR-1"""
    with (
        simulating(tmp_path, *MARKET) as simulator,
        whole_engine(tmp_path, shm_dir, postgres_server, simulator, feeds=1, more=HASTY + QUIET) as rig,
    ):
        paired(rig).up()
        rig.wait_flowing()
        break_each_leg(rig, simulator)
        legs = json.loads(tickbay("status", "--json", "--config", str(rig.file), env=rig.env)[1])["legs"]
        kill_again_and_again(rig, "merger-1", MERGER_KILLS)
        wait_whole(rig)
        gaps = of_pair(rig)
        rig.restart_all()
        wait_whole(rig)
        report, after_restarts = rig.report("merger-1"), of_pair(rig)
        verdict = rig.finish()
    assert gaps == [], gaps
    # Where processes take seconds to come up, the second leg may go before the merger trusts the first: a named hole.
    assert {cause for cause, *_ in after_restarts} <= {"restart"}, after_restarts
    assert [leg["feed"] for leg in legs] == [*LEGS] and all(leg["missed"] >= DROPPED for leg in legs), legs
    assert verdict.good and not verdict.known and verdict.expected > 20_000, verdict
    assert verdict.stored >= verdict.expected, verdict
    assert query(rig, "SELECT DISTINCT stream FROM option_quotes") == [("pair-1.quote",)]
    assert report is not None and report.counters["a_first"] > 0 and report.counters["b_first"] > 0
    assert not [gap for gap in query(rig, "SELECT stream FROM data_gaps") if gap[0].startswith("feed-")]


def test_when_both_legs_are_down_at_once_there_is_one_named_gap(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    """GAP-1"""
    with (
        simulating(tmp_path, *MARKET) as simulator,
        whole_engine(tmp_path, shm_dir, postgres_server, simulator, feeds=1, more=HASTY + QUIET) as rig,
    ):
        paired(rig).up()
        rig.wait_flowing()
        for connection in simulator.feeds():
            simulator.fault(f"kill connection={connection}")
        time.sleep(2)
        wait_whole(rig)
        status = tickbay("status", "--config", str(rig.file), env=rig.env)
        gaps = of_pair(rig)
        verdict = rig.finish()
    assert verdict.good, verdict
    assert {gap[:3] for gap in gaps} == {("disconnect", None, None)} and [gap[3] for gap in gaps] == [False, True], gaps
    assert status[0] == 0 and "merger-1" in status[1] and status[1].count("feed-1b") >= 2, status
