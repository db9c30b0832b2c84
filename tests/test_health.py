"""Heartbeats and figures: what one process writes is what another reads, whole or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tickbay import health as module
from tickbay.health import Health, read_report, read_reports
from tickbay.identity import Identity


@pytest.fixture
def run_dir(shm_dir: Path) -> Path:
    (shm_dir / "health").mkdir()
    return shm_dir


def test_a_report_reads_back_as_written(run_dir: Path) -> None:
    health = Health(run_dir, "feed-1", "feed")
    health.state, health.detail = "live", "x"
    health.counters, health.gauges = {"frames": 3}, {"lag": 0.5, "unknown": float("nan")}
    health.streams, health.children = {"feed-1.quote": {"head": 7}}, {"a": {"pid": 1}}
    health.error("it broke")
    health.beat()
    report = read_report(run_dir, "feed-1")
    assert report is not None
    assert (report.process, report.role, report.state, report.detail) == ("feed-1", "feed", "live", "x")
    assert report.identity == Identity.own() and report.identity.alive()
    assert (report.counters, report.gauges) == ({"frames": 3}, {"lag": 0.5})
    assert (report.streams, report.children) == ({"feed-1.quote": {"head": 7}}, {"a": {"pid": 1}})
    assert report.last_error == "it broke" and abs(report.last_error_ns - time.time_ns()) < 60e9
    assert 0 <= report.age_s() < 60
    assert (run_dir / "health" / "feed-1.json").stat().st_mode & 0o777 == 0o600


def test_each_beat_moves_the_heartbeat(run_dir: Path) -> None:
    health = Health(run_dir, "p", "p")
    beats = []
    for _ in range(3):
        health.beat()
        report = read_report(run_dir, "p")
        assert report is not None
        beats.append(report.heartbeat_ns)
    assert beats[0] < beats[1] < beats[2]


def test_rates_are_the_growth_of_the_last_ten_seconds(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    health = Health(run_dir, "p", "p")
    assert health.rates() == {}, "one moment is no rate"
    for step in range(1, 41):  # 20 s, at 100/s and then at 10/s
        now_s += 0.5
        health.counters = {"frames": step * 50 if step <= 20 else 1000 + (step - 20) * 5}
        rates = health.rates()
        if step == 20:
            assert rates["frames"] == pytest.approx(100.0)
    assert rates["frames"] == pytest.approx(10.0)


def test_a_counter_that_begins_later_counts_from_nothing(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    health = Health(run_dir, "p", "p")
    health.rates()
    now_s += 2.0
    health.counters["rows"] = 6
    health.beat()
    report = read_report(run_dir, "p")
    assert report is not None and report.rates == {"rows": 3.0}


def test_a_full_tmpfs_does_not_stop_the_heartbeat(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health(run_dir, "p", "p")
    health.detail = "a long detail that the next report does not have"
    health.beat()
    first = read_report(run_dir, "p")

    def full(_path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_atomically", full)
    health.detail = ""
    health.beat()
    second = read_report(run_dir, "p")
    assert first is not None and second is not None
    assert second.heartbeat_ns > first.heartbeat_ns and second.detail == ""
    (run_dir / "health" / "p.json").unlink()
    health.beat()  # nothing can be written at all: no reason to end capture
    assert read_report(run_dir, "p") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"process": "p"}', '{"pid": 1, "start_time": 2}'])
def test_a_report_that_is_no_report_is_none(run_dir: Path, text: str) -> None:
    (run_dir / "health" / "p.json").write_text(text)
    assert read_report(run_dir, "p") is None and read_reports(run_dir) == {}


def test_no_reports_where_nothing_ever_ran(tmp_path: Path) -> None:
    assert read_reports(tmp_path / "none") == {}


def test_beating_tells_the_log_to_settle(run_dir: Path) -> None:
    health = Health(run_dir, "p", "p")
    told: list[int] = []
    health.on_beat = lambda: told.append(os.getpid())
    health.beat()
    assert told == [os.getpid()]
