"""The journal as the audit reads it: all that it still holds, in parts that a database can be asked about at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tickbay.audit.checksum import MINUTE_NS, Whole, checksums
from tickbay.audit.store import Held, Key, Part, Tally, due
from tickbay.cursor import START, Position
from tickbay.journal.journal_reader import JournalReader
from tickbay.record import Kind, Records
from tickbay.sinks.columns import TABLES, Table
from tickbay.sinks.load import chosen
from tickbay.sinks.sink import Chunk, Hole

# Of a part: 80 MB of quotes here, and a second of work for a database, which must answer in half a minute.
PART_ROWS = 200_000
READ_BYTES = 32 << 20


@dataclass(slots=True)
class Extent:
    """What the journal holds."""

    records: int = 0
    streams: int = 0
    from_ns: int = 0  # recv_ns
    to_ns: int = 0

    def add(self, records: Records) -> None:
        first, last = int(records["recv_ns"].min()), int(records["recv_ns"].max())
        self.from_ns = min(self.from_ns, first) if self.records else first
        self.to_ns = max(self.to_ns, last)
        self.records += len(records)


class Journalled:
    """A journal, read as often as needed. OSError: the disk; JournalFault: records of another version."""

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader

    def began(self) -> dict[str, int]:
        """See JournalReader."""
        return self._reader.began()

    def streams(self) -> dict[str, Kind]:
        return dict(sorted(self._reader.streams().items()))

    def parts(self, stream: str, until: Position | None = None, *, rows: int = PART_ROWS) -> Iterator[Chunk]:
        """Everything of a stream, or all up to there, in chunks of up to so many consecutive records."""
        waiting: list[Chunk] = []
        for chunk in self._chunks(stream, START, rows, until):
            if waiting and not _joins(waiting, chunk, rows):
                yield _joined(waiting)
                waiting = []
            waiting.append(chunk)
        if waiting:
            yield _joined(waiting)

    def again(self, stream: str, epoch: int, first: int, last: int) -> Chunk | None:
        """The records from `first` to `last`; None where the journal has let go of them."""
        found = [
            chunk
            for chunk in self._chunks(stream, Position(epoch, first - 1), last - first + 1, Position(epoch, last))
            if chunk.epoch == epoch
        ]
        return _joined(found) if found else None

    def _chunks(self, stream: str, after: Position, rows: int, until: Position | None = None) -> Iterator[Chunk]:
        while (until is None or after < until) and (
            found := self._reader.read(stream, after, until, rows_max=rows, bytes_max=READ_BYTES)
        ) is not None:
            after = found.end
            if not isinstance(found, Hole):
                yield found


def _joins(waiting: list[Chunk], chunk: Chunk, rows_max: int) -> bool:
    last = waiting[-1]
    together = sum(len(each.records) for each in waiting) + len(chunk.records)
    return chunk.epoch == last.epoch and int(chunk.records["seq"][0]) == last.end.seq + 1 and together <= rows_max


def _joined(chunks: list[Chunk]) -> Chunk:
    first = chunks[0]
    if len(chunks) == 1:
        return first
    return Chunk(first.stream, first.kind, first.epoch, np.concatenate([chunk.records for chunk in chunks]))


def tables_of(kind: Kind) -> tuple[Table, ...]:
    return tuple(table for table in TABLES if table.kind == kind)


def as_stored(records: Records, *, ts_has_ns: bool) -> Records:
    """QuestDB needs a time in every row: where the venue's is not known, our clock's (native/ilp.h)."""
    if ts_has_ns and (unknown := records["exch_ns"] <= 0).any():
        records = records.copy()
        records["exch_ns"][unknown] = records["recv_ns"][unknown]
    return records


@dataclass(frozen=True, slots=True)
class Due:
    """Records that a store should have, with what is compared of them."""

    part: Part
    sequences: Whole
    minutes: Whole
    sums: Whole

    def tallies(self) -> dict[Key, Tally]:
        found: dict[Key, Tally] = {}
        order = np.argsort(self.minutes, kind="stable")
        minutes, sequences = self.minutes[order], self.sequences[order]
        sums = self.sums[order].astype(np.uint64)
        starts = np.flatnonzero(np.diff(minutes, prepend=minutes[:1] - 1))
        for start, end in zip(starts, [*starts[1:], len(minutes)], strict=True):
            key = Key(self.part.stream, self.part.epoch, int(minutes[start]))
            total = int(np.add.reduce(sums[start:end]))
            tally = found.setdefault(key, Tally())
            tally.add(int(end - start), total, int(sequences[start:end].min()), int(sequences[start:end].max()))
        return found


def due_of(chunk: Chunk, held: Held, *, ts_has_ns: bool) -> Due | None:
    """What a store should have of a chunk; None where it is nothing yet."""
    records = due(chunk.records, chunk.stream, chunk.epoch, held)
    tables = tables_of(chunk.kind)
    pieces = []
    for table in tables:
        rows = as_stored(records[chosen(table, records)], ts_has_ns=ts_has_ns)
        rows = rows[rows["exch_ns"] >= held.kept_from_ns.get(table.name, -(1 << 63))]
        pieces.append((rows, checksums(table, rows, chunk.stream, chunk.epoch)))
    if not sum(len(rows) for rows, _ in pieces):
        return None
    times = np.concatenate([rows["exch_ns"] for rows, _ in pieces])
    sequences = np.concatenate([rows["seq"] for rows, _ in pieces]).astype(np.int64)
    minutes = np.concatenate([rows["recv_ns"] for rows, _ in pieces]) // MINUTE_NS
    ends = int(records["seq"][0]), int(records["seq"][-1])
    part = Part(chunk.stream, chunk.epoch, *ends, tables, int(times.min()), int(times.max()))
    return Due(part, sequences, minutes, np.concatenate([sums for _, sums in pieces]))
