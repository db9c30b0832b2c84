"""recovery.py: opening a journal after every kind of end."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from faulty_files import FaultyFiles, is_nth
from journal_case import QUOTE, TRADE, JournalCase, segment_files
from test_segment import flip, garbage, truncate, zero
from tickbay.cursor import START, Position
from tickbay.events import Event
from tickbay.files import Files
from tickbay.gap import Cause
from tickbay.journal.recovery import MARKER, TORN_KEPT, recover, verify


@pytest.fixture
def case(shm_dir: Path) -> JournalCase:
    return JournalCase(shm_dir, shm_dir / "data")


def filled(case: JournalCase, commits: int = 20, *, close: bool = True) -> None:
    journal = case.open()
    for _ in range(commits):
        case.produce(journal, QUOTE, 30)
        case.produce(journal, TRADE, 3)
        assert journal.commit()
    if close:
        assert journal.end() == ""


def newest(case: JournalCase) -> Path:
    return case.directory / segment_files(case.directory)[-1]


def test_a_new_journal_is_clean_and_its_epoch_is_the_time(case: JournalCase) -> None:
    journal = case.open()
    assert journal.epoch == case.now_ns // 10**9
    assert case.events.of(Event.JOURNAL_OPENED)[0]["clean"] is True
    assert case.gaps() == []


def test_after_a_clean_stop_the_epoch_and_the_sequence_go_on(case: JournalCase) -> None:
    filled(case)
    case.lose_power()  # a reboot after a clean stop
    journal = case.open()
    case.produce(journal, QUOTE, 5)
    journal.commit()
    stored = case.stored(QUOTE)
    assert {epoch for epoch, _, _ in stored} == {journal.epoch}
    assert [seq for _, seq, _ in stored] == [number for _, _, number in stored] == list(range(1, 606))
    assert case.gaps() == []


def test_the_word_for_a_clean_stop_is_taken_back_when_the_journal_is_opened(case: JournalCase) -> None:
    filled(case)
    assert (case.directory / MARKER).exists()
    case.open()
    assert not (case.directory / MARKER).exists()


def test_an_unclean_end_begins_a_greater_epoch(case: JournalCase) -> None:
    filled(case, close=False)
    before = case.stored(QUOTE)[-1][0]
    case.now_ns -= 3600 * 10**9  # the clock was set back
    journal = case.open()
    assert journal.epoch == before + 1


def test_with_the_rings_still_there_an_unclean_end_loses_nothing_and_is_no_gap(case: JournalCase) -> None:
    journal = case.open()
    case.produce(journal, QUOTE, 100)
    journal.commit()
    case.produce(journal, QUOTE, 100)  # never committed by this one
    journal = case.open()
    journal.commit()
    assert [number for _, _, number in case.stored(QUOTE)] == list(range(1, 201))
    assert [seq for _, seq, _ in case.stored(QUOTE)] == list(range(1, 201))
    assert case.gaps() == []


def test_what_was_written_but_not_called_durable_is_not_written_twice(case: JournalCase) -> None:
    """The process died between the sync and the durable position."""
    files = FaultyFiles()
    journal = case.open(files)
    case.produce(journal, QUOTE, 100)
    journal.commit()
    case.produce(journal, QUOTE, 100)
    ring = journal.rings.sources[QUOTE].ring
    files.fails = lambda operation, number: operation == "fdatasync"  # it never returns: as if killed in it
    durable = ring.durable
    with pytest.raises(OSError, match="Input/output"):
        journal._commits.run()
    assert ring.durable == durable == 100
    journal = case.open()
    assert journal.rings.sources[QUOTE].ring.durable == 200
    case.produce(journal, QUOTE, 50)
    journal.commit()
    assert [number for _, _, number in case.stored(QUOTE)] == list(range(1, 251))


def test_lost_power_is_a_gap_from_the_last_batch_on(case: JournalCase) -> None:
    filled(case, close=False)
    case.lose_power()
    journal = case.open()
    journal.commit()
    (gap,) = case.gaps()
    assert (gap["cause"], gap["detail"]) == (Cause.JOURNAL_TORN, b"unclean end: rings lost")


@pytest.mark.parametrize("damage", [truncate, zero, flip, garbage])
def test_a_torn_tail_is_cut_off_kept_aside_and_reported(
    case: JournalCase, damage: Callable[[bytes, int], bytes]
) -> None:
    """JRNL-1: exactly the records wholly written before the damage."""
    filled(case, close=False)
    good = newest(case).read_bytes()
    end = recovered_end(case)
    case.lose_power()
    at = end - 5000
    newest(case).write_bytes(damage(good[:end], at))
    before = case.stored(QUOTE)
    journal = case.open()
    after = case.stored(QUOTE)
    assert after == before
    assert [number for _, _, number in after] == list(range(1, len(after) + 1))
    (torn,) = case.events.of(Event.JOURNAL_TORN)
    assert torn["kept"] is True
    offset = torn["offset"]
    assert isinstance(offset, int)
    assert offset <= at
    kept = (case.directory / f"{1:012d}.torn").read_bytes()
    assert kept == damage(good[:end], at)[offset : offset + len(kept)]
    # And the journal goes on right there, in a new epoch.
    case.produced[QUOTE] = len(after)
    case.produce(journal, QUOTE, 10)
    journal.commit()
    assert [seq for _, seq, _ in case.stored(QUOTE)] == list(range(1, len(after) + 11))
    assert case.stored(QUOTE)[-1][0] > after[-1][0]
    assert len(case.gaps()) == 1
    assert list(verify(Files(), case.directory)) == []


def recovered_end(case: JournalCase) -> int:
    """Where the batches of the newest segment end; the file is left as it was."""
    path = newest(case)
    data = path.read_bytes()
    found = recover(Files(), case.directory)
    assert found.writer is not None
    found.writer.close()
    path.write_bytes(data)
    return found.writer.end


def test_any_damage_of_the_newest_segment_is_recovered_from_twice_the_same(case: JournalCase) -> None:
    """R5 on files: recover, recover again, verify."""
    filled(case, commits=3, close=False)
    good = newest(case).read_bytes()
    end = recovered_end(case)
    everything = case.stored(QUOTE) + case.stored(TRADE)
    seeds = random.Random(11)
    for attempt in range(60):
        damage = seeds.choice([truncate, zero, flip, garbage])
        at = seeds.randrange(end)
        newest(case).write_bytes(damage(good[: seeds.choice([end, len(good)])], at))
        for _ in range(2):
            found = recover(Files(), case.directory)
            if found.writer is not None:
                found.writer.close()
        stored = case.stored(QUOTE) + case.stored(TRADE)
        assert set(stored) <= set(everything), f"attempt {attempt}: {damage.__name__} at {at}"
        assert stored[: len(case.stored(QUOTE))] == everything[: len(case.stored(QUOTE))]


def test_blocks_that_a_power_cut_kept_behind_a_lost_one_are_no_data_and_are_reported(case: JournalCase) -> None:
    filled(case, close=False)
    end = recovered_end(case)
    case.lose_power()
    data = bytearray(newest(case).read_bytes())
    data[4096:8192] = bytes(4096)  # the first block of the first write never reached the disk
    newest(case).write_bytes(data)
    case.open()
    assert case.stored(QUOTE) == []
    (torn,) = case.events.of(Event.JOURNAL_TORN)
    assert (torn["offset"], torn["bytes"]) == (4096, end - 4096)


def test_only_the_last_few_damaged_tails_are_kept(case: JournalCase) -> None:
    filled(case, close=False)
    for number in range(TORN_KEPT + 5):
        (case.directory / f"{9000 + number:012d}.torn").write_bytes(b"x")
    case.lose_power()
    newest(case).write_bytes(newest(case).read_bytes()[: recovered_end(case) - 10])
    case.open()
    assert len(list(case.directory.glob("*.torn"))) == TORN_KEPT


def test_a_newest_segment_with_a_damaged_header_is_replaced(case: JournalCase) -> None:
    filled(case, commits=200, close=False)
    files = segment_files(case.directory)
    assert len(files) > 1
    newest(case).write_bytes(b"\0" * 8192)
    case.lose_power()
    journal = case.open()
    journal.commit()
    assert segment_files(case.directory) == files
    stored = case.stored(QUOTE)
    assert [seq for _, seq, _ in stored] == list(range(1, len(stored) + 1))
    assert len(case.events.of(Event.JOURNAL_TORN)) == 1


def test_a_missing_segment_is_a_hole_that_is_reported_and_recorded(case: JournalCase) -> None:
    filled(case, commits=400)
    files = segment_files(case.directory)
    assert len(files) > 3
    (case.directory / files[1]).unlink()
    problems = list(verify(Files(), case.directory))
    assert any(QUOTE in problem and "missing" in problem for problem in problems)
    journal = case.open()
    journal.commit()
    holes = {str(fields["stream"]): fields for fields in case.events.of(Event.JOURNAL_HOLE)}
    assert set(holes) == {QUOTE, TRADE}
    (hole,) = case.holes(QUOTE, Position(1, 1))[1:] or case.holes(QUOTE)
    assert (hole.first_seq, hole.last_seq) == (holes[QUOTE]["first"], holes[QUOTE]["last"])
    gaps = {gap["detail"]: gap for gap in case.gaps()}
    assert (gaps[QUOTE.encode()]["first_missing"], gaps[QUOTE.encode()]["last_missing"]) == (
        hole.first_seq,
        hole.last_seq,
    )


def test_a_hole_is_recorded_once_however_often_the_journal_is_opened(case: JournalCase) -> None:
    filled(case, commits=400)
    (case.directory / segment_files(case.directory)[1]).unlink()
    for _ in range(3):
        journal = case.open()
        assert journal.end() == ""
    assert len(case.gaps()) == 2  # one for each stream


def test_damage_inside_a_complete_segment_is_found_by_verify_and_at_a_start_without_index(case: JournalCase) -> None:
    filled(case, commits=400)
    path = case.directory / segment_files(case.directory)[1]
    data = bytearray(path.read_bytes())
    data[500_000] ^= 1
    path.write_bytes(data)
    problems = list(verify(Files(), case.directory))
    assert any("segment 2: damaged" in problem for problem in problems)
    path.with_suffix(".idx").unlink()
    case.open()
    assert case.events.of(Event.JOURNAL_DAMAGED) == [{"segment": 2}]
    assert {fields["stream"] for fields in case.events.of(Event.JOURNAL_HOLE)} == {QUOTE, TRADE}


def test_lost_or_damaged_indexes_are_made_again(case: JournalCase) -> None:
    filled(case, commits=400)
    before = case.stored(QUOTE)
    indexes = sorted(case.directory.glob("*.idx"))
    contents = [path.read_bytes() for path in indexes]
    indexes[0].unlink()
    indexes[1].write_bytes(flip(contents[1], 100))
    indexes[2].write_bytes(contents[2][:50])
    case.open()
    assert [path.read_bytes() for path in indexes] == contents
    assert case.stored(QUOTE) == before


def test_what_was_being_made_when_the_process_died_is_removed(case: JournalCase) -> None:
    filled(case)
    for name in ("000000000009.seg-new", "000000000001.idx-new", "000001.spare-new", "000000000077.idx"):
        (case.directory / name).write_bytes(b"x")
    case.open()
    assert not [
        name for name in Files().names(case.directory) if name.endswith("-new") or name.startswith("000000000077")
    ]


def test_a_wiped_journal_can_not_be_mistaken_for_what_a_sink_has(case: JournalCase) -> None:
    filled(case)
    epoch = case.stored(QUOTE)[-1][0]
    case.save_cursor({QUOTE: Position(epoch, 600)})
    for path in case.directory.iterdir():
        path.unlink()
    case.lose_power()
    case.now_ns = (epoch - 1000) * 10**9
    case.produced.clear()
    journal = case.open()
    assert journal.epoch > epoch
    case.produce(journal, QUOTE, 3)
    journal.commit()
    assert case.events.names().count("JOURNAL_WIPED") == 1
    assert [gap["cause"] for gap in case.gaps()] == [Cause.JOURNAL_TORN]
    # The sink at (epoch, 600) is given the new records, all of them; it remembers where the numbers were.
    (chunk,) = case.chunks(QUOTE, Position(epoch, 600))
    assert chunk.records["seq"].tolist() == [601, 602, 603]


def test_a_journal_without_records_is_not_taken_for_a_wiped_one(case: JournalCase) -> None:
    """A writer saves its cursor, at the start of everything, before the first record comes."""
    case.save_cursor({QUOTE: START})
    case.open().close()
    assert case.events.of(Event.JOURNAL_WIPED) == []


def test_the_gap_of_a_wiped_journal_has_a_time(case: JournalCase) -> None:
    """A row without one is refused by every database, and the gap would be in quarantine."""
    case.save_cursor({QUOTE: Position(7, 3)})
    journal = case.open()
    journal.commit()
    (chunk,) = case.chunks("journal.gap")
    assert chunk.records["exch_ns"].tolist() == [1]


def test_nothing_is_durable_before_the_name_of_its_file_is(case: JournalCase) -> None:
    """JRNL-2: a process named the newest segment and died before it synced the name; the next one goes on in it."""
    synced: list[Path] = []

    class Watched(Files):
        def sync_directory(self, path: Path) -> None:
            synced.append(path)
            super().sync_directory(path)

    filled(case)
    case.open(Watched()).close()
    assert synced == [case.directory]


def test_a_stream_whose_segments_are_all_deleted_goes_on_after_a_clean_stop(shm_dir: Path) -> None:
    """Within an epoch no sequence may mean two records, also of a stream that was silent for days."""
    case = JournalCase(shm_dir, shm_dir / "data", sinks=False, retain_hours=0)
    journal = case.open()
    case.produce(journal, TRADE, 10)
    while len(journal.segments.sealed) < 2:
        case.produce(journal, QUOTE, 500)
        journal.commit()
    journal.upkeep()
    assert case.stored(TRADE) == []
    assert journal.end() == ""
    case.lose_power()
    journal = case.open()
    case.produce(journal, TRADE, 1)
    journal.commit()
    assert [(seq, number) for _, seq, number in case.stored(TRADE)] == [(11, 11)]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_an_error_at_any_call_while_opening_loses_nothing_and_opening_again_works(
    case: JournalCase, error: int
) -> None:
    """R7, for the calls of recovery."""
    filled(case, commits=200, close=False)
    case.lose_power()
    newest(case).write_bytes(newest(case).read_bytes()[: recovered_end(case) - 10])
    saved = {path: path.read_bytes() for path in case.directory.iterdir()}
    counting = FaultyFiles()
    case.open(counting)
    expected = case.stored(QUOTE)
    assert len(counting.calls) >= 5
    for nth in range(1, len(counting.calls) + 1):
        for path in case.directory.iterdir():
            path.unlink()
        for path, data in saved.items():
            path.write_bytes(data)
        case.lose_power()
        files = FaultyFiles(partial(is_nth, nth), error)
        try:
            case.open(files)
        except OSError:
            case.open()
        assert len(files.failed) == 1
        assert case.stored(QUOTE) == expected, f"call {nth}: {counting.calls[nth - 1]}"
