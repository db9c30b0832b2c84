"""What is asked of whatever can be backed up: its parts, their bytes, and to take them back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Protocol

from tickbay.backup.folder import Manifest, Part
from tickbay.config import Questdb, Timescale
from tickbay.cursor import Position
from tickbay.sinks.columns import CUT_TABLES
from tickbay.sinks.partitions import STATUS_TABLE


@dataclass(frozen=True, slots=True)
class State:
    """Of a store, before any of its parts is read."""

    server: str  # what it calls itself
    schema: int  # the newest step that was applied; 0: it has none
    cursors: Mapping[str, Position]  # BACKUP-1: what is beyond these is in no part, or may come again
    columns: Mapping[str, tuple[str, ...]]  # of each table, in the order of its parts' rows


@dataclass(frozen=True, slots=True)
class Found:
    """A part as the store has it now. The same tally as in the last backup: it has not changed since."""

    name: str
    tally: str
    rows: int
    mark: str = ""  # see folder.Part


@dataclass(frozen=True, slots=True)
class Reading:
    """A part that is being read."""

    tally: str  # of these rows; where it may be of fewer, the next backup reads the part again
    pieces: Iterator[tuple[bytes, int]]  # its bytes, each with how many rows end in it


class Store(Protocol):
    """A database or the journal. Errors: SinkDown, SinkParked of a database, OSError of a disk."""

    name: str  # of its folder

    def open(self) -> State:
        """Connect, for reading."""

    def parts(self, known: Mapping[str, Part]) -> Iterator[Found]:
        """Every part that is not empty. One of the `known` with the same mark as now need not be counted."""

    def read(self, found: Found) -> AbstractContextManager[Reading]:
        """A part as it is now, which may be another than was found: rows are healed, deleted or let go meanwhile."""

    def expires(self, name: str) -> bool:
        """Whether the part may go from the store by itself: it is older than the settings want."""

    def prepare(self, manifest: Manifest, *, replace: bool) -> None:
        """Make ready to take parts: ConfigError where something is there that is not of this backup, unless all of it
        is to be replaced. Nothing is changed then."""

    def has(self, part: Part) -> bool:
        """Whether the part is there already: a restore that was cut off goes on."""

    def write(self, part: Part, pieces: Iterator[bytes]) -> None:
        """Take a part, all of it or nothing."""

    def finish(self, manifest: Manifest) -> None:
        """All parts are there: take the cursors too."""

    def close(self) -> None: ...


def counted(name: str, mark: str, known: Mapping[str, Part], count: Callable[[str], Found]) -> Found:
    """A part of this mark, counted if it is not known with it."""
    part = known.get(name)
    if part and mark and part.mark == mark:
        return Found(name, part.tally, part.rows, mark)
    return replace(count(name), mark=mark)


def expires(name: str, settings: Timescale | Questdb, today: date) -> bool:
    """Store.expires() of a database. A day more than `settings` say: what is cut goes when it is wholly too old."""
    table, _, day = name.partition("/")
    days = settings.status_retain_days if table == STATUS_TABLE else settings.retain_days
    return table in CUT_TABLES and days > 0 and date.fromisoformat(day) <= today - timedelta(days=max(0, days - 1))
