"""The restart budget, by histories instead of processes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tickbay.config import Supervisor
from tickbay.supervisor import restart

LIMITS = Supervisor()


def play(dies_after_s: Callable[[], float], *, deaths: int, jitter: float) -> tuple[list[float], list[float]]:
    """A process that dies again so many seconds after each start: (times of death, waits)."""
    failures: list[float] = []
    waits: list[float] = []
    now_s = 0.0
    for _ in range(deaths):
        now_s += dies_after_s()
        failures.append(now_s)
        waits.append(restart.delay_s(failures, now_s, limits=LIMITS, jitter=jitter))
        now_s += waits[-1]
    return failures, waits


def test_the_first_failure_costs_the_shortest_wait() -> None:
    assert restart.delay_s([100.0], 100.0, limits=LIMITS, jitter=1.0) == LIMITS.backoff_min_s
    assert restart.delay_s([100.0], 100.0, limits=LIMITS, jitter=0.0) == LIMITS.backoff_min_s / 2


def test_waits_of_a_process_that_dies_at_once_double_up_to_the_longest() -> None:
    _, waits = play(lambda: 0.2, deaths=40, jitter=1.0)
    assert all(later >= earlier for earlier, later in pairwise(waits[:8]))
    assert 1.8 < waits[1] / waits[0] <= 2.0
    assert 0.9 * LIMITS.backoff_max_s < waits[-1] <= max(waits) <= LIMITS.backoff_max_s


def test_a_process_that_dies_at_once_is_excessive_and_stays_so_at_any_jitter() -> None:
    for jitter in (0.0, 0.5):
        failures, _ = play(lambda: 0.2, deaths=60, jitter=jitter)
        verdicts = [restart.excessive(failures[:count], failures[count - 1], limits=LIMITS) for count in range(1, 61)]
        assert verdicts == [False] * LIMITS.degraded_restarts + [True] * (60 - LIMITS.degraded_restarts)


def test_quiet_times_forgive() -> None:
    failures, _ = play(lambda: 0.2, deaths=20, jitter=1.0)
    later_s = failures[-1] + 3600.0
    assert restart.delay_s([*failures, later_s], later_s, limits=LIMITS, jitter=1.0) < LIMITS.backoff_min_s * 1.01
    assert not restart.excessive([*failures, later_s], later_s, limits=LIMITS)


def test_a_process_that_dies_once_an_hour_is_never_excessive_and_never_waits_long() -> None:
    failures, waits = play(lambda: 3600.0, deaths=50, jitter=1.0)
    assert max(waits) < LIMITS.backoff_min_s * 1.01
    assert not any(restart.excessive(failures[: n + 1], failures[n], limits=LIMITS) for n in range(50))


@given(
    ages=st.lists(st.floats(0, 1e6), max_size=restart.HISTORY_MAX),
    jitter=st.floats(0, 1),
)
def test_any_history_gives_a_wait_within_the_bounds(ages: list[float], jitter: float) -> None:
    failures = sorted(1e6 - age for age in ages)
    wait_s = restart.delay_s(failures, 1e6, limits=LIMITS, jitter=jitter)
    assert LIMITS.backoff_min_s / 2 <= wait_s <= LIMITS.backoff_max_s
