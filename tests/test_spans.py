"""spans.py against the same done second by second."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tickbay.certificate.spans import Spans, clipped, intersection, length, union, without

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


def seconds(spans: Spans) -> set[int]:
    return {second for begin, end in spans for second in range(begin, end)}


def is_orderly(spans: Spans) -> bool:
    return all(begin < end for begin, end in spans) and all(a[1] < b[0] for a, b in pairwise(spans))


@given(SPANS, SPANS)
def test_every_operation_is_that_on_the_seconds(left: Spans, right: Spans) -> None:
    a, b = union(left), union(right)
    assert seconds(a) == seconds(left) and is_orderly(a)
    for found, expected in (
        (intersection(a, b), seconds(a) & seconds(b)),
        (without(a, b), seconds(a) - seconds(b)),
        (clipped(a, 10, 20), seconds(a) & set(range(10, 20))),
    ):
        assert seconds(found) == expected and is_orderly(found) and length(found) == len(expected)
