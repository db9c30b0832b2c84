"""What a writer takes next: the streams, how far each is taken, and batches from all of them in turn.

Comes in: a stream reader, the cursors that the sink told. Goes out: chunks and holes, in order within each stream.
Used by writer.py; keeps no file and no connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tickbay.cursor import START, Position
from tickbay.errors import JournalFault
from tickbay.legs import merger_of
from tickbay.record import Kind
from tickbay.sinks.sink import Chunk, Hole, ends_of

GROWTH_MAX = 4  # times batch_rows: what a writer that is behind takes at once
UNREADABLE_RETRY_S = 60.0


class Reader(Protocol):
    """What StreamReader offers of use here."""

    def streams(self) -> dict[str, Kind]: ...
    def read(self, stream: str, after: Position, *, rows_max: int) -> Chunk | Hole | None: ...
    def lag(self, stream: str, after: Position) -> int: ...


@dataclass(slots=True)
class Batch:
    """What one commit takes: parts in order within each stream."""

    chunks: list[Chunk] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    rows: int = 0
    full: bool = False  # there may be more to take at once

    @property
    def ends(self) -> dict[str, Position]:
        """How far each stream is taken when this is committed."""
        return ends_of(self.chunks, self.holes)


@dataclass(slots=True)
class BatchSize:
    """How many rows to take at once: more while behind, as long as commits stay short (large COPYs are cheaper)."""

    rows_min: int
    commit_max_s: float = 1.0
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.rows_min

    def after(self, *, full: bool, commit_s: float) -> None:
        """A batch was committed."""
        if not full:
            self.rows = self.rows_min
        elif commit_s > self.commit_max_s:
            self.rows = max(self.rows_min // GROWTH_MAX, self.rows // 2, 1)
        elif commit_s < self.commit_max_s / 2:
            self.rows = min(self.rows * 2, self.rows_min * GROWTH_MAX)


class Intake:
    """Positions of all streams, and what lies behind them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.positions: dict[str, Position] = {}
        self.unreadable: dict[str, str] = {}  # streams that are left alone for now, and why
        self._retry_at: dict[str, float] = {}
        self._turn = 0
        self._oldest: dict[str, tuple[Position, int]] = {}  # stream → (position, recv_ns of the record behind it)

    def new_streams(self) -> list[str]:
        """Streams that the sink has not been asked about: a pair's legs are none, they come as the pair's."""
        new = self._reader.streams().keys() - self.positions.keys()
        return sorted(stream for stream in new if not merger_of(stream))

    def restart(self, positions: Mapping[str, Position]) -> None:
        """Go on from what the sink has told."""
        self.positions = dict(positions)

    def take(self, rows_max: int, *, now: float) -> Batch:
        """Up to `rows_max` rows of all streams; nothing is taken until committed(). The stream that comes first
        changes with every call, so that none starves. OSError: the disk. A stream with a layout that is not known is
        left alone."""
        batch = Batch()
        streams = sorted(self.positions)
        self._turn += 1
        for number in range(len(streams)):
            stream = streams[(number + self._turn) % len(streams)]
            if now < self._retry_at.get(stream, 0.0):
                continue
            try:
                self._take_stream(stream, rows_max, batch)
                self.unreadable.pop(stream, None)
            except JournalFault as fault:
                self.unreadable[stream] = str(fault)
                self._retry_at[stream] = now + UNREADABLE_RETRY_S
            if batch.full:
                break
        return batch

    def _take_stream(self, stream: str, rows_max: int, batch: Batch) -> None:
        after = self.positions[stream]
        while not batch.full:
            part = self._reader.read(stream, after, rows_max=rows_max - batch.rows)
            if part is None:
                return
            assert part.end > after
            after = part.end
            if isinstance(part, Hole):
                batch.holes.append(part)
            else:
                batch.chunks.append(part)
                batch.rows += len(part.records)
                batch.full = batch.rows >= rows_max

    def committed(self, batch: Batch) -> None:
        """The sink has it."""
        self.positions.update(batch.ends)

    def behind(self) -> bool:
        """Whether there is anything to take, of the streams that can be read."""
        return any(
            self._reader.lag(stream, position) > 0
            for stream, position in self.positions.items()
            if stream not in self.unreadable
        )

    def lag_rows(self) -> dict[str, int]:
        """About how many durable records of each stream the sink does not have."""
        return {stream: self._reader.lag(stream, position) for stream, position in self.positions.items()}

    def lag_s(self, now_ns: int) -> float:
        """The age of the oldest durable record that the sink does not have, by when it was received; 0 for none."""
        oldest_ns = now_ns
        for stream, rows in self.lag_rows().items():
            if not rows or stream in self.unreadable:
                continue
            position = self.positions[stream]
            known, recv_ns = self._oldest.get(stream, (START, 0))
            if known != position or not recv_ns:
                part = self._reader.read(stream, position, rows_max=1)
                if part is None:
                    continue
                recv_ns = part.to_ns if isinstance(part, Hole) else int(part.records["recv_ns"][0])
                self._oldest[stream] = (position, recv_ns)
            oldest_ns = min(oldest_ns, recv_ns)
        return (now_ns - oldest_ns) / 1e9
