"""A disk in memory that behaves as badly as a real one may: what was not synced is lost in any part or order when the
power goes, a failed sync loses what it was to write and never says so again, writes are short, it fails and fills up.

The model of power loss is harsher than a real file system: of the unsynced 512-byte blocks of a file any subset may
have reached the disk, its size may or may not have grown, and of the names created, renamed and removed since the
directory was synced, any first part.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simulation.world import Dead, Process, World
from tickbay.files import Files

BLOCK = 512
SHORT = 0.01  # how often a write is cut short
SLOW_S = 0.5  # what a call takes on average while the disk is slow
CHANGES = ("open", "pwritev", "fdatasync", "fallocate", "truncate", "rename", "unlink", "sync_directory")


@dataclass(eq=False)
class Inode:
    """One file: as programs see it, and as it certainly is on the disk."""

    number: int
    live: bytearray = field(default_factory=bytearray)
    synced: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)  # blocks that the next sync writes
    version: int = 0  # of `live`
    lost: set[int] = field(default_factory=set)  # blocks that a failed sync has not written, and no other will

    def write(self, data: bytes | memoryview, offset: int) -> None:
        end = offset + len(data)
        self.version += 1
        if len(self.live) < end:
            self.live.extend(bytes(end - len(self.live)))
        self.live[offset:end] = data
        blocks = range(offset // BLOCK, (end - 1) // BLOCK + 1)
        self.dirty.update(blocks)
        self.lost.difference_update(blocks)

    def resize(self, length: int) -> None:
        self.version += 1
        del self.live[length:]
        self.live.extend(bytes(length - len(self.live)))

    def sync(self) -> None:
        synced = bytearray(self.live)
        for block in self.lost:
            old = bytes(self.synced[block * BLOCK : (block + 1) * BLOCK])
            size = len(synced[block * BLOCK : (block + 1) * BLOCK])
            synced[block * BLOCK : block * BLOCK + size] = old[:size].ljust(size, b"\0")
        self.synced = synced
        self.dirty.clear()

    def fail_sync(self, chance: random.Random) -> None:
        """Some of it was written. The kernel calls all of it clean."""
        lost = {block for block in self.dirty if chance.random() < 0.7}
        self.dirty -= lost
        self.lost |= lost
        self.sync()

    def lose_power(self, chance: random.Random) -> None:
        data = bytearray(self.synced)
        size = chance.choice((len(self.synced), len(self.live)))
        data = data[:size] + bytes(max(0, size - len(data)))
        survive = chance.choice((0.0, 0.5, 0.9, 1.0))
        for block in sorted(self.dirty):
            if chance.random() < survive:
                part = self.live[block * BLOCK : (block + 1) * BLOCK][: max(0, size - block * BLOCK)]
                data[block * BLOCK : block * BLOCK + len(part)] = part
        self.live, self.synced = data, bytearray(data)
        self.version += 1
        self.dirty.clear()
        self.lost.clear()


Names = dict[str, Inode]


@dataclass
class Directory:
    names: Names = field(default_factory=dict)
    synced: Names = field(default_factory=dict)
    since: list[Callable[[Names], object]] = field(default_factory=list)  # changes of names since the last sync

    def change(self, change: Callable[[Names], object]) -> None:
        change(self.names)
        self.since.append(change)

    def sync(self) -> None:
        self.synced = dict(self.names)
        self.since.clear()

    def lose_power(self, chance: random.Random) -> None:
        self.names = dict(self.synced)
        for change in self.since[: chance.randint(0, len(self.since))]:
            change(self.names)
        for inode in self.names.values():
            inode.lose_power(chance)
        self.sync()


@dataclass
class Trouble:
    """Calls of these names fail, so many of them."""

    calls: tuple[str, ...]
    error: int
    left: int


def split(path: Path) -> tuple[str, str]:
    """Directory and name: the directories here are told apart by their last name, which is quick."""
    _, directory, name = str(path).rsplit("/", 2)
    return directory, name


class Disk:
    """What outlives every process. `capacity` in bytes."""

    def __init__(self, chance: random.Random, directories: Sequence[str], *, capacity: int = 1 << 40) -> None:
        self.capacity = capacity
        self.ballast = 0  # bytes that somebody else has written
        self.slow = False
        self.trouble: Trouble | None = None
        self.boots = 0
        self.trap: tuple[str, Callable[[], None]] | None = None  # at which call of the journal, what
        self.removing: Callable[[str, Inode], None] = lambda name, inode: None  # is told of a name that goes
        self.chance = chance
        self.directories = {name: Directory() for name in directories}
        self._inodes = 0

    def create(self, path: Path) -> Inode:
        self._inodes += 1
        inode = Inode(self._inodes)
        directory, name = split(path)
        self.directories[directory].change(lambda names: names.__setitem__(name, inode))
        return inode

    def find(self, path: Path) -> Inode:
        directory, name = split(path)
        inode = self.directories[directory].names.get(name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return inode

    @property
    def free(self) -> int:
        used = sum(len(inode.live) for each in self.directories.values() for inode in each.names.values())
        return max(0, self.capacity - self.ballast - used)

    def check_space(self, inode: Inode, end: int) -> None:
        if end > len(inode.live) and end - len(inode.live) > self.free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fails(self, call: str) -> int:
        """The error of this call, 0 where it goes well."""
        if self.trouble is None or call not in self.trouble.calls:
            return 0
        error = self.trouble.error
        self.trouble.left -= 1
        if self.trouble.left == 0:
            self.trouble = None
        return error

    def lose_power(self) -> None:
        self.boots += 1
        for directory in self.directories.values():
            directory.lose_power(self.chance)


class VirtualFiles(Files):
    """The disk as one process sees it. Directories that are not on it are real (the rings')."""

    def __init__(self, disk: Disk, world: World, process: Process, *, called: Callable[[], None] | None = None) -> None:
        """`called` is told before every call."""
        self._disk = disk
        self._world = world
        self._process = process
        self._called = called
        self._open: dict[int, Inode] = {}
        self._fds = 2

    def _call(self, call: str) -> None:
        if not self._process.alive:
            raise Dead
        if self._called is not None:
            self._called()
        self._world.call(self._process)
        if self._disk.slow:
            self._world.sleep(self._disk.chance.expovariate(1 / SLOW_S))
        if self._disk.trap is not None and self._disk.trap[0] == call and self._process.name == "journal":
            (_, spring), self._disk.trap = self._disk.trap, None
            spring()
            if not self._process.alive:
                raise Dead
        error = self._disk.fails(call)
        if error:
            self._world.note(f"{self._process.name}: {call} fails: {errno.errorcode[error]}")
            raise OSError(error, os.strerror(error))

    def open(self, path: Path, flags: int) -> int:
        if flags & (os.O_CREAT | os.O_TRUNC):
            self._call("open")
        elif not self._process.alive:
            raise Dead
        directory, name = split(path)
        inode = self._disk.directories[directory].names.get(name)
        if inode is None:
            inode = self._disk.create(path) if flags & os.O_CREAT else self._disk.find(path)
        if flags & os.O_TRUNC:
            inode.live.clear()
            inode.dirty.clear()
        self._fds += 1
        self._open[self._fds] = inode
        return self._fds

    def close(self, fd: int) -> None:
        if not self._process.alive:
            raise Dead
        del self._open[fd]

    def preadv(self, fd: int, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        self._call("preadv")
        live, got = self._open[fd].live, 0
        for buffer in buffers:
            part = live[offset + got : offset + got + len(buffer)]
            buffer[: len(part)] = part
            got += len(part)
        return got

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        data = b"".join(bytes(buffer) for buffer in buffers)
        inode, chance = self._open[fd], self._disk.chance
        alive, boots = self._process.alive, self._disk.boots
        try:
            self._call("pwritev")
        except (OSError, Dead):
            if alive and self._disk.boots == boots:  # it failed, or the process died, somewhere in the middle
                inode.write(data[: chance.randrange(len(data) + 1)], offset)
            raise
        if chance.random() < SHORT:
            data = data[: chance.randint(1, len(data))]
        self._disk.check_space(inode, offset + len(data))
        inode.write(data, offset)
        return len(data)

    def fdatasync(self, fd: int) -> None:
        inode = self._open[fd]
        try:
            self._call("fdatasync")
        except OSError:
            inode.fail_sync(self._disk.chance)
            raise
        inode.sync()

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        self._call("fallocate")
        inode = self._open[fd]
        self._disk.check_space(inode, offset + length)
        if offset + length > len(inode.live):
            inode.resize(offset + length)

    def truncate(self, fd: int, length: int) -> None:
        self._call("truncate")
        self._open[fd].resize(length)

    def rename(self, old: Path, new: Path) -> None:
        self._call("rename")
        self._disk.removing(old.name, self._disk.find(old))
        (directory, before), (_, after) = split(old), split(new)
        self._disk.directories[directory].change(lambda names: names.__setitem__(after, names.pop(before)))

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        self._disk.removing(path.name, self._disk.find(path))
        directory, name = split(path)
        self._disk.directories[directory].change(lambda names: names.pop(name))

    def sync_directory(self, path: Path) -> None:
        self._call("sync_directory")
        self._disk.directories[path.name].sync()

    def free_bytes(self, path: Path) -> int:
        return self._disk.free

    def names(self, path: Path) -> dict[str, int]:
        directory = self._disk.directories.get(path.name)
        if directory is None:
            return super().names(path)
        return {name: inode.number for name, inode in sorted(directory.names.items())}

    def exists(self, path: Path) -> bool:
        directory, name = split(path)
        return name in self._disk.directories[directory].names

    def size(self, fd: int) -> int:
        return len(self._open[fd].live)
