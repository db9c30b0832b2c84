"""Dashboards: made of their source, whole, and every panel's query gives rows from real servers that hold a real
capture: TimescaleDB as its reader, QuestDB as its read-only user over the PostgreSQL wire, Prometheus.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from faults.rig import HASTY, Rig
from patience import wait_for
from servers import prometheus, questdb
from servers.prometheus import PrometheusServer
from simulator import simulating
from test_prometheus import CONFIG, ON, RULES, port
from tickbay.embedded import EmbeddedServer, free_port
from whole_engine import whole_engine

GRAFANA = Path(__file__).parent.parent / "deploy" / "monitoring" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
Connection = psycopg.Connection[tuple[Any, ...]]
PANELS = {"timeseries", "stat", "table", "barchart", "xychart"}
READER, PASSWORD = "grafana_test", "only-reads"
TICKS = re.compile(r"Seq Scan on (?:_hyper|option|delta_one|book|collector)\w*")


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in DASHBOARDS}


# -------- as files


def test_the_dashboards_are_what_their_source_makes() -> None:
    command = [sys.executable, "-c", "import json, make; print(json.dumps(make.texts()))"]
    done = subprocess.run(command, cwd=GRAFANA / "source", capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == {path.name: path.read_text() for path in DASHBOARDS}


def test_every_panel_has_its_place_its_help_and_a_datasource_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "tickbay.yml").read_text())["datasources"]
    known = {(source["type"], source["uid"]) for source in provisioned}
    assert {"system", "quality", "volatility", "questdb"} == set(dashboards())
    for name, dashboard in dashboards().items():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place, title = panel["gridPos"], f"{name}: {panel['title']}"
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert not cells & taken and place["x"] + place["w"] <= 24, title
            taken |= cells
            assert panel["type"] in PANELS and panel["description"].endswith("."), title
            for target in panel["targets"]:
                assert (target["datasource"]["type"], target["datasource"]["uid"]) in known, title
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_no_password_is_in_what_is_provisioned() -> None:
    for source in yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "tickbay.yml").read_text())["datasources"]:
        assert all(secret.startswith("$__file{$") for secret in source.get("secureJsonData", {}).values())


# -------- with data


@dataclass(frozen=True, slots=True)
class Stack:
    """A capture, in all three."""

    rig: Rig
    prometheus: PrometheusServer
    timescale: Connection  # as a reader
    questdb: Connection
    start: datetime


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, timescale_server: EmbeddedServer) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("grafana")
    run_dir = Path(tmp_path_factory.mktemp("run"))
    wire = free_port()
    with ExitStack() as stack:
        settings = {
            "pg__enabled": "true", "pg__net__bind__to": f"127.0.0.1:{wire}", "pg__readonly__user__enabled": "true",
            "pg__readonly__user": READER, "pg__readonly__password": PASSWORD,
        }  # fmt: skip
        quest = stack.enter_context(questdb.running(**settings))
        market = ["--instruments", "ETH=80", "--no-limits", "--rate", "800"]
        simulator = stack.enter_context(simulating(folder, *market))
        more = f"{HASTY}[questdb]\nenabled = true\nport = {quest.port}\n"
        rig = stack.enter_context(whole_engine(folder, run_dir, timescale_server, simulator, more=more))
        off = "[metrics]\nenabled = false\n[health]\nenabled = false\n[web]\nenabled = false\n"
        rig.file.write_text(rig.file.read_text().replace(off, ON))
        start = datetime.now(UTC)
        rig.up()
        rig.wait_flowing()
        config = CONFIG.format(scrape_s=1, rules=RULES, port=port(rig, "metrics"))
        server = stack.enter_context(prometheus.running(config))
        reader = stack.enter_context(reading(rig))
        conninfo = f"host=127.0.0.1 port={wire} user={READER} password={PASSWORD} dbname=qdb sslmode=disable"
        quest_reader = stack.enter_context(psycopg.connect(conninfo, autocommit=True))
        prepare(rig, server)
        yield Stack(rig, server, reader, quest_reader, start)


@contextmanager
def reading(rig: Rig) -> Iterator[Connection]:
    """A login that may only read."""
    owner = rig.server.conninfo(rig.database.dbname)
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}' IN ROLE tickbay_reader")
    try:
        conninfo = (
            f"host=127.0.0.1 port={rig.server.port} user={READER} password={PASSWORD} dbname={rig.database.dbname}"
        )
        with psycopg.connect(conninfo, autocommit=True) as reader:
            yield reader
    finally:
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(f"DROP ROLE {READER}")


def prepare(rig: Rig, server: PrometheusServer) -> None:
    """A gap that was opened and closed, a refused row, and enough scrapes."""
    rig.signal("feed-1", signal.SIGKILL)
    server.wait_for('tickbay_gaps_total{process="feed-1",cause="restart"} == 1')
    rig.wait_flowing()
    with psycopg.connect(rig.server.conninfo(rig.database.dbname), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO quarantine (sink, stream, epoch, seq, kind, table_name, sqlstate, reason, layout, record)"
            " VALUES ('timescale', 'feed-1.quote', 1, 1, 'quote', 'option_quotes', '22003', 'out of range', 0, '')"
        )

        def closed() -> bool:
            return bool(connection.execute("SELECT FROM gaps WHERE NOT open").fetchall())

        wait_for(closed, "the gap to be closed")
        wait_for(lambda: bool(connection.execute("SELECT FROM option_trades LIMIT 1").fetchall()), "trades")
    # Some seconds ago already: a panel's last point lies up to a step before the end of its span.
    server.wait_for("rate(tickbay_sink_commit_seconds_count[5s] offset 3s)")
    server.wait_for("tickbay:capture:ratio offset 3s")


def substituted(text: str, chosen: dict[str, str], start: datetime, end: datetime) -> str:
    """As Grafana's PostgreSQL datasource does it, in its order: variables, intervals, then macros."""
    for name, value in chosen.items():
        text = text.replace(f"${name}", value.replace("'", "''"))
    text = text.replace("$__interval", "5s").replace("$__rate_interval", "10s")
    first, last = (f"'{when:%Y-%m-%dT%H:%M:%S.%f}Z'" for when in (start, end))
    text = re.sub(r"\$__timeFilter\((.*?)\)", rf"\1 BETWEEN {first} AND {last}", text)
    text = re.sub(r"\$__timeGroup\((\w+), *(\d+)s\)", r"floor(extract(epoch from \1)/\2)*\2", text)
    text = text.replace("$__timeFrom()", first).replace("$__timeTo()", last)
    assert "$" not in text, text
    return text


