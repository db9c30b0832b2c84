"""R4: the database is away for a while, and then catches up while data keep coming."""

from __future__ import annotations

import time

from faults.figure import Outcome
from faults.rig import Rig, counted, rigged
from patience import wait_for

ASKED = "database 30 s down at 20,000 frames/s, catch-up at least 10 times real time: 0 lost, 0 twice"
SIZE, SIZE_DEEP = 30, 3600  # seconds down
RATE = 20_000.0  # frames/s
FACTOR = 10.0
MEASURE_S = 5.0
DOWN_AT_MOST = 10  # times as long as it was down: then it does not catch up at all


def run(size: int, seed: int) -> Outcome:
    with rigged(rate=RATE, seed=seed, feeds=4, options=830) as rig:
        time.sleep(MEASURE_S)  # the first moments are those of every subscription's snapshot
        frames, rows = _frames(rig), rig.published()
        began = time.monotonic()
        rig.server.stop("immediate")
        time.sleep(size)
        frames_s = (_frames(rig) - frames) / (time.monotonic() - began)
        rows_s = (rig.published() - rows) / (time.monotonic() - began)
        behind = rig.published()
        rig.server.start()
        back = time.monotonic()
        rig.wait_commit()  # the writer asks again after its back-off
        noticed, stored = time.monotonic(), rig.stored()
        wait_for(lambda: rig.committed() >= behind, "the outage to be stored", size * DOWN_AT_MOST)
        speed = (rig.stored() - stored) / (time.monotonic() - noticed) / rows_s
        wait_for(lambda: rig.lag() < rows_s, "the sink to be up to date", size * DOWN_AT_MOST)
        caught_up_s = time.monotonic() - back
        restarts = rig.restarts()
        verdict = rig.finish()
    return Outcome(
        f"{size} s down at {frames_s:,.0f} frames/s ({rows_s:,.0f} rows/s): stored at {speed:.1f} times real time "
        f"while data came, up to date {caught_up_s:.1f} s after the server's start; {counted(verdict)}",
        good=verdict.good and not verdict.known and not restarts and speed >= FACTOR and frames_s >= 0.95 * RATE,
    )


def _frames(rig: Rig) -> int:
    """Taken by the feeds."""
    reports = [rig.report(name) for name in rig.names if name.startswith("feed-")]
    return sum(report.counters["frames"] for report in reports if report is not None)
