"""Two sequences of rows that should be one and the same → what is lost, twice, different or out of nowhere. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tickbay.audit.columns import DTYPES, IDENTITY, META, Rows

CHUNK_ROWS = 50_000  # compared at once
LOOK_AHEAD_ROWS = 20_000  # how far both sides may have drifted apart; beyond, rows are lost on one and new on the other
DIFFERENCES_MAX = 100_000  # then the rest is not aligned any more, only counted
SAMPLES_MAX = 20  # kept for a person to read
FIRST_BLOCK_ROWS = 64  # then four times as many: what is near is found without looking at all
META_NAMES = frozenset(name for name, _ in META)


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


@dataclass(frozen=True, slots=True)
class View:
    """Rows of one side: what is known of them, what they are called there, and what is compared of them."""

    rows: Rows
    number: NDArray[np.int64]
    data: NDArray[np.void]

    @classmethod
    def of(cls, rows: Rows, number: NDArray[np.int64]) -> View:
        """Compared is all but what only the database knows."""
        compared = [(name, rows.dtype[name]) for name in rows.dtype.names or () if name not in META_NAMES]
        plain = rows[[name for name, _ in compared]].astype(np.dtype(compared))
        return cls(rows, number, plain.view(np.dtype((np.void, plain.dtype.itemsize))))

    def __len__(self) -> int:
        return len(self.rows)

    def after(self, count: int) -> View:
        return View(self.rows[count:], self.number[count:], self.data[count:])


class Window:
    """Rows that come in pieces, seen as one array of which the beginning is taken off."""

    def __init__(self, pieces: Iterator[tuple[Rows, NDArray[np.int64]]]) -> None:
        self._pieces = pieces
        self._waiting: list[View] = []
        self.taken = 0

    def see(self, count: int) -> View | None:
        """At least `count` rows, or all that are left; None at the end."""
        while sum(map(len, self._waiting)) < count:
            piece = next(self._pieces, None)
            if piece is None:
                break
            if len(piece[0]):
                self._waiting.append(View.of(*piece))
        if not self._waiting:
            return None
        if len(self._waiting) > 1:
            rows, number, data = zip(*((view.rows, view.number, view.data) for view in self._waiting), strict=True)
            self._waiting = [View(np.concatenate(rows), np.concatenate(number), np.concatenate(data))]
        return self._waiting[0]

    def take(self, count: int) -> None:
        """Take rows off that see() has shown."""
        view = self._waiting[0]
        self._waiting = [view.after(count)] if count < len(view) else []
        self.taken += count


@dataclass(slots=True)
class LosingRun:
    """Lost rows in a row, that are not yet a Lost. Only what is told of them is kept: they may be millions."""

    first_message: int
    last_message: int
    sample: str
    rows: int = 0
    instruments: set[bytes] = field(default_factory=set)


class Comparer:
    """Aligns one kind of one connection. `stored` gives rows of STORED_DTYPES, with what they are called beside
    them."""

    def __init__(self, kind: str, expected: Window, stored: Window) -> None:
        self.result = Comparison()
        self._kind, self._expected, self._stored = kind, expected, stored
        self._names = list(DTYPES[kind].names or ())
        self._before = (0, 0, 0)
        self._seen: set[bytes] = set()  # of late: to tell a second copy from a row out of nowhere
        self._run: LosingRun | None = None

    def begin_late(self) -> None:
        """Lose all that was sent before the first rows that are stored: beyond what may have drifted apart."""
        while (stored := self._stored.see(FIRST_BLOCK_ROWS)) is not None:
            expected = self._expected.see(CHUNK_ROWS)
            if expected is None:
                return
            found = _place_of_first(expected, stored.rows[:FIRST_BLOCK_ROWS], stored.data[:FIRST_BLOCK_ROWS])
            if found != 0:
                self._lose(expected, len(expected) if found is None else found)
            if found is not None:
                return

    def compare(self) -> Comparison:
        while True:
            expected, stored = self._expected.see(CHUNK_ROWS), self._stored.see(CHUNK_ROWS)
            if expected is None and stored is None:
                break
            if expected is None:
                assert stored is not None
                self._extra(stored, len(stored))
            elif stored is None:
                self._lose(expected, len(expected))
            else:
                self._step(expected, stored)
        self._end_run((0, 0, 0))
        self.result.expected, self.result.stored = self._expected.taken, self._stored.taken
        return self.result

    def _step(self, expected: View, stored: View) -> None:
        """Take what is equal off both sides, then the first thing that is not."""
        count = min(len(expected), len(stored))
        equal = _equal_rows(expected.data[:count], stored.data[:count])
        if equal:
            self._equal(expected, stored, equal)
        if equal == count:
            return
        expected, stored = expected.after(equal), stored.after(equal)
        if len(self.result.lost) + self.result.twice + self.result.stray + self.result.different > DIFFERENCES_MAX:
            self._differ(expected, stored, count - equal)
        else:
            self._resolve(expected, stored)

    def _equal(self, expected: View, stored: View, count: int) -> None:
        first = stored.rows[0]
        self._end_run((int(first["epoch"]), int(first["seq"]), int(first["recv_ns"])))
        self._remember(expected.data[:count])
        self.result.equal += count
        self._passed(expected, stored, count)

    def _passed(self, expected: View, stored: View, count: int) -> None:
        last = stored.rows[count - 1]
        self._before = int(last["epoch"]), int(last["seq"]), int(last["recv_ns"])
        self.result.last_message = int(expected.number[count - 1])
        self._expected.take(count)
        self._stored.take(count)

    def _remember(self, sent: NDArray[np.void]) -> None:
        if len(self._seen) > LOOK_AHEAD_ROWS:
            self._seen.clear()
        self._seen.update(row.tobytes() for row in sent[-LOOK_AHEAD_ROWS:])

    def _resolve(self, expected: View, stored: View) -> None:
        """The first rows differ. Whichever side's row comes soonest on the other decides what happened."""
        lost, extra = _places(expected.data, stored.data)
        if lost is None and extra is None:
            same = _place_of_identity(self._kind, expected.rows, stored.rows[0])
            if same == 0:
                self._differ(expected, stored, 1)
            elif same:
                self._lose(expected, same)
            else:
                self._extra(stored, 1)
        elif extra is None or (lost is not None and lost <= extra):
            assert lost is not None
            self._lose(expected, lost)
        else:
            self._extra(stored, extra)

    def _lose(self, expected: View, count: int) -> None:
        rows, number = expected.rows[:count], expected.number
        if self._run is None:
            self._run = LosingRun(int(number[0]), int(number[0]), described(self._kind, rows[0]))
        self._run.last_message = int(number[count - 1])
        self._run.rows += count
        self._run.instruments.update(np.unique(rows["instrument"]).tolist())
        self._expected.take(count)

    def _end_run(self, after: tuple[int, int, int]) -> None:
        """What was lost in a row becomes one Lost."""
        run, self._run = self._run, None
        if run is not None:
            names = frozenset(run.instruments)
            lost = Lost(run.first_message, run.last_message, run.rows, names, self._before, after, run.sample)
            self.result.lost.append(lost)

    def _extra(self, stored: View, count: int) -> None:
        """Stored rows that are not due here."""
        for row, data in zip(stored.rows[:count], stored.data[:count], strict=True):
            known = data.tobytes() in self._seen
            self.result.twice += known
            self.result.stray += not known
            word = "twice" if known else "never sent"
            self.result.add_sample(f"{word}: {described(self._kind, row)}, stored as seq {row['seq']}")
        self._stored.take(count)

    def _differ(self, expected: View, stored: View, count: int) -> None:
        """Rows that should be the same but are not. The first is told in words."""
        sent, kept = expected.rows[0], stored.rows[0]
        wrong = [name for name in self._names if sent[name].tobytes() != kept[name].tobytes()]
        values = ", ".join(f"{name} sent {_shown(sent[name])} stored {_shown(kept[name])}" for name in wrong[:4])
        self.result.add_sample(f"different: {described(self._kind, sent)}, stored as seq {kept['seq']}: {values}")
        self.result.different += int(np.count_nonzero(expected.data[:count] != stored.data[:count]))
        self._end_run((int(kept["epoch"]), int(kept["seq"]), int(kept["recv_ns"])))
        self._passed(expected, stored, count)


