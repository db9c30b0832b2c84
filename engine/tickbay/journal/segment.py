"""One segment file of the journal: its name, its batches, and appending to it.

Layout and what tells a batch from the bytes of a recycled file's older life: native/batch.h. Reading here trusts
nothing; `walk()` is what recovery, verification and the tests of JRNL-1 all use.
"""

from __future__ import annotations

import enum
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tickbay import _native
from tickbay.cursor import Position
from tickbay.files import Files, read_all, write_all

HEADER_SIZE = 4096
BATCH_HEADER_SIZE = 96
# A commit is cut into batches of at most so much: a reader that wants few rows reads a whole batch, and the header is
# lost in it already at 16 KiB.
PAYLOAD_MAX = 1 << 20
# magic, crc, length, count, segment, first_seq, layout, written_ns, epoch, kind, record_size, stream
_BATCH = struct.Struct("<IIIIQQQqIHH32s8x")
BATCH_MAGIC = 0x31424254
_RECEIVED = struct.Struct("<q")
_RECEIVED_AT = 16  # recv_ns in struct record_head, which every record begins with
_CRC_FROM = 8  # of a batch header: what the CRC covers starts here
_NAME_DIGITS = 12
FIRST_SEGMENT = 1  # of a new journal


def segment_name(number: int) -> str:
    return f"{number:0{_NAME_DIGITS}d}.seg"


def segment_number(name: str) -> int | None:
    """The number of a segment file, None for any other file."""
    stem, _, suffix = name.partition(".")
    return int(stem) if suffix == "seg" and len(stem) == _NAME_DIGITS and stem.isdecimal() else None


class Result(enum.IntEnum):
    """enum batch_result of batch.h."""

    OK = 0
    END = 1  # the batch that ends a complete segment
    STOP = 2  # no batch of this segment: the end of what was written
    TORN = 3  # a batch of this segment begins here, but it is damaged or cut off


class Batch(NamedTuple):
    """One batch in a segment: records of one stream and one epoch."""

    offset: int  # of its header in the file
    stream: str
    kind: int
    record_size: int
    layout: int
    epoch: int
    first_seq: int
    records: int
    received_ns: int  # recv_ns of its first record
    written_ns: int

    @property
    def last(self) -> Position:
        return Position(self.epoch, self.first_seq + self.records - 1)

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + BATCH_HEADER_SIZE + self.records * self.record_size


def parse_batch(header: bytes | bytearray | memoryview, number: int, offset: int) -> Batch | None:
    """The batch whose header is given, None where that is no header of segment `number`. The payload is not looked
    at, so when it was received is not known: no later than it was written.
    """
    magic, _, length, count, segment, first_seq, layout, written_ns, epoch, kind, record_size, stream = (
        _BATCH.unpack_from(header)
    )
    if magic != BATCH_MAGIC or segment != number or length != count * record_size:
        return None
    name = stream.rstrip(b"\0").decode(errors="replace")
    return Batch(offset, name, kind, record_size, layout, epoch, first_seq, count, written_ns, written_ns)


def batch_of(header: _native.BatchHeader, data: memoryview, at: int, offset: int) -> Batch:
    """The batch that _native.batch_check() found whole at data[at:], which lies at `offset` of its segment."""
    return Batch(
        offset,
        header.stream,
        header.kind,
        header.record_size,
        header.layout,
        header.epoch,
        header.first_seq,
        header.records,
        _received_ns(data, at + BATCH_HEADER_SIZE, header.written_ns),
        header.written_ns,
    )


def _received_ns(data: bytes | bytearray | memoryview, at: int, written_ns: int) -> int:
    """When the record at data[at:] was received: never later than it was written, whatever the clock did."""
    if len(data) - at < _RECEIVED_AT + _RECEIVED.size:
        return written_ns
    (received_ns,) = _RECEIVED.unpack_from(data, at + _RECEIVED_AT)
    return min(int(received_ns), written_ns)


def batch_crc_holds(header: bytearray | memoryview, payload: memoryview) -> bool:
    """Whether a header and a payload that lie apart belong together and are whole."""
    (crc,) = struct.unpack_from("<I", header, 4)
    return bool(_native.crc32c(payload, _native.crc32c(memoryview(header)[_CRC_FROM:BATCH_HEADER_SIZE])) == crc)


class Chain:
    """The rule by which the batches of one segment follow each other, per stream: without a hole within an epoch.

    A greater epoch may start anywhere: it is ordered after the one before, whatever its numbers.
    """

    def __init__(self) -> None:
        self._last: dict[str, Position] = {}

    def follows(self, batch: Batch) -> bool:
        last = self._last.get(batch.stream)
        return last is None or batch.epoch > last.epoch or (batch.epoch, batch.first_seq) == (last.epoch, last.seq + 1)

    def accept(self, batch: Batch) -> None:
        self._last[batch.stream] = batch.last


@dataclass(slots=True)
class Walked:
    """What walk() found: the good batches, the offset behind the last of them and why it stopped there."""

    batches: list[Batch] = field(default_factory=list)
    end: int = HEADER_SIZE
    result: Result = Result.STOP


