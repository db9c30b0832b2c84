"""CPU seconds and memory of the processes below some roots, by what they call themselves. Reads /proc only.

A process that has ended is counted with its parent once that has waited for it, so nothing that a server's short-lived
workers did is lost.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    name: str
    cpu_s: float  # with children that it has waited for
    rss_bytes: int
    pss_bytes: int  # shared pages divided among those who share them
    own_bytes: int  # anonymous: neither files nor rings


def below(roots: Iterable[int]) -> list[Process]:
    """The roots and all that descends from them."""
    parents = {pid: parent for pid, (parent, _) in _all().items()}
    wanted = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in wanted} - wanted:
        wanted |= more
    return [found for pid in sorted(wanted) if (found := _process(pid)) is not None]


def children(pid: int) -> list[int]:
    return [child for child, (parent, _) in _all().items() if parent == pid]


def cpu_by_name(processes: Iterable[Process]) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for process in processes:
        seconds[process.name] += process.cpu_s
    return seconds


def _all() -> dict[int, tuple[int, float]]:
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and (stat := _stat(int(entry.name))) is not None:
            found[int(entry.name)] = stat
    return found


def _stat(pid: int) -> tuple[int, float] | None:
    """Parent, CPU seconds; None for a process that has gone."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), sum(map(int, fields[11:15])) / TICKS_PER_S


def _process(pid: int) -> Process | None:
    stat = _stat(pid)
    try:
        command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if stat is None:
        return None
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    rss, pss, own = (kilobytes[name] * 1024 for name in ("Rss", "Pss", "Anonymous"))
    return Process(_name(command), stat[1], rss, pss, own)


def _name(command: str) -> str:
    """`tickbay: feed-1` is feed-1; all of a database server's processes are one."""
    if command.startswith("tickbay: "):
        return command.removeprefix("tickbay: ").split()[0]
    if "postgres" in command.split(" ")[0]:
        return "postgres"
    if "io.questdb" in command:
        return "questdb"
    return "simulator" if " sim " in command else command.split(" ")[0]
