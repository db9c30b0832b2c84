"""Trades that were not captured come back: from the venue's REST, through ring, journal and sink, each once."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults.rig import HASTY, Rig
from patience import wait_for
from simulator import Simulator, simulating
from tickbay.embedded import EmbeddedServer
from tickbay.sim.ledger import LedgerReader
from whole_engine import query, tickbay, whole_engine

pytestmark = pytest.mark.slow

MARKET = ("--instruments", "ETH=60", "--no-limits", "--rate", "600")
DROPS = 30
TWICE = "SELECT instrument, trade_seq FROM option_trades GROUP BY 1, 2 HAVING count(*) > 1"
DIRTY = "SELECT instrument FROM dirty WHERE kind = 'trade' AND cause = 'sequence'"
HOLES = """
    SELECT instrument, last + 1, trade_seq - 1 FROM (
        SELECT instrument, trade_seq, lag(trade_seq) OVER (PARTITION BY instrument ORDER BY trade_seq) AS last
        FROM option_trades) AS pairs
    WHERE trade_seq > last + 1"""
UNHEALED = """
    SELECT feed, cause, instrument, detail FROM gaps AS g
    WHERE coalesce(kind, 'trade') = 'trade' AND NOT healed AND NOT EXISTS (
        SELECT FROM gaps AS h WHERE h.healed AND (h.feed, h.cause, h.from_ns) = (g.feed, g.cause, g.from_ns))"""


@contextmanager
def healing(
    folder: Path,
    run_dir: Path,
    server: EmbeddedServer,
    *,
    heal: str = "",
    market: tuple[str, ...] = MARKET,
    rules: str = "",
) -> Iterator[tuple[Rig, Simulator]]:
    with simulating(folder, *market) as simulator:
        history = simulator.rest_url.replace("/api/", "/history/api/")
        more = f'{HASTY}[heal]\nsettle_s = 0.5\nrequests_per_s = 50\ncheck_s = 2.5\nhistory_url = "{history}"\n{heal}'
        with whole_engine(folder, run_dir, server, simulator, more=more + rules) as rig:
            rig.up()
            rig.wait_flowing()
            yield rig, simulator


def dropped(rig: Rig) -> set[tuple[str, int]]:
    """Trades that were left out so far: instrument and number."""
    rig.simulator.status()  # the ledger is flushed
    found = (trade for piece in LedgerReader(rig.folder / "ledger").left_out() for trade in piece)
    return {(trade["instrument"].decode(), int(trade["trade_seq"])) for trade in found}


def stored(rig: Rig) -> set[tuple[str, int]]:
    return set(query(rig, "SELECT instrument, trade_seq FROM option_trades"))


def all_dropped(rig: Rig) -> bool:
    """Nothing is left of the fault that asked for it."""
    events = (rig.folder / "ledger" / "events.jsonl").read_text()
    rig.simulator.status()
    return events.count('"event": "drop"') == DROPS


def wait_whole(rig: Rig) -> None:
    """No trade is missing between those that are stored, and every gap in which some were is ended."""
    wait_for(lambda: not query(rig, HOLES) and not query(rig, UNHEALED), "every hole to be healed")


def test_lost_trades_are_fetched_once_through_failures_of_rest_and_20_deaths_of_the_healer(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    """HEAL-1, HEAL-2. What was left out of the live channel, what was sent into a broken connection."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with healing(tmp_path, shm_dir, postgres_server) as (rig, simulator):
        for status in ("500", "429", "timeout"):
            simulator.fault(f"rest status={status} count=1")
        simulator.fault(f"drop channel=trades.* count={DROPS}")
        wait_for(lambda: bool(query(rig, "SELECT FROM data_gaps WHERE cause = 'sequence'")), "the first to be seen")
        for _ in range(20):
            time.sleep(chance.uniform(0.05, 0.5))
            wait_for(lambda: rig.kill("healer"), "the healer to be back")
        for connection in range(2, 5):
            simulator.fault(f"kill connection={connection}")
        wait_for(lambda: all_dropped(rig), "all to be left out")
        rig.wait_flowing()
        wait_for(lambda: dropped(rig) <= stored(rig), "every trade that was left out")  # also an instrument's first
        wait_whole(rig)
        assert query(rig, TWICE) == []
        lost = dropped(rig)
        verdict = rig.finish()
    assert verdict.good and verdict.healed >= len(lost) >= DROPS, verdict
    assert lost <= set(query(rig, "SELECT instrument, trade_seq FROM option_trades WHERE healed"))
    assert {stream for (stream,) in query(rig, "SELECT DISTINCT stream FROM option_trades WHERE healed")} == {
        "healer.trade"
    }


