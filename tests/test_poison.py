"""SINK-4: which rows a database refuses is found with few COPYs, whatever it says about them."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbay.errors import SinkParked, SinkRefused
from tickbay.sinks.poison import POISON_BURST, Breaker, copy_around


class Database:
    """Refuses any range that has a bad row, and names a line: the first bad one, none, or a wrong one."""

    def __init__(self, bad: set[int], naming: str) -> None:
        self.bad = bad
        self.naming = naming
        self.stored: list[int] = []
        self.copies = 0

    def copy(self, first: int, last: int) -> None:
        self.copies += 1
        found = sorted(row for row in self.bad if first <= row < last)
        if found:
            line = {"right": found[0] - first + 1, "none": None, "wrong": 1, "absurd": 10**9}[self.naming]
            raise SinkRefused(f"row {found[0]}", sqlstate="22021", table="t", line=line)
        self.stored += range(first, last)


@given(
    count=st.integers(1, 300),
    bad=st.sets(st.integers(0, 299), max_size=20),
    naming=st.sampled_from(["right", "none", "wrong", "absurd"]),
)
def test_every_good_row_is_stored_once_and_in_order_and_every_bad_one_named(
    count: int, bad: set[int], naming: str
) -> None:
    bad = {row for row in bad if row < count}
    database = Database(bad, naming)
    poison = copy_around(count, database.copy, allowed=count)
    assert [index for index, _ in poison] == sorted(bad)
    assert [str(refusal) for _, refusal in poison] == [f"row {row}" for row in sorted(bad)]
    assert database.stored == [row for row in range(count) if row not in bad]


@pytest.mark.parametrize(("naming", "copies_max"), [("right", 4), ("none", 2 * math.log2(50_000) + 2)])
def test_one_bad_row_costs_few_copies(naming: str, copies_max: float) -> None:
    database = Database({33_333}, naming)
    copy_around(50_000, database.copy, allowed=1)
    assert database.copies <= copies_max


def test_it_gives_up_when_more_are_refused_than_allowed() -> None:
    database = Database(set(range(1000)), "right")
    with pytest.raises(SinkParked, match="more than 10 rows"):
        copy_around(1000, database.copy, allowed=10)
    assert database.copies < 50


@pytest.mark.parametrize(("sqlstate", "told"), [("22P05", "(SQLSTATE 22P05, table books)"), ("", "(table books)")])
def test_a_refusal_is_told_with_its_code_where_the_database_has_one(sqlstate: str, told: str) -> None:
    def copy(_first: int, _last: int) -> None:
        raise SinkRefused("no", table="books", sqlstate=sqlstate)

    with pytest.raises(SinkParked, match=re.escape(told)):
        copy_around(1, copy, allowed=0)


def test_the_breaker_lets_a_burst_and_then_one_in_a_hundred_pass() -> None:
    breaker = Breaker()
    assert breaker.allowed(0) == POISON_BURST
    breaker.count(1000, POISON_BURST)
    assert breaker.allowed(1000) == 20
    for _ in range(100):
        assert breaker.allowed(1000) >= 10
        breaker.count(1000, 10)  # exactly one in a hundred, for ever
    for _ in range(2):
        breaker.count(1000, 15)
    assert breaker.allowed(1000) < 15


def test_the_breaker_forgets_but_does_not_save_up() -> None:
    breaker = Breaker()
    breaker.count(0, POISON_BURST)
    assert breaker.allowed(0) == 0
    breaker.count(10**9, 0)
    assert breaker.allowed(0) == POISON_BURST
