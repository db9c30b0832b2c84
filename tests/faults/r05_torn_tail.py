"""R5: a segment and a cursor file, cut off, zeroed, flipped or overwritten with garbage from every byte of their tail
on.

Every damage goes through the walk that recovery, verification and readers share (JRNL-1); every RECOVERED-th also
through a whole recovery on files, twice, as after a crash in the recovery.
"""

from __future__ import annotations

from pathlib import Path

import test_segment
from faults.figure import Outcome
from faults.rig import folders
from tickbay.cursor import SLOT_SIZE, CursorFile, Position, newest, pack_slot
from tickbay.files import Files
from tickbay.journal.recovery import recover, verify
from tickbay.journal.segment import HEADER_SIZE, Batch, segment_name, walk

ASKED = (
    "truncate, zero, flip, garbage at every byte of the last 64 KiB of a segment and of the cursor file: "
    "262,144 walks and reads, every 61st of the segments recovered on files: 0 crashes, the exact prefix, and it is "
    "said that something was torn exactly where it was"
)
SIZE, SIZE_DEEP = 64 << 10, 1 << 20  # bytes of the segment's tail
RECOVERED = 61  # a prime, so that every place in a header and in a record has its turn
STREAMS = 21  # of four feeds
MAGIC = 4  # bytes that a file must have left of a batch for anybody to see that one was meant to be there
NAMED = 24  # bytes of a batch's header that name it: magic, CRC, length, count, segment


def run(size: int, seed: int) -> Outcome:
    with folders() as (_, memory):
        walks, wrong_walks = _damage_segment(memory, size)
        recoveries, wrong_recoveries = _recover_files(memory, size)
        cursors, wrong_cursors = _damage_cursor(memory)
    wrong = wrong_walks + wrong_recoveries + wrong_cursors
    return Outcome(
        f"{walks:,} damaged segments and {cursors:,} damaged cursor files read, {recoveries:,} of the segments also "
        f"recovered on files: 0 crashes, {wrong} not the exact prefix, or not told as torn",
        good=wrong == 0 and walks == 4 * size,
    )


def _damage_segment(folder: Path, size: int) -> tuple[int, int]:
    """How many were walked, and how many of them not to exactly what is whole."""
    data, batches = test_segment.filled(folder / "x.seg", size)
    walks = wrong = 0
    for damage in test_segment.DAMAGES:
        for at in range(len(data) - size, len(data)):
            damaged = damage(data, at)
            expected = test_segment.whole_in(batches, data, damaged, at)
            walked = walk(damaged, test_segment.NUMBER)
            end = expected[-1].end if expected else HEADER_SIZE
            wrong += walked.batches != expected or walked.end != end
            walks += 1
    return walks, wrong


def _recover_files(folder: Path, size: int) -> tuple[int, int]:
    directory = folder / "journal"
    directory.mkdir()
    files, path = Files(), directory / segment_name(test_segment.NUMBER)
    data, batches = test_segment.filled(folder / "y.seg", size)
    recoveries = wrong = 0
    for damage in test_segment.DAMAGES:
        for at in range(len(data) - size, len(data), RECOVERED):
            damaged = damage(data, at)
            path.write_bytes(damaged)
            expected = test_segment.whole_in(batches, data, damaged, at)
            for first in (True, False):
                found = recover(files, directory)
                assert found.writer is not None
                found.writer.close()
                wrong += found.writer.batches != expected
                wrong += (found.torn is not None) not in (_torn(batches, data, damaged, expected) if first else {False})
                recoveries += 1
            wrong += list(verify(files, directory)) != []
            for left in list(directory.iterdir()):
                left.unlink()
    return recoveries, wrong


def _torn(batches: list[Batch], data: bytes, damaged: bytes, expected: list[Batch]) -> set[bool]:
    """What recovery may say of a tail. Where what names a batch as one of this segment is still there behind the whole
    ones, it must say that it was torn; where nothing is there but zeros, it must not."""
    end = expected[-1].end if expected else HEADER_SIZE
    behind = [batch.offset for batch in batches if end <= batch.offset <= len(damaged) - MAGIC]
    if any(damaged[at : at + NAMED] == data[at : min(at + NAMED, len(damaged))] for at in behind):
        return {True}
    return {True, False} if damaged[end:].strip(b"\0") else {False}


def _damage_cursor(folder: Path) -> tuple[int, int]:
    """The newest slot is the file's second half, its last 64 KiB."""
    saved = [
        {f"feed-{number}.quote": Position(9, 100 * generation) for number in range(STREAMS)} for generation in (1, 2, 3)
    ]
    path = folder / "x.cursor"
    cursor = CursorFile(path, Files())
    for positions in saved:
        cursor.save(positions)
    cursor.close()
    data = path.read_bytes()
    data += bytes(2 * SLOT_SIZE - len(data))  # as a file system may have grown it
    slot = pack_slot(3, saved[2])
    assert data[SLOT_SIZE : SLOT_SIZE + len(slot)] == slot
    read = wrong = 0
    for damage in test_segment.DAMAGES:
        for at in range(SLOT_SIZE, 2 * SLOT_SIZE):
            damaged = damage(data, at)
            whole = damaged[SLOT_SIZE : SLOT_SIZE + len(slot)] == slot
            wrong += newest(damaged)[1] != saved[2 if whole else 1]
            read += 1
    return read, wrong
