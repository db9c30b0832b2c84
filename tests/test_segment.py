"""segment.py and files.py: what walk() accepts of a segment's bytes, and what appending leaves in the file."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from faulty_files import DribblingFiles, FaultyFiles
from journal_case import numbered
from tickbay import _native
from tickbay.files import Files, read_all, write_all
from tickbay.journal.segment import (
    BATCH_HEADER_SIZE,
    HEADER_SIZE,
    Batch,
    Result,
    SegmentWriter,
    seal_batch,
    segment_name,
    segment_number,
    walk,
)
from tickbay.record import LAYOUTS, Kind

NUMBER = 7
TAIL = 64 << 10  # R5: damage at every byte offset of so much, in each of four ways, is 262,144 recoveries


def make_writer(
    path: Path, files: Files | None = None, *, number: int = NUMBER, size: int = 256 << 10
) -> SegmentWriter:
    files = files or Files()
    fd = files.open(path, os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, size)
    os.pwrite(fd, _native.segment_seal(number, 5, 1), 0)
    return SegmentWriter(files, fd, path, number=number, epoch=5, created_ns=1, end=HEADER_SIZE, size=size)


def batch_of(
    writer: SegmentWriter,
    first: int,
    count: int,
    *,
    stream: str = "feed-1.gap",
    epoch: int = 5,
    offset: int | None = None,
) -> tuple[Batch, bytes, memoryview]:
    records = numbered(stream, first, count)
    records["seq"] = range(first, first + count)
    return seal_batch(
        writer,
        writer.end if offset is None else offset,
        stream=stream,
        kind=Kind.GAP,
        epoch=epoch,
        layout=LAYOUTS[Kind.GAP],
        payload=memoryview(records.tobytes()),
        record_size=records.itemsize,
        first_seq=first,
        written_ns=9,
    )


def filled(path: Path, tail: int = TAIL) -> tuple[bytes, list[Batch]]:
    """A segment whose batches, of two streams and many sizes, fill a little more than the tail that R5 damages."""
    writer = make_writer(path, size=2 * tail + (128 << 10))
    sizes = random.Random(5)
    firsts = {"feed-1.gap": 1, "universe.gap": 1}
    while writer.end < tail + 2 * HEADER_SIZE:
        stream = sizes.choice(list(firsts))
        count = sizes.choice((1, 2, 3, 7, 20, 60))
        writer.append([batch_of(writer, firsts[stream], count, stream=stream)])
        firsts[stream] += count
    writer.sync()
    writer.close()
    return path.read_bytes()[: writer.end], writer.batches


def truncate(data: bytes, at: int) -> bytes:
    return data[:at]


def zero(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(len(data) - at)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def garbage(data: bytes, at: int) -> bytes:
    noise = random.Random(at).randbytes(64)
    return data[:at] + (noise * (1 + (len(data) - at) // 64))[: len(data) - at]


DAMAGES = (truncate, zero, flip, garbage)


def whole_in(batches: list[Batch], data: bytes, damaged: bytes, at: int) -> list[Batch]:
    """The batches of `data` before the first byte that differs in `damaged`, which was damaged from `at` on."""
    before = [batch for batch in batches if batch.end <= at]
    if damaged == data:  # zeros over zeros
        return batches
    end = batches[len(before)].end
    if damaged[:end] != data[:end]:
        return before
    # Zeros that began within zeros: the first byte that differs is farther on.
    differs = next(index for index in range(at, len(data)) if damaged[index] != data[index])
    return [batch for batch in batches if batch.end <= differs]


@pytest.mark.parametrize("damage", DAMAGES)
def test_after_damage_at_any_byte_exactly_the_batches_before_it_are_left(
    tmp_path: Path, damage: Callable[[bytes, int], bytes]
) -> None:
    """JRNL-1 over R5's damages, at every 16th byte of the tail; faults/r05_torn_tail.py takes every one."""
    data, batches = filled(tmp_path / "x.seg")
    assert walk(data, NUMBER).batches == batches
    for at in range(len(data) - TAIL, len(data), 16):
        damaged = damage(data, at)
        expected = whole_in(batches, data, damaged, at)
        walked = walk(damaged, NUMBER)
        assert walked.batches == expected, f"{damage.__name__} at {at}"
        assert walked.end == (expected[-1].end if expected else HEADER_SIZE)
        if damage is truncate:
            bare = at - walked.end < 4  # not even the magic is there
            assert walked.result is (Result.STOP if bare else Result.TORN), f"{at - walked.end} bytes of a batch"


