"""Opening the journal: what of its files is good, and cutting off what is not.

Comes in: the directory as a clean stop, a crash or a power cut left it. Goes out: the indexes of the complete
segments, the newest one ready to go on, and what was found wrong. Run by the journal process before anything else;
`verify()` by hand.

JRNL-1: what is recovered is exactly the records wholly written before the damage; the torn tail is cut off, kept
aside as `<number>.torn` and reported. A hole between segments is reported, never skipped silently.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson

from tickbay import _native
from tickbay.cursor import Position
from tickbay.files import Files, read_all, write_all
from tickbay.journal.segment import (
    BATCH_HEADER_SIZE,
    BATCH_MAGIC,
    FIRST_SEGMENT,
    Result,
    SegmentWriter,
    Walked,
    read_segment,
    segment_name,
    segment_number,
    walk,
)
from tickbay.journal.segment_index import SegmentIndex, load_index, make_index, save_index

MARKER = "clean"  # exists only while the journal is closed after a clean stop
MARKER_BYTES_MAX = 1 << 20
TORN_KEPT = 8  # damaged tails kept for a person; the oldest goes


@dataclass(frozen=True, slots=True)
class Missing:
    """Records that should lie before `segment` (or in it) and do not."""

    stream: str
    kind: int
    first_seq: int
    last_seq: int
    segment: int
    from_ns: int  # our clock: when the batch before them was received, from its first record on
    to_ns: int  # and the first record behind them; 0: there is none

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells it from others, also when it is found again."""
        return self.stream, self.first_seq, self.last_seq


@dataclass(frozen=True, slots=True)
class Torn:
    """What was cut off the newest segment."""

    segment: int
    offset: int
    bytes: int
    kept: bool  # as <number>.torn; False where the disk would not take it


@dataclass(slots=True)
class Recovered:
    clean: bool = False  # the last end was a clean stop, or the journal is new
    epoch: int = 0  # the last one; 0: a new journal
    last: dict[str, Position] = field(default_factory=dict)  # of every stream
    last_ns: dict[str, int] = field(default_factory=dict)  # when the last batch of each was received
    written_ns: int = 0  # when the last batch was written
    sealed: list[SegmentIndex] = field(default_factory=list)  # oldest first
    writer: SegmentWriter | None = None  # the newest segment, where it can go on
    next_number: int = FIRST_SEGMENT
    missing: list[Missing] = field(default_factory=list)
    torn: Torn | None = None
    damaged: list[int] = field(default_factory=list)  # complete segments in which something is not whole


def recover(files: Files, directory: Path) -> Recovered:
    """Bring the journal's directory into order and say what is in it. OSError: nothing is lost by calling it again."""
    names = files.names(directory)
    numbers = sorted(number for number in map(segment_number, names) if number is not None)
    _remove_leftovers(files, directory, names)
    found = Recovered()
    for number in numbers[:-1]:
        _add_sealed(found, _index_of(files, directory, number))
    try:
        if numbers:
            _open_newest(files, directory, numbers[-1], found)
        _settle(files, directory, found, names)
    except OSError:
        if found.writer is not None:
            found.writer.close()
        raise
    return found


def _settle(files: Files, directory: Path, found: Recovered, names: Collection[str]) -> None:
    """Decide whether the last end was clean. If not, make certain of the newest segment; if so, take back the word
    for it.
    """
    marker = _read_marker(files, directory)
    newest = (found.writer.number, found.writer.end) if found.writer else (0, 0)
    found.clean = found.torn is None and (found.epoch == 0 or (marker.get("segment"), marker.get("end")) == newest)
    if found.clean:
        _take_marker(found, marker)
    elif found.writer is not None:
        found.writer.cut(memoryview(read_segment(files, found.writer.path))[: found.writer.end])
    if MARKER in names:
        files.unlink(directory / MARKER)
    # Also the newest segment's name, which a process may have given and died before it synced it: nothing in a file
    # is durable before its name is (JRNL-2).
    files.sync_directory(directory)


