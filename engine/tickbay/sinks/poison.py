"""Which rows of a refused COPY are to blame, and how many of them are too many. Pure: the COPY is an argument
(SINK-4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tickbay.errors import SinkParked, SinkRefused

# More than 1 % refused is no poison row but another schema or a broken venue: stop, do not fill the quarantine. The
# first hundred may come in one small batch.
POISON_SHARE = 0.01
POISON_BURST = 100


@dataclass(slots=True)
class Breaker:
    """A bucket of refusals: it holds POISON_BURST and fills by POISON_SHARE of the rows. Empty is too many."""

    left: float = POISON_BURST

    def allowed(self, rows: int) -> int:
        """How many of the next `rows` may be refused."""
        return int(self.left + rows * POISON_SHARE)

    def count(self, rows: int, refused: int) -> None:
        """A batch was committed."""
        self.left = min(POISON_BURST, self.left + rows * POISON_SHARE - refused)


def copy_around(count: int, copy: Callable[[int, int], None], *, allowed: int) -> list[tuple[int, SinkRefused]]:
    """Copy rows 0 … count - 1 but for those that the database refuses; returns these, with the refusal of each.

    `copy(first, last)` stores rows first … last - 1, or raises SinkRefused and has stored none of them. A refusal
    that names its line costs three more COPYs at most; one that does not (or lies) is found by halving, in
    2·log2(count) + 2. SinkParked when more than `allowed` are refused.
    """
    poison: list[tuple[int, SinkRefused]] = []
    pending = [(0, count)]  # a stack, so that rows go in in order
    while pending:
        first, last = pending.pop()
        if first == last:
            continue
        try:
            copy(first, last)
        except SinkRefused as refusal:
            if last - first == 1:
                poison.append((first, refusal))
                if len(poison) > allowed:
                    state = f"SQLSTATE {refusal.sqlstate}, " if refusal.sqlstate else ""  # QuestDB has none
                    raise SinkParked(
                        f"more than {allowed} rows refused, last: {refusal} ({state}table {refusal.table}): "
                        "a row or two can be quarantined, this is another schema"
                    ) from None
            else:
                pending += _split(first, last, refusal.line)
    return poison


def _split(first: int, last: int, line: int | None) -> list[tuple[int, int]]:
    """Smaller ranges, the last to be tried first: around the named line, or halves."""
    named = first + line - 1 if line is not None else -1
    if first <= named < last:
        return [(named + 1, last), (named, named + 1), (first, named)]
    middle = (first + last) // 2
    return [(middle, last), (first, middle)]
