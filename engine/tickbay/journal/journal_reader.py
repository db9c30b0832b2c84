"""Reading the journal from another process, while it is written: what a writer that fell behind its ring reads from.

Comes in: `data/journal/*.seg` and their indexes. Goes out: chunks of one stream, in order, or the hole where
something is gone. Segments may be sealed, deleted or recycled at any moment: each batch's CRC and segment number say
whether what was read is what was meant. Read with preadv(), not mapped: a disk error or a file that was cut is an
error here, not a SIGBUS.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path

import numpy as np

from tickbay import _native
from tickbay.clock import MACHINE, Clock
from tickbay.cursor import Position
from tickbay.errors import JournalFault
from tickbay.files import Files
from tickbay.gap import SINCE_EVER_NS, Cause
from tickbay.journal.lost import Losses
from tickbay.journal.segment import (
    BATCH_HEADER_SIZE,
    FIRST_SEGMENT,
    HEADER_SIZE,
    PAYLOAD_MAX,
    Chain,
    Result,
    batch_crc_holds,
    batch_of,
    parse_batch,
    segment_name,
    segment_number,
)
from tickbay.journal.segment_index import Place, Places, SegmentIndex, load_index, load_places, place_of
from tickbay.record import DTYPES, LAYOUTS, Kind
from tickbay.sinks.sink import Chunk, Hole

OPEN_MAX = 4  # segments with an open file and their places in memory: the streams of one writer lie close together
# Read at a time in a segment that has no index yet: a batch of the usual size and some more.
WALK_BYTES = PAYLOAD_MAX + (64 << 10)
LOST_TRIES = 3  # a place may turn out stale (a segment rewritten after a disk error) before it counts as damage


class _Segment:
    """One segment as this reader knows it."""

    def __init__(self, files: Files, directory: Path, number: int, inode: int) -> None:
        self._files = files
        self.path = directory / segment_name(number)
        self.number = number
        self.inode = inode
        self.index: SegmentIndex | None = None
        self.fd = -1
        self._places: dict[str, Places] = {}
        self._loaded = False
        self._chain = Chain()
        self._end = HEADER_SIZE
        self.kinds: dict[str, int] = {}  # of its streams
        self.kinds_told = 0

    def load(self) -> None:
        """Take the index, if there is one by now."""
        if self.index is None:
            self.index = load_index(self._files, self.path.with_suffix(".idx"), self.number)
            if self.index is not None:
                self.kinds = {stream: span.kind for stream, span in self.index.spans.items()}

    def open(self) -> None:
        if self.fd < 0:
            self.fd = self._files.open(self.path, os.O_RDONLY)

    def close(self) -> None:
        """Free the file and, where the index can give them back, the places."""
        if self.fd >= 0:
            self._files.close(self.fd)
            self.fd = -1
        if self.index is not None:
            self._places, self._loaded = {}, False

    def forget(self) -> None:
        """What is known of the places was wrong: find them again."""
        self.close()
        self._places, self._loaded = {}, False
        self._chain, self._end = Chain(), HEADER_SIZE

    def after(self, stream: str, position: Position) -> tuple[Places, int] | None:
        """The stream's places and the first of them that has records behind `position`. FileNotFoundError: deleted."""
        if self.index is not None:
            span = self.index.spans.get(stream)
            if span is None or span.last <= position:
                return None
        own = self.places(stream)
        place = bisect_right(own, position, key=lambda place: place.last)
        return (own, place) if place < len(own) else None

    def begins_behind(self, stream: str, position: Position) -> bool:
        """Whether its index, if there is one, says that nothing of the stream lies at `position` or before."""
        span = self.index.spans.get(stream) if self.index is not None else None
        return self.index is not None and (span is None or span.first > position)

    def places(self, stream: str) -> Places:
        """All of a stream's. FileNotFoundError: deleted."""
        if self.index is not None and not self._loaded:
            places = load_places(self._files, self.path.with_suffix(".idx"), self.number)
            self._loaded = True
            if places is None:
                self.index = None
            else:
                self._places = places
        if self.index is None:
            self.walk()
        return self._places.get(stream, [])

    def walk(self) -> None:
        """Find the batches that came since the last time. The CRC tells one that is just being written."""
        self.open()
        header = bytearray(BATCH_HEADER_SIZE)
        window = memoryview(b"")
        while True:
            got = self._files.preadv(self.fd, [header], self._end)
            batch = parse_batch(header, self.number, self._end) if got == BATCH_HEADER_SIZE else None
            if batch is None or batch.end - batch.offset > _native.BATCH_PAYLOAD_MAX:
                return
            if batch.end - batch.offset > len(window):
                window = memoryview(bytearray(max(WALK_BYTES, batch.end - batch.offset)))
            got = self._files.preadv(self.fd, [window], self._end)
            if self._take(window[:got]) == 0:
                return

    def _take(self, data: memoryview) -> int:
        """Take the whole batches at the beginning of `data`; returns how many bytes they are."""
        taken = 0
        while len(data) - taken >= BATCH_HEADER_SIZE:
            result, header = _native.batch_check(data, self.number, taken)
            if result != Result.OK or header is None:
                break
            batch = batch_of(header, data, taken, self._end + taken)
            if not self._chain.follows(batch):
                break
            self._chain.accept(batch)
            self.kinds[batch.stream] = batch.kind
            self._places.setdefault(batch.stream, []).append(place_of(batch))
            taken += batch.end - batch.offset
        self._end += taken
        return taken