def _remove_leftovers(files: Files, directory: Path, names: Collection[str]) -> None:
    """Files that were being made when the process died, and indexes without their segment."""
    for name in names:
        orphan = name.endswith(".idx") and name.removesuffix(".idx") + ".seg" not in names
        if orphan or name.endswith("-new"):
            files.unlink(directory / name)


def _add_sealed(found: Recovered, index: SegmentIndex) -> None:
    """Take a complete segment's index, and note what is missing between it and those before."""
    for stream, span in sorted(index.spans.items()):
        last = found.last.get(stream)
        # Only within an epoch: a hole that goes with a new epoch was recorded when that epoch began.
        if last is not None and span.first.epoch == last.epoch and span.first.seq > last.seq + 1:
            found.missing.append(
                Missing(
                    stream,
                    span.kind,
                    last.seq + 1,
                    span.first.seq - 1,
                    index.segment,
                    found.last_ns[stream],
                    span.from_ns,
                )
            )
        found.last[stream] = max(span.last, last or span.last)
        found.last_ns[stream] = span.last_ns
    found.epoch = max(found.epoch, index.epoch)
    found.written_ns = max(found.written_ns, index.written_ns)
    if not index.complete:
        found.damaged.append(index.segment)
    found.sealed.append(index)


def _index_of(files: Files, directory: Path, number: int) -> SegmentIndex:
    """A complete segment's index, made again from the segment where it is missing."""
    path = directory / segment_name(number)
    index = load_index(files, path.with_suffix(".idx"), number)
    if index is not None:
        return index
    data = read_segment(files, path)
    walked = walk(data, number)
    header = _native.segment_check(data)
    whole = header is not None and header.segment == number
    if not whole:
        walked = Walked()
    # A segment that was given up after an I/O error ends at its last batch, without the one that says so.
    complete = whole and (walked.result is Result.END or len(data) == walked.end)
    index, places = make_index(
        number,
        header.epoch if header else 0,
        header.created_ns if header else 0,
        walked.batches,
        end=walked.end,
        complete=complete,
    )
    with suppress(OSError):  # it only saves time at the next start
        save_index(files, path.with_suffix(".idx"), index, places)
    return index


def _open_newest(files: Files, directory: Path, number: int, found: Recovered) -> None:
    """Walk the newest segment, cut off what is damaged and leave it open in found.writer, unless it is complete."""
    path = directory / segment_name(number)
    data = read_segment(files, path)
    header = _native.segment_check(data)
    if header is None or header.segment != number:
        # It was synced before the file got its name: this is damage, and nothing behind it can be trusted.
        found.torn = Torn(number, 0, len(data), _keep_aside(files, directory, number, memoryview(data)))
        found.next_number = number  # the next segment replaces it
        return
    found.next_number = number + 1
    walked = walk(data, number)
    index, _ = make_index(number, header.epoch, header.created_ns, walked.batches, end=walked.end, complete=True)
    if walked.result is Result.END:
        _add_sealed(found, index)
        return
    damage = _damage(data, number, walked)
    if damage:
        tail = memoryview(data)[walked.end : walked.end + damage]
        found.torn = Torn(number, walked.end, damage, _keep_aside(files, directory, number, tail))
    _add_sealed(found, index)
    found.sealed.pop()
    fd = files.open(path, os.O_RDWR)
    found.writer = SegmentWriter(
        files, fd, path, number=number, epoch=header.epoch, created_ns=header.created_ns, end=walked.end, size=len(data)
    )
    found.writer.batches = walked.batches


