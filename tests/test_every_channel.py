"""Rules that have every channel: what the venue sent over each is in both databases, row by row."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.rig import Rig
from patience import PATIENCE_S, wait_for
from servers.questdb import QuestdbServer
from servers.questdb import running as running_questdb
from simulator import simulating
from tickbay.audit.columns import KINDS, TABLES
from tickbay.embedded import EmbeddedServer
from tickbay.sim import rows
from tickbay.sim.ledger import LedgerReader
from tickbay.sinks.columns import TABLES as SINK_TABLES
from tickbay.sinks.columns import Table
from whole_engine import query, tickbay, whole_engine

pytestmark = pytest.mark.slow

RULES = """
[[select]]
channels = ["ticker", "trades", "book", "quote", "depth", "index", "volatility", "delivery", "mark"]
[[select]]
kind = "future"
channels = ["ticker", "trades", "book", "quote", "depth", "funding", "index"]
depth = 1
group = "5"
[[select]]
kind = "option_combo"
channels = ["ticker", "trades", "book", "quote"]
[questdb]
enabled = true
port = {port}
flush_ms = 100
"""
NEW = ("bbo_quotes", "index_values", "mark_prices", "perpetual_funding", "depth_levels")
MARKET = ("--instruments", "ETH=40", "--rate", "2000", "--frames", "30000", "--hold")


@pytest.fixture(scope="module")
def questdb() -> Iterator[QuestdbServer]:
    with running_questdb() as server:
        yield server


def test_every_channel_is_stored_as_sent_in_both_databases(
    postgres_server: EmbeddedServer, questdb: QuestdbServer, tmp_path: Path, shm_dir: Path
) -> None:
    more = RULES.format(port=questdb.port)
    with (
        simulating(tmp_path, *MARKET) as simulator,
        whole_engine(tmp_path, shm_dir, postgres_server, simulator, more=more) as rig,
    ):
        rig.allow_silence(PATIENCE_S)  # of a simulator on a busy machine
        rig.up()
        wait_for(lambda: len(simulator.feeds()) == 2, "both feeds to be there")
        simulator.start()
        simulator.wait_until(lambda status: bool(status["done"]), timeout_s=90)
        verdict = rig.finish()
    assert verdict.good and not verdict.known and not verdict.in_doubt and not verdict.quarantined, verdict
    assert verdict.stored == verdict.expected, verdict
    sent = sent_counts(LedgerReader(tmp_path / "ledger"))
    assert {kind: stored_count(rig, kind) for kind in KINDS} == sent
    assert all(sent[kind] > 100 for kind in KINDS), sent
    check_meaning(rig)
    for table in SINK_TABLES:
        if table.name in NEW:
            check_same(rig, questdb, table)
    check_certificate(rig, sent)


def check_certificate(rig: Rig, sent: dict[str, int]) -> None:
    """Each kind is judged, and every stream is in both databases the same."""
    _, out, err = tickbay("certificate", "today", "--json", "--config", str(rig.file), env=rig.env)
    assert out, err
    found = json.loads(out)
    assert found["summary"]["rows"] == sent
    assert found["stores"]["timescale"] == found["stores"]["questdb"]
    told = {item["instrument"]: item["kinds"].keys() for item in found["instruments"]}
    assert told["eth_usd"] == {"index"} and told["ETH-PERPETUAL"] >= {"quote", "funding", "bbo"}
    assert {"quote", "book", "bbo", "mark", "depth"} <= set.union(*map(set, told.values()))


def stored_count(rig: Rig, kind: str) -> int:
    return sum(query(rig, f"SELECT count(*) FROM {table}")[0][0] for table, _ in TABLES[kind])


def sent_counts(ledger: LedgerReader) -> dict[str, int]:
    """Rows per kind, counted from the ledger without the audit."""
    counts: Counter[str] = Counter()
    for connection in ledger.connections():
        for piece in ledger.slices(connection):
            for number, name in rows.KIND_NAMES.items():
                counts[name] += len(piece.rows[number])
    return dict(counts)


def check_meaning(rig: Rig) -> None:
    """What a reader relies on, beyond that the values are those of the ledger."""
    assert set(query(rig, "SELECT DISTINCT instrument, measure FROM index_values")) == {
        ("eth_usd", "price"),
        ("eth_usd", "volatility"),
        ("eth_usd", "delivery"),
    }
    assert query(rig, "SELECT count(*) FROM index_values WHERE (measure = 'delivery') <> (exch_ns = recv_ns)") == [(0,)]
    # One unit: percent, as in the tickers.
    ((lowest, highest),) = query(rig, "SELECT min(mark_iv), max(mark_iv) FROM mark_prices")
    assert 2 < lowest < highest < 500
    ((marked,),) = query(rig, "SELECT count(DISTINCT instrument) FROM mark_prices")
    ((quoted,),) = query(rig, "SELECT count(DISTINCT instrument) FROM option_quotes")
    assert marked == quoted == 40
    assert query(rig, "SELECT DISTINCT instrument FROM perpetual_funding") == [("ETH-PERPETUAL",)]
    windows = query(rig, "SELECT levels_max, price_group, max(level) FROM depth_levels GROUP BY 1, 2")
    assert {(size, group) for size, group, _ in windows} == {(10, None), (1, 5.0)}
    assert all(level <= size for size, _, level in windows)
    assert query(rig, "SELECT count(*) FROM data_gaps WHERE cause NOT IN ('restart', 'disconnect')") == [(0,)]


def check_same(rig: Rig, questdb: QuestdbServer, table: Table) -> None:
    """Every value of every row, in both."""
    names = [column.name for column in table.columns if column.name not in ("ts", "exch_ns")]
    order = "ORDER BY stream, epoch, seq"
    here = query(rig, f"SELECT {', '.join(names)} FROM {table.name} {order}")
    there = questdb.query(f"SELECT {', '.join(names)} FROM {table.name} {order}")
    assert len(here) == len(there) > 100
    for mine, other in zip(here, there, strict=True):
        assert [_plain(value) for value in mine] == [_plain(value) for value in other], table.name


def _plain(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value
