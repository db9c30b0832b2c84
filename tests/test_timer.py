"""What is done now and then."""

from __future__ import annotations

from dataclasses import dataclass

from tickbay.clock import Clock
from tickbay.timer import Timer


@dataclass
class Hand(Clock):
    """A clock that is moved by hand."""

    s: float = 100.0

    def now_s(self) -> float:
        return self.s


def test_a_timer_is_due_once_in_each_period() -> None:
    clock = Hand()
    timer = Timer(5.0, clock=clock)
    assert [timer.due(), timer.due()] == [True, False]
    clock.s = 104.9
    assert not timer.due()
    clock.s = 111.0
    assert [timer.due(), timer.due()] == [True, False]
    clock.s = 115.9
    assert not timer.due(), "late is late: nothing is made up for"
    timer.soon()
    assert timer.due()


def test_two_timers_of_one_period_do_not_keep_each_other_waiting() -> None:
    clock = Hand()
    one, other = Timer(5.0, clock=clock), Timer(5.0, first_s=1.0, clock=clock)
    assert one.due() and not other.due()
    clock.s = 101.0
    assert other.due() and not one.due()
