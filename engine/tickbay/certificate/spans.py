"""Spans of time and their arithmetic. Pure.

A span is (from, to) in nanoseconds, `to` not part of it. A list of spans is in order and its spans do not touch.
"""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]
Spans = list[Span]


def union(spans: Iterable[Span]) -> Spans:
    """What lies in any of them; they may be in any order, overlap or be empty."""
    found: Spans = []
    for begin, end in sorted(spans):
        if end <= begin:
            continue
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found


def intersection(left: Spans, right: Spans) -> Spans:
    found: Spans = []
    i = j = 0
    while i < len(left) and j < len(right):
        begin, end = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if begin < end:
            found.append((begin, end))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return found


def without(spans: Spans, holes: Spans) -> Spans:
    """What lies in `spans` and in none of `holes`."""
    found: Spans = []
    for begin, end in spans:
        for hole_begin, hole_end in holes:
            if hole_end <= begin:
                continue
            if hole_begin >= end:
                break
            if begin < hole_begin:
                found.append((begin, hole_begin))
            begin = max(begin, hole_end)
        if begin < end:
            found.append((begin, end))
    return found


def clipped(spans: Iterable[Span], begin: int, end: int) -> Spans:
    return union((max(first, begin), min(last, end)) for first, last in spans)


def length(spans: Spans) -> int:
    return sum(end - begin for begin, end in spans)