def test_a_complete_segment_ends_with_the_batch_that_says_so(tmp_path: Path) -> None:
    writer = make_writer(tmp_path / "x.seg")
    writer.append([batch_of(writer, 1, 3)])
    writer.sync()
    assert walk((tmp_path / "x.seg").read_bytes(), NUMBER).result is Result.STOP
    writer.seal(9)
    walked = walk((tmp_path / "x.seg").read_bytes(), NUMBER)
    assert (walked.result, walked.end, len(walked.batches)) == (Result.END, writer.end, 1)


def test_batches_of_an_older_life_of_a_recycled_file_are_no_data(tmp_path: Path) -> None:
    path = tmp_path / "x.seg"
    old = make_writer(path)
    for first in range(1, 100):
        old.append([batch_of(old, first, 1)])
    old.close()
    new = make_writer(path, number=NUMBER + 1)
    new.append([batch_of(new, 1, 1)])
    # The next old batch begins right behind, whole, and with the very sequence that would follow.
    walked = walk(path.read_bytes(), NUMBER + 1)
    assert (walked.result, len(walked.batches)) == (Result.STOP, 1)


@pytest.mark.parametrize(
    ("first", "epoch", "follows"),
    [
        (4, 5, True),
        (5, 5, False),
        (3, 5, False),
        (1, 5, False),
        (4, 4, False),
        (4, 6, True),
        (2, 6, True),
        (90, 6, True),
    ],
)
def test_a_batch_that_does_not_follow_its_stream_is_no_data(
    tmp_path: Path, first: int, epoch: int, *, follows: bool
) -> None:
    writer = make_writer(tmp_path / "x.seg")
    writer.append([batch_of(writer, 1, 3)])
    writer.append([batch_of(writer, first, 2, epoch=epoch)])
    assert len(walk((tmp_path / "x.seg").read_bytes(), NUMBER).batches) == 1 + follows


def test_what_was_appended_before_a_rewind_is_written_over(tmp_path: Path) -> None:
    writer = make_writer(tmp_path / "x.seg")
    writer.append([batch_of(writer, 1, 3)])
    writer.sync()
    writer.append([batch_of(writer, 4, 1)])
    writer.append([batch_of(writer, 5, 9)])
    writer.rewind()
    writer.append([batch_of(writer, 4, 20)])
    writer.sync()
    assert [batch.records for batch in walk((tmp_path / "x.seg").read_bytes(), NUMBER).batches] == [3, 20]


def test_an_abandoned_segment_ends_at_what_was_synced_and_is_never_synced_again(tmp_path: Path) -> None:
    files = FaultyFiles(lambda operation, number: operation == "fdatasync" and number > 4)
    writer = make_writer(tmp_path / "x.seg", files)
    writer.append([batch_of(writer, 1, 3)])
    writer.sync()
    writer.append([batch_of(writer, 4, 3)])
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        writer.sync()
    assert writer.abandon()
    assert files.calls.count("fdatasync") == 2
    data = (tmp_path / "x.seg").read_bytes()
    walked = walk(data, NUMBER)
    assert [batch.records for batch in walked.batches] == [3]
    assert walked.end == len(data)


def test_the_room_of_a_segment_keeps_a_place_for_its_end(tmp_path: Path) -> None:
    writer = make_writer(tmp_path / "x.seg", size=HEADER_SIZE + 5000)
    assert writer.room == 5000 - 2 * BATCH_HEADER_SIZE
    records = writer.room // numbered("feed-1.gap", 1, 1).itemsize
    writer.append([batch_of(writer, 1, records)])
    writer.sync()
    writer.seal(9)
    assert writer.end <= writer.size
    assert (tmp_path / "x.seg").stat().st_size == writer.size


def test_writes_and_reads_in_small_pieces_are_whole(tmp_path: Path) -> None:
    files = DribblingFiles()
    fd = files.open(tmp_path / "x", os.O_RDWR | os.O_CREAT)
    parts = [b"a" * 20, b"", b"bcd", bytes(100), b"e" * 7]
    assert write_all(files, fd, parts, 10) == 130
    assert read_all(files, fd, 1000, 10) == b"".join(parts)


def test_only_segment_files_are_taken_for_segments() -> None:
    assert segment_number(segment_name(42)) == 42
    for name in ("42.seg", "000000000042.idx", "000000000042.seg-new", "00000000004x.seg", ".seg", "²00000000001.seg"):
        assert segment_number(name) is None, name
