"""times.py and its part of the status page: stages and the clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tickbay.health import Health, Report, read_reports
from tickbay.status.snapshot import Status, Totals, judge
from tickbay.status.status import WIDTH, render
from tickbay.status.times import ClockStatus, StageStatus, clock_of, stages_of

TOTALS = Totals(
    frames_per_s=0.0, rows_per_s=0.0, instruments=None, gaps=0, records=0, journal_bytes=None, journal_free_bytes=None,
    hold_hours=None,
)  # fmt: skip
EMPTY = Status(
    time="2026-11-21T00:00:00.000Z", verdict="healthy", reasons=(), supervised=True, processes=(), streams=(),
    stages=(), legs=(), clock=None, totals=TOTALS,
)  # fmt: skip


def histogram(p50_ns: int | None, p99_ns: int | None) -> dict[str, object]:
    return {"recent": {"count": 7, "p50_ns": p50_ns, "p99_ns": p99_ns}}


def reports(run_dir: Path) -> dict[str, Report]:
    (run_dir / "health").mkdir()
    journal = Health(run_dir, "journal", "journal")
    journal.stages = {
        "receive_to_durable": {"feed-1": histogram(50_000_000, 90_000_000), "feed-2": histogram(None, None)}
    }
    journal.beat()
    for name, offset, error in (("feed-1", 40.0, 30.0), ("feed-2", 20.0, 5.0), ("feed-3", 0.0, 0.0)):
        feed = Health(run_dir, name, "feed")
        if error:
            feed.gauges = {"clock_offset_ms": offset, "clock_error_ms": error}
        feed.beat()
    return read_reports(run_dir)


def test_stages_are_those_of_the_last_minute_in_milliseconds(shm_dir: Path) -> None:
    assert stages_of(reports(shm_dir)) == (
        StageStatus(stage="receive_to_durable", subject="feed-1", records=7, p50_ms=50.0, p99_ms=90.0),
        StageStatus(stage="receive_to_durable", subject="feed-2", records=7, p50_ms=None, p99_ms=None),
    )


def test_the_clock_is_what_the_surest_feed_says(shm_dir: Path) -> None:
    assert clock_of(reports(shm_dir)) == ClockStatus(offset_ms=20.0, error_ms=5.0, feed="feed-2")
    assert clock_of({}) is None


@pytest.mark.parametrize(
    ("offset_ms", "error_ms", "said"),
    [
        (150.0, 60.0, ""),
        (170.0, 60.0, "this machine's clock is 170.0 ms behind the venue's, give or take 60.0 ms"),
        (-5000.0, 1.0, "this machine's clock is 5,000.0 ms ahead of the venue's, give or take 1.0 ms"),
    ],
)
def test_a_clock_that_is_certainly_off_degrades_the_engine_and_says_which_way(
    offset_ms: float, error_ms: float, said: str
) -> None:
    complaint = ClockStatus(offset_ms=offset_ms, error_ms=error_ms, feed="feed-1").complaint(100.0)
    assert complaint.partition(":")[0] == said
    if said:
        assert complaint in judge((), complaint)[1] or judge((), complaint)[0] == "down"


def test_the_page_shows_the_slowest_feed_and_every_sink_in_the_order_of_the_way() -> None:
    stage = StageStatus(stage="receive_to_durable", subject="feed-1", records=10, p50_ms=50.0, p99_ms=90.0)
    status = replace(
        EMPTY,
        stages=(
            replace(stage, stage="receive_to_commit", subject="timescale", p99_ms=1e9),
            replace(stage, stage="receive_to_commit", subject="questdb"),
            stage,
            replace(stage, subject="feed-2", p99_ms=123.45),
            replace(stage, stage="exchange_to_receive", subject="feed-3", p50_ms=None, p99_ms=None),
        ),
        clock=ClockStatus(offset_ms=-0.25, error_ms=1.04, feed="feed-1"),
    )
    page = render(status, colours=False)
    assert "clock: 0.2 ms ahead of the venue's, give or take 1.0 ms" in page
    shown = [line.split() for line in page.splitlines() if " → " in line]
    assert [line[3] for line in shown] == ["feed-2", "questdb", "timescale"]
    assert shown[0][-3:] == ["50.0", "123.5", "10"] or shown[0][-3:] == ["50.0", "123.4", "10"]
    assert max(map(len, page.splitlines())) <= WIDTH
