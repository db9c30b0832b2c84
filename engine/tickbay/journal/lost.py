"""What the quota took before a sink had it: `data/journal/lost`. With the segment goes the only record of when that was
received, and the gap that the sink's database is told must not begin later (GAP-1).

Written by the journal process before a segment goes; read by whoever meets the hole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from tickbay.cursor import START, Position
from tickbay.files import Files, read_all, write_all

NAME = "lost"
FILE_BYTES_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class Loss:
    """Of one stream, what one sink had not taken; each further segment that goes before it does makes it longer."""

    sink: str
    stream: str
    after: Position  # right before the first of them
    last: Position
    records: int
    from_ns: int  # our clock: when the first of these was received, or earlier
    to_ns: int  # and when all of them were on disk


class Losses:
    """All of them: what a sink is past is forgotten with its next one."""

    def __init__(self, files: Files, directory: Path) -> None:
        """OSError: the disk. A file that is damaged counts as none: then a gap begins when nobody knows."""
        self._files = files
        self._directory = directory
        self._known: dict[tuple[str, str], Loss] = {(loss.sink, loss.stream): loss for loss in _load(files, directory)}

    def add(self, lost: Iterable[Loss], cursors: Mapping[str, Mapping[str, Position]]) -> None:
        """These go next, with the sinks where they are. Durable when it returns; OSError: known for this process's life
        only, add() saves it again."""
        for loss in lost:
            known = self._known.get((loss.sink, loss.stream))
            # What the sink is past is another hole; and of what went unnoted in between nobody knows when it was.
            lacks_known = known is not None and cursors[loss.sink].get(loss.stream, START) < known.last
            if known is not None and lacks_known and loss.after.seq <= known.last.seq:
                last, to_ns = max(known.last, loss.last), max(known.to_ns, loss.to_ns)
                loss = replace(loss, after=known.after, last=last, from_ns=known.from_ns, to_ns=to_ns)
            self._known[loss.sink, loss.stream] = loss
        self._save()

    def _save(self) -> None:
        told = [
            [each.sink, each.stream, tuple(each.after), tuple(each.last), each.records, each.from_ns, each.to_ns]
            for each in self._known.values()
        ]
        beside = self._directory / f"{NAME}-new"
        fd = self._files.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(self._files, fd, [orjson.dumps(told)], 0)
            self._files.fdatasync(fd)
        finally:
            self._files.close(fd)
        self._files.rename(beside, self._directory / NAME)
        self._files.sync_directory(self._directory)

    def at(self, stream: str, after: Position) -> Loss | None:
        """What was lost right behind `after`: of several sinks' the one that begins last."""
        found = [
            each
            for each in self._known.values()
            if each.stream == stream and each.after.seq <= after.seq and after < each.last
        ]
        return max(found, key=lambda loss: loss.from_ns, default=None)

    def next(self, stream: str, after: Position) -> Loss | None:
        """The first that begins behind `after`."""
        found = [
            each
            for each in self._known.values()
            if each.stream == stream and after.seq < each.after.seq and after < each.last
        ]
        return min(found, key=lambda loss: loss.after.seq, default=None)


def _load(files: Files, directory: Path) -> list[Loss]:
    try:
        fd = files.open(directory / NAME, os.O_RDONLY)
    except FileNotFoundError:
        return []
    try:
        data = read_all(files, fd, min(files.size(fd), FILE_BYTES_MAX), 0)
    finally:
        files.close(fd)
    try:
        return [
            Loss(str(sink), str(stream), Position(*map(int, after)), Position(*map(int, last)), *map(int, rest))
            for sink, stream, after, last, *rest in orjson.loads(data)
        ]
    except (ValueError, TypeError):
        return []
