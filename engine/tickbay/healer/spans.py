"""Which whole numbers there are, as ranges that do not touch. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]  # both ends included


class Spans:
    """A set of numbers of 64 bits in which neighbours are many: the trades of an instrument that are known. 16 bytes a
    range, since there are some for every instrument."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._firsts = array("Q")
        self._lasts = array("Q")
        for first, last in ranges:
            self.add(first, last)

    def __iter__(self) -> Iterator[Range]:
        return iter(zip(self._firsts, self._lasts, strict=True))

    def __len__(self) -> int:
        """How many ranges."""
        return len(self._firsts)

    def __repr__(self) -> str:
        return f"Spans({list(self)})"

    def add(self, first: int, last: int) -> None:
        assert first <= last
        begin = bisect_left(self._lasts, first - 1)  # the first range that reaches up to us
        end = bisect_right(self._firsts, last + 1)  # the first one that begins beyond
        if begin < end:
            first, last = min(first, self._firsts[begin]), max(last, self._lasts[end - 1])
        self._firsts[begin:end] = array("Q", (first,))
        self._lasts[begin:end] = array("Q", (last,))

    def within(self, first: int, last: int) -> list[Range]:
        """What there is from `first` to `last`."""
        begin = bisect_left(self._lasts, first)
        end = bisect_right(self._firsts, last)
        return [
            (max(first, low), min(last, high))
            for low, high in zip(self._firsts[begin:end], self._lasts[begin:end], strict=True)
        ]

    def missing(self, first: int, last: int) -> list[Range]:
        """What there is not from `first` to `last`."""
        found: list[Range] = []
        for low, high in self.within(first, last):
            if low > first:
                found.append((first, low - 1))
            first = high + 1
        if first <= last:
            found.append((first, last))
        return found

    def forget_up_to(self, number: int) -> None:
        """Keep only the ranges that reach beyond it."""
        surplus = bisect_right(self._lasts, number)
        del self._firsts[:surplus], self._lasts[:surplus]

    def forget_oldest(self, ranges_max: int) -> None:
        """Keep only so many ranges, the highest."""
        surplus = max(0, len(self._firsts) - ranges_max)
        del self._firsts[:surplus], self._lasts[:surplus]


def total(ranges: Iterable[Range]) -> int:
    """How many numbers they are, if they do not overlap."""
    return sum(last - first + 1 for first, last in ranges)
