"""`tickbay certificate` of a real engine's real day: venue → databases, with what happened to it on purpose.

A day is compressed into a minute: each thing happens in a time of its own, and each time gets its own certificate.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from faults.rig import HASTY, Rig, folders
from servers.questdb import running as running_questdb
from simulator import Simulator, simulating
from tickbay.certificate.certificate import checksum_of
from tickbay.embedded import EmbeddedServer
from tickbay.files import Files
from tickbay.memory import load, memory_path, save
from whole_engine import query, tickbay, whole_engine

pytestmark = pytest.mark.slow

SCHEMA_README = Path(__file__).parents[1] / "schema" / "README.md"
STEP_S = 5
TALK = ("--instruments", "ETH=8", "--no-limits", "--rate", "400")


@dataclass(frozen=True)
class Times:
    """Begin and end of each part of the day, unix seconds, on a step's border."""

    clean: tuple[int, int]
    cut: tuple[int, int]
    changed: tuple[int, int]
    off: tuple[int, int]


@dataclass(frozen=True)
class Day:
    rig: Rig
    times: Times
    listed: str
    expired: str

    def certificate(self, part: tuple[int, int], *more: str) -> tuple[int, dict[str, Any], str]:
        """Exit status, the JSON, and the path of the page."""
        arguments = [*day_of(part), "--config", str(self.rig.file), *more]
        status, out, err = tickbay("certificate", *arguments, "--json", env=self.rig.env)
        assert out, err
        found = json.loads(out)
        folder = self.rig.folder / "data" / "certificates"
        assert (folder / f"{found['day']}.json").read_bytes().strip() == out.encode().strip()
        return status, found, str(folder / f"{found['day']}.html")


def day_of(part: tuple[int, int]) -> list[str]:
    begin, end = (datetime.fromtimestamp(second, UTC) for second in part)
    return [f"{begin:%Y-%m-%d}", "--from", f"{begin:%H:%M:%S}", "--to", f"{end:%H:%M:%S}"]


