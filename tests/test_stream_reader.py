"""stream_reader.py and journal_reader.py: every durable record once and in order, wherever it lies."""

from __future__ import annotations

import errno
import gc
import random
import time
from pathlib import Path

import numpy as np
import pytest

from faulty_files import FaultyFiles
from journal_case import QUOTE, SLOTS, TRADE, JournalCase, numbered, received_ns, segment_files, whole
from journal_process import JournalProcess
from tickbay.cursor import START, Position
from tickbay.errors import JournalFault
from tickbay.files import Files
from tickbay.gap import Cause
from tickbay.journal import journal_reader
from tickbay.journal.journal import Journal
from tickbay.journal.stream_reader import StreamReader
from tickbay.record import LAYOUTS, Kind
from tickbay.sinks.sink import Chunk, Hole


@pytest.fixture
def case(shm_dir: Path) -> JournalCase:
    return JournalCase(shm_dir, shm_dir / "data")


class Taker:
    """A sink that remembers what it took, and checks that each part follows the one before."""

    def __init__(self, case: JournalCase, stream: str = QUOTE) -> None:
        self.stream = stream
        self.reader = StreamReader(case.config.run_dir, case.config.data_dir)
        self.after = START
        self.taken: list[tuple[int, int, int]] = []  # (epoch, seq, number)
        self.holes: list[Hole] = []

    def take(self, *, rows_max: int = 1000, parts: int = 10**9) -> None:
        for _ in range(parts):
            part = self.reader.read(self.stream, self.after, rows_max=rows_max)
            if part is None:
                return
            assert part.end > self.after
            if isinstance(part, Hole):
                assert part.first_seq <= part.last_seq
                self.holes.append(part)
            else:
                assert 1 <= len(part.records) <= rows_max
                assert whole(part.records)
                seqs = part.records["seq"].astype(np.int64)
                assert (np.diff(seqs) == 1).all()
                self.taken += [
                    (part.epoch, int(seq), int(number))
                    for seq, number in zip(seqs, part.records["exch_ns"], strict=True)
                ]
            self.after = part.end

    @property
    def numbers(self) -> list[int]:
        return [number for _, _, number in self.taken]


@pytest.mark.parametrize("seed", range(8))
def test_no_record_is_skipped_or_repeated_however_the_reader_stalls(case: JournalCase, seed: int) -> None:
    """RING-1: across ring and journal, lapped at random, with the journal killed and restarted in between."""
    chance = random.Random(seed)
    journal = case.open()
    takers = [Taker(case), Taker(case, TRADE)]
    for _ in range(150):
        match chance.randrange(12):
            case 0:
                assert journal.end() == ""
                journal = case.open()
            case 1:
                journal = case.open()  # killed: the rings live on
            case 2 | 3 | 4:
                taker = chance.choice(takers)
                taker.reader.refresh()
                taker.take(rows_max=chance.choice((1, 7, 300, 5000)), parts=chance.randrange(1, 20))
            case _:
                for stream, slots in ((QUOTE, SLOTS.quote), (TRADE, SLOTS.trade)):
                    count = min(chance.choice((0, 1, 40, 500)), slots - journal.rings.sources[stream].pending)
                    case.produce(journal, stream, count)
                if chance.random() < 0.7:
                    journal.commit()
    journal.commit()
    for taker in takers:
        taker.reader.refresh()
        taker.take()
        case.produce(journal, taker.stream, 10)  # to one that has caught up
        journal.commit()
        taker.take()
        assert taker.numbers == list(range(1, case.produced[taker.stream] + 1)), f"seed {seed}"
        assert [seq for _, seq, _ in taker.taken] == taker.numbers
        assert taker.holes == []
        assert taker.reader.lag(taker.stream, taker.after) == 0
    assert takers[0].reader.from_ring > 0
    assert takers[0].reader.from_journal > 0


@pytest.mark.parametrize("seed", range(4))
def test_what_is_durable_survives_lost_power_and_comes_once(case: JournalCase, seed: int) -> None:
    chance = random.Random(seed)
    journal = case.open()
    taker = Taker(case)
    durable: list[int] = []
    for _ in range(80):
        before = case.produced.get(QUOTE, 0)
        case.produce(journal, QUOTE, chance.choice((1, 40, 400)))
        if chance.random() < 0.8:
            assert journal.commit()
            durable += range(before + 1, case.produced[QUOTE] + 1)
        else:  # the power goes with these in the ring
            case.lose_power()
            journal = case.open()
            taker.reader.refresh()
        if chance.random() < 0.4:
            taker.reader.refresh()
            taker.take(rows_max=chance.choice((10, 1000)), parts=chance.randrange(1, 10))
    taker.reader.refresh()
    taker.take()
    assert taker.numbers == durable, f"seed {seed}"
    assert taker.holes == []
    assert sorted(set(taker.taken)) == taker.taken, "(epoch, seq) identifies a record"


