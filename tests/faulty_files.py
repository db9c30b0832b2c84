"""A disk that fails on purpose, for the real code of the journal and the cursors."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tickbay.files import Files

# Every operation that changes the disk, by the name of its method.
CHANGES = ("open", "pwritev", "fdatasync", "fallocate", "truncate", "rename", "unlink", "sync_directory")


class FaultyFiles(Files):
    """Fails the calls that `fails(operation, number)` picks; `number` counts the calls of all CHANGES from 1."""

    def __init__(
        self, fails: Callable[[str, int], bool] = lambda operation, number: False, error: int = errno.EIO
    ) -> None:
        self.fails = fails
        self.error = error
        self.calls: list[str] = []
        self.failed: list[str] = []

    def _call(self, operation: str) -> None:
        self.calls.append(operation)
        if self.fails(operation, len(self.calls)):
            self.failed.append(operation)
            raise OSError(self.error, os.strerror(self.error))

    def open(self, path: Path, flags: int) -> int:
        if flags & (os.O_CREAT | os.O_TRUNC):
            self._call("open")
        return super().open(path, flags)

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        try:
            self._call("pwritev")
        except OSError:
            # A failed write may have written some of it.
            whole = b"".join(bytes(buffer) for buffer in buffers)
            os.pwrite(fd, whole[: len(whole) // 2], offset)
            raise
        return super().pwritev(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        self._call("fdatasync")
        super().fdatasync(fd)

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        self._call("fallocate")
        super().fallocate(fd, offset, length)

    def truncate(self, fd: int, length: int) -> None:
        self._call("truncate")
        super().truncate(fd, length)

    def rename(self, old: Path, new: Path) -> None:
        self._call("rename")
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        super().unlink(path)

    def sync_directory(self, path: Path) -> None:
        self._call("sync_directory")
        super().sync_directory(path)


class DribblingFiles(Files):
    """Writes and reads at most a few bytes at a time, as a system call may."""

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        return os.pwrite(fd, bytes(buffers[0])[:7], offset)

    def preadv(self, fd: int, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        return os.preadv(fd, [memoryview(buffers[0])[:7]], offset)


def is_nth(nth: int, _: str, number: int) -> bool:
    """For FaultyFiles, as a partial: only the nth call fails."""
    return number == nth
