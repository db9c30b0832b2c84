"""The newest events of one process, in `run/events/<process>.log`: so that `tickbay top` can show them, wherever stderr
goes.

Lines of JSON, as events.py makes them. The file and the older one beside it are bounded; they lie on the tmpfs, where
a write waits for no disk. Whoever reads them sees whole lines, the last perhaps not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import orjson

BYTES_MAX = 128 << 10  # of each of the two; a line has some 200
OLDER = ".older"


class EventFile:
    """Where one process keeps its newest lines."""

    def __init__(self, run_dir: Path, process: str) -> None:
        self._path = run_dir / "events" / f"{process}.log"
        self._fd = -1
        self._size = 0

    def append(self, line: bytes) -> None:
        """OSError where the tmpfs is full or gone."""
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._fd).st_size
        self._size += os.write(self._fd, line)
        if self._size >= BYTES_MAX:
            self._path.rename(self._path.with_name(self._path.name + OLDER))
            os.close(self._fd)
            self._fd = -1


def newest_events(run_dir: Path, most: int) -> list[dict[str, object]]:
    """Of all processes together, the newest last, at most so many. What is no whole line is left out."""
    found = [event for path in _files(run_dir) for event in _events(path, most)]
    return sorted(found, key=lambda event: str(event["time"]))[-most:]


def _files(run_dir: Path) -> list[Path]:
    folder = run_dir / "events"
    try:
        return [*folder.glob(f"*.log{OLDER}"), *folder.glob("*.log")]
    except OSError:
        return []


def _events(path: Path, most: int) -> Iterator[dict[str, object]]:
    try:
        with path.open("rb") as file:
            lines = file.read(2 * BYTES_MAX).splitlines()[-most:]
    except OSError:
        return  # it was just renamed
    for line in lines:
        try:
            event = orjson.loads(line)
        except ValueError:
            continue  # half a line
        if isinstance(event, dict) and {"time", "level", "process", "event"} <= event.keys():
            yield event