def walk(data: bytes | bytearray | memoryview, number: int) -> Walked:
    """The batches of segment `number` in its file's bytes, as far as they are whole and follow (JRNL-1: the exact
    prefix).

    A whole batch that does not follow ends the walk like older bytes do: it is a remnant, never data.
    """
    walked = Walked()
    chain = Chain()
    view = memoryview(data)
    size = len(view)
    while True:
        if size < walked.end:
            return walked
        result, header = _native.batch_check(view, number, walked.end)
        walked.result = Result(result)
        if header is None:
            walked.end += BATCH_HEADER_SIZE if walked.result is Result.END else 0
            return walked
        batch = batch_of(header, view, walked.end, walked.end)
        if not chain.follows(batch):
            walked.result = Result.STOP
            return walked
        chain.accept(batch)
        walked.batches.append(batch)
        walked.end = batch.end


class SegmentWriter:
    """The newest segment, open for appending. The journal process's; one writer per file, ever.

    Nothing counts until sync() returned: after any error in between, what was appended since the last sync is forgotten
    here (`rewind`) and comes again from the rings.
    """

    def __init__(
        self, files: Files, fd: int, path: Path, *, number: int, epoch: int, created_ns: int, end: int, size: int
    ) -> None:
        self._files = files
        self._fd = fd
        self.path = path
        self.number = number
        self.epoch = epoch  # of the journal when it was begun
        self.created_ns = created_ns
        self.end = end  # behind the last batch written
        self.size = size  # bytes allocated
        self.synced_end = end
        self.batches: list[Batch] = []  # synced ones; for the index
        self._unsynced: list[Batch] = []

    @property
    def room(self) -> int:
        """Payload bytes that one more batch may have, so that the batch that ends the segment still fits."""
        return max(0, self.size - self.end - 2 * BATCH_HEADER_SIZE)

    @property
    def dirty(self) -> bool:
        return bool(self._unsynced)

    def append(self, batches: Sequence[tuple[Batch, bytes, memoryview]]) -> None:
        """Write batches (as `seal_batch` made them, one behind the other from `end` on) in one go. OSError:
        rewind().
        """
        buffers: list[bytes | memoryview] = []
        for _, header, payload in batches:
            buffers += (header, payload)
        write_all(self._files, self._fd, buffers, self.end)
        self._unsynced += [batch for batch, _, _ in batches]
        self.end = batches[-1][0].end

    def sync(self) -> None:
        """After this everything appended is durable (JRNL-2). OSError: abandon() the segment, never sync it again."""
        self._files.fdatasync(self._fd)
        self.batches += self._unsynced
        self._unsynced.clear()
        self.synced_end = self.end

    def allocate(self, size: int) -> None:
        """Have room up to `size`. OSError where the disk is full."""
        if self.size < size:
            self._files.fallocate(self._fd, 0, size)
            self.size = size

    def cut(self, good: memoryview) -> None:
        """After an unclean end: leave only the `good` bytes, which were read from the file, and those for certain.

        They may be only in the page cache, and a write-back of it that failed before this process began is never
        reported to us: so they are written again before they are synced. The cut also removes remnants that could
        pass for data.
        """
        self._files.truncate(self._fd, len(good))
        write_all(self._files, self._fd, [good], 0)
        self._files.fdatasync(self._fd)
        self.end = self.synced_end = self.size = len(good)

    def rewind(self) -> None:
        """Forget what was appended since the last sync; it will be written again at the same place."""
        self._unsynced.clear()
        self.end = self.synced_end

    def seal(self, written_ns: int) -> None:
        """Write the batch that ends the segment, and sync. OSError as in append() and sync()."""
        write_all(self._files, self._fd, [_native.batch_seal_end(self.number, written_ns)], self.end)
        self._files.fdatasync(self._fd)
        self.end += BATCH_HEADER_SIZE

    def abandon(self) -> bool:
        """Give the segment up after an I/O error, cut behind what was synced; False where even that failed.

        The kernel reports a failed write-back once and then calls the pages clean: a second fdatasync() would succeed
        without having written them. So this file is never written or synced again.
        """
        self.rewind()
        try:
            self._files.truncate(self._fd, self.synced_end)
        except OSError:
            return False
        finally:
            self.close()
        return True

    def close(self) -> None:
        with suppress(OSError):  # what counts was synced
            self._files.close(self._fd)


def seal_batch(
    writer: SegmentWriter,
    offset: int,
    *,
    stream: str,
    kind: int,
    epoch: int,
    layout: int,
    payload: memoryview,
    record_size: int,
    first_seq: int,
    written_ns: int,
) -> tuple[Batch, bytes, memoryview]:
    """A batch of the records in `payload` for `writer`'s segment, to lie at `offset`."""
    header = _native.batch_seal(writer.number, stream, kind, epoch, first_seq, written_ns, payload)
    records = len(payload) // record_size
    received_ns = _received_ns(payload, 0, written_ns)
    batch = Batch(offset, stream, kind, record_size, layout, epoch, first_seq, records, received_ns, written_ns)
    return batch, header, payload


def read_segment(files: Files, path: Path) -> bytearray:
    """A whole segment file. OSError where it cannot be read."""
    fd = files.open(path, os.O_RDONLY)
    try:
        return read_all(files, fd, files.size(fd), 0)
    finally:
        files.close(fd)
