"""Credits are never exceeded, and waits are doubled, bounded and never alike."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tickbay.feed.action import NS_PER_S
from tickbay.feed.backoff import Backoff
from tickbay.feed.credits import Credits


def test_a_cost_above_the_whole_pool_is_still_paid_in_the_end() -> None:
    credits = Credits(pool=100, cost=3000, refill_per_s=1000, mono_ns=0)
    assert credits.take(0)
    assert not credits.take(2 * NS_PER_S)
    assert credits.take(3 * NS_PER_S)


@given(st.lists(st.tuples(st.integers(0, 3 * NS_PER_S), st.booleans()), max_size=60), st.integers(1, 40_000))
def test_credits_are_never_exceeded_whatever_the_rhythm(steps: list[tuple[int, bool]], pool: int) -> None:
    """FEED-3."""
    credits = Credits(pool=pool, cost=3000, refill_per_s=777, mono_ns=0)
    now_ns = spent = 0
    for wait_ns, drain in steps:
        now_ns += wait_ns
        if drain:
            credits.drain(now_ns)
        while credits.take(now_ns):
            spent += 3000
        assert spent * NS_PER_S <= max(pool, 3000) * NS_PER_S + 777 * now_ns


def test_jitter_takes_up_to_half_of_a_wait() -> None:
    shortest = Backoff(min_s=1, max_s=60, random=lambda: 0.0)
    longest = Backoff(min_s=1, max_s=60, random=lambda: 1.0)
    for failures in (0, 3, 9, 10_000):
        assert shortest.wait_ns(failures) * 2 == longest.wait_ns(failures)
    assert longest.wait_ns(10_000) == longest.longest_ns() == 60 * NS_PER_S