@pytest.mark.parametrize("seed", range(4))
def test_what_the_quota_took_is_a_hole_and_everything_else_comes(shm_dir: Path, seed: int) -> None:
    """JRNL-3 as a sink sees it: taken and missing together are exactly what there was."""
    chance = random.Random(seed)
    case = JournalCase(shm_dir, shm_dir / "data", quota_gb=0.0045)
    journal = case.open()
    taker = Taker(case)
    for _ in range(120):
        case.produce(journal, QUOTE, chance.choice((100, 500)))
        assert journal.commit()
        if chance.random() < 0.05:
            taker.take(rows_max=chance.choice((50, 2000)), parts=chance.randrange(1, 12))
    taker.take()
    covered = {seq for _, seq, _ in taker.taken}
    assert len(covered) == len(taker.taken)
    for hole in taker.holes:
        missing = set(range(hole.first_seq, hole.last_seq + 1))
        assert not missing & covered
        assert hole.cause is Cause.JOURNAL_QUOTA
        assert 1 < hole.from_ns <= received_ns(hole.first_seq) < received_ns(hole.last_seq) <= hole.to_ns, "GAP-1"
        covered |= missing
    first = min(covered)
    assert covered == set(range(first, case.produced[QUOTE] + 1)), f"seed {seed}"
    assert taker.holes, "this seed shows nothing"


def test_nothing_that_is_not_durable_is_ever_read(case: JournalCase) -> None:
    """JRNL-2: written and in the ring is not enough."""
    files = FaultyFiles()
    journal = case.open(files)
    case.produce(journal, QUOTE, 10)
    journal.commit()
    taker = Taker(case)
    files.fails = lambda operation, number: operation == "fdatasync"
    case.produce(journal, QUOTE, 10)
    assert not journal.commit()
    taker.take()
    assert taker.numbers == list(range(1, 11))
    files.fails = lambda operation, number: False
    assert journal.commit()
    taker.take()
    assert taker.numbers == list(range(1, 21))


def test_before_the_journal_was_opened_in_this_boot_nothing_is_read(case: JournalCase) -> None:
    """Nobody knows yet which of it will be cut off."""
    journal = case.open()
    case.produce(journal, QUOTE, 10)
    journal.commit()
    case.lose_power()
    taker = Taker(case)
    assert not taker.reader.ready
    assert taker.reader.streams() == {}
    taker.take()
    assert taker.taken == []
    case.open()
    taker.reader.refresh()
    assert taker.reader.streams()[QUOTE] is Kind.QUOTE
    taker.take()
    assert taker.numbers == list(range(1, 11))


def test_a_stream_without_a_ring_is_read_from_the_journal(shm_dir: Path) -> None:
    case = JournalCase(shm_dir, shm_dir / "data", feeds=2)
    journal = case.open()
    case.produce(journal, "feed-2.trade", 25)
    assert journal.end() == ""
    case.lose_power()
    JournalCase(shm_dir, shm_dir / "data", feeds=1).open()
    taker = Taker(case, "feed-2.trade")
    assert taker.reader.streams()["feed-2.trade"] is Kind.TRADE
    taker.take()
    assert taker.numbers == list(range(1, 26))


def test_a_new_sink_begins_at_the_oldest_record_that_there_is_without_a_hole(shm_dir: Path) -> None:
    case = JournalCase(shm_dir, shm_dir / "data", sinks=False, retain_hours=0)
    journal = case.open()
    case.fill_segments(journal, 2)
    journal.upkeep()
    taker = Taker(case)
    taker.take()
    assert taker.holes == []
    assert taker.numbers == list(range(taker.numbers[0], case.produced[QUOTE] + 1))
    assert taker.numbers[0] > 1


def test_records_that_only_the_ring_has_any_more_are_taken_from_it(shm_dir: Path) -> None:
    """The journal has deleted every segment with records of a stream that is quiet since: the ring still has the
    last.
    """
    case = JournalCase(shm_dir, shm_dir / "data", sinks=False, retain_hours=0)
    journal = case.open()
    for _ in range(2):
        case.produce(journal, TRADE, SLOTS.trade)
        journal.commit()
    case.fill_segments(journal, 3)
    journal.upkeep()
    assert case.stored(TRADE) == []
    taker = Taker(case, TRADE)
    taker.after = Position(journal.epoch, 10)
    taker.take()
    assert [(hole.first_seq, hole.last_seq) for hole in taker.holes] == [(11, SLOTS.trade)]
    assert taker.numbers == list(range(SLOTS.trade + 1, 2 * SLOTS.trade + 1))


