"""What a process uses of the machine, as the kernel counts it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tickbay.identity import Identity

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Of what follows the name in /proc/<pid>/stat (proc(5) counts from 1, and state is 3).
_UTIME, _STIME, _START_TIME, _RSS = 14 - 3, 15 - 3, 22 - 3, 24 - 3


@dataclass(frozen=True, slots=True)
class Usage:
    memory_bytes: int  # resident
    cpu_s: float  # user and system
    files: int  # open descriptors


def usage(identity: Identity) -> Usage | None:
    """Of this very process; None where it is gone."""
    process = Path(f"/proc/{identity.pid}")
    try:
        # The name, in parentheses, may have anything in it.
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        files = sum(1 for _ in (process / "fd").iterdir())
    except OSError:
        return None
    if int(fields[_START_TIME]) != identity.start_time:
        return None
    cpu_s = (int(fields[_UTIME]) + int(fields[_STIME])) / TICKS_PER_S
    return Usage(int(fields[_RSS]) * PAGE_BYTES, cpu_s, files)
