"""How far a sink has committed each stream: `data/cursors/<sink>.cursor`.

The sink's writer saves it after each commit; the journal reads it to know which segments may go (JRNL-3). For Timescale
the cursor that decides is the row in the database (SINK-1) and this file only its copy, for QuestDB it is the cursor.

A file is two slots, written in turn and synced. Each slot has a generation and a CRC: a reader takes the newest slot
that is whole, so a save that is cut off anywhere leaves the one before it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tickbay._native import crc32c
from tickbay.errors import JournalFault
from tickbay.files import Files, read_all, write_all


class Position(NamedTuple):
    """The last record taken of a stream, ordered as a pair: a journal that was wiped has a greater epoch."""

    epoch: int
    seq: int


START = Position(0, 0)  # before the first record of any journal

SLOT_SIZE = 64 << 10  # room for 1,364 streams, of 272 feeds; a multiple of any disk's block
SLOTS = 2
_MAGIC = 0x3130525543424B54  # "TKBCUR01"
# magic, CRC-32C of everything behind it, entries, generation
_SLOT = struct.Struct("<QIIQ")
_CRC_FROM = 12
# stream, epoch, zero, seq
_ENTRY = struct.Struct("<32sIIQ")
STREAMS_MAX = (SLOT_SIZE - _SLOT.size) // _ENTRY.size


def pack_slot(generation: int, positions: Mapping[str, Position]) -> bytes:
    """One slot. JournalFault where there are more streams than a slot holds or a name is too long."""
    if len(positions) > STREAMS_MAX:
        raise JournalFault(f"a cursor file holds {STREAMS_MAX} streams, not {len(positions)}: record with fewer feeds")
    entries = bytearray()
    for stream, position in sorted(positions.items()):
        name = stream.encode()
        if len(name) > 32:
            raise JournalFault(f"the stream name {stream!r} is longer than 32 bytes")
        entries += _ENTRY.pack(name, position.epoch, 0, position.seq)
    body = struct.pack("<IQ", len(positions), generation) + entries
    return struct.pack("<QI", _MAGIC, crc32c(body)) + body


def unpack_slot(data: bytes | bytearray | memoryview) -> tuple[int, dict[str, Position]] | None:
    """(generation, positions), or None where the bytes are no whole slot. Trusts nothing."""
    if len(data) < _SLOT.size:
        return None
    magic, crc, count, generation = _SLOT.unpack_from(data)
    if magic != _MAGIC or count > (len(data) - _SLOT.size) // _ENTRY.size:
        return None
    end = _SLOT.size + count * _ENTRY.size
    if crc32c(bytes(data[_CRC_FROM:end])) != crc:
        return None
    positions = {}
    for name, epoch, _, seq in _ENTRY.iter_unpack(bytes(data[_SLOT.size : end])):
        positions[name.rstrip(b"\0").decode(errors="replace")] = Position(epoch, seq)
    return generation, positions


def newest(data: bytes | bytearray) -> tuple[int, dict[str, Position]]:
    """The newest whole slot of a file's bytes; generation 0 and nothing where there is none."""
    best: tuple[int, dict[str, Position]] = (0, {})
    for slot in range(SLOTS):
        found = unpack_slot(memoryview(data)[slot * SLOT_SIZE : (slot + 1) * SLOT_SIZE])
        if found is not None and found[0] > best[0]:
            best = found
    return best


def read_cursor(path: Path, files: Files) -> dict[str, Position]:
    """What a sink has committed, for who only looks: no file is nothing committed. OSError where the disk fails."""
    try:
        fd = files.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return {}
    try:
        return newest(read_all(files, fd, SLOTS * SLOT_SIZE, 0))[1]
    finally:
        files.close(fd)


class CursorFile:
    """A sink's own cursor file, made if it is new. Used by one process: its writer. Only `tickbay restore` writes it
    beside that; then what the writer knows is of a database that is no more, and renewed() tells it so.
    """

    def __init__(self, path: Path, files: Files) -> None:
        self._files = files
        self._fd = files.open(path, os.O_RDWR | os.O_CREAT)
        self._generation, self.positions = self._read()
        files.sync_directory(path.parent)

    def _read(self) -> tuple[int, dict[str, Position]]:
        return newest(read_all(self._files, self._fd, SLOTS * SLOT_SIZE, 0))

    def renewed(self) -> bool:
        """Whether somebody else has saved since we read or saved it; then his positions are ours. OSError."""
        generation, positions = self._read()
        if generation <= self._generation:
            return False
        self._generation, self.positions = generation, positions
        return True

    def save(self, positions: Mapping[str, Position]) -> None:
        """Replace what is stored, durably, unless somebody else has, until renewed() has told of it. After an OSError
        the older slot still holds; save again."""
        if self._read()[0] > self._generation:
            return
        slot = pack_slot(self._generation + 1, positions)
        # The slot that is not the newest is overwritten, so one whole slot exists at every moment.
        write_all(self._files, self._fd, [slot], (self._generation + 1) % SLOTS * SLOT_SIZE)
        self._files.fdatasync(self._fd)
        self._generation += 1
        self.positions = dict(positions)

    def close(self) -> None:
        self._files.close(self._fd)
