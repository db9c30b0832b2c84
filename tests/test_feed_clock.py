"""A feed process against a venue whose clock is another: what it tells of it, and that it corrects nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from feed_case import TRADES, FeedCase
from simulator import simulating
from tickbay.record import Kind

pytestmark = pytest.mark.slow

OFF_S, LINE_S = 0.25, 0.04


@pytest.fixture
def case(shm_dir: Path, tmp_path: Path) -> Iterator[FeedCase]:
    case = FeedCase(shm_dir, tmp_path / "data")
    yield case
    case.close()


def test_a_clock_beside_the_venue_s_is_measured_within_half_the_line_told_and_never_corrected(
    case: FeedCase, tmp_path: Path
) -> None:
    sim = tmp_path / "sim"
    sim.mkdir()
    with simulating(sim, "--instruments", "ETH=4", "--rate", "200", "--heartbeat-scale", "0.02") as simulator:
        simulator.fault(f"clock seconds={OFF_S} delay={LINE_S}")
        case.configure(simulator.ws_url)
        case.assign(TRADES, "ticker.ETH-PERPETUAL.100ms")
        case.start()
        case.until_live(2)
        case.until(lambda: "clock_offset_ms" in case.health().gauges, "the offset is known")
        gauges = case.health().gauges
        error_s = abs(gauges["clock_offset_ms"] / 1e3 - OFF_S)
        assert error_s <= gauges["clock_error_ms"] / 1e3 and LINE_S / 2 * 0.9 < error_s < LINE_S
        simulator.fault("clock seconds=0")
        case.until(lambda: abs(case.health().gauges["clock_offset_ms"]) < 100, "it is right again")
        case.until(lambda: len(case.records(Kind.QUOTE)) > 20, "tickers")
        before_ns = time.time_ns()
        case.end()
    names = [event["event"] for event in case.events()]
    assert names.count("clock_off") == names.count("clock_right") == 1
    told = next(event for event in case.events() if event["event"] == "clock_off")
    assert told["level"] == "warning" and told["offset_ms"] == pytest.approx(OFF_S * 1e3, abs=told["error_ms"])
    status = case.records(Kind.STATUS)
    assert status["clock_offset_ns"][0] == status["clock_error_ns"][0] == 0, "not known before the first answer"
    assert abs(int(status["clock_offset_ns"][-1])) <= int(status["clock_error_ns"][-1]) < LINE_S * 1e9
    recv_ns = case.records(Kind.QUOTE)["recv_ns"]
    assert (before_ns - 60e9 < recv_ns).all() and (recv_ns <= time.time_ns()).all(), "as our clock said"
