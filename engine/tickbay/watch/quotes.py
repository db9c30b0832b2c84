"""The newest quote of each instrument, taken from the rings of quotes: one record each, in a structured array."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tickbay.record import DTYPES, Kind, Records
from tickbay.watch.tail import Tail

INSTRUMENTS_MAX = 100_000  # a venue has a few thousand
STALE_S = 10.0  # a ticker comes each second, whatever happens


class LastQuotes:
    """Not for several threads."""

    def __init__(self, run_dir: Path) -> None:
        self._tail = Tail(run_dir, Kind.QUOTE)
        self._rows: dict[bytes, int] = {}  # instrument → its row
        self._records: Records = np.zeros(0, DTYPES[Kind.QUOTE])

    @property
    def records(self) -> Records:
        """In no order; valid until the next refresh()."""
        return self._records[: len(self._rows)]

    def refresh(self) -> None:
        """Read what has come since the last time."""
        for _, block in self._tail.blocks():
            self._take(block)

    def _take(self, block: Records) -> None:
        """Of each instrument in `block` the last record, without an object per record."""
        names, from_end = np.unique(block["instrument"][::-1], return_index=True)
        newest = block[len(block) - 1 - from_end]
        rows = np.fromiter((self._row(name) for name in names.tolist()), np.int64, len(names))
        kept = rows >= 0
        rows, newest = rows[kept], newest[kept]
        later = newest["recv_ns"] >= self._records["recv_ns"][rows]  # another feed may have had it before
        self._records[rows[later]] = newest[later]

    def _row(self, instrument: bytes) -> int:
        row = self._rows.setdefault(instrument, len(self._rows))
        if row >= INSTRUMENTS_MAX:
            del self._rows[instrument]
            return -1
        if row >= len(self._records):
            self._records = np.concatenate((self._records, np.zeros(max(1024, row), DTYPES[Kind.QUOTE])))
        return row
