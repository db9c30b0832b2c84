"""What a writer takes: everything, in order within a stream, and no stream starves."""

from __future__ import annotations

import numpy as np

from rows import made
from tickbay.cursor import START, Position
from tickbay.errors import JournalFault
from tickbay.gap import Cause
from tickbay.record import Kind
from tickbay.sinks.sink import Chunk, Hole
from tickbay.writer.intake import BatchSize, Intake


class Shelf:
    """A reader over streams in memory, which may have lost their beginning or be of an unknown layout."""

    def __init__(self, **counts: int) -> None:
        self.counts = {f"{name}.book": count for name, count in counts.items()}
        self.oldest = dict.fromkeys(self.counts, 1)
        self.unknown: set[str] = set()

    def streams(self) -> dict[str, Kind]:
        return dict.fromkeys(self.counts, Kind.BOOK)

    def lag(self, stream: str, after: Position) -> int:
        return self.counts[stream] - after.seq

    def read(self, stream: str, after: Position, *, rows_max: int) -> Chunk | Hole | None:
        if stream in self.unknown:
            raise JournalFault("another layout")
        first = after.seq + 1
        if first > self.counts[stream]:
            return None
        if first < self.oldest[stream]:
            return Hole(stream, Kind.BOOK, 5, first, self.oldest[stream] - 1, Cause.JOURNAL_QUOTA, 900, 1000)
        records = made(Kind.BOOK, min(rows_max, 10, self.counts[stream] - after.seq), first_seq=first, at_ns=0)
        records["recv_ns"] = 10**9 * records["seq"]
        return Chunk(stream, Kind.BOOK, 5, records)


def ready(shelf: Shelf) -> Intake:
    intake = Intake(shelf)
    intake.restart(dict.fromkeys(intake.new_streams(), START))
    return intake


def test_everything_is_taken_once_and_in_order() -> None:
    intake = ready(Shelf(a=95, b=7, c=40))
    taken: dict[str, list[int]] = {}
    while (batch := intake.take(30, now=0.0)).chunks:
        assert batch.rows <= 30
        for chunk in batch.chunks:
            taken.setdefault(chunk.stream, []).extend(int(seq) for seq in chunk.records["seq"])
        intake.committed(batch)
    assert taken == {"a.book": [*range(1, 96)], "b.book": [*range(1, 8)], "c.book": [*range(1, 41)]}
    assert intake.positions == {"a.book": Position(5, 95), "b.book": Position(5, 7), "c.book": Position(5, 40)}


def test_what_is_not_committed_is_taken_again() -> None:
    intake = ready(Shelf(a=20))
    first, again = intake.take(15, now=0.0), intake.take(15, now=0.0)
    assert first.ends == again.ends == {"a.book": Position(5, 15)}


def test_a_stream_that_is_far_behind_starves_no_other() -> None:
    intake = ready(Shelf(a=10_000, b=1, c=1))
    for _ in range(3):
        intake.committed(intake.take(20, now=0.0))
    assert intake.positions["b.book"].seq == intake.positions["c.book"].seq == 1


def test_a_hole_is_stepped_over_in_its_place() -> None:
    shelf = Shelf(a=30)
    shelf.oldest["a.book"] = 21
    batch = ready(shelf).take(100, now=0.0)
    assert [(hole.first_seq, hole.last_seq) for hole in batch.holes] == [(1, 20)]
    assert np.array_equal(np.concatenate([chunk.records["seq"] for chunk in batch.chunks]), np.arange(21, 31))
    assert batch.ends == {"a.book": Position(5, 30)}


def test_a_stream_that_cannot_be_read_is_left_alone_for_a_while() -> None:
    shelf = Shelf(a=5, b=5)
    shelf.unknown.add("a.book")
    intake = ready(shelf)
    assert set(intake.take(100, now=0.0).ends) == {"b.book"}
    assert intake.unreadable == {"a.book": "another layout"}
    shelf.unknown.clear()
    assert set(intake.take(100, now=1.0).ends) == {"b.book"}
    assert set(intake.take(100, now=100.0).ends) == {"a.book", "b.book"}
    assert intake.unreadable == {}


def test_the_lag_is_that_of_the_oldest_record_not_taken() -> None:
    intake = ready(Shelf(a=20, b=3))
    assert intake.lag_rows() == {"a.book": 20, "b.book": 3}
    assert intake.lag_s(31 * 10**9) == 30.0
    intake.committed(intake.take(13, now=0.0))
    intake.committed(intake.take(100, now=0.0))
    assert intake.lag_s(31 * 10**9) == 0.0


def test_batches_grow_while_behind_and_shrink_when_commits_are_slow() -> None:
    size = BatchSize(1000)
    for _ in range(5):
        size.after(full=True, commit_s=0.1)
    assert size.rows == 4000
    size.after(full=True, commit_s=0.7)
    assert size.rows == 4000
    for _ in range(10):
        size.after(full=True, commit_s=5.0)
    assert size.rows == 250
    size.after(full=False, commit_s=0.01)
    assert size.rows == 1000
