"""Spans against a set of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tickbay.healer.spans import Spans, total

NUMBERS = st.integers(0, 60)
RANGES = st.lists(st.tuples(NUMBERS, st.integers(0, 9)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=30)


def numbers(ranges: object) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}  # type: ignore[attr-defined]  # ranges


@given(RANGES, NUMBERS, NUMBERS)
def test_spans_are_a_set_whose_ranges_do_not_touch(ranges: list[tuple[int, int]], one: int, other: int) -> None:
    spans, model = Spans(ranges), numbers(ranges)
    assert numbers(spans) == model and total(spans) == len(model)
    found = list(spans)
    assert all(found[place][1] + 1 < found[place + 1][0] for place in range(len(found) - 1))
    first, last = min(one, other), max(one, other)
    inside = set(range(first, last + 1))
    assert numbers(spans.within(first, last)) == model & inside
    assert numbers(spans.missing(first, last)) == inside - model
    spans.forget_up_to(one)
    assert list(spans) == [(low, high) for low, high in found if high > one]
    spans = Spans(found)
    spans.forget_oldest(1)
    assert list(spans) == found[-1:]
