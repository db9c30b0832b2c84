"""Whether the journal still has what came after a backup: real segments, of which the oldest goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from journal_case import BOOK, QUOTE, TRADE, JournalCase
from tickbay.backup.reach import gone
from tickbay.cursor import START, Position


@pytest.fixture
def case(tmp_path: Path, shm_dir: Path) -> JournalCase:
    """Trades in the first segment only, books from the second on, quotes all over; the first segment has gone."""
    case = JournalCase(shm_dir / "run", tmp_path / "data")
    journal = case.open()
    case.produce(journal, TRADE, 10)
    case.fill_segments(journal, 1)
    case.produce(journal, BOOK, 10)
    case.fill_segments(journal, 2)
    assert journal.commit()
    case.save_cursor({stream: Position(99, 1) for stream in journal.rings.sources})
    journal.segments.drop_oldest()
    journal.close()
    return case


def test_the_journal_reaches_back_to_what_it_still_has_and_no_further(case: JournalCase) -> None:
    first = next(case.chunks(QUOTE)).records
    epoch, seq = next(case.chunks(QUOTE)).epoch, int(first["seq"][0])
    assert seq > 2
    for since, is_gone in ((seq, False), (seq - 1, False), (seq - 2, True), (1, True)):
        assert gone(case.directory, {QUOTE: Position(epoch, since)}, {}) is is_gone, since
    assert gone(case.directory, {}, {QUOTE: Position(epoch, seq + 5)}), "a stream that began after the backup"


def test_of_a_stream_that_has_ended_the_database_s_cursor_tells_what_the_journal_had(case: JournalCase) -> None:
    assert list(case.chunks(TRADE)) == []
    epoch = next(case.chunks(QUOTE)).epoch
    assert gone(case.directory, {TRADE: Position(epoch, 4)}, {TRADE: Position(epoch, 10)})
    assert not gone(case.directory, {TRADE: Position(epoch, 10)}, {TRADE: Position(epoch, 10)})
    assert not gone(case.directory, {}, {BOOK: Position(epoch, 10)}), "all of it is there"
    assert not gone(case.directory, {BOOK: START}, {})


def test_a_journal_that_is_not_on_this_machine_says_nothing(tmp_path: Path) -> None:
    assert not gone(tmp_path / "journal", {QUOTE: Position(1, 1)}, {QUOTE: Position(1, 9)})
