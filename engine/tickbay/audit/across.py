"""The journal against the databases: counts and checksums per stream and minute, what differs, and how it is healed.

In: the journal and the stores. Out: Across, for report.py. The journal is right: what a store has otherwise is lost,
twice or different there. Only what the journal still holds can be compared.

heal:    rows that a store lacks are taken from the journal: into TimescaleDB exactly those, exactly once; into QuestDB
         the minutes that differ, whole, so that rows that are different there become equal too (SINK-2).
replace: in TimescaleDB also rows that are different or twice give way to the journal's. Not by itself: somebody may
         have changed them on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from tickbay.audit.checksum import Whole
from tickbay.audit.journalled import PART_ROWS, Due, Extent, Journalled, due_of
from tickbay.audit.store import Held, Key, Part, Store, Tally, behind
from tickbay.errors import TickbayError
from tickbay.sinks.sink import Chunk

Progress = Callable[[int], None]  # records compared
SAMPLES_MAX = 5  # sequences told of a difference


@dataclass(slots=True)
class Found:
    """What is wrong in one minute of a stream in one store."""

    lost: int = 0
    twice: int = 0
    different: int = 0
    samples: list[int] = field(default_factory=list)  # sequences

    @property
    def any(self) -> bool:
        return bool(self.lost or self.twice or self.different)


@dataclass(slots=True)
class Side:
    """One store: what it should have, what it has, and where these differ."""

    store: Store
    held: Held
    due: dict[Key, Tally] = field(default_factory=dict)
    stored: dict[Key, Tally] = field(default_factory=dict)
    found: dict[Key, Found] = field(default_factory=dict)
    behind: int = 0  # records that its writer has yet to take
    healed: int = 0  # rows stored by this audit

    @property
    def differing(self) -> list[Key]:
        return sorted(
            key
            for key in self.due.keys() | self.stored.keys()
            if _sums(self.due.get(key)) != _sums(self.stored.get(key))
        )

    def total(self, what: str) -> int:
        return sum(getattr(found, what) for found in self.found.values())


def _sums(tally: Tally | None) -> tuple[int, int]:
    return (tally.rows, tally.total) if tally is not None else (0, 0)


@dataclass(slots=True)
class Across:
    """One audit across the stores."""

    extent: Extent
    sides: list[Side]
    absent: dict[str, str] = field(default_factory=dict)  # store → why it could not be asked

    @property
    def good(self) -> bool:
        return not any(side.differing for side in self.sides)


def compare(
    journal: Journalled,
    stores: Sequence[Store],
    *,
    heal: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> Across:
    """Compare; where `heal`, store what is missing and compare once more. OSError, JournalFault: the journal."""
    across = _compare(journal, stores, progress)
    if across.good or not heal:
        return across
    for side in list(across.sides):
        with _guarded(across, side):
            _look_closer(journal, side, heal=True, replace=replace)
    again = _compare(journal, [side.store for side in across.sides], progress)
    for side in again.sides:
        side.healed = next(each.healed for each in across.sides if each.store is side.store)
    again.absent |= across.absent
    return again


def _compare(journal: Journalled, stores: Sequence[Store], progress: Progress | None) -> Across:
    across = Across(Extent(), [])
    for store in stores:
        try:
            across.sides.append(Side(store, store.open()))
        except TickbayError as error:
            across.absent[store.name] = str(error)
    for stream in journal.streams():
        across.extent.streams += 1
        for chunk in journal.parts(stream):
            across.extent.add(chunk.records)
            for side in list(across.sides):
                with _guarded(across, side):
                    _count(side, chunk)
            if progress is not None:
                progress(across.extent.records)
    for side in list(across.sides):
        with _guarded(across, side):
            _look_closer(journal, side)
    return across


@contextmanager
def _guarded(across: Across, side: Side) -> Iterator[None]:
    """A store that is lost in the middle is left out; the others go on."""
    try:
        yield
    except TickbayError as error:
        across.absent[side.store.name] = str(error)
        across.sides.remove(side)


def _count(side: Side, chunk: Chunk) -> None:
    side.behind += behind(chunk.records, chunk.stream, chunk.epoch, side.held)
    due = _due(side, chunk)
    if due is None:
        return
    for tallies, found in ((side.due, due.tallies()), (side.stored, side.store.minutes(due.part))):
        for key, tally in found.items():
            tallies.setdefault(key, Tally()).add(tally.rows, tally.total, tally.first, tally.last)


def _due(side: Side, chunk: Chunk) -> Due | None:
    return due_of(chunk, side.held, ts_has_ns=side.store.name == "questdb")


# ---------------------------------------------------------------- which rows


def _look_closer(journal: Journalled, side: Side, *, heal: bool = False, replace: bool = False) -> None:
    """Find the rows behind each difference, and heal them."""
    side.found = {}
    for stream, epoch, first, last in _windows(side):
        chunk = journal.again(stream, epoch, first, last)
        due = _due(side, chunk) if chunk is not None else None
        if chunk is None or due is None:
            continue  # the journal has let go of it meanwhile: the next audit says so
        stored = side.store.rows(due.part)
        lost, twice, different = _judge(due, stored)
        _note(side, due, lost, twice, different)
        if heal:
            side.healed += _heal(side.store, chunk, due.part, lost=lost, wrong=twice | different, replace=replace)


def _windows(side: Side) -> list[tuple[str, int, int, int]]:
    """(stream, epoch, first, last) of what must be looked at, in pieces."""
    spans: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for key in side.differing:
        tallies = [tally for tally in (side.due.get(key), side.stored.get(key)) if tally is not None]
        first, last = min(tally.first for tally in tallies), max(tally.last for tally in tallies)
        own = spans.setdefault((key.stream, key.epoch), [])
        if own and first <= own[-1][1] + 1:
            own[-1] = (own[-1][0], max(last, own[-1][1]))
        else:
            own.append((first, last))
    return [
        (stream, epoch, begin, min(begin + PART_ROWS - 1, last))
        for (stream, epoch), own in sorted(spans.items())
        for first, last in own
        for begin in range(first, last + 1, PART_ROWS)
    ]


def _judge(due: Due, stored: tuple[Whole, Whole]) -> tuple[set[int], set[int], set[int]]:
    """Sequences that are lost, twice and different in the store."""
    wanted = dict(zip(due.sequences.tolist(), due.sums.tolist(), strict=True))
    rows: dict[int, list[int]] = {}
    for seq, checksum in zip(stored[0].tolist(), stored[1].tolist(), strict=True):
        rows.setdefault(seq, []).append(checksum)
    lost = wanted.keys() - rows.keys()
    twice = {seq for seq, found in rows.items() if len(found) > 1 or seq not in wanted}
    different = {seq for seq, found in rows.items() if seq in wanted and wanted[seq] not in found}
    return set(lost), twice - different, different


def _note(side: Side, due: Due, lost: set[int], twice: set[int], different: set[int]) -> None:
    minutes = dict(zip(due.sequences.tolist(), due.minutes.tolist(), strict=True))
    for what, sequences in (("lost", lost), ("twice", twice), ("different", different)):
        for seq in sorted(sequences):
            key = Key(due.part.stream, due.part.epoch, minutes.get(seq, int(due.minutes[0])))
            found = side.found.setdefault(key, Found())
            setattr(found, what, getattr(found, what) + 1)
            if len(found.samples) < SAMPLES_MAX:
                found.samples.append(seq)


def _heal(store: Store, chunk: Chunk, part: Part, *, lost: set[int], wrong: set[int], replace: bool) -> int:
    healed = 0
    if store.name == "questdb":
        return store.add([_only(chunk, part)], part=part) if lost or wrong else 0
    if lost:
        healed += store.add([_only(chunk, part, lost)], part=part)
    if wrong and replace:
        healed += store.replace([_only(chunk, part, wrong)], part=part)
    return healed


def _only(chunk: Chunk, part: Part, sequences: set[int] | None = None) -> Chunk:
    """The records of a chunk that a part has; of these, the ones of `sequences`."""
    own = chunk.records["seq"].astype(np.int64)
    wanted = (own >= part.first) & (own <= part.last)
    if sequences is not None:
        wanted &= np.isin(own, list(sequences))
    return Chunk(chunk.stream, chunk.kind, chunk.epoch, chunk.records[wanted])
