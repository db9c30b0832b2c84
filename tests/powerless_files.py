"""A disk that forgets what was not synced: the real files, and beside them what a power cut would leave.

The model is harsher than a real file system: of the unsynced 512-byte blocks of a file any subset may have reached
the disk, its size may or may not have grown, and of the names created, renamed and removed since the directory was
synced, any first part.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tickbay.files import Files

BLOCK = 512


@dataclass(eq=False)
class Image:
    """One file: as programs see it, and as it certainly is on the disk."""

    live: bytearray = field(default_factory=bytearray)
    synced: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)  # blocks

    def write(self, data: bytes, offset: int) -> None:
        end = offset + len(data)
        if len(self.live) < end:
            self.live.extend(bytes(end - len(self.live)))
        self.live[offset:end] = data
        self.dirty.update(range(offset // BLOCK, (end - 1) // BLOCK + 1))

    def sync(self) -> None:
        self.synced = bytearray(self.live)
        self.dirty.clear()

    def after_power_cut(self, chance: random.Random) -> bytes:
        data = bytearray(self.synced)
        size = chance.choice((len(self.synced), len(self.live)))
        data = data[:size] + bytes(max(0, size - len(data)))
        survive = chance.choice((0.0, 0.5, 0.9, 1.0))
        for block in sorted(self.dirty):
            if chance.random() < survive:
                part = self.live[block * BLOCK : (block + 1) * BLOCK]
                part = part[: max(0, size - block * BLOCK)]
                data[block * BLOCK : block * BLOCK + len(part)] = part
        return bytes(data)


class PowerlessFiles(Files):
    """For one directory that is empty in the beginning; other paths are as always."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names: dict[str, Image] = {}
        self._synced_names: dict[str, Image] = {}
        self._since: list[Callable[[dict[str, Image]], object]] = []  # changes of names since the last sync
        self._open: dict[int, Image] = {}

    def _change(self, change: Callable[[dict[str, Image]], object]) -> None:
        change(self._names)
        self._since.append(change)

    def open(self, path: Path, flags: int) -> int:
        fd = super().open(path, flags)
        if path.parent == self._directory:
            if path.name not in self._names:
                image = Image()
                self._change(lambda names: names.__setitem__(path.name, image))
            self._open[fd] = self._names[path.name]
            if flags & os.O_TRUNC:
                self._open[fd].live.clear()
                self._open[fd].dirty.clear()
        return fd

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        super().close(fd)

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        written = super().pwritev(fd, buffers, offset)
        if fd in self._open:
            self._open[fd].write(b"".join(bytes(buffer) for buffer in buffers)[:written], offset)
        return written

    def fdatasync(self, fd: int) -> None:
        super().fdatasync(fd)
        if fd in self._open:
            self._open[fd].sync()

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        super().fallocate(fd, offset, length)
        if fd in self._open:
            image = self._open[fd]
            image.live.extend(bytes(max(0, offset + length - len(image.live))))

    def truncate(self, fd: int, length: int) -> None:
        super().truncate(fd, length)
        if fd in self._open:
            del self._open[fd].live[length:]

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        if new.parent == self._directory:
            self._change(lambda names: names.__setitem__(new.name, names.pop(old.name)))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        if path.parent == self._directory:
            self._change(lambda names: names.pop(path.name))

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        if path == self._directory:
            self._synced_names = dict(self._names)
            self._since.clear()

    def cut_power(self, chance: random.Random) -> dict[str, bytes]:
        """The files that the next boot finds. Whoever had some open has them no more."""
        for fd in list(self._open):
            self.close(fd)
        names = dict(self._synced_names)
        for change in self._since[: chance.randint(0, len(self._since))]:
            change(names)
        return {name: image.after_power_cut(chance) for name, image in names.items()}
