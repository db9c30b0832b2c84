"""What a feed does while the journal stands still: one bounded wait, then every record that finds no space is counted,
and the count becomes a gap (FEED-1, RING-2)."""

from __future__ import annotations

import signal
import time

import pytest

from faults.overflow import counted_overflow, lost_records
from faults.rig import HASTY, Rig, rigged
from patience import wait_for

SLOTS = 512  # under a second of what comes
# The supervisor would replace the journal, which is another fault: here it stands still and goes on.
PATIENT = HASTY.replace("heartbeat_timeout_s = 3", "heartbeat_timeout_s = 60")
SETTINGS = f"{PATIENT}[ring]\nquote = {SLOTS}\nbook = {SLOTS}\n"
LOSING_S = 2.0
SETTLED_S = 4.0  # without another loss: what was under way is read, and told by the feeds' heartbeats


@pytest.mark.slow
def test_what_is_lost_while_the_journal_is_stopped_is_exactly_what_the_gaps_count() -> None:
    with rigged(rate=2000.0, seed=5, supervisor=SETTINGS) as rig:
        for _ in range(3):
            stop_journal(rig)
        reports = [rig.report(name) for name in rig.names if name.startswith("feed-")]
        assert all(report is not None and report.counters["reconnects"] == 0 for report in reports), "it was held up"
        rig.simulator.end_data()  # rings this small may overflow again after the last stop: count when nothing comes
        lost, before = sum(lost_records(rig)), -1
        while lost != before:
            time.sleep(SETTLED_S)
            lost, before = sum(lost_records(rig)), lost
        verdict = rig.finish()
        assert verdict.good, verdict
        assert verdict.known == counted_overflow(rig) == lost > 0


def stop_journal(rig: Rig) -> None:
    """Until every feed loses records, and a while on; then until all is well again."""
    before = lost_records(rig)
    assert rig.signal("journal", signal.SIGSTOP)
    wait_for(lambda: all(now > then for now, then in zip(lost_records(rig), before, strict=True)), "records to be lost")
    time.sleep(LOSING_S)
    assert rig.signal("journal", signal.SIGCONT)
    rig.wait_flowing()
