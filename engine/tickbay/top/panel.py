"""A table of `tickbay top` without its terminal: what is read, filtered, sorted; a row at a time. One file for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from tickbay.status.snapshot import Status
from tickbay.status.status import NOTHING
from tickbay.top.table import Cell, Column

Row = TypeVar("Row")


class Panel(ABC):
    """One table. `text` filters it, `only` leaves what needs attention, `order` is a column's."""

    name: str
    columns: tuple[Column, ...]
    attention: str  # what `only` leaves

    def __init__(self) -> None:
        self.text = ""
        self.only = False
        self._orders = {column.order: column for column in self.columns if column.order}
        self.order = next(iter(self._orders))
        self.descending = False

    @abstractmethod
    def look(self, status: Status) -> None:
        """Read what is new."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def cells(self, row: int) -> Sequence[Cell]: ...

    @abstractmethod
    def detail(self, row: int) -> dict[str, str]:
        """All that is known of a row."""

    @abstractmethod
    def summary(self) -> str:
        """One line of what is there."""

    def sort_next(self) -> None:
        """By the next column that it can be sorted by."""
        orders = list(self._orders)
        self.sort(orders[(orders.index(self.order) + 1) % len(orders)])

    def sort(self, order: str) -> None:
        """By `order`, of numbers the greatest first; if it is that already, the other way round."""
        if len(self._orders) == 1 or order == self.order:
            self.descending = not self.descending
        else:
            self.descending = self._orders[order].right
        self.order = order

    def has_text(self, *texts: str) -> bool:
        return not self.text or any(self.text.lower() in text.lower() for text in texts)

    def in_order(self, rows: list[Row], value: Callable[[Row], Any] | None) -> list[Row]:
        """`rows` by `value`, what has none at the end; without `value` as they come."""
        if value is None:
            return rows[::-1] if self.descending else rows
        known = [row for row in rows if value(row) is not None]
        return sorted(known, key=value, reverse=self.descending) + [row for row in rows if value(row) is None]


def count(value: float | None) -> str:
    return NOTHING if value is None else f"{round(value):,}"


def fixed(value: float, digits: int) -> str:
    return NOTHING if value != value else f"{value:,.{digits}f}"


def stamp(at_ns: int, *, whole: bool = False) -> str:
    """UTC: to the second, or the whole of it."""
    found = datetime.fromtimestamp(at_ns / 1e9, UTC)
    return found.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if whole else found.strftime("%m-%d %H:%M:%S")


def shown(value: Any) -> str:
    """Of any type, in the details of a row."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.8g}" if isinstance(value, float) else str(value)
