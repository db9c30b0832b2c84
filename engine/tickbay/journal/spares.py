"""Segment files made in advance, so that beginning a segment allocates nothing and finds its blocks written.

A sync of blocks that were written before costs half of one that must also tell the file system so. Files of segments
that are not needed any more come back here; until there are such, new ones are written in small steps while the
journal has nothing else to do.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tickbay.files import Files, write_all

STEP = 1 << 20  # bytes written and synced at a time: a few milliseconds, during which no commit can happen
_ZEROS = bytes(STEP)
SUFFIX = ".spare"
UNFINISHED = ".spare-new"


class Spares:
    """The spare files in the journal's directory, at most `most` of `size` bytes each."""

    def __init__(self, files: Files, directory: Path, *, size: int, most: int) -> None:
        self._files = files
        self._directory = directory
        self._size = size
        self._most = most
        self._ready: list[Path] = []
        self._unfinished: Path | None = None
        self._written = 0  # bytes of the unfinished one
        self._named = 0
        for name in sorted(files.names(directory)):
            if name.endswith(SUFFIX):
                self._adopt(directory / name)

    def _adopt(self, path: Path) -> None:
        fd = self._files.open(path, os.O_RDONLY)
        try:
            fits = self._files.size(fd) == self._size
        finally:
            self._files.close(fd)
        if fits and len(self._ready) < self._most:
            self._ready.append(path)
        else:
            self._files.unlink(path)

    @property
    def bytes(self) -> int:
        return (len(self._ready) + (self._unfinished is not None)) * self._size

    @property
    def ready(self) -> bool:
        """Whether take() has one."""
        return bool(self._ready)

    def _name(self, suffix: str) -> Path:
        taken = {path.stem for path in self._ready}
        while True:
            self._named += 1
            path = self._directory / f"{self._named:06d}{suffix}"
            if path.stem not in taken:
                return path

    def take(self) -> Path | None:
        """A spare file, not a spare any more; None where there is none."""
        return self._ready.pop() if self._ready else None

    def recycle(self, path: Path, size: int) -> None:
        """Take over a segment file that is not needed any more, or remove it. OSError: it is still there."""
        if size == self._size and len(self._ready) < self._most:
            spare = self._name(SUFFIX)
            self._files.rename(path, spare)
            self._ready.append(spare)
        else:
            self._files.unlink(path)

    @property
    def wanted(self) -> bool:
        """Whether step() has something to do."""
        return len(self._ready) < self._most

    def step(self) -> None:
        """Go on making a spare file; at most STEP bytes. OSError: what was begun is dropped."""
        if not self.wanted:
            return
        path, self._unfinished = self._unfinished or self._name(UNFINISHED), None
        try:
            done = self._extend(path)
        except OSError:
            self._written = 0
            with suppress(OSError):  # the next start removes it
                self._files.unlink(path)
            raise
        if done:
            self._written = 0  # also where the rename fails: the next one begins at its beginning
            spare = path.with_suffix(SUFFIX)
            self._files.rename(path, spare)
            self._ready.append(spare)
        else:
            self._unfinished = path

    def _extend(self, path: Path) -> bool:
        fd = self._files.open(path, os.O_WRONLY | os.O_CREAT)
        try:
            if self._written == 0:
                self._files.fallocate(fd, 0, self._size)
            chunk = memoryview(_ZEROS)[: self._size - self._written]
            write_all(self._files, fd, [chunk], self._written)
            self._files.fdatasync(fd)
        finally:
            self._files.close(fd)
        self._written += len(chunk)
        return self._written == self._size
