"""The journal's segments as one series: beginning and ending them, what they use of the disk, letting the oldest go.

Used by the journal process alone, which decides; readers see only files. JRNL-3's rule is `untaken()`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tickbay import _native
from tickbay.cursor import START, Position
from tickbay.files import Files, write_all
from tickbay.journal.recovery import Recovered
from tickbay.journal.segment import HEADER_SIZE, SegmentWriter, segment_name
from tickbay.journal.segment_index import Places, SegmentIndex, load_places, make_index, save_index
from tickbay.journal.spares import Spares
from tickbay.legs import merger_of

SPARES_MAX = 2  # one to begin with, one while that is being replaced


def untaken(index: SegmentIndex, sink: str, cursor: Mapping[str, Position]) -> dict[str, tuple[int, int]]:
    """What of a segment a sink has not committed yet: stream → (first, last) sequence. Nothing: JRNL-3 lets it go. The
    streams of a pair's legs are taken by its merger, all others by the sinks."""
    left = {}
    for stream, span in index.spans.items():
        merger = merger_of(stream)
        if sink != merger and (merger or sink.startswith("merger-")):
            continue
        taken = cursor.get(stream, START)
        if taken < span.last:
            left[stream] = (taken.seq + 1 if taken >= span.first else span.first.seq, span.last.seq)
    return left


class Segments:
    """All segment files, oldest first; the newest is open for appending in `writer` (None: there is none to append
    to).
    """

    def __init__(
        self,
        files: Files,
        directory: Path,
        recovered: Recovered,
        *,
        epoch: int,
        segment_bytes: int,
        quota_bytes: int,
        free_floor_bytes: int,
        clock_ns: Callable[[], int],
    ) -> None:
        self._files = files
        self._directory = directory
        self.segment_bytes = segment_bytes
        self._quota_bytes = quota_bytes
        self._free_floor_bytes = free_floor_bytes
        self._clock_ns = clock_ns
        self.epoch = epoch
        self.sealed = recovered.sealed
        self.writer = recovered.writer
        self._next_number = recovered.next_number
        self._sizes = {index.segment: self._size(index.segment) for index in self.sealed}
        # A small quota leaves no room for files that hold nothing.
        most = min(SPARES_MAX, quota_bytes // segment_bytes // 8)
        self._spares = Spares(files, directory, size=segment_bytes, most=most)

    def _size(self, number: int) -> int:
        fd = self._files.open(self._directory / segment_name(number), os.O_RDONLY)
        try:
            return self._files.size(fd)
        finally:
            self._files.close(fd)

    @property
    def newest_number(self) -> int:
        return self._next_number - 1

    # -------- space

    @property
    def used_bytes(self) -> int:
        """What the journal occupies on the disk."""
        newest = max(self.writer.size, self.segment_bytes) if self.writer else 0
        return sum(self._sizes.values()) + newest + self._spares.bytes

    def disk_free_bytes(self) -> int:
        """What is free on the journal's disk, whoever may use it. OSError: it cannot be looked at."""
        return self._files.free_bytes(self._directory)

    def room_bytes(self) -> int:
        """What the journal may still grow by: within its quota, and above the free floor."""
        disk = self.disk_free_bytes() - self._free_floor_bytes
        return max(0, min(disk, self._quota_bytes - self.used_bytes))

    def can_begin(self) -> bool:
        """Whether the next segment fits into the quota and above the free floor, without removing anything."""
        return self._spares.ready or self.room_bytes() >= self.segment_bytes

    def over_quota(self) -> bool:
        return self.used_bytes > self._quota_bytes

    def quota_is_full(self) -> bool:
        """Whether it is the quota that has no room for another segment."""
        return self.used_bytes + self.segment_bytes > self._quota_bytes

    def prepare(self) -> None:
        """Make a spare file a little further, where there is space. OSError: none was made."""
        if self._spares.wanted and self.room_bytes() >= 2 * self.segment_bytes:
            self._spares.step()

    # -------- beginning and ending

    def begin(self) -> SegmentWriter:
        """The next segment, durably there, as `writer`. OSError: there is none, try again."""
        assert self.writer is None
        number, created_ns = self._next_number, self._clock_ns()
        path = self._directory / segment_name(number)
        source = self._spares.take() or self._directory / f"{number:012d}.seg-new"
        fd = self._files.open(source, os.O_RDWR | os.O_CREAT)
        try:
            self._files.fallocate(fd, 0, self.segment_bytes)
            # The header first, then the name: a file with a segment's name has always a good header.
            write_all(self._files, fd, [_native.segment_seal(number, self.epoch, created_ns)], 0)
            self._files.fdatasync(fd)
            self._files.rename(source, path)
            self._files.sync_directory(self._directory)
        except OSError:
            self._files.close(fd)
            with suppress(OSError):  # renamed already, or the disk is broken: the next try uses the same name
                self._files.unlink(source)
            raise
        self._next_number += 1
        self.writer = SegmentWriter(
            self._files,
            fd,
            path,
            number=number,
            epoch=self.epoch,
            created_ns=created_ns,
            end=HEADER_SIZE,
            size=self.segment_bytes,
        )
        return self.writer

    def seal(self) -> None:
        """End the newest segment properly. OSError: it must be given up."""
        assert self.writer is not None and not self.writer.dirty
        self.writer.seal(self._clock_ns())
        self.writer.close()
        self._close_newest()

    def give_up(self) -> bool:
        """End the newest segment after an I/O error, at what was synced; False where it could not even be cut there."""
        assert self.writer is not None
        cut = self.writer.abandon()
        self.writer.size = self.writer.end
        self._close_newest()
        return cut

    def _close_newest(self) -> None:
        writer, self.writer = self.writer, None
        assert writer is not None
        index, places = make_index(
            writer.number, writer.epoch, writer.created_ns, writer.batches, end=writer.end, complete=True
        )
        self.sealed.append(index)
        self._sizes[writer.number] = writer.size
        with suppress(OSError):  # it is derived, and made again at the next start
            save_index(self._files, writer.path.with_suffix(".idx"), index, places)

    # -------- letting go

    def oldest_bytes(self) -> int:
        return self._sizes[self.sealed[0].segment]

    def places_of_oldest(self) -> dict[str, Places]:
        """Where its batches lie and when they came, per stream; nothing where its index is lost."""
        number = self.sealed[0].segment
        with suppress(OSError):
            path = (self._directory / segment_name(number)).with_suffix(".idx")
            return load_places(self._files, path, number) or {}
        return {}

    def drop_oldest(self) -> None:
        """Remove the oldest complete segment, or make it a spare. OSError: it may still be there, call again."""
        number = self.sealed[0].segment
        path = self._directory / segment_name(number)
        with suppress(FileNotFoundError):  # it could not be written then
            self._files.unlink(path.with_suffix(".idx"))
        self._spares.recycle(path, self._sizes[number])
        del self.sealed[0], self._sizes[number]
        with suppress(OSError):  # a file that a power cut brings back is let go again
            self._files.sync_directory(self._directory)

    def untaken_bytes(self, cursors: Mapping[str, Mapping[str, Position]]) -> int:
        """Bytes of segments that some sink still needs, the newest included."""
        needed = self.writer.end if self.writer else 0
        for index in self.sealed:
            if any(untaken(index, sink, cursor) for sink, cursor in cursors.items()):
                needed += self._sizes[index.segment]
        return needed


def no_space(error: OSError) -> bool:
    """Whether an error means a full disk, which may end by itself, and not a broken one."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