def test_what_is_gone_before_a_new_epoch_is_told_at_once_and_not_with_its_first_record(shm_dir: Path) -> None:
    """JRNL-3: one sink had taken all of a stream, the other was behind when the journal let its segments go and the
    power went.
    """
    case = JournalCase(shm_dir, shm_dir / "data", quota_gb=0.0045)
    journal = case.open()
    case.produce(journal, TRADE, SLOTS.trade)
    journal.commit()
    case.save_cursor({TRADE: Position(journal.epoch, SLOTS.trade)})
    for _ in range(60):  # 8 MB
        case.produce(journal, QUOTE, 500)
        assert journal.commit()
    assert case.stored(TRADE) == [], "the quota took it"
    behind = Position(journal.epoch, 10)
    case.lose_power()
    journal = case.open()
    taker = Taker(case, TRADE)
    taker.after = behind
    taker.take()
    (hole,) = taker.holes
    assert (hole.first_seq, hole.last_seq, hole.cause) == (11, SLOTS.trade, Cause.JOURNAL_QUOTA)
    assert hole.from_ns <= received_ns(11), "GAP-1"
    assert hole.to_ns >= received_ns(SLOTS.trade), "GAP-1"
    case.produce(journal, TRADE, 5)
    journal.commit()
    taker.take()
    assert len(taker.holes) == 1
    assert taker.numbers == list(range(SLOTS.trade + 1, SLOTS.trade + 6))


def test_a_damaged_batch_is_a_hole_and_the_ones_around_it_come(case: JournalCase) -> None:
    journal = case.open()
    case.fill_segments(journal, 1)
    journal.commit()
    path = case.directory / segment_files(case.directory)[0]
    batches = journal.segments.sealed[0].spans[QUOTE].records // 500
    data = bytearray(path.read_bytes())
    data[300_000] ^= 1
    path.write_bytes(data)
    taker = Taker(case)
    taker.take()
    (hole,) = taker.holes
    assert hole.last_seq - hole.first_seq + 1 == 500
    assert (hole.cause, hole.from_ns) == (Cause.JOURNAL_TORN, received_ns(hole.first_seq))
    assert received_ns(hole.last_seq) <= hole.to_ns <= case.now_ns, "GAP-1"
    again = Taker(case)
    again.take()
    assert again.holes == [hole], "SINK-2: the same hole whenever it is met"
    assert batches > 1
    expected = [
        number for number in range(1, case.produced[QUOTE] + 1) if not hole.first_seq <= number <= hole.last_seq
    ]
    assert taker.numbers == expected


