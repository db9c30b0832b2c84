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
from tickbay.journal.segment import HEADER_SIZE, segment_name, walk

ASKED = (
    "truncate, zero, flip, garbage at every byte of the last 64 KiB of a segment and of the cursor file: "
    "262,144 recoveries each, 0 crashes, the exact prefix"
)
SIZE, SIZE_DEEP = 64 << 10, 1 << 20  # bytes of the segment's tail
RECOVERED = 61  # a prime, so that every place in a header and in a record has its turn
STREAMS = 21  # of four feeds


def run(size: int, seed: int) -> Outcome:
    with folders() as (_, memory):
        walks, wrong_walks = _damage_segment(memory, size)
        recoveries, wrong_recoveries = _recover_files(memory, size)
        cursors, wrong_cursors = _damage_cursor(memory)
    wrong = wrong_walks + wrong_recoveries + wrong_cursors
    return Outcome(
        f"{walks:,} damaged segments and {cursors:,} damaged cursor files read, {recoveries:,} of the segments also "
        f"recovered on files: 0 crashes, {wrong} not the exact prefix",
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
            for _ in range(2):
                found = recover(files, directory)
                assert found.writer is not None
                found.writer.close()
                wrong += found.writer.batches != expected
                recoveries += 1
            wrong += list(verify(files, directory)) != []
            for left in list(directory.iterdir()):
                left.unlink()
    return recoveries, wrong


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
