"""One group commit: the new records of all rings into the newest segment, one sync, then every durable position.

Used by the journal process. The records are written straight from the rings' memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tickbay.cursor import Position
from tickbay.journal.ring_set import RingSet, Source
from tickbay.journal.segment import BATCH_HEADER_SIZE, PAYLOAD_MAX, Batch, SegmentWriter, seal_batch
from tickbay.journal.segments import Segments

# A commit of more is synced in between, so that producers get their slots back.
SYNC_BYTES_MAX = 16 << 20


@dataclass(slots=True)
class Committed:
    """What was made durable, since the journal was opened."""

    records: int = 0
    bytes: int = 0  # with batch headers
    batches: int = 0
    syncs: int = 0
    segments: int = 0  # begun


class GroupCommit:
    """Commits. After an OSError from run() nothing that was not synced counts: forget(), and run() again."""

    def __init__(
        self,
        rings: RingSet,
        segments: Segments,
        *,
        last: dict[str, Position],
        make_room: Callable[[], None],
        clock_s: Callable[[], float],
        clock_ns: Callable[[], int],
        on_synced: Callable[[Sequence[tuple[str, memoryview]]], None],
    ) -> None:
        """`on_synced` is told the records of each sync, by stream, while they still lie in the rings."""
        self._rings = rings
        self._segments = segments
        self._make_room = make_room
        self._clock_s = clock_s
        self._clock_ns = clock_ns
        self._on_synced = on_synced
        self.last = last  # of every stream, durable
        self.committed = Committed()
        self.sync_ms: list[float] = []  # of every sync; whoever reads it clears it
        self._queue: list[tuple[Batch, bytes, memoryview]] = []
        self._queued_end = 0  # where the next batch will lie
        self._marks: dict[str, Position] = {}  # durable once all that is queued is synced

    def run(self) -> None:
        """Make everything durable that the rings hold now. OSError: the disk."""
        self.forget()
        for source in list(self._rings.sources.values()):
            # Up to what is there now: a fast producer must not keep the others waiting for their sync.
            seq, head = source.ring.durable + 1, source.ring.head
            while seq < head:
                seq += self._queue_batch(source, seq, head - seq)
        self._sync()

    def forget(self) -> None:
        """What was queued or written but not synced is still in the rings, and comes again from there."""
        self._queue.clear()
        self._marks.clear()
        if self._segments.writer is not None:
            self._segments.writer.rewind()
            self._queued_end = self._segments.writer.end

    def _queue_batch(self, source: Source, seq: int, available: int) -> int:
        """Queue one batch from `seq` on; returns how many records it has, 0 where it must be tried in a new segment."""
        writer = self._segments.writer or self._begin_segment()
        writer.allocate(self._segments.segment_bytes)
        # Behind this batch there must be room for the one that ends the segment.
        room = writer.size - self._queued_end - 2 * BATCH_HEADER_SIZE
        count = min(available, PAYLOAD_MAX // source.record_size, room // source.record_size)
        if count <= 0:
            self._sync()
            self._segments.seal()
            return 0
        _, payload = source.ring.native.peek(seq, count)
        assert len(payload) == count * source.record_size  # RING-2: nobody overwrites what is not durable
        sealed = seal_batch(
            writer,
            self._queued_end,
            stream=source.stream,
            kind=source.kind,
            epoch=self._segments.epoch,
            layout=source.layout,
            payload=payload,
            record_size=source.record_size,
            first_seq=seq,
            written_ns=self._clock_ns(),
        )
        self._queue.append(sealed)
        batch = sealed[0]
        self._queued_end = batch.end
        self._marks[source.stream] = batch.last
        if batch.end - writer.synced_end >= SYNC_BYTES_MAX:
            self._sync()
        return count

    def _begin_segment(self) -> SegmentWriter:
        self._make_room()
        writer = self._segments.begin()
        self.committed.segments += 1
        self._queued_end = writer.end
        return writer

    def _sync(self) -> None:
        """JRNL-2: write, sync, and only then move the durable positions."""
        writer = self._segments.writer
        if writer is None or not self._queue:
            return
        writer.append(self._queue)
        began = self._clock_s()
        writer.sync()
        self.sync_ms.append((self._clock_s() - began) * 1000)
        self.committed.syncs += 1
        self.committed.batches += len(self._queue)
        self.committed.bytes += sum(batch.end - batch.offset for batch, _, _ in self._queue)
        self._on_synced([(batch.stream, payload) for batch, _, payload in self._queue])
        self._queue.clear()
        for stream, position in self._marks.items():
            ring = self._rings.sources[stream].ring
            self.committed.records += position.seq - ring.durable
            ring.set_durable(position.seq)
            self.last[stream] = position
        self._marks.clear()
