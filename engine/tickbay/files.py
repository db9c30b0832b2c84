"""The file operations of what must survive a crash: the journal and the cursors do every one of theirs through this.

They are thin on purpose: tests replace `Files` by one that fails at a chosen call, or that forgets what was not
synced, and so run the real journal through a full disk, a broken disk and a power cut.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

# pwritev() takes at most IOV_MAX buffers, 1024 on Linux.
BUFFERS_MAX = 1024


class Files:
    """The real disk. Every method raises OSError as the system call does."""

    def open(self, path: Path, flags: int) -> int:
        """Open with `flags` and what all our files have: 0600, never through a link, never inherited by a child."""
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def close(self, fd: int) -> None:
        os.close(fd)

    def preadv(self, fd: int, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        return os.preadv(fd, buffers, offset)

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        """As the system call: may write less than all."""
        return os.pwritev(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        """Reserve blocks, growing the file. Not ftruncate(): that succeeds on a full disk and the write fails later."""
        os.posix_fallocate(fd, offset, length)

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def sync_directory(self, path: Path) -> None:
        """Make what was created, renamed and removed in a directory survive a power cut."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self, path: Path) -> int:
        """What we may still write on the disk of `path`."""
        disk = os.statvfs(path)
        return disk.f_bavail * disk.f_frsize

    def names(self, path: Path) -> dict[str, int]:
        """What lies in a directory: name → inode, by which a file is told from a newer one of the same name."""
        with os.scandir(path) as entries:
            return {entry.name: entry.inode() for entry in entries}

    def exists(self, path: Path) -> bool:
        return path.exists()

    def size(self, fd: int) -> int:
        """Bytes of an open regular file; OSError for anything else (a pipe would block us)."""
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return status.st_size


def write_all(files: Files, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
    """Write all of `buffers` (flat bytes) at `offset`, however the system call splits them; returns how many bytes."""
    total = 0
    index, skip = 0, 0  # the first buffer that is not wholly written, and how much of it is
    while index < len(buffers):
        batch = list(buffers[index : index + BUFFERS_MAX])
        if skip:
            batch[0] = memoryview(batch[0])[skip:]
        written = files.pwritev(fd, batch, offset + total)
        if written <= 0:
            raise OSError(errno.EIO, "the disk wrote nothing")
        total += written
        skip += written
        while index < len(buffers) and skip >= len(buffers[index]):
            skip -= len(buffers[index])
            index += 1
    return total


def read_all(files: Files, fd: int, length: int, offset: int) -> bytearray:
    """The bytes at `offset`, up to `length` of them: fewer at the end of the file."""
    data = bytearray(length)
    view = memoryview(data)
    got = 0
    while got < length:
        count = files.preadv(fd, [view[got:]], offset + got)
        if count == 0:
            break
        got += count
    view.release()
    del data[got:]
    return data
