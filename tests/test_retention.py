"""retention.py, segments.py and spares.py: what the journal keeps, lets go and uses again."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from journal_case import QUOTE, JournalCase, received_ns, segment_files
from tickbay.config import Questdb
from tickbay.cursor import Position
from tickbay.errors import ConfigError
from tickbay.events import Event
from tickbay.files import Files
from tickbay.gap import SINCE_EVER_NS, Cause
from tickbay.journal.journal import Journal
from tickbay.journal.recovery import verify
from tickbay.ring import RingFull


@pytest.fixture
def case(shm_dir: Path) -> JournalCase:
    return JournalCase(shm_dir, shm_dir / "data")


def produce_for_ever(case: JournalCase, journal: Journal) -> None:
    while True:
        case.produce(journal, QUOTE, 500)
        journal.commit()


def test_a_segment_stays_until_it_is_old_and_every_sink_has_it(shm_dir: Path) -> None:
    """JRNL-3."""
    case = JournalCase(shm_dir, shm_dir / "data", retain_hours=1)
    journal = case.open()
    case.fill_segments(journal, 3)
    last = journal.segments.sealed[1].spans[QUOTE].last
    journal.upkeep()
    assert len(journal.segments.sealed) == 3
    case.save_cursor({QUOTE: last})
    journal.upkeep()
    assert len(journal.segments.sealed) == 3, "taken, but not old"
    case.now_ns += 3600 * 10**9
    case.save_cursor({QUOTE: Position(last.epoch, last.seq - 1)})
    journal.upkeep()
    assert [index.segment for index in journal.segments.sealed] == [2, 3], "one record of the second is not taken"
    case.save_cursor({QUOTE: last})
    journal.upkeep()
    assert [index.segment for index in journal.segments.sealed] == [3]
    journal.commit()
    assert case.gaps() == []
    assert "000000000001.seg" not in segment_files(case.directory)


def test_an_unreadable_cursor_holds_everything(shm_dir: Path) -> None:
    """JRNL-3."""
    case = JournalCase(shm_dir, shm_dir / "data", retain_hours=0)
    journal = case.open()
    case.fill_segments(journal, 2)
    (shm_dir / "data" / "cursors" / "timescale.cursor").write_bytes(os.urandom(1 << 17))
    journal.upkeep()
    assert len(journal.segments.sealed) == 2


def test_what_the_quota_takes_is_told_at_once_and_to_each_sink_what_it_lacks(shm_dir: Path) -> None:
    """JRNL-3: counted and an event of the journal's, and a hole of that sink's alone: a healthy one lacks nothing."""
    case = JournalCase(shm_dir, shm_dir / "data", quota_gb=0.0045)
    journal = case.open()
    case.save_cursor({QUOTE: Position(journal.epoch, 600)})
    case.fill_segments(journal, 1)
    while journal.segments.sealed[0].segment < 4:
        case.produce(journal, QUOTE, 500)
        assert journal.commit()
        assert journal.segments.used_bytes <= 4_500_000
    journal.commit()
    oldest = case.stored(QUOTE)[0][1]
    assert case.gaps() == [], "it would stand in every database"
    told = case.events.of(Event.JOURNAL_DROPPED)
    assert {(event["sink"], event["stream"]) for event in told} == {("timescale", QUOTE)}
    assert (told[0]["first"], len(told)) == (601, 3)
    assert sum(int(str(event["records"])) for event in told) == oldest - 601
    journal.report()
    assert case.health.counters["dropped_records"] == oldest - 601
    (hole,) = case.holes(QUOTE, Position(journal.epoch, 600))
    assert (hole.first_seq, hole.last_seq, hole.cause) == (601, oldest - 1, Cause.JOURNAL_QUOTA)
    assert hole.from_ns == received_ns(501), "GAP-1: when the batch came that has its first record"
    assert hole.to_ns == received_ns(oldest), "and the first record that is there again"


def test_what_two_sinks_lack_begins_where_each_was_and_outlives_the_journal(shm_dir: Path) -> None:
    """GAP-1: the segment is gone, and with it the times of its records."""
    case = JournalCase(shm_dir, shm_dir / "data", quota_gb=0.0045)
    case.config = replace(case.config, questdb=Questdb(enabled=True))
    journal = case.open()
    case.save_cursor({QUOTE: Position(journal.epoch, 600)})
    case.save_cursor({QUOTE: Position(journal.epoch, 1500)}, "questdb")
    while not journal.segments.sealed or journal.segments.sealed[0].segment < 3:
        case.produce(journal, QUOTE, 500)
        assert journal.commit()
    oldest, epoch = case.stored(QUOTE)[0][1], journal.epoch
    assert oldest > 2000
    case.lose_power()
    journal = case.open()
    (hole,) = case.holes(QUOTE, Position(epoch, 700))
    assert (hole.first_seq, hole.from_ns) == (701, received_ns(501))
    (hole,) = case.holes(QUOTE, Position(epoch, 1500))
    assert (hole.first_seq, hole.from_ns) == (1501, received_ns(1501))
    # A database that is older than both: nobody knows when what it lacks was received, but up to where.
    before, behind = case.holes(QUOTE, Position(epoch, 10))
    assert [(hole.first_seq, hole.last_seq) for hole in (before, behind)] == [(11, 600), (601, oldest - 1)]
    assert (before.from_ns, before.to_ns) == (SINCE_EVER_NS, received_ns(501))
    # What went while nothing could be noted is of no known time, and what goes next does not speak for it.
    (shm_dir / "data" / "journal" / "lost").unlink()
    journal = case.open()
    case.produce(journal, QUOTE, 500)
    while case.stored(QUOTE)[0][1] == oldest:
        assert journal.commit()
        case.produce(journal, QUOTE, 500)
    unknown, known = case.holes(QUOTE, Position(epoch, 1500))
    assert (unknown.first_seq, unknown.last_seq, unknown.from_ns) == (1501, oldest - 1, SINCE_EVER_NS)
    assert (known.first_seq, known.from_ns) == (oldest, received_ns(oldest))
    (shm_dir / "data" / "journal" / "lost").write_bytes(b"[[1")
    case.open()
    (hole,) = case.holes(QUOTE, Position(epoch, 1500))
    assert hole.from_ns == SINCE_EVER_NS, "never understated"


def test_what_went_before_the_disk_failed_is_told(shm_dir: Path) -> None:
    """JRNL-3: the error of the next segment threw away what the first had lost."""

    class FailsOnce(Files):
        def unlink(self, path: Path) -> None:
            if path.suffix == ".idx":
                removed.append(path.name)
                if len(removed) == 2:
                    raise OSError(errno.EIO, "sick")
            super().unlink(path)

    removed: list[str] = []
    case = JournalCase(shm_dir, shm_dir / "data")
    journal = case.open()
    case.fill_segments(journal, 5)
    journal.close()
    case.config = replace(case.config, journal=replace(case.config.journal, quota_gb=0.0035))
    journal = case.open(FailsOnce())
    journal.upkeep()
    assert "JOURNAL_UPKEEP_FAILED" in case.events.names()
    told = case.events.of(Event.JOURNAL_DROPPED)
    assert sum(int(str(event["records"])) for event in told) == case.stored(QUOTE)[0][1] - 1 > 0
    journal.upkeep()
    told = case.events.of(Event.JOURNAL_DROPPED)
    assert sum(int(str(event["records"])) for event in told) == case.stored(QUOTE)[0][1] - 1
    assert len(told) > 1


def test_a_cursor_whose_sync_failed_lets_nothing_go_until_it_is_saved_anew(shm_dir: Path) -> None:
    """JRNL-3: the kernel tells of it once, and the next sync succeeds without having written anything; then the power
    took the cursor back when the segment had gone (seed 21374)."""

    class FailsOnce(Files):
        def fdatasync(self, fd: int) -> None:
            if "cursors" in str(Path(f"/proc/self/fd/{fd}").readlink()):
                synced.append(fd)
                if len(synced) == 1:
                    raise OSError(errno.EIO, "sick")
            super().fdatasync(fd)

    synced: list[int] = []
    case = JournalCase(shm_dir, shm_dir / "data", retain_hours=0)
    journal = case.open(FailsOnce())
    case.fill_segments(journal, 2)
    case.save_cursor({QUOTE: Position(journal.epoch, case.produced[QUOTE])})
    for _ in range(3):
        journal.upkeep()
        assert len(journal.segments.sealed) == 2
    assert case.events.names().count("JOURNAL_UPKEEP_FAILED") == 1
    case.produce(journal, QUOTE, 1)
    case.save_cursor({QUOTE: Position(journal.epoch, case.produced[QUOTE])})
    journal.upkeep()
    assert journal.segments.sealed == []
    assert len(synced) == 2


def test_what_every_sink_has_goes_for_space_without_a_gap(shm_dir: Path) -> None:
    case = JournalCase(shm_dir, shm_dir / "data", quota_gb=0.0045)
    journal = case.open()
    while not journal.segments.sealed or journal.segments.sealed[0].segment < 4:
        case.produce(journal, QUOTE, 500)
        assert journal.commit()
        case.save_cursor({QUOTE: Position(journal.epoch, case.produced[QUOTE])})
    assert case.gaps() == []


def test_a_disk_that_others_fill_makes_the_journal_stop_growing_but_not_vanish(shm_dir: Path) -> None:
    class OthersFill(Files):
        def free_bytes(self, path: Path) -> int:
            return free

    free = 1 << 40
    case = JournalCase(shm_dir, shm_dir / "data", free_floor_gb=1.0)
    journal = case.open(OthersFill())
    case.fill_segments(journal, 4)
    used = journal.segments.used_bytes
    free = 10**8
    with pytest.raises(RingFull):
        produce_for_ever(case, journal)
    assert len(journal.segments.sealed) == 5, "nothing that a sink needs went"
    assert case.events.names().count("JOURNAL_FULL") > 0
    for _ in range(6):
        case.save_cursor({QUOTE: Position(journal.epoch, case.produced[QUOTE])})
        while journal.rings.sources[QUOTE].pending:
            assert journal.commit()
        case.produced[QUOTE] = journal.rings.sources[QUOTE].ring.head - 1
        case.produce(journal, QUOTE, 1000)
    assert abs(journal.segments.used_bytes - used) <= 2 << 20
    assert case.gaps() == []


def test_what_is_told_as_free_is_of_the_disk_and_not_of_the_quota(shm_dir: Path) -> None:
    """What broke: a journal at its quota on an empty disk said that nothing was free."""

    class Empty(Files):
        def free_bytes(self, path: Path) -> int:
            return 8 * 10**12

    case = JournalCase(shm_dir, shm_dir / "data", quota_gb=0.0045, free_floor_gb=2.0)
    journal = case.open(Empty())
    case.fill_segments(journal, 3)
    journal.report()
    assert case.health.gauges["free_bytes"] == 8 * 10**12


def test_a_quota_that_holds_no_journal_is_refused(shm_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"journal\.quota_gb must hold"):
        JournalCase(shm_dir, shm_dir / "data", segment_mb=64, quota_gb=0.1).open()


def test_segments_that_are_not_needed_any_more_are_used_again(shm_dir: Path) -> None:
    case = JournalCase(shm_dir, shm_dir / "data", sinks=False, retain_hours=0)
    journal = case.open()
    case.fill_segments(journal, 2)
    inodes = {(case.directory / name).stat().st_ino for name in segment_files(case.directory)}
    journal.upkeep()
    case.fill_segments(journal, 1)
    assert journal.segments.writer is not None
    assert journal.segments.writer.path.stat().st_ino in inodes
    # The bytes of the older life are no data.
    assert list(verify(Files(), case.directory)) == []
    stored = case.stored(QUOTE)
    assert [number for _, _, number in stored] == list(range(stored[0][1], case.produced[QUOTE] + 1))


def test_spare_files_are_made_while_there_is_nothing_else_to_do(case: JournalCase) -> None:
    journal = case.open()
    for _ in range(10):
        journal.upkeep()
    assert len(list(case.directory.glob("*.spare"))) == 2
    case.fill_segments(journal, 1)
    assert len(list(case.directory.glob("*.spare"))) < 2
    assert journal.segments.used_bytes == sum(path.stat().st_size for path in case.directory.glob("*.[s][ep]*"))
