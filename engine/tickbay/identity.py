"""Who a process is, beyond a number that is used again: pid, start time and boot; its pid file; and its lock.

`run/pids/<process>.json` is written by the process itself, after it has locked `run/pids/<process>.lock` for its
whole life, so one name never runs twice (RING-2 rests on that). Whoever signals a process does so through its pidfd,
after comparing its start time.
"""

from __future__ import annotations

import fcntl
import functools
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from tickbay.errors import ConfigError

PID_FILE_BYTES_MAX = 4096


@functools.cache  # no process outlives it
def boot_id() -> str:
    """The kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True)
class Identity:
    pid: int
    start_time: int  # clock ticks after boot: field 22 of /proc/<pid>/stat
    boot_id: str

    @classmethod
    def own(cls) -> Identity:
        return cls(os.getpid(), _start_time(os.getpid()), boot_id())

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """Of the process that has this pid now; None if there is none."""
        start_time = _start_time(pid)
        return cls(pid, start_time, boot_id()) if start_time else None

    def alive(self) -> bool:
        """Does this very process still run? One that has ended but was not reaped does not."""
        return self.boot_id == boot_id() and _start_time(self.pid) == self.start_time

    def open(self) -> int | None:
        """A pidfd of this very process, which the caller closes; None if it is gone."""
        if self.boot_id != boot_id() or self.pid <= 0:
            return None
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:
            return None
        # The pidfd first, then the start time: whoever had the pid at that moment is whom the descriptor means.
        if _start_time(self.pid) == self.start_time:
            return pidfd
        os.close(pidfd)
        return None


@dataclass(frozen=True, slots=True)
class PidFile:
    """What a process says of itself to who may adopt it."""

    identity: Identity
    fingerprint: str  # of the configuration that it runs with


def pid_file(run_dir: Path, process: str) -> PidFile | None:
    """What `process` wrote last; None where there is nothing readable. Says nothing of whether it is alive."""
    try:
        text = (run_dir / "pids" / f"{process}.json").read_bytes()[:PID_FILE_BYTES_MAX]
        value = orjson.loads(text)
        identity = Identity(int(value["pid"]), int(value["start_time"]), str(value["boot_id"]))
        return PidFile(identity, str(value["fingerprint"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_running(run_dir: Path, process: str) -> bool:
    """Does anybody hold the lock of `process`? True also of one that another container runs, whose pid means nothing
    here: unlike Identity.alive().
    """
    try:
        lock = os.open(run_dir / "pids" / f"{process}.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def claim(run_dir: Path, process: str, fingerprint: str) -> Identity:
    """Become `process`: take its lock until we end, then write its pid file. ConfigError where it already runs."""
    lock = os.open(run_dir / "pids" / f"{process}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        holder = pid_file(run_dir, process)
        who = f", pid {holder.identity.pid}" if holder else ""
        raise ConfigError(f"{process} is already running{who} (run_dir {run_dir})") from None
    # `lock` is left open on purpose: the kernel frees it when this process ends, however it ends.
    identity = Identity.own()
    write_atomically(
        run_dir / "pids" / f"{process}.json",
        orjson.dumps(asdict(identity) | {"process": process, "fingerprint": fingerprint}),
    )
    return identity


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path`, as who reads it sees it, whole or not at all. Not synced: for run_dir, and for what can be made
    again.
    """
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, content) != len(content):
            raise OSError(28, "not everything could be written", str(path))
    finally:
        os.close(fd)
    temporary.rename(path)


def _start_time(pid: int) -> int:
    """0 where no such process runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    # The second field is a name in parentheses that may hold anything, also blanks and parentheses.
    fields = stat[stat.rindex(")") + 2 :].split()
    return 0 if fields[0] in ("Z", "X") else int(fields[19])
