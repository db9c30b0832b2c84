"""The universe follows what the venue announces: listings, ends, states, locks, maintenance. The whole engine on the
simulated venue; listings are fetched once and then only when something may have been missed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults.rig import Rig
from patience import PATIENCE_S, wait_for
from simulator import simulating
from tickbay.embedded import EmbeddedServer
from whole_engine import query, whole_engine

pytestmark = pytest.mark.slow

# Fetched only at the start, and when the universe itself sees a reason to.
SELDOM = "[universe]\nrefresh_s = 3600\nlinger_s = 1\n"
EVERY_KIND = "".join(
    f'[[select]]\ncurrency = "{currency}"\nkind = "{kind}"\n'
    for currency, kind in (
        ("ETH", "option"),
        ("USDC", "option"),
        ("any", "future"),
        ("any", "spot"),
        ("ETH", "option_combo"),
        ("ETH", "future_combo"),
    )
)
TWO_INDICES = "".join(
    f'[[select]]\ncurrency = "{currency}"\nchannels = ["ticker", "trades", "book", "index", "mark"]\n'
    for currency in ("ETH", "BTC")
)
PAUSE_S = 7  # of a settlement
GAPS = "SELECT cause, instrument, expected FROM gaps"


@contextmanager
def recording(
    folder: Path, run_dir: Path, server: EmbeddedServer, market: str, rules: str, stale_s: float = PATIENCE_S
) -> Iterator[Rig]:
    """The engine at work. A ticker silent for `stale_s` is stale, unless there is a reason; the data end with
    finish().
    """
    with (
        simulating(folder, "--instruments", market, "--rate", "800", "--no-limits") as simulator,
        whole_engine(folder, run_dir, server, simulator, more=SELDOM + rules) as rig,
    ):
        rig.allow_silence(stale_s)
        rig.up()
        rig.wait_flowing()
        wait_for(lambda: len(simulator.announced_to()) == 1, "the universe's own connection")
        yield rig


def states(rig: Rig, name: str) -> list[str]:
    found = query(rig, "SELECT state FROM instruments WHERE instrument = %s ORDER BY epoch, seq", name)
    return [state for (state,) in found]


def is_recorded(rig: Rig, name: str) -> bool:
    """Ticks, a book and the reference data."""
    tables = ("option_quotes", "book_changes", "instruments")
    return all(query(rig, f"SELECT count(*) FROM {table} WHERE instrument = %s", name)[0][0] for table in tables)


def names_of(rig: Rig, currency: str, kind: str = "option") -> list[str]:
    listed = rig.simulator.call("public/get_instruments", currency=currency, kind=kind)
    return [item["instrument_name"] for item in listed]


def test_what_is_announced_is_recorded_at_once_and_what_was_not_is_found_by_comparing(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    with recording(tmp_path, shm_dir, postgres_server, "ETH=40,XRP_USDC=8", EVERY_KIND) as rig:
        simulator = rig.simulator
        accepted = simulator.status()["accepted"]
        option = names_of(rig, "ETH")[-1]
        day = option.split("-")[1]

        simulator.fault(f"list name=ETH-{day}-98765-C")
        wait_for(lambda: is_recorded(rig, f"ETH-{day}-98765-C"), "a new option to be recorded")
        simulator.fault(f"list name=XRP_USDC-{day}-0d735-C")
        wait_for(lambda: is_recorded(rig, f"XRP_USDC-{day}-0d735-C"), "a new linear option to be recorded")
        linear = "SELECT strike, instrument_type, settlement_currency FROM instruments WHERE instrument = %s"
        assert query(rig, linear, f"XRP_USDC-{day}-0d735-C") == [(0.735, "linear", "USDC")]

        simulator.fault(f"state name={option} state=pondering")
        wait_for(lambda: states(rig, option) == ["open", "pondering"], "a word never seen before to be kept")
        quotes = "SELECT count(*) FROM option_quotes WHERE instrument = %s"
        before = query(rig, quotes, option)[0][0]
        wait_for(lambda: query(rig, quotes, option)[0][0] > before + 3, "it to be recorded still")

        simulator.fault(f"list name=ETH-{day}-98766-P announced=0")
        (connection,) = simulator.announced_to()
        simulator.fault(f"kill connection={connection}")
        wait_for(lambda: is_recorded(rig, f"ETH-{day}-98766-P"), "what was not announced to be recorded")
        assert simulator.status()["accepted"] == accepted + 1, "no feed connected again"

        assert query(rig, GAPS) == []
        verdict = rig.finish()
    assert verdict.good and not verdict.known, verdict
    kinds = "SELECT kind, count(*) FROM instruments_current GROUP BY kind ORDER BY kind"
    found = dict(query(rig, kinds))
    assert found.keys() == {"future", "future_combo", "option", "option_combo", "perpetual", "spot"}
    legs = "SELECT leg, amount FROM combo_legs WHERE instrument LIKE 'ETH-FS-%%' ORDER BY amount"
    assert [(leg.split("-")[1] == "PERPETUAL", amount) for leg, amount in query(rig, legs)] == [(True, -1), (False, 1)]


def test_an_expiry_is_an_expected_end_and_disturbs_nothing_else(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    with recording(tmp_path, shm_dir, postgres_server, "ETH=60", "", PAUSE_S - 1) as rig:
        day = names_of(rig, "ETH")[0].split("-")[1]
        ending = [name for name in names_of(rig, "ETH") if name.split("-")[1] == day]
        accepted = rig.simulator.status()["accepted"]
        rig.simulator.fault(f"settle name=ETH-{day}-*-? seconds={PAUSE_S}")
        assignment = tmp_path / "data" / "universe" / "assignment.json"
        wait_for(lambda: f"-{day}-" not in assignment.read_text(), "the expired ones to leave")
        last = "SELECT count(*) FROM gaps WHERE cause = 'expired' AND expected"
        wait_for(lambda: query(rig, last) == [(len(ending),)], "the ends to be told")
        rig.wait_commit()
        assert rig.simulator.status()["accepted"] == accepted, "nobody connected again"
        found = query(rig, GAPS)
        verdict = rig.finish()
    assert verdict.good and not verdict.known, verdict
    assert sorted(name for cause, name, _ in found if cause == "expired") == sorted(ending)
    # The pause was longer than a ticker may be silent: known to be one, not taken for a fault.
    assert {(cause, expected) for cause, _, expected in found} == {("expired", True), ("maintenance", True)}
    for name in ending:
        assert states(rig, name) == ["open", "settlement", "delivered"]
    assert query(rig, "SELECT count(*) FROM instruments_current WHERE state = 'open'") == [(60 - len(ending),)]
    final = "SELECT count(DISTINCT instrument) FROM option_quotes WHERE delivery_price IS NOT NULL"
    assert query(rig, final) == [(len(ending),)], "the last message of each was waited for"
    snapshots = (
        "SELECT instrument FROM book_changes WHERE snapshot GROUP BY instrument HAVING count(DISTINCT recv_ns) > 1"
    )
    assert query(rig, snapshots) == [], "no book was asked for again"


def test_a_locked_index_pauses_its_own_instruments_and_maintenance_everything_as_expected_gaps(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    with recording(tmp_path, shm_dir, postgres_server, "ETH=24,BTC=16", TWO_INDICES, 4) as rig:
        simulator = rig.simulator
        accepted = simulator.status()["accepted"]
        simulator.fault("lock name=eth_usd state=on")
        paused = "SELECT count(*) FROM data_gaps WHERE cause = 'maintenance' AND to_ns IS NULL"
        wait_for(lambda: query(rig, paused) == [(26,)], "the locked tickers to be told, the index and its marks")
        assert json.loads((tmp_path / "data" / "universe" / "assignment.json").read_text())["paused_ns"]
        simulator.fault("lock name=eth_usd state=off")
        still = "SELECT count(*) FROM gaps WHERE open"
        wait_for(lambda: query(rig, still) == [(0,)], "the unlocked tickers to be whole")
        found = query(rig, GAPS)
        assert {(cause, name.split("-")[0], expected) for cause, name, expected in found} == {
            ("maintenance", "ETH", True),
            ("maintenance", "eth_usd", True),
        }
        assert simulator.status()["accepted"] == accepted and sum(resyncs(rig)) == 0, "nobody asked for anything"

        simulator.fault("maintenance state=on")
        wait_for(lambda: query(rig, f"{paused} AND instrument IS NULL") == [(2,)], "both feeds to know why")
        simulator.fault("maintenance state=off")
        wait_for(lambda: query(rig, still) == [(0,)], "the feeds to be back")
        rig.wait_flowing()
        # The simulator trades on meanwhile: that shows in the sequence of each instrument, and is healed.
        unexplained = """
            SELECT cause, instrument FROM gaps
            WHERE NOT expected AND duration > interval '0' AND kind IS DISTINCT FROM 'trade'"""
        assert query(rig, unexplained) == []
        verdict = rig.finish()
    assert verdict.good, verdict


def resyncs(rig: Rig) -> list[int]:
    reports = [report for name in rig.names if name.startswith("feed-") and (report := rig.report(name)) is not None]
    return [int(report.counters["resyncs"]) for report in reports]