class JournalReader:
    """The journal as one reading process sees it. OSError from any method: the disk."""

    def __init__(self, files: Files, directory: Path, *, clock: Clock = MACHINE) -> None:
        self._files = files
        self._directory = directory
        self._clock = clock
        self._segments: dict[int, _Segment] = {}  # by number, ascending
        self._used: dict[int, None] = {}  # segments that are open, the one used last at the end
        self._streams: dict[str, Kind] = {}
        self.holes = 0  # met
        self.refresh()

    def refresh(self) -> None:
        """See which segments there are now."""
        names = self._files.names(self._directory)
        found = {number: inode for name, inode in names.items() if (number := segment_number(name)) is not None}
        for number, segment in list(self._segments.items()):
            if found.get(number) != segment.inode:
                self._remove(number)
        for number in sorted(found.keys() - self._segments.keys()):
            self._segments[number] = _Segment(self._files, self._directory, number, found[number])
        for number in sorted(self._segments)[:-1]:
            self._segments[number].load()
            if number not in self._used:  # it was the newest, and open because its streams were looked for
                self._segments[number].close()
        self._segments = dict(sorted(self._segments.items()))

    def look_again(self) -> None:
        """Forget what was found by walking. After a disk error the journal may write other batches over those that
        it could not sync, and a walk that had passed there would find nothing more."""
        for segment in self._segments.values():
            if segment.index is None:
                segment.forget()
        self.refresh()

    def _remove(self, number: int) -> None:
        self._segments.pop(number).close()
        self._used.pop(number, None)

    def close(self) -> None:
        for segment in self._segments.values():
            segment.close()

    @property
    def newest_segment(self) -> int:
        """Its number; 0: there is none."""
        return max(self._segments, default=0)

    def streams(self) -> dict[str, Kind]:
        """Every stream that has, or had, records here. Reads what the newest segment has got since the last time."""
        for segment in list(self._segments.values()):
            if segment.index is None:
                with suppress(FileNotFoundError):  # deleted since we looked
                    segment.walk()
            if len(segment.kinds) != segment.kinds_told:
                self._streams.update((stream, Kind(kind)) for stream, kind in segment.kinds.items())
                segment.kinds_told = len(segment.kinds)
        return self._streams

    def began(self) -> dict[str, int]:
        """Each stream that the oldest segment has, and our clock when its first record there was received; empty while
        no segment was let go."""
        oldest = next(iter(self._segments.values()), None)
        if oldest is None or oldest.number == FIRST_SEGMENT:
            return {}
        if oldest.index is not None:
            return {stream: span.from_ns for stream, span in oldest.index.spans.items()}
        return {stream: places[0].from_ns for stream in oldest.kinds if (places := oldest.places(stream))}

    def last(self, stream: str) -> Position | None:
        """Where a stream ends, of what is whole; None: there is nothing of it."""
        for segment in reversed(list(self._segments.values())):
            if segment.index is not None:
                if stream in segment.index.spans:
                    return segment.index.spans[stream].last
                continue
            with suppress(FileNotFoundError):
                if places := segment.places(stream):
                    return places[-1].last
        return None

    def read(
        self, stream: str, after: Position, until: Position | None, *, rows_max: int, bytes_max: int
    ) -> Chunk | Hole | None:
        """The next records behind `after`, of one epoch, not beyond `until`; or the hole before them; None: there
        are none (yet). JournalFault: they have a layout that this version does not know."""
        for _ in range(LOST_TRIES):
            found = self._find(stream, after)
            if found is None:
                return None
            segment, places, index = found
            place = places[index]
            if (
                until is not None
                and (place.epoch, max(place.first_seq, after.seq + 1 if place.epoch == after.epoch else 0)) > until
            ):
                return None
            kind = Kind(segment.kinds[stream])
            if after.epoch and place.first_seq > after.seq + 1:
                return self.missing(
                    stream, kind, Position(place.epoch, place.first_seq - 1), after=after, to_ns=place.from_ns
                )
            chunk = self._read_places(
                segment, stream, kind, places, index, after, until, rows_max=rows_max, bytes_max=bytes_max
            )
            if chunk is not None:
                return chunk
            segment.forget()
            self.refresh()
        self.holes += 1
        first = max(place.first_seq, after.seq + 1 if place.epoch == after.epoch else 0)
        cause, last = Cause.JOURNAL_TORN, place.last.seq
        return Hole(stream, kind, place.epoch, first, last, cause, place.from_ns, place.to_ns)

    def missing(self, stream: str, kind: Kind, last: Position, *, after: Position, to_ns: int | None) -> Hole:
        """The hole behind `after` up to `last`, where the journal has nothing of `stream`. What lies behind it was
        received at `to_ns`; None: there is nothing yet.

        Where the journal has something before it, it is damage. Else all up to there was deleted, for want of space
        before some sink had it: `lost` says when that was received. Of what else was deleted nobody knows when it was,
        and nobody asks but a database that is older than the journal: a hole of that ends where the other begins.
        """
        self.holes += 1
        epoch, first_seq = last.epoch, after.seq + 1
        before = self._before(stream, after)
        if before is not None:
            to_ns = to_ns or self._clock.unix_ns()
            return Hole(stream, kind, epoch, first_seq, last.seq, Cause.JOURNAL_TORN, before.from_ns, to_ns)
        losses = Losses(self._files, self._directory)
        if (loss := losses.at(stream, after)) is not None:
            from_ns, to_ns = loss.from_ns, to_ns or loss.to_ns
        else:
            from_ns, to_ns = SINCE_EVER_NS, to_ns or self._clock.unix_ns()
            following = losses.next(stream, after)
            if following is not None and after.seq < following.after.seq < last.seq:
                last, to_ns = Position(epoch, following.after.seq), following.from_ns
        return Hole(stream, kind, epoch, first_seq, last.seq, Cause.JOURNAL_QUOTA, from_ns, max(from_ns, to_ns))

    def _before(self, stream: str, position: Position) -> Place | None:
        """The last place of the stream that begins at `position` or before."""
        for segment in reversed(list(self._segments.values())):
            if segment.begins_behind(stream, position):
                continue
            with suppress(FileNotFoundError):
                places = segment.places(stream)
                at = bisect_right(places, position, key=lambda place: Position(place.epoch, place.first_seq))
                if segment.number not in self._used:
                    segment.close()
                if at:
                    return places[at - 1]
        return None

    def _find(self, stream: str, after: Position) -> tuple[_Segment, Places, int] | None:
        """The first segment with records behind `after`."""
        for _ in range(2):
            for segment in list(self._segments.values()):
                try:
                    found = segment.after(stream, after)
                    if found is not None:
                        self._use(segment)
                        return segment, *found
                except FileNotFoundError:
                    break  # deleted since we looked
            else:
                if not self._outdated():
                    return None
            self.refresh()
        return None

    def _outdated(self) -> bool:
        """Whether there may be segments that refresh() has not seen."""
        return self._files.exists(self._directory / segment_name(self.newest_segment + 1)) or not self._segments

    def _use(self, segment: _Segment) -> None:
        segment.open()
        self._used.pop(segment.number, None)
        self._used[segment.number] = None
        while len(self._used) > OPEN_MAX:
            oldest = next(iter(self._used))
            del self._used[oldest]
            self._segments[oldest].close()

    def _read_places(
        self,
        segment: _Segment,
        stream: str,
        kind: Kind,
        places: Places,
        index: int,
        after: Position,
        until: Position | None,
        *,
        rows_max: int,
        bytes_max: int,
    ) -> Chunk | None:
        """The records of the places from `index` on, as many whole batches as fit and at least one; None where a
        batch is not what its place says."""
        dtype = DTYPES[kind]
        chosen = _run(places, index, until, min(rows_max, bytes_max // dtype.itemsize))
        out = np.empty(sum(place.records for place in chosen), dtype)
        target = out.view(np.uint8).data
        header = bytearray(BATCH_HEADER_SIZE)
        filled = 0
        for place in chosen:
            payload = target[filled : filled + place.records * dtype.itemsize]
            got = self._files.preadv(segment.fd, [header, payload], place.offset)
            batch = parse_batch(header, segment.number, place.offset) if got >= BATCH_HEADER_SIZE else None
            if batch is None or batch.stream != stream or place_of(batch)[:4] != place[:4]:
                break
            if batch.layout != LAYOUTS[kind]:
                raise JournalFault(
                    f"{stream} in segment {segment.number} of the journal has layout {batch.layout:016x}, "
                    f"this version has {LAYOUTS[kind]:016x}: let the version that wrote it store it first"
                )
            if got != BATCH_HEADER_SIZE + len(payload) or not batch_crc_holds(header, payload):
                break
            filled += len(payload)
        records = out[: filled // dtype.itemsize]
        first = chosen[0]
        skip = max(0, after.seq + 1 - first.first_seq) if after.epoch == first.epoch else 0
        end = skip + rows_max
        if until is not None and first.epoch == until.epoch:
            end = min(end, until.seq + 1 - first.first_seq)
        records = records[skip:end]
        return Chunk(stream, kind, first.epoch, records) if len(records) else None


def _run(places: Places, index: int, until: Position | None, rows_max: int) -> list[Place]:
    """Places that follow each other from `index` on, whose records are about `rows_max`."""
    chosen = [places[index]]
    rows = places[index].records
    for place in places[index + 1 :]:
        previous = chosen[-1]
        follows = place.epoch == previous.epoch and place.first_seq == previous.last.seq + 1
        if rows >= rows_max or not follows or (until is not None and (place.epoch, place.first_seq) > until):
            break
        chosen.append(place)
        rows += place.records
    return chosen
