"""What one transaction is to store: records sorted by table, and those that cannot be rows put aside. Pure.

TIME-1: a record of an insane time never reaches the database: PostgreSQL accepts the year 148,000, and would need a
partition for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tickbay._native import record_extent
from tickbay.record import LAYOUTS, Kind, Records
from tickbay.sinks.columns import TABLES, Table
from tickbay.sinks.sink import Chunk

EARLIEST_NS = 1_262_304_000 * 10**9  # 2010-01-01: before every venue that we know
AHEAD_NS = 86_400 * 10**9  # a venue's clock may be ahead of ours, not by more than a day

Pieces: TypeAlias = list[tuple[Chunk, Records]]  # records of chunks, in order
Chosen: TypeAlias = npt.NDArray[np.bool_]

_TABLES = {kind: tuple(table for table in TABLES if table.kind == kind) for kind in Kind}


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that will not be a row, and why."""

    chunk: Chunk
    record: Records  # of length 1
    table: str
    sqlstate: str  # empty: we refused it ourselves
    reason: str

    @property
    def layout(self) -> int:
        """Of the record, as the databases keep it: they have no unsigned integer of 64 bits."""
        layout = LAYOUTS[self.chunk.kind]
        return layout - (1 << 64) if layout >> 63 else layout


@dataclass(slots=True)
class Load:
    """The records of each table (some may be of its sibling: the encoder goes by their flags), and what was put
    aside."""

    tables: list[tuple[Table, Pieces]] = field(default_factory=list)
    poison: list[Poison] = field(default_factory=list)
    spans_ns: list[tuple[int, int]] = field(
        default_factory=list
    )  # first and last time in the tables that are cut by day
    records: int = 0


def sort(chunks: Sequence[Chunk], *, now_ns: int) -> Load:
    """Records by table, in order."""
    load = Load(records=sum(len(chunk.records) for chunk in chunks))
    pieces: dict[str, Pieces] = {}
    for chunk in chunks:
        assert len(chunk.records)
        records, extent = chunk.records, record_extent(chunk.records, chunk.kind)
        if any(table.cut for table in _TABLES[chunk.kind]):
            latest_ns = now_ns + AHEAD_NS
            if extent.first_ns < EARLIEST_NS or extent.last_ns > latest_ns:
                records = _sane(load, chunk, latest_ns)
                extent = record_extent(records, chunk.kind)
            if len(records):
                load.spans_ns.append((extent.first_ns, extent.last_ns))
        for table in _TABLES[chunk.kind]:
            # Does any have the flag, or lack it? Most streams are of one table only.
            if len(records) and (extent.any_flags if table.value else ~extent.all_flags) & table.mask == table.mask:
                pieces.setdefault(table.name, []).append((chunk, records))
    load.tables = [(table, pieces[table.name]) for table in TABLES if table.name in pieces]
    return load


def chosen(table: Table, records: Records) -> Chosen:
    """Which records belong in `table`, as the encoder decides it."""
    return np.asarray((records["flags"] & table.mask) == table.value)


def cut_out(pieces: Pieces, first: int, last: int) -> Pieces:
    """Records first … last - 1 of the pieces, counted through."""
    result = []
    for chunk, records in pieces:
        part = records[max(0, first) : max(0, last)]
        if len(part):
            result.append((chunk, part))
        first, last = first - len(records), last - len(records)
    return result


def _sane(load: Load, chunk: Chunk, latest_ns: int) -> Records:
    """The records of `chunk` whose time is sane; the others become poison."""
    records = chunk.records
    sane = (records["exch_ns"] >= EARLIEST_NS) & (records["exch_ns"] <= latest_ns)
    for table in _TABLES[chunk.kind]:
        for index in np.flatnonzero(~sane & chosen(table, records)):
            reason = "TIME-1: its time is before 2010 or more than a day ahead"
            load.poison.append(Poison(chunk, records[index : index + 1], table.name, "", reason))
    return np.asarray(records[sane])