def test_trades_while_the_engine_was_down_are_fetched_when_it_is_back_without_waiting_for_the_next(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    """Of every currency, which the venue lists only one by one."""
    every = '[[select]]\ncurrency = "any"\n'
    market = ("--instruments", "ETH=40,BTC=20", "--no-limits", "--rate", "600")
    with healing(tmp_path, shm_dir, postgres_server, rules=every, market=market) as (rig, simulator):
        time.sleep(3)
        rig.stop()
        time.sleep(4)
        for folder in ("rings", "pids", "health"):  # as after a reboot: only the disk is left
            for path in (shm_dir / folder).iterdir():
                path.unlink()
        rig.up()
        rig.wait_flowing()
        restart = "SELECT to_ns FROM gaps WHERE cause = 'restart' AND kind = 'trade' AND healed"
        wait_for(lambda: bool(query(rig, restart)), "the restart's hole to be healed")
        wait_whole(rig)
        healed = query(rig, "SELECT count FROM gaps WHERE cause = 'restart' AND kind = 'trade' AND healed")
        assert max(count for (count,) in healed) > 10
        check_against_rest(rig, simulator)
        report = rig.report("healer")
        assert report is not None and report.counters["failures"] == 0
        verdict = rig.finish()
    assert verdict.good and verdict.unsent > 10, verdict


def check_against_rest(rig: Rig, simulator: Simulator) -> None:
    """Every healed trade as the venue tells of it, read by nobody's decoder."""
    columns = "instrument, trade_seq, exch_ns / 1000000, price, amount, direction, trade_id, iv, index_price, match_id"
    found = query(rig, f"SELECT {columns} FROM option_trades WHERE healed ORDER BY 1, 2")
    for name in {row[0] for row in found}:
        mine = [row for row in found if row[0] == name]
        page = simulator.call(
            "public/get_last_trades_by_instrument",
            instrument_name=name, start_seq=mine[0][1], end_seq=mine[-1][1], count=1000, sorting="asc",
        )  # fmt: skip
        told = {
            each["trade_seq"]: (
                *(each["instrument_name"], each["trade_seq"], each["timestamp"], each["price"], each["amount"]),
                *(each["direction"], each["trade_id"], each.get("iv"), each["index_price"]),
                each["starbase_match_id"],
            )
            for each in page["trades"]
        }
        assert mine == [told[row[1]] for row in mine]


def test_what_the_venue_no_longer_has_stays_a_gap_that_says_why_and_old_trades_come_from_the_history(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    with healing(tmp_path, shm_dir, postgres_server, heal="tries = 2\n") as (rig, simulator):
        names = [each["instrument_name"] for each in simulator.call("public/get_instruments", kind="option")]
        simulator.fault("forget seconds=0.05")  # the recent host has nothing any more
        simulator.fault("gone name=*-C")
        simulator.fault(f"drop channel=trades.* count={DROPS}")
        ended = "SELECT instrument, healed, count, detail FROM gaps WHERE stream = 'healer.gap' AND cause = 'sequence'"
        wait_for(lambda: {True, False} <= {row[1] for row in query(rig, ended)}, "some to be healed and some given up")
        wait_for(lambda: all_dropped(rig), "all to be left out")
        simulator.end_data()  # a later trade would show one more that is missing
        time.sleep(1)
        # The recent host lists nobody, so what no captured trade stands behind is not found here.
        wait_for(lambda: not query(rig, "SELECT FROM gaps WHERE cause = 'sequence' AND to_ns IS NULL"), "every end")
        wait_for(lambda: all(name.endswith("-C") for (name,) in query(rig, DIRTY)), "the others to be clean")
        for instrument, healed, count, detail in query(rig, f"{ended} AND to_ns IS NOT NULL"):
            assert instrument in names and healed == instrument.endswith("-P") and count > 0
            lost = f"0 of {count} fetched: the venue does not have the rest"
            assert detail == (f"{count} trades fetched" if healed else lost)
        status, told, _ = tickbay("gaps", "--config", str(rig.file), "--unhealed", "--cause", "sequence", env=rig.env)
        assert status == 0 and "0 of " in told and "-P " not in told, told
        dirty = query(rig, DIRTY)
        assert dirty and all(name.endswith("-C") for (name,) in dirty)
        verdict = rig.finish()
    assert verdict.good and verdict.healed, verdict