def border(seconds: int = 0) -> int:
    """Sleep until the next border of steps that is so far away; returns it."""
    at = (int(time.time()) // STEP_S + 1) * STEP_S + seconds
    time.sleep(max(0.0, at - time.time()))
    return at


@pytest.fixture(scope="module")
def day(postgres_server: EmbeddedServer) -> Iterator[Day]:
    with folders() as (folder, run_dir), running_questdb() as questdb, simulating(folder, *TALK) as simulator:
        more = f"{HASTY}[questdb]\nenabled = true\nport = {questdb.port}\n"
        more += "[universe]\nrefresh_s = 1\n[heal]\nsettle_s = 1\ncheck_s = 1\n"
        with whole_engine(folder, run_dir, postgres_server, simulator, more=more) as rig:
            yield live_through(rig, simulator)


# The queries of schema/README.md, as they stand there.
CAPTURING = re.search(r"```sql\n(SELECT feed, round.*?)```", SCHEMA_README.read_text(), re.DOTALL)
SILENT = re.search(r"```sql\n(SELECT instrument, minute.*?)```", SCHEMA_README.read_text(), re.DOTALL)


def live_through(rig: Rig, simulator: Simulator) -> Day:
    rig.up()
    rig.wait_live()
    options = simulator.call("public/get_instruments", currency="ETH", kind="option")
    names = [item["instrument_name"] for item in options]
    clean = border(), border(10)
    cut_from = border()
    for connection in simulator.status()["connections"]:
        simulator.fault(f"kill connection={connection['connection']}")
    cut = cut_from, border()
    changed_from = cut[1]
    simulator.fault(f"expire name={names[0]}")
    listed = names[1].replace("-C", "-P") if names[1].replace("-C", "-P") not in names else "ETH-25DEC26-99000-C"
    simulator.fault(f"list name={listed}")
    changed = changed_from, border(5)
    off_from = changed[1]
    rig.stop()
    border(5)
    rig.up()
    rig.wait_live()
    off = off_from, border(5)
    border(STEP_S)
    rig.stop()
    return Day(rig, Times(clean, cut, changed, off), listed, names[0])


def percents(found: dict[str, Any]) -> dict[str, float]:
    return {item["instrument"]: item["percent"] for item in found["instruments"]}


def test_a_time_in_which_nothing_happened_is_certified_whole(day: Day) -> None:
    status, found, _ = day.certificate(day.times.clean)
    assert (status, found["verdict"], found["reasons"]) == (0, "certified", [])
    assert set(percents(found).values()) == {100.0} and len(percents(found)) >= 8
    assert found["gaps"] == found["unexplained"] == []
    stores = found["stores"]
    assert stores["timescale"] == stores["questdb"] != [], "the same rows and checksums in both"
    assert [{**row, "quarantined": 0} for row in stores["journal"]] == stores["timescale"]


def test_every_store_gives_the_same_coverage_and_the_same_certificate_twice(day: Day) -> None:
    first, again = (day.certificate(day.times.cut)[1] for _ in range(2))
    assert first == again and first["sha256"] == checksum_of(first)
    for store in ("questdb", "journal"):
        other = day.certificate(day.times.cut, "--store", store)[1]
        for part in ("instruments", "gaps", "hours", "unexplained", "verdict"):
            assert other[part] == first[part], (store, part)


def test_a_cut_connection_lowers_what_is_covered_and_is_named(day: Day) -> None:
    status, found, page = day.certificate(day.times.cut, "--target", "99.99")
    assert status == 1 and found["verdict"] == "below target"
    assert min(percents(found).values()) < 100 and found["unexplained"] == []
    gaps = [gap for gap in found["gaps"] if gap["cause"] == "disconnect" and gap["instrument"] is None]
    assert {gap["feed"] for gap in gaps} == {"feed-1", "feed-2"} and all(gap["seconds"] > 0 for gap in gaps)
    assert "disconnect" in Path(page).read_text()


def test_an_instrument_that_came_or_ended_meanwhile_is_not_punished(day: Day) -> None:
    _, found, _ = day.certificate(day.times.changed)
    assert {day.listed, day.expired} <= percents(found).keys()
    assert set(percents(found).values()) == {100.0}, (percents(found), found["gaps"])
    assert found["unexplained"] == []
    ended = next(item for item in found["instruments"] if item["instrument"] == day.expired)
    assert ended["ends"] < found["to"] and ended["due_s"] < day.times.changed[1] - day.times.changed[0]


def test_a_time_in_which_the_engine_was_off_is_never_covered(day: Day) -> None:
    status, found, _ = day.certificate(day.times.off)
    assert status == 1
    off_s = day.times.off[1] - day.times.off[0]
    assert all(item["covered_s"] < off_s - STEP_S for item in found["instruments"])
    assert "restart" in {gap["cause"] for gap in found["gaps"]} and found["unexplained"] == []


def test_the_queries_of_the_schema_s_manual_tell_the_same(day: Day) -> None:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert CAPTURING is not None and SILENT is not None
    told = dict(query(day.rig, CAPTURING[1].replace("2026-11-20", today)))
    begin, end = day.times.clean[0], day.times.off[1]
    feeds = {feed["feed"]: feed for feed in day.certificate((begin, end))[1]["feeds"]}
    assert told.keys() == feeds.keys()
    for feed, percent in told.items():
        proven_s = feeds[feed]["percent"] / 100 * (end - begin)
        assert proven_s - 1 <= float(percent) / 100 * 86_400, "it knows the whole day, the certificate only a part"
    assert (
        query(
            day.rig,
            SILENT[1].replace("2026-11-21", "END").replace("2026-11-20", today).replace("END", f"{today} 23:59:59"),
        )
        == []
    )


def test_the_certificate_of_a_time_before_the_engine_ran_cannot_be_made(day: Day) -> None:
    before = (day.times.clean[0] - 3600, day.times.clean[0] - 3000)
    status, found, _ = day.certificate(before)
    assert status == 2 and found["verdict"] == "cannot tell" and "nothing was recorded" in found["reasons"][0]


def test_a_time_that_nobody_has_searched_for_missing_trades_yet_is_not_certified(day: Day) -> None:
    """The healer was down, say, and a channel of trades died without a word: no gap would tell of that."""
    path = memory_path(day.rig.folder / "data", "healer")
    known = load(Files(), path)
    assert known is not None
    positions, said = known
    try:
        save(Files(), path, positions, said | {"checked_ns": day.times.clean[1] * 10**9 - 1})
        status, found, _ = day.certificate(day.times.clean)
        assert (status, found["verdict"]) == (2, "cannot tell") and "missing trades" in found["reasons"][0]
        save(Files(), path, positions, said | {"checked_ns": day.times.clean[1] * 10**9})
        assert day.certificate(day.times.clean)[0] == 0
        path.unlink()
        status, found, _ = day.certificate(day.times.clean)
        assert status == 2 and "has not looked for missing trades yet" in found["reasons"][0]
    finally:
        save(Files(), path, positions, said)


def test_rows_that_somebody_deleted_show_as_a_hole_without_a_name(day: Day) -> None:
    begin, end = (second * 10**9 for second in day.times.clean)
    server, name = day.rig.server, day.rig.database.dbname
    with psycopg.connect(server.conninfo(name)) as connection:
        gone = connection.execute(
            "DELETE FROM option_quotes WHERE recv_ns >= %s AND recv_ns < %s", [begin, (begin + end) // 2]
        ).rowcount
    status, found, _ = day.certificate(day.times.clean)
    assert gone > 20 and status == 1
    whats = {hole["what"] for hole in found["unexplained"]}
    assert whats == {"missing_rows"} or whats == {"missing_rows", "silent"}
    assert sum(hole["rows"] or 0 for hole in found["unexplained"]) == gone
    assert max(percents(found).values()) <= 50.0
    assert any("differ" in reason for reason in found["reasons"])
