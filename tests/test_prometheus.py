"""A real Prometheus scrapes a real run (simulator, engine, database): what it has is what `tickbay status` says, also
after a process was killed. And the process `metrics` by itself: ports, peers, its own end.
"""

from __future__ import annotations

import json
import math
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from faults.rig import HASTY, Rig
from patience import wait_for
from servers import prometheus
from servers.prometheus import PrometheusServer, tool
from simulator import simulating
from tickbay.embedded import EmbeddedServer
from whole_engine import tickbay, whole_engine

ON = "[metrics]\nenabled = true\nport = 0\n[health]\nenabled = true\nport = 0\n[web]\nenabled = true\nport = 0\n"
RULES = Path(__file__).parent.parent / "deploy" / "monitoring" / "prometheus" / "rules"
SCRAPE_S = 1
RUBBISH = (
    b"\0" * 70_000,
    b"GET /" + b"x" * 70_000,
    b"GET / HTTP/9.9\r\n\r\n",
    b"FOO / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET //[ HTTP/1.1\r\nHost: [\r\n\r\n",
)
CONFIG = """
global: {{ scrape_interval: {scrape_s}s, evaluation_interval: {scrape_s}s }}
rule_files: ["{rules}/*.yml"]
scrape_configs: [{{ job_name: tickbay, static_configs: [{{ targets: ["127.0.0.1:{port}"] }}] }}]
"""


@pytest.fixture
def rig(tmp_path: Path, shm_dir: Path, postgres_server: EmbeddedServer) -> Iterator[Rig]:
    market = ["--instruments", "ETH=30", "--no-limits", "--rate", "500"]
    with (
        simulating(tmp_path, *market) as simulator,
        whole_engine(tmp_path, shm_dir, postgres_server, simulator, more=HASTY) as rig,
    ):
        off = "[metrics]\nenabled = false\n[health]\nenabled = false\n[web]\nenabled = false\n"
        rig.file.write_text(rig.file.read_text().replace(off, ON))
        yield rig


def port(rig: Rig, name: str) -> int:
    """On which the engine's process listens."""
    wait_for(
        lambda: (report := rig.report("metrics")) is not None and f"{name}_port" in report.gauges, f"the {name} port"
    )
    report = rig.report("metrics")
    assert report is not None
    return int(report.gauges[f"{name}_port"])


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def status(rig: Rig) -> Any:
    _, out, _ = tickbay("status", "--json", "--config", str(rig.file), env=rig.env)
    return json.loads(out)


def test_prometheus_has_what_status_says_and_a_killed_feed_is_a_restart_and_no_step_back(rig: Rig) -> None:
    rig.up()
    rig.wait_flowing()
    metrics, health = port(rig, "metrics"), port(rig, "health")
    served = get(metrics, "/metrics")[1]
    assert tool("promtool", "check", "metrics", input=served) == ""
    assert rig.database.password not in served + get(health, "/readyz")[1]
    assert "ETH-" not in served, "no instrument is a label"
    assert get(health, "/healthz") == (200, "healthy\n")
    assert get(health, "/readyz")[0] == 200
    with prometheus.running(CONFIG.format(scrape_s=SCRAPE_S, rules=RULES, port=metrics)) as server:
        server.wait_for('up{job="tickbay"} == 1')
        server.wait_for("rate(tickbay_feed_frames_total[5s]) > 10")
        assert server.value("tickbay:capture:ratio") == 1
        assert server.value("histogram_quantile(0.5, tickbay_stage_seconds_bucket{stage='receive_to_commit'})") < 1
        assert server.value("tickbay_sink_commit_seconds_count") > 0
        assert server.value("tickbay_sink_batch_rows_sum") > 100

        kill_a_feed(rig, server)
        compare_with_status(rig, server)
        assert get(health, "/healthz")[0] == 200
        rig.stop()  # also with somebody who asks all the time
    assert rig.report("metrics") is None