def _damage(data: bytearray, number: int, walked: Walked) -> int:
    """How many bytes behind the good ones were meant to be batches of this segment; 0 where there are none.

    A power cut may lose the first blocks of a write and keep later ones, so the whole rest is searched for headers.
    """
    words = np.frombuffer(data, dtype="<u8", offset=walked.end, count=(len(data) - walked.end) // 8)
    magic, segment = words[:-2] & 0xFFFFFFFF, words[2:]
    starts = np.flatnonzero((magic == BATCH_MAGIC) & (segment == number)) * 8
    if len(starts):
        last = int(starts[-1])
        length = int.from_bytes(data[walked.end + last + 8 : walked.end + last + 12], "little")
        return min(last + BATCH_HEADER_SIZE + length, len(data) - walked.end)
    return len(data) - walked.end if walked.result is Result.TORN else 0


def _keep_aside(files: Files, directory: Path, number: int, tail: memoryview) -> bool:
    """Store the damaged bytes for a person. Not at any price: a full disk must not keep the journal shut."""
    kept = sorted(name for name in files.names(directory) if name.endswith(".torn"))
    try:
        for name in kept[: max(0, len(kept) - TORN_KEPT + 1)]:
            files.unlink(directory / name)
        fd = files.open(directory / f"{number:012d}.torn", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(files, fd, [tail], 0)
        finally:
            files.close(fd)
    except OSError:
        return False
    return True


def write_marker(
    files: Files, directory: Path, writer: SegmentWriter | None, epoch: int, last: Mapping[str, Position]
) -> None:
    """The last thing of a clean stop: everything is synced, and this is where it ends."""
    value = {
        "segment": writer.number if writer else 0,
        "end": writer.end if writer else 0,
        "epoch": epoch,
        # Also of streams whose last segment has been deleted: within an epoch no sequence may come twice.
        "last": {stream: list(position) for stream, position in last.items()},
    }
    fd = files.open(directory / MARKER, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(files, fd, [orjson.dumps(value)], 0)
        files.fdatasync(fd)
    finally:
        files.close(fd)
    files.sync_directory(directory)


def _read_marker(files: Files, directory: Path) -> dict[str, object]:
    """The clean stop's marker; empty where there is none that can be read (then the end was unclean)."""
    try:
        fd = files.open(directory / MARKER, os.O_RDONLY)
    except FileNotFoundError:
        return {}
    try:
        value = orjson.loads(read_all(files, fd, MARKER_BYTES_MAX, 0))
    except orjson.JSONDecodeError:
        return {}
    finally:
        files.close(fd)
    return value if isinstance(value, dict) else {}


def _take_marker(found: Recovered, marker: dict[str, object]) -> None:
    epoch, last = marker.get("epoch"), marker.get("last")
    if isinstance(epoch, int) and epoch >= found.epoch and isinstance(last, dict):
        found.epoch = epoch
        for stream, position in last.items():
            found.last[stream] = max(Position(*position), found.last.get(stream, Position(0, 0)))


def verify(files: Files, directory: Path) -> Iterator[str]:
    """Read every byte of the journal and yield one sentence for each thing that is wrong. Changes nothing."""
    numbers = sorted(number for number in map(segment_number, files.names(directory)) if number is not None)
    ends: dict[str, Position] = {}
    for number in numbers:
        try:
            data = read_segment(files, directory / segment_name(number))
        except FileNotFoundError:
            continue  # let go since we looked
        header = _native.segment_check(data)
        if header is None or header.segment != number:
            yield f"segment {number}: its header is damaged"
            continue
        walked = walk(data, number)
        index, _ = make_index(number, 0, 0, walked.batches, end=walked.end, complete=True)
        for stream, span in index.spans.items():
            last = ends.get(stream)
            if last is not None and span.first.epoch == last.epoch and span.first.seq > last.seq + 1:
                yield f"segment {number}: {stream} {last.seq + 1} to {span.first.seq - 1} are missing before it"
            ends[stream] = span.last
        newest = number == numbers[-1]
        if _damage(data, number, walked) if newest else walked.result is not Result.END and len(data) != walked.end:
            yield f"segment {number}: damaged at byte {walked.end} of {len(data)}"