def test_records_of_another_layout_are_refused_by_name(case: JournalCase, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = case.open()
    case.produce(journal, QUOTE, SLOTS.quote)
    journal.commit()
    case.produce(journal, QUOTE, SLOTS.quote)
    journal.commit()
    monkeypatch.setattr(journal_reader, "LAYOUTS", {kind: layout ^ 1 for kind, layout in LAYOUTS.items()})
    taker = Taker(case)
    with pytest.raises(JournalFault, match=rf"feed-1\.quote in segment 1 .* layout {LAYOUTS[Kind.QUOTE]:016x}"):
        taker.take()


def test_a_segment_that_is_recycled_under_the_reader_gives_no_foreign_records(shm_dir: Path) -> None:
    case = JournalCase(shm_dir, shm_dir / "data", sinks=False, retain_hours=0)
    journal = case.open()
    case.fill_segments(journal, 3)
    taker = Taker(case)
    taker.take(rows_max=10, parts=3)  # has the first segment open, and its places
    journal.upkeep()
    case.fill_segments(journal, 3)
    taker.take()
    oldest = case.stored(QUOTE)[0][1]
    assert [(hole.first_seq, hole.last_seq) for hole in taker.holes] == [(31, oldest - 1)]
    assert taker.numbers == [*range(1, 31), *range(oldest, case.produced[QUOTE] + 1)]


def test_what_the_journal_wrote_anew_after_an_error_is_found(case: JournalCase) -> None:
    """The reader had seen the first attempt, which a full disk made void; the second has other batches at its place."""
    files = FaultyFiles(error=errno.ENOSPC)
    journal = case.open(files)
    case.produce(journal, QUOTE, 10)
    journal.commit()
    case.produce(journal, QUOTE, 100)
    files.fails = lambda operation, number: operation == "fdatasync"
    assert not journal.commit()
    late = Taker(case)
    late.after = Position(journal.epoch, 10)
    assert late.reader._journal.read(QUOTE, late.after, None, rows_max=5, bytes_max=1 << 20) is not None
    case.produce(journal, QUOTE, SLOTS.quote - 100)
    files.fails = lambda operation, number: False
    assert journal.commit()
    case.produce(journal, QUOTE, SLOTS.quote)  # laps the ring
    assert journal.commit()
    late.take()
    assert late.numbers == list(range(11, case.produced[QUOTE] + 1))
    assert late.holes == []


def test_a_chunk_has_at_most_the_rows_and_bytes_that_were_asked_for(case: JournalCase) -> None:
    journal = case.open()
    for _ in range(3):
        case.produce(journal, QUOTE, SLOTS.quote)
        journal.commit()
    reader = StreamReader(case.config.run_dir, case.config.data_dir)
    for after in (START, Position(journal.epoch, 500), Position(journal.epoch, 2 * SLOTS.quote + 5)):
        part = reader.read(QUOTE, after, rows_max=10_000, bytes_max=384 * 100)
        assert isinstance(part, Chunk)
        assert len(part.records) <= 100
        part = reader.read(QUOTE, after, rows_max=3)
        assert isinstance(part, Chunk)
        assert part.records["seq"].tolist() == [after.seq + 1, after.seq + 2, after.seq + 3]


def test_a_chunk_is_the_callers_own_and_stays_when_the_ring_is_overwritten(case: JournalCase) -> None:
    journal = case.open()
    case.produce(journal, QUOTE, 100)
    journal.commit()
    part = StreamReader(case.config.run_dir, case.config.data_dir).read(QUOTE, START)
    assert isinstance(part, Chunk)
    before = part.records.copy()
    for _ in range(3):
        case.produce(journal, QUOTE, SLOTS.quote)
        journal.commit()
    assert part.records.tobytes() == before.tobytes()


def test_many_segments_need_few_open_files(case: JournalCase) -> None:
    journal = case.open()
    case.fill_segments(journal, 12)
    before = open_files()
    taker = Taker(case)
    taker.take()
    assert open_files() - before <= journal_reader.OPEN_MAX + 1
    taker.reader.close()
    assert open_files() == before


def test_a_reader_that_keeps_up_with_its_rings_holds_no_segment_open(case: JournalCase) -> None:
    """A writer had one more open file for each segment that the journal ever began: 780 at the default quota."""
    journal = case.open()
    reader = StreamReader(case.config.run_dir, case.config.data_dir)
    before = open_files()
    for count in range(1, 8):
        case.fill_segments(journal, count)
        reader.refresh()
        assert QUOTE in reader.streams()
    assert open_files() - before <= 2, "the journal's newest and the reader's"
    reader.close()


def open_files() -> int:
    gc.collect()  # what other tests have left open is closed before it is counted, not between two counts
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.slow
def test_a_reader_beside_a_living_journal_gets_every_record_once(shm_dir: Path, tmp_path: Path) -> None:
    """Producer and reader here, the journal a process that is killed now and then; the ring is lapped all the time."""
    seed = 7
    chance = random.Random(seed)
    process = JournalProcess(shm_dir, tmp_path / "data", tmp_path / "tickbay.toml")
    try:
        ring = process.attach()
        case = JournalCase(shm_dir, tmp_path / "data")
        taker = Taker(case)
        produced, stalled_until = 0, 0.0
        end = time.monotonic() + 4
        kill_at = time.monotonic() + 1
        while time.monotonic() < end:
            time.sleep(0.002)
            count = min(chance.choice((10, 100, 2000)), ring.free)
            if count:
                ring.append(numbered(QUOTE, produced + 1, count))
                produced += count
            if time.monotonic() > kill_at:
                process.popen.kill()
                process.restart()
                kill_at = time.monotonic() + 1.5
            if time.monotonic() > stalled_until:
                taker.reader.refresh()
                taker.take(rows_max=chance.choice((100, 3000)), parts=8)
                if chance.random() < 0.2:
                    stalled_until = time.monotonic() + chance.uniform(0, 0.3)
        process.wait_live()
        process.stop()
        taker.reader.refresh()
        taker.take()
    finally:
        process.popen.kill()
        process.popen.wait()
    assert ring.durable == produced
    assert taker.numbers == list(range(1, produced + 1)), f"seed {seed}"
    assert taker.holes == []
    assert taker.reader.from_ring > 0


def test_the_journal_reader_sees_segments_that_came_and_went(shm_dir: Path) -> None:
    case = JournalCase(shm_dir, shm_dir / "data", sinks=False, retain_hours=0)
    journal: Journal = case.open()
    reader = journal_reader.JournalReader(Files(), case.directory)
    assert reader.read(QUOTE, START, None, rows_max=1, bytes_max=1) is None
    case.fill_segments(journal, 2)
    part = reader.read(QUOTE, START, None, rows_max=1, bytes_max=1)
    assert isinstance(part, Chunk)
    assert part.records["exch_ns"].tolist() == [1]
    journal.upkeep()
    reader.refresh()
    part = reader.read(QUOTE, START, None, rows_max=1, bytes_max=1)
    assert isinstance(part, Chunk)
    assert part.records["exch_ns"][0] > 1
