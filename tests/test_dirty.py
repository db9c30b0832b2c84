"""Dirty intervals left out by one join: the examples of schema/README.md, as they stand there, on real servers."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from servers.postgres import fresh_database
from servers.questdb import QuestdbServer
from simulator import ENGINE
from tickbay.config import Questdb
from tickbay.cursor import CursorFile
from tickbay.embedded import EmbeddedServer
from tickbay.files import Files
from tickbay.gap import Cause, Gap
from tickbay.record import Flag, Kind, Records, blank, set_text
from tickbay.sinks.connection import conninfo_of
from tickbay.sinks.orders import Orders
from tickbay.sinks.questdb import QuestdbSink
from tickbay.sinks.rewind import Marks
from tickbay.sinks.sink import Chunk, Sink
from tickbay.sinks.timescale import TimescaleSink
from whole_engine import tickbay

pytestmark = pytest.mark.slow

README = Path(__file__).parents[1] / "schema" / "README.md"
S = 10**9
BEGIN_NS = time.time_ns() // S * S - 1000 * S
DASHBOARD = README.parents[1] / "deploy" / "monitoring" / "grafana" / "dashboards" / "quality.json"
TIMES = "$__timeFilter(ts)"
FEED, OTHER = "feed-1", "feed-2"
INDICES = {"A": "eth_usd", "B": "btc_usd"}


def examples() -> list[str]:
    section = README.read_text().partition("### Leave dirty intervals out")[2].partition("\n## ")[0]
    found = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    assert len(found) == 3
    return found


def at(second: int) -> int:
    return BEGIN_NS + second * S


def ticks(kind: Kind, seconds: list[int]) -> Records:
    """One record of A and one of B at each of these seconds."""
    records = blank(kind, 2 * len(seconds))
    for place, second in enumerate(seconds):
        for number, name in enumerate(("A", "B")):
            record = records[2 * place + number : 2 * place + number + 1]
            record["recv_ns"] = record["exch_ns"] = at(second)
            record["flags"] = Flag.OPTION
            set_text(record, "instrument", name)
            if kind is Kind.MARK:
                set_text(record, "price_index", INDICES[name])
            if kind is Kind.TRADE:
                record["trade_seq"], record["price"] = second, 1.0
                record["direction"], record["trade_id"] = 1, str(second).encode()
    records["seq"] = np.arange(1, len(records) + 1)
    return records


def gaps() -> dict[str, list[Gap]]:
    """All of the feed 10 to 20, its trades fetched; A's quotes from 30 on; B's trades from 40 to 45; the marks of A's
    index from 30 to 40; A's trades from 34 to 36, of which the healer alone knows, and not whose they were.
    """
    cut = Gap(cause=Cause.DISCONNECT, from_ns=at(10), feed=FEED)
    ended = Gap(cause=Cause.DISCONNECT, from_ns=at(10), to_ns=at(20), feed=FEED)
    stale = Gap(cause=Cause.STALE, kind=Kind.QUOTE, instrument="A", from_ns=at(30), feed=FEED)
    lost = Gap(
        cause=Cause.SEQUENCE, kind=Kind.TRADE, instrument="B", from_ns=at(40), to_ns=at(45), first_missing=41,
        last_missing=44, feed=FEED,
    )  # fmt: skip
    fetched = Gap(cause=ended.cause, kind=Kind.TRADE, from_ns=at(10), to_ns=at(20), count=2, healed=True, feed=FEED)
    marks = Gap(cause=Cause.STALE, kind=Kind.MARK, instrument=INDICES["A"], from_ns=at(30), to_ns=at(40), feed=FEED)
    untold = Gap(cause=Cause.SEQUENCE, kind=Kind.TRADE, instrument="A", from_ns=at(34), to_ns=at(36), feed="healer")
    over = Gap(cause=Cause.EXPIRED, instrument="A", from_ns=at(5), to_ns=at(50), expected=True, feed=FEED)
    return {FEED: [cut, ended, stale, lost, marks, over], "healer": [fetched, untold], "feed-9": days()}


def days() -> list[Gap]:
    """An outage that ended an hour ago, a channel refused for two days, and what was over more than a day ago."""
    hour = 3600
    outage = Gap(cause=Cause.RESTART, from_ns=at(-30 * hour))
    refused = Gap(cause=Cause.REFUSED, kind=Kind.BOOK, instrument="C", from_ns=at(-50 * hour))
    past = Gap(cause=Cause.RESTART, from_ns=at(-26 * hour), to_ns=at(-25 * hour))
    return [refused, outage, past, replace(outage, to_ns=at(-hour))]


def store(sink: Sink) -> None:
    chunks = [
        Chunk(f"{feed}.{kind.name.lower()}", kind, 7, ticks(kind, [5, 10, 15, 20, 35, 42]))
        for feed in (FEED, OTHER)
        for kind in (Kind.QUOTE, Kind.TRADE, Kind.MARK)
    ]
    for feed, told in gaps().items():
        records = np.concatenate([gap.record(recv_ns=at(60), conn=1, writer=feed) for gap in told])
        records["seq"] = range(1, len(records) + 1)
        chunks.append(Chunk(f"{feed}.gap", Kind.GAP, 7, records))
    sink.open([chunk.stream for chunk in chunks])
    assert sink.commit(chunks).quarantined == 0
    sink.settled(10.0)


def check_dashboard(ask: Callable[[str], list[Any]]) -> None:
    """Its certificate counts what the healer alone knows: what broke is that it joined by feeds with heartbeats."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    (text,) = [panel["targets"][0]["rawSql"] for panel in panels if panel["title"] == "Certificate of the time range"]
    for macro, second in (("$__timeFrom()", 0), ("$__timeTo()", 50)):
        text = text.replace(macro, f"to_timestamp({at(second) // S})")
    found = {
        (feed, kind): (instruments, seconds) for feed, kind, _, instruments, seconds in ask(text.replace(TIMES, "true"))
    }
    assert found["healer", "trade"] == (1, 2) and found[FEED, "mark"] == (1, 10)


