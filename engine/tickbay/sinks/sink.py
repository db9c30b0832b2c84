"""What a writer asks of a database. Comes in: chunks of records, in order. Goes out: rows, and a cursor that moved
with them.

A sink knows how far it has committed each stream, and tells at open(). commit() is all or nothing, and says by its
error who must act: SinkDown and CursorMoved (open again, go on from the cursors that it tells), SinkParked (the
operator).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tickbay.cursor import Position
from tickbay.errors import TickbayError
from tickbay.gap import Cause, Gap
from tickbay.record import Kind, Records, parse_stream


class CursorMoved(TickbayError):
    """Another writer has committed since we read the cursors: nothing of ours landed, open again (SINK-1)."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one stream and one epoch, of ascending sequence, at least one."""

    stream: str
    kind: Kind
    epoch: int
    records: Records

    @property
    def end(self) -> Position:
        return Position(self.epoch, int(self.records["seq"][-1]))


@dataclass(frozen=True, slots=True)
class Hole:
    """Records that the journal does not have: the sink will never get them, and says so in its table of gaps. All of it
    comes from the journal, so a hole that is met again is the same one (SINK-2)."""

    stream: str
    kind: Kind
    epoch: int
    first_seq: int
    last_seq: int
    cause: Cause  # JOURNAL_QUOTA: deleted; JOURNAL_TORN: damaged, or not there
    from_ns: int  # GAP-1, our clock: the first of them was received then, or later
    to_ns: int  # and the last then, or earlier

    @property
    def end(self) -> Position:
        return Position(self.epoch, self.last_seq)

    @property
    def gap(self) -> Gap:
        """As the sink's database is told."""
        deleted = self.cause is Cause.JOURNAL_QUOTA
        return Gap(
            cause=self.cause,
            from_ns=self.from_ns,
            to_ns=self.to_ns,
            kind=self.kind,
            first_missing=self.first_seq,
            last_missing=self.last_seq,
            count=self.last_seq - self.first_seq + 1,
            feed=parse_stream(self.stream)[0],
            detail="the journal deleted these before they were written here" if deleted else "damaged in the journal",
        )


def ends_of(chunks: Sequence[Chunk], holes: Sequence[Hole]) -> dict[str, Position]:
    """How far each stream is taken when these are committed."""
    parts: list[Chunk | Hole] = [*chunks, *holes]
    return {part.stream: part.end for part in sorted(parts, key=lambda part: part.end)}


@dataclass(frozen=True, slots=True)
class Committed:
    """What one commit() did."""

    rows: int  # stored as rows of their own table
    quarantined: int  # refused, and stored in the quarantine (SINK-4)
    bytes: int  # sent
    reasons: tuple[str, ...] = field(default=())  # why the first few were refused


class Sink(Protocol):
    """A database, as its writer uses it. Not thread-safe; one writer has one."""

    name: str  # of its section in the configuration and of its cursor

    def open(self, streams: Sequence[str]) -> dict[str, Position]:
        """Connect (again) and tell how far each of `streams` is committed; START for a new one. SinkDown,
        SinkParked."""

    def commit(self, chunks: Sequence[Chunk], holes: Sequence[Hole] = ()) -> Committed:
        """Store the rows and move the cursors to the end of each stream's last chunk or hole, all or nothing.

        SinkDown: it may have happened or not, open() tells. CursorMoved, SinkParked: it has not happened."""

    def maintain(self) -> list[str]:
        """What must be done now and then beside the rows (partitions, retention), between commits. Returns one sentence
        for each thing worth telling."""

    def settled(self, wait_s: float = 0.0) -> Mapping[str, Position]:
        """How far each stream is kept so well that the journal may let go (JRNL-3). At the end: waits up to `wait_s`
        for what was committed to get there. Never raises what the database does."""

    def close(self) -> None:
        """End the connection; open() makes a new one."""