def rows(connection: Connection, text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names of the columns, and the rows. QuestDB takes no prepared statement with these."""
    cursor = connection.execute(text.encode(), prepare=False)
    return [column.name for column in cursor.description or ()], cursor.fetchall()


def choose(dashboard: dict[str, Any], stack: Stack, end: datetime) -> dict[str, str]:
    """What a person finds chosen: the first of each variable."""
    chosen: dict[str, str] = {}
    for variable in dashboard["templating"]["list"]:
        connection = stack.questdb if variable["datasource"]["uid"] == "tickbay-questdb" else stack.timescale
        found = rows(connection, substituted(variable["query"], chosen, stack.start, end))[1]
        assert found, f"{variable['name']} has a choice: {variable['query']}"
        chosen[variable["name"]] = str(found[0][0])
    return chosen


@pytest.mark.parametrize("name", [path.stem for path in DASHBOARDS])
def test_every_panel_s_query_gives_rows(stack: Stack, name: str) -> None:
    dashboard, end = dashboards()[name], datetime.now(UTC)
    chosen = choose(dashboard, stack, end)
    empty, wrong = [], []
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            title = f"{panel['title']} {target['refId']}"
            if "expr" in target:
                expression = target["expr"].replace("$__rate_interval", "10s")
                period = {"start": stack.start.timestamp(), "end": end.timestamp(), "step_s": 1}
                found = stack.prometheus.query_range(expression, **period)
                # A quantile is NaN while nothing happens: of each series something is shown.
                lines = [[float(value) for _, value in series["values"]] for series in found]
                wrong += [title] if any(all(value != value for value in line) for line in lines) else []
                empty += [title] if not found else []
                continue
            connection = stack.questdb if target["datasource"]["uid"] == "tickbay-questdb" else stack.timescale
            names, table = rows(connection, substituted(target["rawSql"], chosen, stack.start, end))
            empty += [title] if not table else []
            if target["format"] == "time_series":
                times = [row[0] for row in table]
                wrong += [title] if names[0] != "time" or times != sorted(times) else []
            wrong += [title] if table and all(value is None for row in table for value in row[1:]) else []
    assert (empty, wrong) == ([], [])


def test_no_panel_reads_a_whole_table_of_ticks_for_a_span_of_time(stack: Stack) -> None:
    """Every query on ticks can go by the BRIN index on time, also when planner costs of so few rows favour a scan."""
    end = datetime.now(UTC)
    stack.timescale.execute("SET enable_seqscan = off")
    scans, looked = [], 0
    for name in ("quality", "volatility"):
        dashboard = dashboards()[name]
        chosen = choose(dashboard, stack, end)
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                text = substituted(target["rawSql"], chosen, stack.start, end)
                plan = "\n".join(row[0] for row in rows(stack.timescale, f"EXPLAIN {text}")[1])
                looked += "Bitmap Index Scan" in plan
                scans += [(panel["title"], scan) for scan in TICKS.findall(plan)]
    stack.timescale.execute("RESET enable_seqscan")
    assert scans == []
    assert looked >= 9


BEAT = """
INSERT INTO collector_status SELECT (rows.status).* FROM (
    SELECT jsonb_populate_record(beat, jsonb_build_object('ts', now() - %s * interval '1 minute', 'process', 'feed-9'))
    FROM collector_status AS beat WHERE channels_asked > 0 AND channels_live = channels_asked LIMIT 1
) AS rows (status)
"""
HOLE = """
INSERT INTO data_gaps (exch_ns, recv_ns, stream, epoch, seq, conn, cause, kind, expected, healed, feed, detail)
VALUES (1, 1, 'feed-9.gap', 1, 1, 1, 'restart', 'trade', false, false, 'feed-9', 'since nobody knows when')
"""


def quality(stack: Stack, title: str, start: datetime, end: datetime) -> list[tuple[Any, ...]]:
    """The rows of a panel's one query."""
    (panel,) = [panel for panel in dashboards()["quality"]["panels"] if panel["title"] == title]
    return rows(stack.timescale, substituted(panel["targets"][0]["rawSql"], {}, start, end))[1]


def test_an_outage_covers_nothing_and_a_hole_without_a_beginning_is_shown(stack: Stack) -> None:
    """What broke: bins without a heartbeat had no row, so that the last share was drawn on across an outage."""
    end = datetime.now(UTC)
    with psycopg.connect(stack.rig.server.conninfo(stack.rig.database.dbname), autocommit=True) as owner:
        for minutes in (58, 2):
            owner.execute(BEAT, (minutes,))
        owner.execute(HOLE)
        covered = quality(stack, "Coverage", end - timedelta(minutes=55), end)
        ledger = quality(stack, "Gap ledger", end - timedelta(minutes=55), end)
        causes = quality(stack, "Gaps by cause", end - timedelta(minutes=55), end)
        dirty = quality(stack, "Not to be relied upon", end - timedelta(minutes=55), end)
        alive = quality(stack, "Feeds", end - timedelta(minutes=55), end)
        owner.execute("DELETE FROM collector_status WHERE process = 'feed-9'")
        owner.execute("DELETE FROM data_gaps WHERE feed = 'feed-9'")
    shares = [share for begins, feed, share in covered if feed == "feed-9" and begins > end - timedelta(minutes=55)]
    assert len(shares) >= 5 and shares[:-2] == [0] * len(shares[:-2]) and max(shares[-2:]) > 0, shares
    assert all(begins < stack.start for begins, feed, _ in covered if feed == "feed-9"), covered[:3]
    (minutes,) = [row[1] for row in alive if row[0] == "feed-9"]
    assert minutes < 0.1, "it was alive in two minutes of 55"
    assert [row[-1] for row in ledger if row[4] == "feed-9"] == ["since nobody knows when"]
    assert "restart" in {row[0] for row in causes}
    (trades,) = [row for row in dirty if row[0] == "trade"]
    assert trades[-1] >= 55 * 60


def test_who_reads_for_grafana_can_change_nothing(stack: Stack) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stack.timescale.execute("DELETE FROM option_quotes")
    with pytest.raises(psycopg.Error):
        stack.questdb.execute(b"DROP TABLE option_quotes", prepare=False)
    assert rows(stack.questdb, "SELECT count() FROM option_quotes")[1][0][0] > 0
    assert time.time() > stack.start.timestamp()