def described(kind: str, row: np.void) -> str:
    return f"{kind} of {row['instrument'].decode(errors='replace')} at {row['exch_ns']}"


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace") or "nothing"
    if isinstance(value, np.floating):
        return "nothing" if np.isnan(value) else repr(float(value))
    return str(value)


def _blocks(count: int) -> Iterator[slice]:
    """`count` rows in blocks that grow."""
    begin, size = 0, FIRST_BLOCK_ROWS
    while begin < count:
        yield slice(begin, min(begin + size, count))
        begin, size = begin + size, 4 * size


def _equal_rows(sent: NDArray[np.void], kept: NDArray[np.void]) -> int:
    """How many are equal from the first on. Both are of one length."""
    for block in _blocks(len(sent)):
        unequal = _first(sent[block] != kept[block])
        if unequal is not None:
            return int(block.start) + unequal
    return len(sent)


def _places(sent: NDArray[np.void], kept: NDArray[np.void]) -> tuple[int | None, int | None]:
    """Where the first of `kept` comes soon in `sent`, and the first of `sent` in `kept`; None for the one that comes
    later than the other, or not at all."""
    for block in _blocks(LOOK_AHEAD_ROWS):
        lost, extra = _first(sent[block] == kept[0]), _first(kept[block] == sent[0])
        if lost is not None or extra is not None:
            return (None if lost is None else block.start + lost, None if extra is None else block.start + extra)
    return None, None


def _place_of_first(expected: View, rows: Rows, data: NDArray[np.void]) -> int | None:
    """Where in `expected` the first of the stored rows would be, by the first of them that is there."""
    stored = {value.tobytes(): place for place, value in enumerate(data)}
    for place in np.flatnonzero(np.isin(expected.rows["exch_ns"], rows["exch_ns"])).tolist():
        behind = stored.get(expected.data[place].tobytes())
        if behind is not None:
            return max(0, place - behind)
    return None


def _first(true: NDArray[np.bool_]) -> int | None:
    found = np.flatnonzero(true)
    return int(found[0]) if len(found) else None


def _place_of_identity(kind: str, rows: Rows, row: np.void) -> int | None:
    """Where the row that this one was meant to be comes soon in `rows`."""
    near = rows[:LOOK_AHEAD_ROWS]
    same = np.ones(len(near), bool)
    for name in IDENTITY[kind]:
        absent = near.dtype[name].kind == "f" and np.isnan(row[name])
        same &= np.isnan(near[name]) if absent else near[name] == row[name]
    return _first(same)
