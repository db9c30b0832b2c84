"""Ticks from the venue's socket to the database, through all processes: every row equal to what was sent."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import psycopg
import pytest

import frames
import second_opinion
from faults.rig import HASTY, Rig
from patience import wait_for
from servers import postgres
from simulator import Simulator, simulating
from tap import Tap
from tickbay.audit.columns import DTYPES, KINDS, TABLES, Rows, one_nan
from tickbay.audit.stored import Postgres
from tickbay.embedded import EmbeddedServer
from tickbay.feed.quarantine import read_entries
from tickbay.sim import rows
from tickbay.sim.ledger import LedgerReader
from whole_engine import query, tickbay, whole_engine

pytestmark = pytest.mark.slow

SMALL = ("--instruments", "ETH=60", "--no-limits")
HASTY_UNIVERSE = "[universe]\nrefresh_s = 0.5\nlinger_s = 0.5\n"
BTC_TOO = '[[select]]\ncurrency = "ETH"\n[[select]]\ncurrency = "BTC"\n'
BREAKS = "SELECT instrument FROM data_gaps WHERE cause = 'sequence'"
OF_CONNECTIONS = """
    SELECT DISTINCT stream, conn
    FROM (SELECT stream, conn FROM option_quotes UNION SELECT stream, conn FROM book_changes) AS rows"""


def option_names(simulator: Simulator, currency: str = "ETH") -> list[str]:
    return [
        item["instrument_name"] for item in simulator.call("public/get_instruments", currency=currency, kind="option")
    ]


def connections(rig: Rig) -> dict[str, list[int]]:
    """The connection epochs of each feed, in order."""
    found: dict[str, list[int]] = {}
    for stream, conn in query(rig, OF_CONNECTIONS):
        found.setdefault(stream.partition(".")[0], []).append(conn)
    return {feed: sorted(set(conns)) for feed, conns in found.items()}


def pids(rig: Rig) -> dict[str, int]:
    identities = {name: rig.identity(name) for name in rig.names if name != "supervisor"}
    return {name: identity.pid for name, identity in identities.items() if identity}


@pytest.mark.parametrize("database", ["postgres_server", "timescale_server"])
def test_60000_frames_of_830_instruments_are_stored_as_sent(
    database: str, request: pytest.FixtureRequest, tmp_path: Path, shm_dir: Path
) -> None:
    server: EmbeddedServer = request.getfixturevalue(database)
    market = ["--instruments", "ETH=830", "--rate", "6000", "--frames", "64000", "--wait-channels", "1661"]
    with simulating(tmp_path, *market) as simulator, whole_engine(tmp_path, shm_dir, server, simulator, feeds=4) as rig:
        rig.up()
        simulator.wait_until(lambda status: bool(status["done"]), timeout_s=90)
        verdict = rig.finish()  # also: exit status 0 at SIGTERM
    assert verdict.good and verdict.frames >= 60_000, verdict
    assert (
        verdict.stored == verdict.expected and not verdict.known and not verdict.in_doubt and not verdict.quarantined
    ), verdict
    assert stored_counts(rig) == sent_counts(LedgerReader(tmp_path / "ledger"))
    assert len(connections(rig)) == 4
    assert query(rig, "SELECT count(DISTINCT instrument) FROM option_quotes") == [(830,)]
    hypertables = query(rig, "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")
    assert hypertables == [(1 if database == "timescale_server" else 0,)]


def stored_counts(rig: Rig) -> Counter[str]:
    tables = [table for kind in KINDS for table, _ in TABLES[kind]]
    return Counter({table: query(rig, f"SELECT count(*) FROM {table}")[0][0] for table in tables})


def sent_counts(ledger: LedgerReader) -> Counter[str]:
    """Rows per table, counted from the ledger without the audit."""
    counts: Counter[str] = Counter()
    for connection in ledger.connections():
        for piece in ledger.slices(connection):
            for kind, (option, other) in (
                (rows.QUOTE, ("option_quotes", "delta_one_quotes")),
                (rows.TRADE, ("option_trades", "delta_one_trades")),
            ):
                counts[option] += int((piece.rows[kind]["option"] == 1).sum())
                counts[other] += int((piece.rows[kind]["option"] == 0).sum())
            counts["book_changes"] += len(piece.rows[rows.BOOK])
    return counts


def test_of_a_misbehaving_venue_every_row_is_stored_but_those_that_recorded_gaps_name(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    with simulating(tmp_path, *SMALL, "--rate", "1500") as simulator:
        with Tap(int(simulator.ws_url.split(":")[2].split("/")[0])) as tap:
            names = option_names(simulator)
            refused, dropped, doubled, spoilt = (f"book.{name}.100ms" for name in names[:4])
            simulator.fault(f"refuse channel={refused} count=5")
            tapped = Simulator(simulator.process, f"ws://127.0.0.1:{tap.port}/ws/api/v2", simulator.rest_url)
            with whole_engine(tmp_path, shm_dir, postgres_server, tapped) as rig:
                rig.up()
                rig.wait_flowing()
                for fault in (f"drop channel={dropped}", f"duplicate channel={doubled}", f"malformed channel={spoilt}"):
                    simulator.fault(fault)
                # A break shows with the book's next message; only then may its connection end.
                wait_for(lambda: {(names[1],), (names[3],)} <= set(query(rig, BREAKS)), "the broken chains to be seen")
                first, second = simulator.feeds()
                simulator.fault(f"kill connection={first}")
                simulator.fault(f"close connection={second}")
                wait_for(lambda: len(set(simulator.feeds()) - {first, second}) == 2, "both feeds to be back")
                rig.wait_flowing()
                verdict = rig.finish()
        assert verdict.good and (verdict.faults, verdict.unrecorded) == (4, 0), verdict
        assert [len(conns) for conns in connections(rig).values()] == [2, 2]
        entries = [entry for path in (tmp_path / "data" / "quarantine").iterdir() for entry in read_entries(path)]
        assert len(entries) == 1 and spoilt.encode() in entries[0].frame
        assert tap.frames_of(entries[0].frame) == 1, "the frame is kept byte for byte as it came"
    found = {
        (cause, instrument) for cause, instrument in query(rig, "SELECT cause, instrument FROM gaps WHERE NOT open")
    }
    refused, dropped, doubled, spoilt = names[:4]
    assert {("refused", refused), ("sequence", dropped), ("sequence", spoilt), ("disconnect", None)} <= found, found
    assert "undecodable" in {cause for cause, _ in found}
    assert query(rig, "SELECT * FROM gaps WHERE open") == []
    repeated = (
        "SELECT instrument FROM book_changes WHERE message_end GROUP BY instrument, change_id, conn HAVING count(*) = 2"
    )
    assert (doubled,) in query(rig, repeated), "a repeated message is kept as well"
    snapshots = query(
        rig, "SELECT snapshot FROM book_changes WHERE instrument = %s ORDER BY epoch, recv_ns LIMIT 1", refused
    )
    assert snapshots == [(True,)], "the refused channel became live, with its snapshot"


def test_writer_killed_in_the_middle_of_a_copy_loses_and_repeats_nothing(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    with (
        simulating(tmp_path, *SMALL, "--rate", "4000") as simulator,
        whole_engine(tmp_path, shm_dir, postgres_server, simulator, more=HASTY) as rig,
    ):
        rig.up()
        rig.wait_flowing()
        for kill in range(6):
            kill_in_copy(rig, ("option_quotes", "book_changes")[kill % 2])
            rig.wait_commit()
        assert rig.restarts() == 6
        verdict = rig.finish()
    assert verdict.good and not verdict.known and verdict.stored == verdict.expected, verdict


def kill_in_copy(rig: Rig, table: str) -> None:
    """`kill -9` of the writer while one of its COPYs waits for a lock: its transaction is under way, whatever the
    machine's speed.
    """
    waiting = (
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tickbay %%' AND datname = %s"
        " AND query LIKE 'COPY%%' AND wait_event_type = 'Lock'"
    )
    with psycopg.connect(rig.server.conninfo(rig.database.dbname)) as connection:
        connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        wait_for(lambda: bool(query(rig, waiting, rig.database.dbname)), f"the writer to copy into {table}")
        assert rig.kill("writer-timescale")


@pytest.mark.parametrize("year", [2021, 2026])
def test_the_recorded_stream_is_stored_as_the_slow_reference_reads_it(
    year: int, postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    if not frames.CAPTURES.is_dir():
        pytest.skip(f"no {frames.CAPTURES}: the recorded messages are not part of the project")
    path = frames.CAPTURES / {2021: "options-ws-2021-07-22.txt", 2026: "2026/raw_option_stream.jsonl"}[year]
    sent = recorded(path)
    channels = {json.loads(frame)["params"]["channel"] for frame in sent}
    play = ["--capture", str(path), "--capture-interval", "100ms", "--flat-out", "--wait-channels", str(len(channels))]
    expected = second_opinion.rows_of(sent)
    with (
        simulating(tmp_path, *play) as simulator,
        whole_engine(tmp_path, shm_dir, postgres_server, simulator, feeds=1, more=BTC_TOO) as rig,
    ):
        rig.up()
        wait_for(lambda: rig.committed() >= sum(map(len, expected.values())), "all recorded rows to be stored")
        verdict = rig.finish()
    assert verdict.good, verdict
    with psycopg.connect(rig.server.conninfo(rig.database.dbname)) as connection:
        for kind in expected:
            found = [plain(kind, piece) for piece in Postgres(connection).stored_rows(f"feed-1.{kind}", kind)]
            stored = np.concatenate([np.zeros(0, DTYPES[kind]), *found])
            assert len(stored) == len(expected[kind])
            for name in DTYPES[kind].names or ():
                assert stored[name].tobytes() == expected[kind][name].tobytes(), f"{kind} {name}"
    assert len(expected["quote"]) > 50 and len(expected["book"]) > 10


def recorded(path: Path) -> list[bytes]:
    """The messages of a capture, read another way than the simulator does."""
    lines = [line[line.index("{") :] for line in path.read_text().splitlines() if "{" in line]
    return [line.encode() for line in lines if json.loads(line).get("method") == "subscription"]


def plain(kind: str, stored: Rows) -> Rows:
    """Stored rows without what only the database knows of them."""
    return one_nan(np.ascontiguousarray(stored[list(DTYPES[kind].names or ())].astype(DTYPES[kind])))


def test_without_a_database_at_the_start_the_journal_fills_and_later_everything_is_stored(
    tmp_path: Path, shm_dir: Path
) -> None:
    with (
        postgres.running() as server,
        simulating(tmp_path, *SMALL, "--rate", "1500") as simulator,
        whole_engine(tmp_path, shm_dir, server, simulator) as rig,
    ):
        server.stop()
        rig.up()
        wait_for(lambda: rig.published() > 5000, "the feeds to record")
        code, said, _ = tickbay("status", "--config", str(rig.file), env=rig.env)
        assert code == 1 and "degraded" in said and "writer-timescale" in said, said
        assert sum(each.durable for each in rig.streams()) > 0 and rig.committed() == 0
        server.start()
        wait_for(lambda: rig.committed() > 5000, "what was journalled to be stored")
        assert rig.restarts() == 0, "nobody died of it"
        verdict = rig.finish()
    assert verdict.good and not verdict.known and verdict.stored == verdict.expected > 5000, verdict


def test_listing_and_expiry_reach_the_feeds_without_a_reconnect(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    with (
        simulating(tmp_path, *SMALL, "--rate", "1500") as simulator,
        whole_engine(tmp_path, shm_dir, postgres_server, simulator, more=HASTY_UNIVERSE) as rig,
    ):
        rig.up()
        rig.wait_flowing()
        names = option_names(simulator)
        currency, expiry, strike, side = names[-1].split("-")
        new, gone = f"{currency}-{expiry}-{int(strike) + 1}-{side}", names[0]
        simulator.fault(f"list name={new}")
        of_new = "SELECT count(*) FROM option_quotes JOIN book_changes USING (instrument) WHERE instrument = %s"
        wait_for(lambda: query(rig, of_new, new)[0][0] > 0, f"{new} to be recorded")
        simulator.fault(f"expire name={gone}")
        assignment = tmp_path / "data" / "universe" / "assignment.json"
        wait_for(lambda: gone not in assignment.read_text(), f"{gone} to leave")
        assert new in assignment.read_text()
        assert simulator.status()["accepted"] == 3, "nobody connected again: two feeds and the universe"
        verdict = rig.finish()
    assert verdict.good and not verdict.known, verdict
    assert [len(conns) for conns in connections(rig).values()] == [1, 1]
    assert query(rig, "SELECT instrument, cause FROM gaps WHERE NOT expected") == []
    states = query(rig, "SELECT state, is_active FROM instruments WHERE instrument = %s ORDER BY epoch, seq", gone)
    assert states[-1] != states[0], states


def test_killed_supervisor_is_followed_by_one_that_adopts_and_capture_goes_on(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path
) -> None:
    with (
        simulating(tmp_path, *SMALL, "--rate", "3000") as simulator,
        whole_engine(tmp_path, shm_dir, postgres_server, simulator) as rig,
    ):
        rig.up()
        rig.wait_flowing()
        before = pids(rig)
        rig.kill("supervisor")
        rig.wait_commit()
        rig.wait_live("supervisor")
        assert pids(rig) == before and rig.restarts() == 0
        rig.wait_commit()
        verdict = rig.finish()
    assert verdict.good and not verdict.known and verdict.stored == verdict.expected, verdict
    assert [len(conns) for conns in connections(rig).values()] == [1, 1]
