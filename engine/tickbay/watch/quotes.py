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
from tickbay.venues import VENUES
from tickbay.watch.tail import Tail

INSTRUMENTS_MAX = 100_000  # a venue has a few thousand
NONE = -1
STALE_S = 10.0  # a ticker comes each second, whatever happens


class LastQuotes:
    """Not for several threads."""

    def __init__(self, config: Config) -> None:
        self._tail = Tail(config.run_dir, Kind.QUOTE)
        self._venue = VENUES[config.venue.name].session
        self._assignment = assignment_path(config.data_dir)
        self._written_ns = 0  # the assignment that was read
        self._assigned = False
        self._rows: dict[bytes, int] = {}  # instrument → its row
        self._records: Records = blank(Kind.QUOTE, 0)
        self._streams: list[str] = []
        self._sources = np.full(0, NONE)  # by row: the number of the stream that it is from

    @property
    def records(self) -> Records:
        """In no order; valid until the next refresh()."""
        return self._records[: len(self._rows)]

    def refresh(self) -> None:
        """Read what has come since the last time."""
        self._read_assignment()
        for stream, block in self._tail.blocks():
            if stream not in self._streams:
                self._streams.append(stream)
            self._take(self._streams.index(stream), block)

    def _read_assignment(self) -> None:
        try:
            written_ns = self._assignment.stat().st_mtime_ns
            if written_ns == self._written_ns:
                return
            assignment = read_assignment(self._assignment)
            if assignment is not None:
                channels = (self._venue.channel(name) for names in assignment.feeds.values() for name in names)
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
        sources, new = np.full(len(rows), NONE), [rows[name] for name in known]
        old = [self._rows[name] for name in known]
        records[new], sources[new] = self._records[old], self._sources[old]
        self._rows, self._records, self._sources, self._assigned = rows, records, sources, True

    def _take(self, source: int, block: Records) -> None:
        """Of each instrument in `block` the last record, without an object per record. Within a stream the order is
        the sequence's; of two streams, while an instrument moves, the clock's.
        """
        names, from_end = np.unique(block["instrument"][::-1], return_index=True)
        newest = block[len(block) - 1 - from_end]
        rows = np.fromiter((self._row(name) for name in names.tolist()), np.int64, len(names))
        kept = rows >= 0
        rows, newest = rows[kept], newest[kept]
        later = (self._sources[rows] == source) | (newest["recv_ns"] >= self._records["recv_ns"][rows])
        self._records[rows[later]], self._sources[rows[later]] = newest[later], source

    def _row(self, instrument: bytes) -> int:
        """-1: it is not wanted."""
        row = self._rows.get(instrument, -1)
        if row >= 0 or self._assigned or len(self._rows) >= INSTRUMENTS_MAX:
            return row
        row = self._rows[instrument] = len(self._rows)
        if row >= len(self._records):
            more = blank(Kind.QUOTE, max(1024, row))
            self._records = np.concatenate((self._records, more))
            self._sources = np.concatenate((self._sources, np.full(len(more), NONE)))
        return row
