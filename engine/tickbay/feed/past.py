"""What an earlier life of this feed left on record: when it captured last, which trades, which holes had not ended.

In: the feed's own rings, and the journal where the rings are new (after a reboot, or made anew for another layout).
Read once, when a feed starts, before it writes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tickbay.cursor import Position
from tickbay.files import Files
from tickbay.gap import Gap
from tickbay.journal.journal_reader import JournalReader
from tickbay.record import TICKS, FeedState, Kind, Records
from tickbay.ring import SEQ_MAX, Ring
from tickbay.sinks.sink import Chunk

STATUS_COUNT = 20  # heartbeats to look through; the venue sends something every ten seconds, so two of them tell
GAP_COUNT = 4096  # the default gap ring; a hole that is older and has not ended is of a channel long refused
TRADE_COUNT = 8192
BYTES_MAX = 8 << 20  # read from the journal at a time


class Past:
    """JournalFault, OSError: the journal cannot be read; then nothing is known of the time before its rings."""

    def __init__(self, rings: Mapping[Kind, Ring], journal_dir: Path) -> None:
        self._rings = rings
        self._journal_dir = journal_dir

    def newest_ns(self) -> int:
        """recv_ns of the last proof that the feed was capturing; 0 where there is none."""
        newest_ns = 0
        for kind in self._rings.keys() & TICKS:
            newest_ns = max(newest_ns, int(self._last(kind, 1)["recv_ns"].max(initial=0)))
        return max(newest_ns, _newest_proof_ns(self._last(Kind.STATUS, STATUS_COUNT)))

    def last_trades(self) -> dict[bytes, int]:
        """Instrument → its last trade_seq."""
        records = self._last(Kind.TRADE, TRADE_COUNT)
        names, places = np.unique(records["instrument"], return_inverse=True)
        last = np.zeros(len(names), np.uint64)
        np.maximum.at(last, places, records["trade_seq"])
        return dict(zip(names.tolist(), last.tolist(), strict=True))

    def open_holes(self) -> list[Gap]:
        """Holes whose end was never written."""
        holes: dict[tuple[object, ...], Gap] = {}
        for gap in map(Gap.of_record, self._last(Kind.GAP, GAP_COUNT)):
            if gap.to_ns == 0:
                holes[gap.key] = gap
            else:
                holes.pop(gap.key, None)
        return list(holes.values())

    def _last(self, kind: Kind, count: int) -> Records:
        """Up to `count` of the newest records. Nobody else writes the ring, so nothing is overwritten meanwhile."""
        ring = self._rings[kind]
        first = max(1, ring.head - count)
        records = ring.read(max(first, ring.oldest), most=count)
        return records if len(records) or ring.head == 1 else self._last_of_journal(kind, first, ring.head - 1)

    def _last_of_journal(self, kind: Kind, first: int, last: int) -> Records:
        """A new ring: the journal, which made it, has what came before, in whatever epoch."""
        stream = self._rings[kind].identity().stream
        journal = JournalReader(Files(), self._journal_dir)
        try:
            epoch = 0
            while found := journal.read(stream, Position(epoch, SEQ_MAX), None, rows_max=1, bytes_max=BYTES_MAX):
                epoch = found.end.epoch
            chunks: list[Records] = []
            after = Position(epoch, first - 1)
            until = Position(epoch, last)
            while epoch and (
                found := journal.read(stream, after, until, rows_max=last - first + 1, bytes_max=BYTES_MAX)
            ):
                if isinstance(found, Chunk):
                    chunks.append(found.records)
                after = found.end
        finally:
            journal.close()
        return np.concatenate(chunks) if chunks else np.empty(0, self._rings[kind].dtype)


def _newest_proof_ns(status: Records) -> int:
    """The last heartbeat of a live connection after which more frames came on it: the venue sends in order, so nothing
    before that one is missing. A heartbeat alone proves nothing: the connection may have been dead already."""
    now, later = status[:-1], status[1:]
    live = (now["state"] == FeedState.LIVE) & (now["conn"] == later["conn"]) & (later["frames"] > now["frames"])
    return int(now["recv_ns"][live].max(initial=0))
