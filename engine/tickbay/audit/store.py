"""What the audit asks of a database that a writer fills: counts and checksums (checksum.py), and to take rows again.

A store is judged by what its writer has told to be committed: up to its cursors, without what lies in quarantine, and
without ticks so old that retention may have dropped them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import numpy as np

from tickbay.audit.checksum import Whole
from tickbay.cursor import START, Position
from tickbay.record import Records
from tickbay.sinks.columns import Table
from tickbay.sinks.sink import Chunk

# Rows are looked for between the earliest and the latest time of what is due, and so far around: a row whose time is
# wrong by less is found as different, by more as missing.
MARGIN_S = 3600.0
NS_PER_DAY = 86_400 * 10**9


class Key(NamedTuple):
    """What is counted together."""

    stream: str
    epoch: int
    minute: int  # of recv_ns, since 1970


@dataclass(slots=True)
class Tally:
    """Rows of one key: how many, the sum of their checksums, and which they are."""

    rows: int = 0
    total: int = 0
    first: int = 0  # sequence
    last: int = 0

    def add(self, rows: int, total: int, first: int, last: int) -> None:
        self.first = min(self.first, first) if self.rows else first
        self.last = max(self.last, last)
        self.rows += rows
        self.total = (self.total + total) % (1 << 64)

    @property
    def checksum(self) -> str:
        return f"{self.total:016x}"


@dataclass(frozen=True, slots=True)
class Held:
    """What a store should have, as its writer sees it."""

    cursors: Mapping[str, Position]
    quarantined: frozenset[tuple[str, int, int]]  # (stream, epoch, seq)
    kept_from_ns: Mapping[str, int] = field(default_factory=dict)  # table → older rows may have been dropped

    def end(self, stream: str) -> Position:
        return self.cursors.get(stream, START)


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive records of one stream and epoch that a store is asked about, and its rows by table."""

    stream: str
    epoch: int
    first: int
    last: int
    tables: tuple[Table, ...]
    from_ns: int  # exch_ns
    to_ns: int


class Store(Protocol):
    """A database as the audit sees it. SinkDown, SinkParked from every method but close()."""

    name: str

    def open(self) -> Held: ...

    def minutes(self, part: Part) -> dict[Key, Tally]:
        """What is stored of a part."""

    def rows(self, part: Part) -> tuple[Whole, Whole]:
        """Sequence and checksum of each row that is stored of a part, in any order."""

    def add(self, chunks: Sequence[Chunk], *, part: Part) -> int:
        """Store records of a part that are missing; returns how many were."""

    def replace(self, chunks: Sequence[Chunk], *, part: Part) -> int:
        """Store records of a part instead of the rows that have their sequence; returns how many."""

    def close(self) -> None: ...


def where(table: Table, part: Part, *, kept_from_ns: int) -> str:
    """The SQL condition for the rows of a part, as both servers read it."""
    conditions = [f"stream = '{quoted(part.stream)}'", f"epoch = {part.epoch}"]
    conditions.append(f"seq >= {part.first} AND seq <= {part.last}")
    if table.cut:
        conditions.append(f"ts >= '{_time(max(part.from_ns / 1e9 - MARGIN_S, kept_from_ns / 1e9))}'")
        conditions.append(f"ts <= '{_time(part.to_ns / 1e9 + MARGIN_S)}'")
    return " AND ".join(conditions)


def quoted(text: str) -> str:
    return text.replace("'", "''")


def _time(at_s: float) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def kept_from(tables: Sequence[Table], now_ns: int, *, days: int, status_days: int) -> dict[str, int]:
    """Since when each table that is cut by day has all its rows; 0 days: for ever."""
    found = {}
    for table in tables:
        kept = status_days if table.name == "collector_status" else days
        if table.cut and kept:
            found[table.name] = now_ns - kept * NS_PER_DAY
    return found


def due(records: Records, stream: str, epoch: int, held: Held) -> Records:
    """Those that the store should have: up to its cursor, and not in quarantine."""
    end = held.end(stream)
    if epoch > end.epoch:
        return records[:0]
    sequences = records["seq"].astype(np.int64)
    wanted = np.ones(len(records), bool) if epoch < end.epoch else sequences <= end.seq
    if held.quarantined:
        bad = [seq for each, age, seq in held.quarantined if each == stream and age == epoch]
        wanted &= ~np.isin(sequences, bad)
    return records[wanted]


def behind(records: Records, stream: str, epoch: int, held: Held) -> int:
    """How many of them are beyond the store's cursor: its writer has yet to take them."""
    end = held.end(stream)
    if epoch != end.epoch:
        return len(records) if epoch > end.epoch else 0
    return int((records["seq"].astype(np.int64) > end.seq).sum())
