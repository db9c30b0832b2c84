"""One stream of a leg as the merger reads it: from where an earlier life was, through the journal, up to the newest
record.

Unlike a sink, the merger does not wait for the journal: what it reads may not be durable yet, and what it makes of
it goes to the journal in the same way. So it may say that it is past a record (`durable_position`) only when that
one is on disk.
"""

from __future__ import annotations

from tickbay.cursor import Position
from tickbay.errors import RingFault
from tickbay.journal.stream_reader import StreamReader
from tickbay.record import Records
from tickbay.ring import Lapped, Ring
from tickbay.sinks.sink import Hole


class LegStream:
    """Nobody else reads by it. RING-1: where the ring has been overwritten, the journal has the same."""

    def __init__(self, reader: StreamReader, name: str, ring: Ring, position: Position) -> None:
        self.name = name
        self.kind = ring.kind
        self.ring = ring
        self._holes: list[Hole] = []
        self.recv_ns = 0  # of the newest record read
        self._reader = reader
        self._position = position
        self._seq = 0  # the newest record read, once `_in_ring`
        self._in_ring = False
        self._inode = ring.path.stat().st_ino

    @property
    def seq(self) -> int:
        """Of the newest record read."""
        return self._seq if self._in_ring else self._position.seq

    @property
    def caught_up(self) -> bool:
        return self._in_ring and self._seq + 1 >= self.ring.head

    def read(self, most: int) -> Records:
        """The next records, at most so many; none where there are none yet. JournalFault, OSError: as StreamReader."""
        while not self._in_ring:
            records = self._read_durable(most)
            if records is not None:
                return self._noted(records)
        try:
            records = self.ring.read(self._seq + 1, most=most)
        except Lapped:
            self._in_ring = False
            self._position = Position(self._position.epoch, self._seq)
            return self.read(most)
        self._seq += len(records)
        return self._noted(records)

    def _read_durable(self, most: int) -> Records | None:
        """None where all that is durable has been read: then the rest is in the ring."""
        durable = self.ring.durable
        part = self._reader.read(self.name, self._position, rows_max=most)
        if part is None:
            if durable == self.ring.durable:
                epoch = self.ring.epoch()[0]
                self._seq = self._position.seq if self._position.epoch == epoch else durable
                self._position = Position(epoch, self._seq)
                self._in_ring = True
            return None
        self._position = part.end
        if isinstance(part, Hole):
            self._holes.append(part)
            return None
        return part.records

    def take_holes(self) -> list[Hole]:
        """What the journal did not have of what was read since the last call: deleted before we read it, or damaged."""
        holes, self._holes = self._holes, []
        return holes

    def _noted(self, records: Records) -> Records:
        if len(records):
            self.recv_ns = int(records["recv_ns"][-1])
        return records

    def durable_position(self, seq: int) -> Position | None:
        """`seq` as a position that holds for ever; None while it is not on disk."""
        if not self._in_ring:
            return Position(self._position.epoch, seq) if seq == self._position.seq else None
        if self.ring.durable < seq:
            return None
        return Position(self.ring.epoch()[0], seq)

    def check(self) -> None:
        """RingFault where the journal has put another ring in the place of ours: start again with that one."""
        try:
            inode = self.ring.path.stat().st_ino
        except FileNotFoundError:
            inode = 0
        if inode != self._inode:
            raise RingFault(f"ring {self.ring.path} is another one now: start again with it")
