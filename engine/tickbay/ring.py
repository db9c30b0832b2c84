"""Named ring files and their lifetime: made by the journal, attached by everyone.

native/ring.h is the manual of what happens inside. Here a ring gets its file: on a tmpfs, 0600, every page allocated at
once (a page that cannot be had later would be a SIGBUS), filled in under another name and then renamed, so that nobody
attaches to half a ring.

RING-1: `read()` gives whole records or raises Lapped, and the caller reads on from the journal at the same sequence.
RING-2: `append()` is refused (RingFull) only when the journal is behind; there is one producer.
RING-3: `attach()` trusts neither the file's kind, size nor content.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tickbay import _native
from tickbay.errors import RingFault
from tickbay.record import DTYPES, Kind, Records

SEQ_MAX = 2**64 - 1
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class RingMissing(RingFault):
    """There is no such ring yet, or it is being made: the journal makes rings, so try again."""


class RingFull(RingFault):
    """Producer: no space for these records; the journal is behind."""


class Lapped(RingFault):
    """Reader: what was asked for has been overwritten; read it from the journal."""

    def __init__(self, seq: int, oldest: int) -> None:
        super().__init__(f"sequence {seq} is no longer in the ring, which begins at {oldest}: read it from the journal")
        self.seq = seq
        self.oldest = oldest


@dataclass(frozen=True, slots=True)
class RingIdentity:
    stream: str
    boot_id: str
    kind: Kind
    capacity: int  # slots
    producer_pid: int  # 0: none yet
    producer_start_time: int  # clock ticks after boot
    conn: int  # connection epoch stored last


def create(path: Path, kind: Kind, slots: int, *, stream: str, boot_id: str, epoch: int, first_seq: int) -> None:
    """Journal: make a new ring, whose first record will be `first_seq`, in place of any older file at `path`.

    Who has the older file mapped keeps it, and a producer of it writes where nobody reads: replace only the ring of a
    producer that is dead. RingFault where the directory or the space for it is missing.
    """
    size = _native.ring_file_size(kind, slots)
    if size == 0:
        raise RingFault(f"a {kind.name.lower()} ring of {slots} slots cannot be made: give a power of two from 512 on")
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            memory = _native.Ring(descriptor, size)
            result = memory.create(kind, slots, stream, boot_id, epoch, first_seq)
            assert result == _native.RING_OK, f"ring_create() of {stream}: {result}"
        finally:
            os.close(descriptor)
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RingFault(_explain(error, path, size)) from error


def _explain(error: OSError, path: Path, size: int) -> str:
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.ENOMEM):
        disk = os.statvfs(path.parent)
        free = disk.f_bavail * disk.f_frsize
        return (
            f"no space for ring {path.name}: it needs {size:,} bytes and {path.parent} has {free:,} free; "
            "enlarge that tmpfs or set fewer slots under [ring]"
        )
    return f"ring {path} cannot be made or opened: {error.strerror}"


class Ring:
    """One process's view of a ring. Only the journal sets durable and epoch, only the producer appends."""

    def __init__(self, memory: _native.Ring, path: Path, kind: Kind) -> None:
        self.native = memory  # what FeedListener takes
        self.path = path
        self.kind = kind
        self.dtype = DTYPES[kind]
        self.capacity = memory.capacity

    @classmethod
    def attach(cls, path: Path, kind: Kind) -> Ring:
        """RingMissing where it is worth trying again, RingFault where the file is no ring of this kind and layout."""
        try:
            descriptor = os.open(path, _FLAGS)
        except FileNotFoundError:
            raise RingMissing(f"ring {path} does not exist: is the journal process running?") from None
        except OSError as error:
            raise RingFault(_explain(error, path, 0)) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                raise RingFault(f"{path} is not a file of ours")
            memory = _native.Ring(descriptor, status.st_size)
        except ValueError as error:
            raise RingFault(f"{path} is no ring: {error}") from error
        except OSError as error:
            raise RingFault(_explain(error, path, status.st_size)) from error
        finally:
            os.close(descriptor)
        result = memory.attach(kind)
        if result == _native.RING_NOT_YET:
            raise RingMissing(f"ring {path} is still being made")
        if result != _native.RING_OK:
            raise RingFault(f"{path} is no {kind.name.lower()} ring of this version: the journal makes a new one")
        return cls(memory, path, kind)

    def close(self) -> None:
        """No more use; the memory goes when the last view of it (peek) has gone."""
        self.native.close()

    # -------- anyone

    @property
    def head(self) -> int:
        """The next sequence to be published."""
        return self.native.head

    @property
    def durable(self) -> int:
        """The last sequence that is on disk (JRNL-2): no sink reads beyond it."""
        return self.native.durable

    @property
    def oldest(self) -> int:
        """The oldest sequence that can still be read; it may be gone when it is used."""
        return self.native.oldest

    @property
    def free(self) -> int:
        """Slots that the producer could fill now."""
        return self.native.free

    def epoch(self) -> tuple[int, int]:
        """(epoch, first sequence of it). Read `durable` before this."""
        return self.native.epoch()

    def identity(self) -> RingIdentity:
        found = self.native.identity()
        return RingIdentity(
            stream=found["stream"],
            boot_id=found["boot_id"],
            kind=Kind(found["kind"]),
            capacity=found["capacity"],
            producer_pid=found["producer_pid"],
            producer_start_time=found["producer_start_time"],
            conn=found["conn"],
        )

    # -------- reader

    def read(self, seq: int, limit: int = SEQ_MAX, most: int = 65_536) -> Records:
        """A copy of the records from `seq` to `limit` (inclusive), at most `most`; empty where there are none yet."""
        count = max(0, min(most, limit - seq + 1, self.head - seq))
        out: Records = np.empty(count, self.dtype)
        if count == 0:
            return out
        result, count = self.native.read(seq, limit, out)
        if result == _native.RING_LAPPED:
            raise Lapped(seq, self.oldest)  # RING-1
        return out[:count]

    # -------- journal

    def peek(self, seq: int, most: int) -> Records:
        """The records from `seq` on, in place, read-only: valid until set_durable() passes them."""
        result, memory = self.native.peek(seq, most)
        assert result != _native.RING_LAPPED, f"the journal was lapped in {self.path.name}"  # RING-2
        return np.frombuffer(memory, self.dtype)

    def set_durable(self, seq: int) -> None:
        self.native.set_durable(seq)

    def set_epoch(self, epoch: int, first_seq: int) -> None:
        """Before any set_durable() of the new epoch."""
        self.native.set_epoch(epoch, first_seq)

    # -------- producer

    def produce(self, pid: int, start_time: int) -> int:
        """Take the ring over; returns the connection epoch stored last. RING-2: there is one caller (its lock)."""
        return self.native.produce(pid, start_time)

    def set_conn(self, conn: int) -> None:
        self.native.set_conn(conn)

    def append(self, records: npt.NDArray[Any]) -> None:
        """Publish records of this ring's kind; their seq is set on the way. RingFull where there is no space."""
        assert records.dtype == self.dtype, f"records of another kind for {self.path.name}"
        if len(records) and not self.native.append(np.ascontiguousarray(records)):
            raise RingFull(f"ring {self.path.name} is full: the journal is behind")
