"""How far a sink was at earlier times: `data/cursors/<sink>.marks`, for going back after the server was restarted.

QuestDB acknowledges rows that lie in the page cache only, so a power cut takes back some of what it had applied. Nobody
tells which; what it applied long before was written out by the system. So after a restart the cursor goes back to
where it was then, and DEDUP makes the repetition harmless (SINK-2).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import orjson

from tickbay.config import Config
from tickbay.cursor import START, Position
from tickbay.files import Files, read_all, write_all

MARK_S = 60.0  # between two marks
THINNED = 16  # older than so many times MARK_S, marks are so much of their age apart: 90 for a day instead of 1,440
FILE_BYTES_MAX = 64 << 20


class Marks:
    """The marks of one sink, and the server that they are of. Used by its writer only."""

    def __init__(self, path: Path, files: Files, *, keep_s: float) -> None:
        """`keep_s`: how far back it must be possible to go. OSError: the disk."""
        self.server = ""  # when it was started, in its own words; empty: none is known
        self.gone_back: dict[str, Position] = {}  # how far the cursors were before they went back
        self._path = path
        self._files = files
        self._keep_s = keep_s
        self._marks: list[tuple[float, dict[str, Position]]] = []
        self._load()

    def _load(self) -> None:
        try:
            fd = self._files.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            data = read_all(self._files, fd, min(self._files.size(fd), FILE_BYTES_MAX), 0)
        finally:
            self._files.close(fd)
        try:
            told = orjson.loads(data)
            marks = [
                (float(at), {stream: Position(int(epoch), int(seq)) for stream, (epoch, seq) in positions.items()})
                for at, positions in told["marks"]
            ]
            back = {stream: Position(int(epoch), int(seq)) for stream, (epoch, seq) in told["gone_back"].items()}
            self.server, self._marks, self.gone_back = str(told["server"]), marks, back
        except (ValueError, KeyError, TypeError, AttributeError):
            # Without marks the sink goes back to the beginning: slow, and nothing is lost.
            self.server, self._marks = "?", []

    def before(self, at_s: float) -> Mapping[str, Position]:
        """How far the sink was at `at_s` (unix time), or earlier; nothing where that is not known."""
        return next((positions for when, positions in reversed(self._marks) if when <= at_s), {})

    def add(self, at_s: float, positions: Mapping[str, Position]) -> None:
        """The sink has applied so much by now. Marked once a minute; OSError: the older marks still hold."""
        if self._marks and self._marks[-1][0] <= at_s < self._marks[-1][0] + MARK_S:
            return
        marks = [mark for mark in self._marks if mark[0] <= at_s]  # the clock may have been set back
        old = [mark for mark in marks if mark[0] <= at_s - self._keep_s]
        self._marks = [*old[-1:], *_thinned(marks[len(old) :], at_s), (at_s, dict(positions))]
        self.save()

    def going_back(self, positions: Mapping[str, Position]) -> None:
        """The cursor is at `positions` and goes back now. Kept until a restore: whoever writes next must not take for a
        hole what was there before."""
        self.gone_back |= {stream: max(at, self.gone_back.get(stream, START)) for stream, at in positions.items()}
        self.save()

    def went_back(self, server: str, at_s: float) -> None:
        """The cursor has gone back to before(at_s), and the server is another one. What came later does not count."""
        self.server = server
        self._marks = [mark for mark in self._marks if mark[0] <= at_s]
        self.save()

    def save(self) -> None:
        """Whole or not at all."""
        marks = [(at_s, {stream: tuple(at) for stream, at in positions.items()}) for at_s, positions in self._marks]
        back = {stream: tuple(at) for stream, at in self.gone_back.items()}
        data = orjson.dumps({"server": self.server, "gone_back": back, "marks": marks})
        beside = self._path.with_suffix(".marks-new")
        fd = self._files.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(self._files, fd, [data], 0)
            self._files.fdatasync(fd)
        finally:
            self._files.close(fd)
        self._files.rename(beside, self._path)
        self._files.sync_directory(self._path.parent)


def marks_of(config: Config, sink: str, files: Files) -> Marks:
    """Those of a sink of this configuration: as old as what the journal holds. OSError: the disk."""
    keep_s = max(config.questdb.rewind_minutes * 60, config.journal.retain_hours * 3600)
    return Marks(config.data_dir / "cursors" / f"{sink}.marks", files, keep_s=keep_s)


def _thinned(marks: list[tuple[float, dict[str, Position]]], now_s: float) -> list[tuple[float, dict[str, Position]]]:
    """Without those that lie close behind an older one, for their age."""
    left: list[tuple[float, dict[str, Position]]] = []
    for mark in marks:
        apart_s = (now_s - mark[0]) / THINNED
        if not left or apart_s <= MARK_S or mark[0] - left[-1][0] >= apart_s:
            left.append(mark)
    return left
