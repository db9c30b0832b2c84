"""Frames that could not be decoded, kept whole in a bounded file, so that a person can see what the venue sent.

In: a frame's bytes, when it came and why it was refused. Out: `quarantine/<feed>.frames` and, when that is full, the
half before it in `<feed>.frames.1`. One feed process writes; anyone may read with read_entries().

An entry is a header, the reason, the frame, and a CRC-32 of all of them. Little-endian, no padding:

    magic "TBQ1" · frame bytes u32 · recv_ns i64 · reason bytes u16 · reason (ASCII) · frame · crc u32

QUAR-1: a frame is kept byte for byte or not at all; what a crash cut off is dropped at the next opening, never read.
QUAR-2: both files together never exceed `bytes_max`; the oldest half goes first.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"TBQ1"
REASON_BYTES_MAX = 200

_HEADER = struct.Struct("<4sIqH")
_CRC = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Entry:
    recv_ns: int  # our clock, when the frame came
    reason: str
    frame: bytes


class Quarantine:
    """The writing side. `bytes_max` bounds both files together; half of it must hold the largest frame."""

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        """Open or make the file. OSError as the system gives it."""
        self.path = path
        self.kept = 0
        self.unkept = 0  # refused by the disk, or larger than half of `bytes_max`
        self._half_bytes = bytes_max // 2
        self._descriptor = -1
        self._size_bytes = 0
        self._open()

    def keep(self, frame: bytes, *, recv_ns: int, reason: str) -> bool:
        """Append one frame. False, and counted, when it cannot be kept: the disk is no reason to stop capturing."""
        entry = _pack(frame, recv_ns, reason)
        try:
            if len(entry) > self._half_bytes:
                self.unkept += 1
                return False
            if self._size_bytes + len(entry) > self._half_bytes:  # QUAR-2
                self._rotate()
            written = os.pwrite(self._descriptor, entry, self._size_bytes)
        except OSError:
            written = 0
        if written != len(entry):  # QUAR-1: the next entry overwrites what was written of this one
            self.unkept += 1
            return False
        self._size_bytes += written
        self.kept += 1
        return True

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o600)
        self._size_bytes = sum(_entry_bytes(entry) for entry in read_entries(self.path))
        os.ftruncate(self._descriptor, self._size_bytes)  # QUAR-1

    def _rotate(self) -> None:
        self.close()
        self.path.replace(rotated(self.path))
        self._open()


def rotated(path: Path) -> Path:
    """Where the older half lies."""
    return path.with_name(path.name + ".1")


def read_entries(path: Path) -> Iterator[Entry]:
    """The entries of one file, oldest first, up to the first that is not whole."""
    with path.open("rb") as file:
        while True:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return
            magic, frame_bytes, recv_ns, reason_bytes = _HEADER.unpack(header)
            if magic != MAGIC:
                return
            body = file.read(reason_bytes + frame_bytes)
            crc = file.read(_CRC.size)
            if len(crc) < _CRC.size or _CRC.unpack(crc)[0] != zlib.crc32(body, zlib.crc32(header)):
                return
            yield Entry(recv_ns, body[:reason_bytes].decode("ascii", "replace"), body[reason_bytes:])


def _pack(frame: bytes, recv_ns: int, reason: str) -> bytes:
    text = reason.encode("ascii", "replace")[:REASON_BYTES_MAX]
    entry = _HEADER.pack(MAGIC, len(frame), recv_ns, len(text)) + text + frame
    return entry + _CRC.pack(zlib.crc32(entry))


def _entry_bytes(entry: Entry) -> int:
    return _HEADER.size + len(entry.reason.encode()) + len(entry.frame) + _CRC.size
