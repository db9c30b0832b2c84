"""The newest quote of each instrument that is recorded now, taken from the rings: one record each, in one array.

In: the rings of quotes; the universe's assignment, which says whose tickers are subscribed. What has ended leaves with
its channels; what has not been heard of yet is there without a time (recv_ns 0).
"""

from __future__ import annotations

import numpy as np

from tickbay.config import Config
from tickbay.errors import VenueFault
from tickbay.record import Kind, Records, blank
from tickbay.universe.assignment import assignment_path, read_assignment
from tickbay.venues.deribit import channel
from tickbay.watch.tail import Tail

INSTRUMENTS_MAX = 100_000  # a venue has a few thousand
STALE_S = 10.0  # a ticker comes each second, whatever happens


class LastQuotes:
    """Not for several threads."""

    def __init__(self, config: Config) -> None:
        self._tail = Tail(config.run_dir, Kind.QUOTE)
        self._assignment = assignment_path(config.data_dir)
        self._written_ns = 0  # the assignment that was read
        self._assigned = False
        self._rows: dict[bytes, int] = {}  # instrument → its row
        self._records: Records = blank(Kind.QUOTE, 0)

    @property
    def records(self) -> Records:
        """In no order; valid until the next refresh()."""
        return self._records[: len(self._rows)]

    def refresh(self) -> None:
        """Read what has come since the last time."""
        self._read_assignment()
        for _, block in self._tail.blocks():
            self._take(block)

    def _read_assignment(self) -> None:
        try:
            written_ns = self._assignment.stat().st_mtime_ns
            if written_ns == self._written_ns:
                return
            assignment = read_assignment(self._assignment)
            if assignment is not None:
                channels = (channel(name) for names in assignment.feeds.values() for name in names)
                self._keep([each.instrument.encode() for each in channels if each.kind is Kind.QUOTE])
                self._written_ns = written_ns
        except (OSError, VenueFault):
            return  # there is none, or none that this version reads: then all that the rings have is shown

    def _keep(self, instruments: list[bytes]) -> None:
        """From now on these, with what is known of them."""
        rows = {name: row for row, name in enumerate(dict.fromkeys(instruments[:INSTRUMENTS_MAX]))}
        records = blank(Kind.QUOTE, len(rows))
        records["instrument"] = list(rows)
        known = [name for name in rows if name in self._rows]
        records[[rows[name] for name in known]] = self._records[[self._rows[name] for name in known]]
        self._rows, self._records, self._assigned = rows, records, True

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
        """-1: it is not wanted."""
        row = self._rows.get(instrument, -1)
        if row >= 0 or self._assigned or len(self._rows) >= INSTRUMENTS_MAX:
            return row
        row = self._rows[instrument] = len(self._rows)
        if row >= len(self._records):
            self._records = np.concatenate((self._records, blank(Kind.QUOTE, max(1024, row))))
        return row