def check(ask: Callable[[str], list[Any]]) -> None:
    clean, marked, marks = examples()
    found = [(row[1],) for row in ask(clean)]
    # Of each feed both instruments at 5, 10, 15, 20, 35, 42: less feed-1's at 15, and its A's at 35 and 42.
    assert len(found) == 24 - 2 - 2
    assert sum(name == "A" for (name,) in found) == 12 - 1 - 2
    causes = {(row[0], row[1]): row[3] for row in ask(marked)}
    assert {key: cause for key, cause in causes.items() if cause} == {("B", 42): "sequence", ("A", 35): "sequence"}
    # Of the same, feed-1's at 15, and its A's at 35.
    of_marks = [row[1] for row in ask(marks)]
    assert (of_marks.count("A"), of_marks.count("B")) == (12 - 2, 12 - 1)


def check_command(tmp_path: Path, settings: str, **secrets: str) -> None:
    """`tickbay gaps` tells the same of both databases."""
    file = tmp_path / "tickbay.toml"
    file.write_text(settings)

    def told(*options: str) -> list[tuple[Any, ...]]:
        env = {**os.environ, "PYTHONPATH": str(ENGINE), **secrets}
        status, out, err = tickbay("gaps", "--json", "--config", str(file), *options, env=env)
        assert status == 0, err
        found = map(json.loads, out.splitlines())
        return [(gap["cause"], gap["kind"], gap["instrument"], gap["to_ts"] is None, gap["healed"]) for gap in found]

    cut, fetched = ("disconnect", None, None, False, False), ("disconnect", "trade", None, False, True)
    lost, stale = ("sequence", "trade", "B", False, False), ("stale", "quote", "A", True, False)
    over, marks = ("expired", None, "A", False, False), ("stale", "mark", INDICES["A"], False, False)
    untold = ("sequence", "trade", "A", False, False)
    outage, refused = ("restart", None, None, False, False), ("refused", "book", "C", True, False)
    every = told()
    assert every[:2] == [lost, untold] and every[2:4] in ([stale, marks], [marks, stale])
    assert {*every[4:6]} == {cut, fetched}
    assert every[6:] == [over, outage, refused], "what touched the last day, whenever it began"
    assert told("--hours", "28")[-3:] == [outage, outage, refused]
    assert told("--open") == [stale, refused] and told("--cause", "sequence", "--unhealed") == [lost, untold]
    assert {*told("--instrument", "B")} == {lost, cut, fetched, outage} and told("--limit", "1") == [lost]


def test_the_examples_leave_out_what_is_dirty_in_timescale(postgres_server: EmbeddedServer, tmp_path: Path) -> None:
    settings = fresh_database(postgres_server)
    with closing(TimescaleSink(settings)) as sink:
        store(sink)
    with psycopg.connect(conninfo_of(settings)) as connection:
        check(lambda text: connection.execute(text.encode()).fetchall())
        check_dashboard(lambda text: connection.execute(text.encode()).fetchall())
    server = f'[timescale]\nport = {settings.port}\nuser = "{settings.user}"\ndbname = "{settings.dbname}"\n'
    check_command(tmp_path, server, DB_PASSWORD=settings.password)


def test_the_examples_leave_out_what_is_dirty_in_questdb(questdb: QuestdbServer, tmp_path: Path) -> None:
    cursor = CursorFile(tmp_path / "questdb.cursor", Files())
    marks = Marks(tmp_path / "questdb.marks", Files(), keep_s=900)
    with closing(QuestdbSink(Questdb(port=questdb.port), cursor, marks, Orders(tmp_path, "questdb"))) as sink:
        store(sink)
    check(questdb.query)
    only = f"[timescale]\nenabled = false\n[questdb]\nenabled = true\nport = {questdb.port}\n"
    check_command(tmp_path, only)
