"""Two sequences of rows that should be one and the same → what is lost, twice, different or out of nowhere. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tickbay.audit.columns import DTYPES, IDENTITY, Rows

CHUNK_ROWS = 50_000  # compared at once
LOOK_AHEAD_ROWS = 20_000  # how far both sides may have drifted apart; beyond, rows are lost on one and new on the other
DIFFERENCES_MAX = 100_000  # then the rest is not aligned any more, only counted
SAMPLES_MAX = 20  # kept for a person to read


@dataclass(frozen=True, slots=True)
class Lost:
    """A run of rows that were sent and are not stored. Both times are of the stored neighbours; 0: there is none."""

    first_message: int
    last_message: int
    rows: int
    instruments: frozenset[bytes]
    before: tuple[int, int, int]  # epoch, seq, recv_ns
    after: tuple[int, int, int]
    sample: str


@dataclass(slots=True)
class Comparison:
    """What was found of one kind on one connection."""

    expected: int = 0
    stored: int = 0
    equal: int = 0
    twice: int = 0
    stray: int = 0  # stored, but never sent there
    different: int = 0
    last_message: int = -1  # the last one of which a row is stored
    lost: list[Lost] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)

    @property
    def lost_rows(self) -> int:
        return sum(run.rows for run in self.lost)

    def add_sample(self, text: str) -> None:
        if len(self.samples) < SAMPLES_MAX:
            self.samples.append(text)


class Window:
    """Rows that come in pieces, seen as one array of which the beginning is taken off."""

    def __init__(self, pieces: Iterator[tuple[Rows, NDArray[np.int64]]]) -> None:
        self._pieces = pieces
        self._waiting: list[tuple[Rows, NDArray[np.int64]]] = []
        self.taken = 0

    def see(self, count: int) -> tuple[Rows, NDArray[np.int64]] | None:
        """At least `count` rows, or all that are left; None at the end."""
        while sum(len(rows) for rows, _ in self._waiting) < count:
            piece = next(self._pieces, None)
            if piece is None:
                break
            if len(piece[0]):
                self._waiting.append(piece)
        if not self._waiting:
            return None
        if len(self._waiting) > 1:
            joined = tuple(np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting = [(joined[0], joined[1])]
        return self._waiting[0]

    def take(self, count: int) -> None:
        """Take rows off that see() has shown."""
        rows, more = self._waiting[0]
        self._waiting = [(rows[count:], more[count:])] if count < len(rows) else []
        self.taken += count


class Comparer:
    """Aligns one kind of one connection. `stored` gives rows of STORED_DTYPES, with what they are called beside
    them."""

    def __init__(self, kind: str, expected: Window, stored: Window) -> None:
        self.result = Comparison()
        self._kind, self._expected, self._stored = kind, expected, stored
        self._names = list(DTYPES[kind].names or ())
        self._before = (0, 0, 0)
        self._seen: set[bytes] = set()  # of late: to tell a second copy from a row out of nowhere
        self._run: list[tuple[Rows, int]] = []  # lost rows that are not yet a Lost

    def compare(self) -> Comparison:
        while True:
            expected, stored = self._expected.see(CHUNK_ROWS), self._stored.see(CHUNK_ROWS)
            if expected is None and stored is None:
                break
            if expected is None:
                assert stored is not None
                self._extra(self._plain(stored[0]), len(stored[0]), stored[0])
            elif stored is None:
                self._lose(expected, len(expected[0]))
            else:
                self._step(expected, stored)
        self._end_run((0, 0, 0))
        self.result.expected, self.result.stored = self._expected.taken, self._stored.taken
        return self.result

    def _plain(self, stored: Rows) -> NDArray[np.void]:
        """Stored rows as bytes, without what only the database knows of them."""
        return _as_bytes(np.ascontiguousarray(stored[self._names].astype(DTYPES[self._kind])))

    def _step(self, expected: tuple[Rows, NDArray[np.int64]], stored: tuple[Rows, NDArray[np.int64]]) -> None:
        """Take what is equal off both sides, then the first thing that is not."""
        sent, kept = _as_bytes(expected[0]), self._plain(stored[0])
        count = min(len(sent), len(kept))
        unequal = np.flatnonzero(sent[:count] != kept[:count])
        equal = int(unequal[0]) if len(unequal) else count
        if equal:
            self._equal(expected, stored[0], sent, equal)
        if equal == count:
            return
        if len(self.result.lost) + self.result.twice + self.result.stray + self.result.different > DIFFERENCES_MAX:
            self._differ(expected, stored[0], equal, len(unequal))
            return
        self._resolve((expected[0][equal:], expected[1][equal:]), stored[0][equal:], sent[equal:], kept[equal:])

    def _equal(
        self, expected: tuple[Rows, NDArray[np.int64]], stored: Rows, sent: NDArray[np.void], count: int
    ) -> None:
        first = stored[0]
        self._end_run((int(first["epoch"]), int(first["seq"]), int(first["recv_ns"])))
        self._remember(sent[:count])
        self.result.equal += count
        self._passed(expected, stored, count)

    def _passed(self, expected: tuple[Rows, NDArray[np.int64]], stored: Rows, count: int) -> None:
        last = stored[count - 1]
        self._before = int(last["epoch"]), int(last["seq"]), int(last["recv_ns"])
        self.result.last_message = int(expected[1][count - 1])
        self._expected.take(count)
        self._stored.take(count)

    def _remember(self, sent: NDArray[np.void]) -> None:
        if len(self._seen) > LOOK_AHEAD_ROWS:
            self._seen.clear()
        self._seen.update(row.tobytes() for row in sent[-LOOK_AHEAD_ROWS:])

    def _resolve(
        self, expected: tuple[Rows, NDArray[np.int64]], stored: Rows, sent: NDArray[np.void], kept: NDArray[np.void]
    ) -> None:
        """The first rows differ. Whichever side's row comes soonest on the other decides what happened."""
        lost = _place(sent, kept[0])
        extra = _place(kept, sent[0])
        if lost is None and extra is None:
            same = _place_of_identity(self._kind, expected[0], stored[0])
            if same == 0:
                self._differ(expected, stored, 0, 1)
            elif same:
                self._lose(expected, same)
            else:
                self._extra(kept, 1, stored)
        elif extra is None or (lost is not None and lost <= extra):
            assert lost is not None
            self._lose(expected, lost)
        else:
            self._extra(kept, extra, stored)

    def _lose(self, expected: tuple[Rows, NDArray[np.int64]], count: int) -> None:
        self._run += [(expected[0][:count], int(expected[1][0])), (expected[0][:0], int(expected[1][count - 1]))]
        self._expected.take(count)

    def _end_run(self, after: tuple[int, int, int]) -> None:
        """What was lost in a row becomes one Lost."""
        if not self._run:
            return
        rows = np.concatenate([rows for rows, _ in self._run])
        names = frozenset(np.unique(rows["instrument"]).tolist())
        sample = described(self._kind, rows[0])
        messages = [message for _, message in self._run]
        self.result.lost.append(Lost(min(messages), max(messages), len(rows), names, self._before, after, sample))
        self._run = []

    def _extra(self, kept: NDArray[np.void], count: int, stored: Rows) -> None:
        """Stored rows that are not due here."""
        for row, data in zip(stored[:count], kept[:count], strict=True):
            known = data.tobytes() in self._seen
            self.result.twice += known
            self.result.stray += not known
            word = "twice" if known else "never sent"
            self.result.add_sample(f"{word}: {described(self._kind, row)}, stored as seq {row['seq']}")
        self._stored.take(count)

    def _differ(self, expected: tuple[Rows, NDArray[np.int64]], stored: Rows, first: int, count: int) -> None:
        """Rows that are the same but for some values."""
        sent, kept = expected[0][first], stored[first]
        wrong = [name for name in self._names if sent[name].tobytes() != kept[name].tobytes()]
        values = ", ".join(f"{name} sent {_shown(sent[name])} stored {_shown(kept[name])}" for name in wrong[:4])
        self.result.add_sample(f"different: {described(self._kind, sent)}, stored as seq {kept['seq']}: {values}")
        self.result.different += count
        self._end_run((int(kept["epoch"]), int(kept["seq"]), int(kept["recv_ns"])))
        self._passed(expected, stored, first + count)


def described(kind: str, row: np.void) -> str:
    return f"{kind} of {row['instrument'].decode(errors='replace')} at {row['exch_ns']}"


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace") or "nothing"
    if isinstance(value, np.floating):
        return "nothing" if np.isnan(value) else repr(float(value))
    return str(value)


def _as_bytes(rows: Rows) -> NDArray[np.void]:
    return np.ascontiguousarray(rows).view(np.dtype((np.void, rows.dtype.itemsize)))


def _place(rows: NDArray[np.void], row: np.void) -> int | None:
    """Where a row comes soon in `rows`."""
    found = np.flatnonzero(rows[:LOOK_AHEAD_ROWS] == row)
    return int(found[0]) if len(found) else None


def _place_of_identity(kind: str, rows: Rows, row: np.void) -> int | None:
    """Where the row that this one was meant to be comes soon in `rows`."""
    near = rows[:LOOK_AHEAD_ROWS]
    same = np.ones(len(near), bool)
    for name in IDENTITY[kind]:
        absent = near.dtype[name].kind == "f" and np.isnan(row[name])
        same &= np.isnan(near[name]) if absent else near[name] == row[name]
    found = np.flatnonzero(same)
    return int(found[0]) if len(found) else None