def compare_with_status(rig: Rig, server: PrometheusServer) -> None:
    """Of figures that stand still; of those that grow, a scrape lies between two looks."""
    rig.simulator.end_data()
    wait_for(lambda: all(stream["last"] == stream["durable"] for stream in status(rig)["streams"][:3]), "quiet")
    time.sleep(3 * SCRAPE_S)
    before = status(rig)
    time.sleep(2 * SCRAPE_S)
    after = status(rig)
    for one, two in zip(before["streams"], after["streams"], strict=True):
        process, kind = one["stream"].split(".")
        labels = f'{{process="{process}",kind="{kind}"}}'
        assert one["last"] <= server.value(f"tickbay_stream_published_total{labels}") <= two["last"]
        assert one["durable"] <= server.value(f"tickbay_stream_durable_total{labels}") <= two["durable"]
    for process, later in zip(before["processes"], after["processes"], strict=True):
        labels = f'{{process="{process["name"]}"}}'
        assert server.value(f"tickbay_process_up{labels}") == (process["pid"] is not None)
        state = 'tickbay_process_state{{process="{name}",state="{state}"}}'
        assert any(server.value(state.format(**each)) == 1 for each in (process, later))
        if process["restarts"] is not None:
            assert server.value(f"tickbay_process_restarts_total{labels}") == process["restarts"]
    assert server.value(f'tickbay_verdict{{verdict="{before["verdict"]}"}}') == 1
    assert server.value("tickbay_universe_instruments") == before["totals"]["instruments"]
    journal = rig.report("journal")
    assert journal is not None
    assert server.value("tickbay_journal_size_bytes") == journal.gauges["journal_bytes"]


def kill_a_feed(rig: Rig, server: PrometheusServer) -> None:
    server.wait_for('rate(tickbay_feed_frames_total{process="feed-1"}[5s]) > 10')
    assert rig.signal("feed-1", signal.SIGKILL)
    server.wait_for('tickbay_process_restarts_total{process="feed-1"} == 1')
    server.wait_for('resets(tickbay_feed_frames_total{process="feed-1"}[1m]) == 1')
    server.wait_for('tickbay_gaps_total{process="feed-1",cause="restart"} == 1')
    rig.wait_flowing()
    end = time.time()
    for counter in ("tickbay_feed_frames_total", "tickbay_stream_published_total", "tickbay_sink_rows_total"):
        found = server.query_range(f"rate({counter}[5s])", start=end - 30, end=end, step_s=1)
        rates = [float(value) for series in found for _, value in series["values"]]
        assert rates and min(rates) >= 0 and math.isfinite(max(rates)), counter
    published = server.query_range('tickbay_stream_published_total{kind="quote"}', start=end - 30, end=end, step_s=1)
    for series in published:
        values = [float(value) for _, value in series["values"]]
        assert values == sorted(values), "the ring's sequence survives its feed"


def test_a_port_in_use_is_one_clear_line_and_no_matter_for_the_capture(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        rig.file.write_text(
            rig.file.read_text().replace("[metrics]\nenabled = true\nport = 0", f"[metrics]\nport = {number}")
        )
        rig.up()
        rig.wait_flowing()
        wait_for(lambda: rig.state("metrics") == "degraded", "the complaint")
        line = f"127.0.0.1:{number}: Address already in use: free it, or set metrics.port or .host"
        assert status(rig)["reasons"] == [f"metrics is degraded: {line}"]
        assert get(port(rig, "health"), "/healthz") == (200, "degraded\n")
    assert port(rig, "metrics") == number, "as soon as it is free"
    assert (rig.folder / "engine.log").read_text().count("Address already in use") <= 3


def test_peers_that_stall_or_flood_or_send_rubbish_are_ended_and_harm_nothing(rig: Rig) -> None:
    rig.up()
    rig.wait_flowing()
    number = port(rig, "metrics")
    before = rig.identity("metrics")
    idle = [socket.create_connection(("127.0.0.1", number)) for _ in range(40)]
    for one in idle[:10]:
        one.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
    for bad in RUBBISH:
        with socket.create_connection(("127.0.0.1", number), timeout=20) as one, suppress(OSError):
            one.sendall(bad)
            assert b"<html" not in one.recv(100_000).lower()
    for one in idle:
        one.settimeout(20)
        with suppress(OSError):
            assert one.recv(10) == b"", "ended, sooner or later"
        one.close()
    assert get(number, "/metrics")[0] == 200
    assert rig.identity("metrics") == before
    assert get(number, "/metrics", Host="evil.example")[0] == 421
    assert status(rig)["verdict"] == "healthy"
