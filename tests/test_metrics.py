"""What is served: to whom, under which names, with which values. The process itself and a real Prometheus:
test_prometheus.py.
"""

from __future__ import annotations

import re
import socket
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest

from tickbay.config import Config, Feeds
from tickbay.gap import Cause, Gap
from tickbay.gap_count import GapCount
from tickbay.health import Health
from tickbay.histogram import Histogram
from tickbay.identity import Identity
from tickbay.metrics.answer import Answer, answer, health_pages, is_known, metrics_pages
from tickbay.metrics.catalogue import every_metric
from tickbay.metrics.collector import LE_NS, buckets_s
from tickbay.metrics.server import Server
from tickbay.metrics.usage import usage
from tickbay.writer.batch_sizes import BatchSizes

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
LOCAL = {"Host": "127.0.0.1:8001"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for folder in ("run/health", "run/rings", "data/cursors"):
        (tmp_path / folder).mkdir(parents=True)
    return Config(run_dir=tmp_path / "run", data_dir=tmp_path / "data", feeds=Feeds(count=2))


def ask(
    config: Config, path: str = "/metrics", method: str = "GET", hosts: tuple[str, ...] = (), **headers: str
) -> Answer:
    pages = metrics_pages(config) | health_pages(config)
    return answer(method, path, LOCAL | headers, pages=pages, hosts=hosts)


def samples(config: Config) -> dict[str, float]:
    """`name{labels}` → value, as served."""
    text = ask(config).body.decode()
    return {name: float(value) for name, value in re.findall(r"^([a-z].*) (\S+)$", text, re.MULTILINE)}


# -------- names


def test_the_page_lists_every_metric_as_it_is() -> None:
    rows = re.findall(r"^\| `(tickbay_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    told = [
        (metric.name, metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help)
        for metric in every_metric()
    ]
    assert rows == told


def test_names_follow_the_conventions_and_labels_are_of_bounded_sets() -> None:
    metrics = every_metric()
    assert len({metric.name for metric in metrics}) == len(metrics) > 50
    assert [metric.name for metric in metrics if (metric.kind == "counter") != metric.name.endswith("_total")] == []
    assert [metric.name for metric in metrics if re.search(r"_(ms|ns|hours|mb|kb|percent)(_|$)", metric.name)] == []
    assert [metric.name for metric in metrics if not metric.help.endswith(".")] == []
    bounded = {"process", "sink", "kind", "state", "cause", "stage", "verdict", "version", "leg"}
    assert {label for metric in metrics for label in metric.labels} <= bounded, "never an instrument"


# -------- values


def test_what_processes_tell_is_served_in_base_units(config: Config) -> None:
    feed = Health(config.run_dir, "feed-1", "feed")
    feed.counters = {"frames": 7, "bytes": 4200, "undecodable": 1}
    feed.gauges = {"clock_offset_ms": -12.5, "silent_s": 0.25}
    feed.state = "live"
    feed.beat()
    journal = Health(config.run_dir, "journal", "journal")
    journal.gauges = {"hold_hours": 2.0, "free_bytes": 10.0}
    journal.state = "live"
    journal.beat()
    found = samples(config)
    assert found['tickbay_feed_frames_total{process="feed-1"}'] == 7
    assert found['tickbay_feed_decode_errors_total{process="feed-1"}'] == 1
    assert found['tickbay_clock_offset_seconds{process="feed-1"}'] == -0.0125
    assert found['tickbay_feed_staleness_seconds{process="feed-1"}'] == 0.25
    assert found["tickbay_journal_hold_seconds"] == 7200
    assert found['tickbay_process_up{process="feed-1"}'] == 1
    assert found['tickbay_process_up{process="feed-2"}'] == 0
    assert found['tickbay_process_state{process="feed-2",state="down"}'] == 1
    assert found['tickbay_verdict{verdict="down"}'] == 0, "a feed and the journal live"
    assert found['tickbay_process_resident_memory_bytes{process="feed-1"}'] > 1e6


def test_of_a_process_that_is_gone_the_counters_stay_and_the_gauges_go(config: Config) -> None:
    feed = Health(config.run_dir, "feed-1", "feed")
    feed.counters, feed.gauges = {"frames": 7}, {"silent_s": 0.25}
    feed.beat()
    path = config.run_dir / "health" / "feed-1.json"
    path.write_text(re.sub(r'"start_time":\d+', '"start_time":1', path.read_text()))  # as of another life
    found = samples(config)
    assert found['tickbay_feed_frames_total{process="feed-1"}'] == 7
    assert 'tickbay_feed_staleness_seconds{process="feed-1"}' not in found
    assert 'tickbay_process_resident_memory_bytes{process="feed-1"}' not in found
    assert found['tickbay_process_up{process="feed-1"}'] == 0


def test_gaps_are_counted_by_cause_and_also_those_that_never_came(config: Config) -> None:
    gaps = GapCount()
    gaps.add(Gap(cause=Cause.STALE, from_ns=1))
    gaps.add(Gap(cause=Cause.STALE, from_ns=2))
    feed = Health(config.run_dir, "feed-1", "feed")
    feed.counters = {"gaps": gaps.total} | gaps.counters()
    feed.beat()
    found = samples(config)
    by_cause = {cause: found[f'tickbay_gaps_total{{cause="{cause.name.lower()}",process="feed-1"}}'] for cause in Cause}
    assert by_cause == dict.fromkeys(Cause, 0.0) | {Cause.STALE: 2.0}
    assert gaps.total == 2


def test_durations_are_cumulative_buckets_in_seconds(config: Config) -> None:
    histogram = Histogram()
    histogram.add(np.array([1_000, 1_000_000, 900_000_000, 200 * 10**9]))
    buckets = dict(buckets_s(histogram.report(0.0)))
    assert len(buckets) == len(LE_NS) + 1
    assert buckets["6.5536e-05"] == 1, "the microsecond"
    assert buckets["0.001048576"] == 2, "and the millisecond"
    assert buckets["1.07374182"] == 3
    assert buckets["68.7194767"] == 3, "200 s are longer than any end"
    assert buckets["+Inf"] == 4
    assert list(buckets.values()) == sorted(buckets.values())
    writer = Health(config.run_dir, "writer-timescale", "writer")
    writer.stages = {
        "commit": {"timescale": histogram.report(1.0)},
        "receive_to_commit": {"timescale": histogram.report(1.0)},
    }
    writer.beat()
    found = samples(config)
    assert found['tickbay_sink_commit_seconds_bucket{le="1.07374182",sink="timescale"}'] == 3
    assert found['tickbay_sink_commit_seconds_sum{sink="timescale"}'] == pytest.approx(200.901001)
    assert found['tickbay_stage_seconds_count{process="timescale",stage="receive_to_commit"}'] == 4
    assert not any('stage="commit"' in name for name in found)


def test_batch_sizes_are_a_histogram_whatever_their_size(config: Config) -> None:
    sizes = BatchSizes()
    for rows in (1, 10, 11, 20_000, 3_000_000):
        sizes.add(rows)
    writer = Health(config.run_dir, "writer-questdb", "writer")
    writer.counters = {"batches": 5} | sizes.counters()
    writer.beat()
    found = samples(config)
    buckets = [found[f'tickbay_sink_batch_rows_bucket{{le="{le}",sink="questdb"}}'] for le in ("1.0", "10.0", "100.0")]
    assert buckets == [1, 2, 3]
    assert found['tickbay_sink_batch_rows_bucket{le="1000000.0",sink="questdb"}'] == 4
    assert found['tickbay_sink_batch_rows_bucket{le="+Inf",sink="questdb"}'] == 5
    assert found['tickbay_sink_batch_rows_sum{sink="questdb"}'] == 3_020_022


def test_usage_is_of_this_very_process_or_none() -> None:
    own = Identity.own()
    found = usage(own)
    assert found is not None and found.memory_bytes > 1e6 and found.cpu_s > 0 and found.files >= 3
    assert usage(Identity(own.pid, own.start_time - 1, own.boot_id)) is None
    assert usage(Identity(2**22 + 1, 1, own.boot_id)) is None


# -------- health


def test_health_answers_503_where_nothing_is_recorded(config: Config) -> None:
    down = ask(config, "/healthz")
    assert (down.status, down.body) == (HTTPStatus.SERVICE_UNAVAILABLE, b"down\n")
    for name, role in (("feed-1", "feed"), ("journal", "journal")):
        health = Health(config.run_dir, name, role)
        health.state = "live"
        health.beat()
    lives = ask(config, "/healthz")
    assert (lives.status, lives.body) == (HTTPStatus.OK, b"degraded\n")
    ready = ask(config, "/readyz")
    assert ready.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert b"feed-2 is down" in ready.body


# -------- who may ask


def test_it_listens_where_it_is_told_also_by_ipv6(config: Config) -> None:
    try:
        server = Server("::1", 0, health_pages(config), ())
    except OSError as error:
        pytest.skip(f"no IPv6: {error}")
    try:
        with socket.create_connection(("::1", server.port), timeout=10) as asking:
            asking.sendall(b"GET /healthz HTTP/1.1\r\nhost: [::1]\r\n\r\n")
            assert asking.recv(1000).startswith(b"HTTP/1.0 503 Service Unavailable\r\n")
    finally:
        server.close()
    assert server.failure is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_only_get_and_head_are_answered(config: Config, method: str) -> None:
    refused = ask(config, method=method)
    assert (refused.status, refused.headers["Allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, "GET, HEAD")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8001", "127.0.0.1.evil.example", "", "[", "a b"])
def test_another_host_s_name_is_refused(config: Config, host: str) -> None:
    """HTTP-1: a name that somebody else made point here."""
    assert ask(config, Host=host).status == HTTPStatus.MISDIRECTED_REQUEST


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]:8001", "192.168.1.5:8001", "localhost:8001", "Tickbay:8001"])
def test_addresses_and_our_own_names_are_answered(config: Config, host: str) -> None:
    assert ask(config, Host=host, hosts=("TICKBAY",)).status == HTTPStatus.OK
    assert not is_known("tickbay", ())


def test_no_answer_lets_another_origin_read_it(config: Config) -> None:
    for path in ("/metrics", "/healthz", "/readyz", "/nothing"):
        given = ask(config, path, Origin="http://evil.example")
        assert not any(name.lower().startswith("access-control") for name in given.headers)
    assert ask(config, "/nothing").status == HTTPStatus.NOT_FOUND


def test_openmetrics_and_compression_are_given_to_who_asks_for_them(config: Config) -> None:
    given = ask(config, Accept="application/openmetrics-text; version=1.0.0")
    assert given.headers["Content-Type"].startswith("application/openmetrics-text")
    assert given.body.endswith(b"# EOF\n")
    packed = answer("GET", "/metrics?x=1", LOCAL | {"Accept-Encoding": "gzip"}, pages=metrics_pages(config), hosts=())
    assert packed.body.startswith(b"\x1f\x8b")
