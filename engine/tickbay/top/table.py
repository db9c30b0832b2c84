"""A table of which only the lines that are seen are made: a thousand instruments cost no more than a screenful.

textual's own DataTable keeps, measures and styles every cell, seen or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tickbay.terminal import printable

GAP = 1  # blanks between two columns


@dataclass(frozen=True, slots=True)
class Column:
    heading: str
    width: int
    right: bool = False
    order: str = ""  # what it can be sorted by; empty: it cannot


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    style: str = ""  # good, warn, bad or dim: the words say it, too


class Table(ScrollView, can_focus=True):
    """Shows `count` rows; asks `cells(row)` for those that are seen."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--head", "table--cursor", "table--good", "table--warn", "table--bad", "table--dim",
    }  # fmt: skip
    DEFAULT_CSS = """
    Table { background: $background; scrollbar-size: 0 1; }
    Table > .table--head { text-style: bold; background: $surface; }
    Table > .table--cursor { background: $primary 30%; }
    Table:focus > .table--cursor { background: $primary 60%; }
    Table > .table--good { color: $text-success; }
    Table > .table--warn { color: $text-warning; }
    Table > .table--bad { color: $text-error; text-style: bold; }
    Table > .table--dim { text-style: dim; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000)", "First", show=False),
        Binding("end,G", "move(1000000)", "Last", show=False),
        Binding("left,h", "shift(-8)", "Left", show=False),
        Binding("right,l", "shift(8)", "Right", show=False),
        Binding("enter", "open", "Details", show=False),
    ]

    class Opened(Message):
        """Enter was pressed on a row, or it was clicked twice."""

        def __init__(self, row: int) -> None:
            super().__init__()
            self.row = row

    class HeadClicked(Message):
        def __init__(self, column: Column) -> None:
            super().__init__()
            self.column = column

    def __init__(self, columns: Sequence[Column], cells: Callable[[int], Sequence[Cell]], *, id: str) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._cells = cells
        self.count = 0
        self.cursor = 0
        self.order, self.descending = "", False
        self._width = sum(column.width for column in columns) + GAP * (len(columns) - 1)

    def show(self, count: int, *, order: str = "", descending: bool = False) -> None:
        """There are `count` rows now, perhaps others than before."""
        self.count, self.order, self.descending = count, order, descending
        self.virtual_size = Size(self._width, count + 1)
        self._place(self.cursor)
        self.refresh()

    @property
    def is_cut(self) -> bool:
        """Is it wider than the screen?"""
        return self._width > self.size.width

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            return self._strip([Cell(self._heading(column)) for column in self._columns], "head", width)
        row = self.scroll_offset.y + y - 1
        if row == self.count == 0:
            return Strip([Segment("none", self.rich_style + self._style("dim"))]).adjust_cell_length(
                width, self.rich_style
            )
        if row >= self.count:
            return Strip.blank(width, self.rich_style)
        return self._strip(self._cells(row), "cursor" if row == self.cursor else "", width)

    def _heading(self, column: Column) -> str:
        arrow = ("▼" if self.descending else "▲") if column.order and column.order == self.order else ""
        return column.heading + arrow

    def _strip(self, cells: Sequence[Cell], line: str, width: int) -> Strip:
        base = self.rich_style + self._style(line)
        segments = []
        for column, cell in zip(self._columns, cells, strict=True):
            text = printable(cell.text)
            fitted = set_cell_size(text, column.width) if len(text) > column.width or not column.right else ""
            if not fitted:
                fitted = " " * (column.width - len(text)) + text
            style = base + self._style(cell.style).without_color if line == "cursor" else base + self._style(cell.style)
            segments += [Segment(set_cell_size(fitted, column.width), style), Segment(" " * GAP, base)]
        x = self.scroll_offset.x
        return Strip(segments).crop_extend(x, x + width, base)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"table--{name}", partial=True) if name else Style.null()

    def _place(self, row: int) -> None:
        """Put the cursor on `row`, or the nearest that there is, and let it be seen."""
        self.cursor = max(0, min(row, self.count - 1))
        top, seen = self.scroll_offset.y, max(1, self.size.height - 1)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + seen:
            self.scroll_to(y=self.cursor - seen + 1, animate=False)
        self.refresh()

    def action_move(self, rows: int) -> None:
        self._place(self.cursor + rows)

    def action_page(self, pages: int) -> None:
        self._place(self.cursor + pages * max(1, self.size.height - 2))

    def action_shift(self, columns: int) -> None:
        self.scroll_to(x=self.scroll_offset.x + columns, animate=False)

    def action_open(self) -> None:
        if self.count:
            self.post_message(self.Opened(self.cursor))

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self._place(self.cursor + 3)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self._place(self.cursor - 3)

    def on_click(self, event: Click) -> None:
        if event.y > 0:
            row = self.scroll_offset.y + event.y - 1
            if row < self.count:
                self._place(row)
                if event.chain > 1:
                    self.action_open()
            return
        x = event.x + self.scroll_offset.x
        for column in self._columns:
            if 0 <= x < column.width:
                self.post_message(self.HeadClicked(column))
            x -= column.width + GAP
