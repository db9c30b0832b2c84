"""The books of one feed beside its tickers. Pure.

In: records of its streams `<feed>.book` and `<feed>.quote`, in order, as many as there are ticks: they are folded and
heard in C (native/folded_book.h). The newest ticker of each instrument is judged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tickbay._native import FoldedBook, fold, hear
from tickbay.checker.check import Check, Disagreement
from tickbay.record import Records

SILENT_NS = 86_400_000_000_000  # behind the others: it has expired, and its book goes


class Comparison:
    def __init__(self, patience_ns: int) -> None:
        self._patience_ns = patience_ns
        self._books: dict[bytes, FoldedBook] = {}
        self._checks: dict[bytes, Check] = {}  # of books that were ever compared
        self.compared = 0

    @property
    def books(self) -> int:
        """How many are known."""
        return sum(bool(book.whole_ns) for book in self._books.values())

    @property
    def differ(self) -> int:
        return sum(check.differs for check in self._checks.values())

    def hear(self, quotes: Records) -> None:
        hear(self._books, quotes)

    def fold(self, changes: Records) -> None:
        fold(self._books, changes)

    def judge(self) -> Iterator[tuple[str, Check, Disagreement]]:
        """What has disagreed for long enough, by the tickers heard, once the books are folded beyond them: a book
        remembers what it was, and none is compared with a ticker that is ahead of it."""
        for name, book in self._books.items():
            ticker = book.ticker_heard()
            if ticker is None or not book.whole_ns:
                continue
            check = self._checks.get(name)
            if check is None:
                check = self._checks[name] = Check(book, self._patience_ns)
            self.compared += 1
            found = check.judge(ticker)
            if found is not None:
                yield name.decode(), check, found

    def forget(self) -> None:
        """Records were lost; whose they were is not known."""
        self._books.clear()
        self._checks.clear()

    def forget_silent(self) -> None:
        """Each day lists new instruments, and we run for months."""
        spoke_ns = {name: self._spoke_ns(name, book) for name, book in self._books.items()}
        newest_ns = max(spoke_ns.values(), default=0)
        for name in [name for name, at_ns in spoke_ns.items() if at_ns < newest_ns - SILENT_NS]:
            del self._books[name]
            self._checks.pop(name, None)

    def _spoke_ns(self, name: bytes, book: FoldedBook) -> int:
        check = self._checks.get(name)
        return max(book.spoke_ns, check.spoke_ns if check is not None else 0)

    # ---------------------------------------------------------------- a life later

    def said(self) -> dict[str, list[object]]:
        """The books that are known, for remember()."""
        every = ((name.decode(), book.said()) for name, book in self._books.items())
        return {name: said for name, said in every if said is not None}

    def remember(self, said: dict[str, Sequence[Any]]) -> None:
        for name, each in said.items():
            book = self._books[name.encode()] = FoldedBook()
            book.remember(each)
