"""What a sink's writer reads from: each stream's records in order, from the ring while it keeps up, else from the
journal.

Comes in: rings, journal. Goes out: chunks that follow each other without a hole or a repetition, or the hole itself.
Never more than what is durable (JRNL-2). RING-1: a reader that was lapped loses nothing, because the journal has the
same sequence.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tickbay.clock import MACHINE, Clock
from tickbay.cursor import START, Position
from tickbay.errors import RingFault
from tickbay.files import Files
from tickbay.identity import boot_id
from tickbay.journal.journal_reader import JournalReader
from tickbay.journal.ring_set import OWN_GAPS, SUFFIX
from tickbay.record import DTYPES, Kind, Records, parse_stream
from tickbay.ring import Lapped, Ring
from tickbay.sinks.sink import Chunk, Hole

ROWS_MAX = 20_000
BYTES_MAX = 8 << 20


@dataclass(frozen=True, slots=True)
class _Attached:
    ring: Ring
    inode: int


class StreamReader:
    """Reads all streams for one sink; keeps no position: the caller passes it, so it can go back to any."""

    def __init__(self, run_dir: Path, data_dir: Path, *, files: Files | None = None, clock: Clock = MACHINE) -> None:
        self._rings_dir = run_dir / "rings"
        self._files = files or Files()
        self._journal_dir = data_dir / "journal"
        self._boot_id = boot_id()
        self._rings: dict[str, _Attached] = {}
        self._journal = JournalReader(self._files, self._journal_dir, clock=clock)
        self._journalled: dict[str, Kind] | None = None  # streams that the journal has; None: look again
        self._newest_segment = 0  # when they were looked for
        self._ends: dict[str, Position] = {}  # of streams without a ring, which nobody writes any more
        self.from_ring = 0  # records read
        self.from_journal = 0
        self.refresh()

    def refresh(self) -> None:
        """See which rings and segments there are now. Call it every second or so. OSError: the disk."""
        self._journal.refresh()
        found = {
            name.removesuffix(SUFFIX): inode
            for name, inode in self._files.names(self._rings_dir).items()
            if name.endswith(SUFFIX)
        }
        before = {stream: attached.inode for stream, attached in self._rings.items()}
        for stream, attached in list(self._rings.items()):
            if found.get(stream) != attached.inode:
                self._rings.pop(stream).ring.close()
        for stream, inode in found.items():
            if stream not in self._rings:
                self._attach(stream, inode)
        # A stream has a ring before it has anything in the journal, and to look there reads all of the newest segment:
        # done only where a ring came or went, or where one may have done both within a segment that has ended.
        after = {stream: attached.inode for stream, attached in self._rings.items()}
        if after != before or self._journal.newest_segment != self._newest_segment:
            self._journalled = None
            self._ends.clear()

    def _attach(self, stream: str, inode: int) -> None:
        try:
            _, kind = parse_stream(stream)
            ring = Ring.attach(self._rings_dir / f"{stream}{SUFFIX}", kind)
        except (ValueError, RingFault):
            return  # not whole: the journal makes a new one
        if ring.identity().boot_id == self._boot_id:
            self._rings[stream] = _Attached(ring, inode)
        else:
            ring.close()

    @property
    def ready(self) -> bool:
        """Whether the journal has been opened since this boot. Before that nobody knows what of it is good, nor
        durable.
        """
        return OWN_GAPS in self._rings

    def streams(self) -> dict[str, Kind]:
        """Every stream there is: those with a ring, and those that only the journal has any more. Empty until ready."""
        if not self.ready:
            return {}
        if self._journalled is None:
            self._newest_segment = self._journal.newest_segment
            self._journalled = dict(self._journal.streams())
        return self._journalled | {stream: attached.ring.kind for stream, attached in self._rings.items()}

    def read(
        self, stream: str, after: Position, *, rows_max: int = ROWS_MAX, bytes_max: int = BYTES_MAX
    ) -> Chunk | Hole | None:
        """What comes next behind `after` (START: from the oldest that there is), of one epoch; None: nothing yet.

        A Hole is what can never be read any more; go on behind its `end`. The records are the caller's own copy.
        JournalFault: they have a layout that this version does not know. OSError: the disk.
        """
        attached = self._rings.get(stream)
        if attached is None:
            return self._from_journal(stream, after, None, rows_max, bytes_max) if self.ready else None
        ring = attached.ring
        durable = ring.durable  # before the epoch: see ring.h
        epoch, first_seq = ring.epoch()
        until = Position(epoch, durable)
        rows_max = max(1, min(rows_max, bytes_max // ring.dtype.itemsize))
        if after >= until or durable == 0:  # a ring goes on behind the journal: nothing was ever written of this stream
            return None
        if after.epoch == epoch:
            chunk = self._from_ring(stream, ring, after, durable, rows_max)
            if chunk is not None:
                return chunk
        found = self._from_journal(stream, after, until, rows_max, bytes_max)
        if found is None and (durable >= first_seq or after.seq < durable):
            self._journal.look_again()
            found = self._from_journal(stream, after, until, rows_max, bytes_max)
        if found is not None:
            return found
        if durable < first_seq:  # the ring's epoch has begun, and nothing of it is there yet
            return self._end_of_older(stream, ring, after, durable)
        return self._only_in_ring(stream, ring, after, until, first_seq, rows_max)

    def _from_ring(self, stream: str, ring: Ring, after: Position, durable: int, rows_max: int) -> Chunk | None:
        """The records behind `after`, which is of the ring's epoch; None where they are not in the ring any more."""
        if after.seq + 1 < ring.oldest:
            return None
        try:
            records = ring.read(after.seq + 1, durable, rows_max)
        except Lapped:
            return None  # RING-1: the journal has them
        self.from_ring += len(records)
        return Chunk(stream, ring.kind, after.epoch, records) if len(records) else None

    def _from_journal(
        self, stream: str, after: Position, until: Position | None, rows_max: int, bytes_max: int
    ) -> Chunk | Hole | None:
        found = self._journal.read(stream, after, until, rows_max=rows_max, bytes_max=bytes_max)
        if isinstance(found, Chunk):
            self.from_journal += len(found.records)
        return found

    def _end_of_older(self, stream: str, ring: Ring, after: Position, durable: int) -> Hole | None:
        """The journal has deleted all of the epochs before the ring's: what was behind `after` is gone. Said now and
        not with the next record, which may never come."""
        if after.epoch == 0 or after.seq >= durable:
            return None
        return self._journal.missing(stream, ring.kind, Position(after.epoch, durable), after=after, to_ns=None)

    def _only_in_ring(
        self, stream: str, ring: Ring, after: Position, until: Position, first_seq: int, rows_max: int
    ) -> Chunk | Hole | None:
        """There are durable records behind `after` of which the journal knows nothing: it has deleted them all, so
        what the ring still holds is the rest."""
        last = after.seq if after.epoch == until.epoch else first_seq - 1
        oldest = max(ring.oldest, last + 1)
        expected = after.seq + 1 if after.epoch else oldest
        if oldest > expected:
            before = Position(until.epoch, min(oldest - 1, until.seq))
            return self._journal.missing(stream, ring.kind, before, after=after, to_ns=self._received(ring, before))
        return self._from_ring(stream, ring, Position(until.epoch, oldest - 1), until.seq, rows_max)

    def _received(self, ring: Ring, before: Position) -> int | None:
        """When the record behind `before` was received; None where the ring has it no more, or not yet."""
        with suppress(Lapped):
            for record in ring.read(before.seq + 1, most=1):
                return int(record["recv_ns"])
        return None

    def oldest_in_ring(self, stream: str) -> Position | None:
        """Right before the oldest record of now that memory still has, for who needs no older ones; None: no ring."""
        attached = self._rings.get(stream)
        if attached is None:
            return None
        epoch, first_seq = attached.ring.epoch()
        return Position(epoch, max(attached.ring.oldest, first_seq) - 1)

    def published(self, stream: str, after: Position) -> Records:
        """All that the ring has behind `after`, durable or not: what is not may yet be lost with the power, so nothing
        may be built on it. Empty where there is no ring."""
        attached = self._rings.get(stream)
        if attached is None:
            return np.empty(0, DTYPES[parse_stream(stream)[1]])
        ring = attached.ring
        first = after.seq + 1 if after.epoch == ring.epoch()[0] else ring.oldest
        with suppress(Lapped):  # then most of it is durable, and is read as such
            return ring.read(max(first, ring.oldest))
        return np.empty(0, ring.dtype)

    def lag(self, stream: str, after: Position) -> int:
        """About how many durable records lie behind `after`."""
        attached = self._rings.get(stream)
        if attached is not None:
            return max(0, attached.ring.durable - after.seq)
        if stream not in self._ends:
            self._ends[stream] = self._journal.last(stream) or START
        return max(0, self._ends[stream].seq - after.seq) if after < self._ends[stream] else 0

    def close(self) -> None:
        self._journal.close()
        for attached in self._rings.values():
            attached.ring.close()
