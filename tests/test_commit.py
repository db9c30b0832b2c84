"""commit.py: what one group commit does, and what it never does."""

from __future__ import annotations

from pathlib import Path

import pytest

from faulty_files import FaultyFiles
from journal_case import BOOK, QUOTE, SLOTS, JournalCase, numbered, segment_files
from tickbay.files import Files
from tickbay.journal.recovery import verify
from tickbay.record import Kind, stream_name
from tickbay.ring import RingFull


@pytest.fixture
def case(shm_dir: Path) -> JournalCase:
    return JournalCase(shm_dir, shm_dir / "data")


def test_one_commit_makes_the_records_of_all_streams_durable_with_one_sync(case: JournalCase) -> None:
    files = FaultyFiles()
    journal = case.open(files)
    journal.commit()
    case.produce(journal, QUOTE, 1)
    journal.commit()  # begins the first segment
    files.calls.clear()
    streams = [stream_name("feed-1", kind) for kind in (Kind.QUOTE, Kind.TRADE, Kind.BOOK, Kind.GAP, Kind.STATUS)]
    for stream in streams:
        case.produce(journal, stream, 100)
    assert journal.commit()
    assert files.calls == ["pwritev", "fdatasync"]
    for stream in streams:
        assert case.numbers(stream) == list(range(1, case.produced[stream] + 1))
        assert journal.rings.sources[stream].ring.durable == case.produced[stream]


def test_a_commit_of_nothing_touches_nothing(case: JournalCase) -> None:
    files = FaultyFiles()
    journal = case.open(files)
    files.calls.clear()
    assert journal.commit()
    assert files.calls == []


def test_durable_moves_only_behind_a_sync_that_returned(case: JournalCase) -> None:
    """JRNL-2."""

    class Watching(FaultyFiles):
        def fdatasync(self, fd: int) -> None:
            seen.append(ring.durable)
            super().fdatasync(fd)
            seen.append(ring.durable)

    seen: list[int] = []
    journal = case.open(Watching())
    ring = journal.rings.sources[QUOTE].ring
    case.produce(journal, QUOTE, 1)
    journal.commit()
    seen.clear()
    case.produce(journal, QUOTE, 99)
    journal.commit()
    assert seen == [1, 1]
    assert ring.durable == 100


def test_the_producer_may_overwrite_only_what_is_durable(case: JournalCase) -> None:
    """RING-2: the journal alone holds a producer back, and lets it go with the next commit."""
    journal = case.open()
    case.produce(journal, QUOTE, SLOTS.quote)
    with pytest.raises(RingFull):
        journal.rings.sources[QUOTE].ring.append(numbered(QUOTE, 1, 1))
    journal.commit()
    case.produce(journal, QUOTE, SLOTS.quote)
    journal.commit()
    assert case.numbers(QUOTE) == list(range(1, 2 * SLOTS.quote + 1))


def test_records_run_through_many_segments_without_a_hole(case: JournalCase) -> None:
    journal = case.open()
    for count in (1, 1000, 17, 999, 1000, 1000, 3, 1000, 1000, 500, 1000):
        case.produce(journal, QUOTE, count)
        case.produce(journal, BOOK, min(2 * count, 2000))
        journal.commit()
    assert len(segment_files(case.directory)) > 4
    assert case.numbers(QUOTE) == list(range(1, case.produced[QUOTE] + 1))
    assert case.numbers(BOOK) == list(range(1, case.produced[BOOK] + 1))
    assert list(verify(Files(), case.directory)) == []


def test_a_commit_waits_for_its_time_unless_a_ring_fills(case: JournalCase) -> None:
    journal = case.open()
    case.produce(journal, QUOTE, 1)
    journal.turn()  # the first is due at once
    assert journal.rings.sources[QUOTE].pending == 0
    case.produce(journal, QUOTE, 1)
    assert 0 < journal.turn() <= case.config.journal.commit_ms / 1000
    assert journal.rings.sources[QUOTE].pending == 1
    case.produce(journal, QUOTE, SLOTS.quote // 4)
    journal.turn()
    assert journal.rings.sources[QUOTE].pending == 0
