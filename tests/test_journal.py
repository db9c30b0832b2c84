"""journal.py, commit.py, retention.py, ring_set.py: the journal on real files, a failing disk, a full disk, and
killed.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from faulty_files import CHANGES, FaultyFiles
from journal_case import BOOK, DEAD, QUOTE, SLOTS, TRADE, JournalCase, numbered, segment_files
from powerless_files import PowerlessFiles
from test_recovery import is_nth
from tickbay.config import Ring as RingSlots
from tickbay.cursor import START, Position
from tickbay.errors import ConfigError
from tickbay.events import Event
from tickbay.files import Files
from tickbay.gap import Cause
from tickbay.identity import Identity
from tickbay.journal import Journal
from tickbay.record import Kind, stream_name
from tickbay.recovery import verify
from tickbay.ring import Ring, RingFull
from tickbay.ring_set import wanted_streams


@pytest.fixture
def case(shm_dir: Path) -> JournalCase:
    return JournalCase(shm_dir, shm_dir / "data")


def numbers(case: JournalCase, stream: str) -> list[int]:
    """The numbers of all stored records, after checking that their sequence has no hole and no repetition."""
    stored = case.stored(stream)
    assert [seq for _, seq, _ in stored] == list(range(1, len(stored) + 1))
    return [number for _, _, number in stored]


def fill_segments(case: JournalCase, journal: Journal, count: int) -> None:
    while len(journal.segments.sealed) < count:
        case.produce(journal, QUOTE, 500)
        assert journal.commit()


def produce_for_ever(case: JournalCase, journal: Journal) -> None:
    while True:
        case.produce(journal, QUOTE, 500)
        journal.commit()


# ---------------------------------------------------------------- commits


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
        assert numbers(case, stream) == list(range(1, case.produced[stream] + 1))
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
    assert numbers(case, QUOTE) == list(range(1, 2 * SLOTS.quote + 1))


def test_records_run_through_many_segments_without_a_hole(case: JournalCase) -> None:
    journal = case.open()
    for count in (1, 1000, 17, 999, 1000, 1000, 3, 1000, 1000, 500, 1000):
        case.produce(journal, QUOTE, count)
        case.produce(journal, BOOK, min(2 * count, 2000))
        journal.commit()
    assert len(segment_files(case.directory)) > 4
    assert numbers(case, QUOTE) == list(range(1, case.produced[QUOTE] + 1))
    assert numbers(case, BOOK) == list(range(1, case.produced[BOOK] + 1))
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


def test_health_tells_what_the_journal_does(case: JournalCase) -> None:
    journal = case.open()
    case.produce(journal, QUOTE, 10)
    case.produce(journal, TRADE, 5)
    journal.commit()
    case.produce(journal, TRADE, 2)
    journal.report()
    health = case.health
    assert health.state == "live"
    assert (health.counters["records"], health.counters["batches"], health.counters["syncs"]) == (15, 2, 1)
    assert health.streams[TRADE] == {"durable": 5, "head": 8, "pending": 2}
    assert health.gauges["journal_bytes"] >= 1 << 20
    assert health.gauges["sync_p99_ms"] >= health.gauges["sync_p50_ms"] > 0


# ---------------------------------------------------------------- rings


def test_every_stream_of_the_configuration_gets_a_ring(shm_dir: Path) -> None:
    case = JournalCase(shm_dir, shm_dir / "data", feeds=3)
    journal = case.open()
    expected = set(wanted_streams(case.config))
    assert len(expected) == 3 * 5 + 3
    assert {path.stem for path in (shm_dir / "rings").iterdir()} == expected == set(journal.rings.sources)


def test_rings_that_do_not_fit_are_refused_in_one_line_before_any_is_made(shm_dir: Path) -> None:
    case = JournalCase(shm_dir, shm_dir / "data", ring=RingSlots(quote=1 << 28, book=1 << 28))
    with pytest.raises(ConfigError) as refused:
        case.open()
    message = str(refused.value)
    assert "\n" not in message
    assert str(shm_dir / "rings") in message
    assert "bytes needed" in message
    assert list((shm_dir / "rings").iterdir()) == []


def test_slots_that_make_no_ring_are_refused(shm_dir: Path) -> None:
    case = JournalCase(shm_dir, shm_dir / "data", ring=RingSlots(trade=1000))
    with pytest.raises(ConfigError, match=r"ring\.trade must be a power of two"):
        case.open()


def test_a_refused_start_leaves_a_clean_end_clean(case: JournalCase, shm_dir: Path) -> None:
    journal = case.open()
    case.produce(journal, QUOTE, 5)
    assert journal.end() == ""
    case.lose_power()
    with pytest.raises(ConfigError):
        JournalCase(shm_dir, shm_dir / "data", ring=RingSlots(quote=1 << 28)).open()
    assert case.open().epoch == journal.epoch


def test_the_ring_of_a_feed_that_is_gone_is_drained_and_then_removed(shm_dir: Path) -> None:
    two = JournalCase(shm_dir, shm_dir / "data", feeds=2)
    journal = two.open()
    two.produce(journal, "feed-2.trade", 40)
    one = JournalCase(shm_dir, shm_dir / "data", feeds=1)
    one.produced = two.produced
    journal = one.open()
    own = Identity.own()
    journal.rings.sources["feed-2.trade"].ring.produce(own.pid, own.start_time)
    journal.upkeep()
    # It stays while its producer lives.
    assert (shm_dir / "rings" / "feed-2.trade.ring").exists()
    assert not (shm_dir / "rings" / "feed-2.quote.ring").exists()
    journal.rings.sources["feed-2.trade"].ring.produce(os.getpid(), 1)
    journal.upkeep()
    assert (shm_dir / "rings" / "feed-2.trade.ring").exists(), "it was not drained yet"
    journal.commit()
    journal.upkeep()
    assert not (shm_dir / "rings" / "feed-2.trade.ring").exists()
    assert numbers(one, "feed-2.trade") == list(range(1, 41))


@pytest.mark.parametrize("content", [b"", b"x" * 4096, b"\0" * (1 << 20)])
def test_a_file_that_is_no_ring_is_replaced(case: JournalCase, shm_dir: Path, content: bytes) -> None:
    (shm_dir / "rings" / f"{QUOTE}.ring").write_bytes(content)
    journal = case.open()
    case.produce(journal, QUOTE, 3)
    journal.commit()
    assert numbers(case, QUOTE) == [1, 2, 3]


def test_a_ring_of_an_earlier_boot_is_replaced_and_goes_on_behind_the_journal(case: JournalCase, shm_dir: Path) -> None:
    journal = case.open()
    case.produce(journal, QUOTE, 30)
    journal.commit()
    path = shm_dir / "rings" / f"{QUOTE}.ring"
    data = bytearray(path.read_bytes())
    at = data.index(journal.rings.sources[QUOTE].ring.identity().boot_id.encode())
    data[at : at + 8] = b"00000000"
    path.unlink()
    path.write_bytes(data)
    journal = case.open()
    case.produce(journal, QUOTE, 5)
    journal.commit()
    assert numbers(case, QUOTE) == list(range(1, 36))


def test_a_ring_that_the_journal_does_not_know_begins_a_new_epoch(case: JournalCase, shm_dir: Path) -> None:
    """Another data_dir under living rings: nothing that they hold is lost, and nothing gets a sequence that was
    used.
    """
    other = JournalCase(shm_dir, shm_dir / "other")
    journal = other.open()
    other.produce(journal, QUOTE, 300)
    assert journal.end() == ""
    epoch = journal.epoch
    other.lose_power()
    case.now_ns += 60 * 10**9
    journal = case.open()
    case.produce(journal, QUOTE, 250)
    journal.commit()
    case.produce(journal, QUOTE, 250)  # in the ring only
    journal = other.open()
    journal.commit()
    assert journal.epoch > epoch
    taken = [(epoch, seq, number) for epoch, seq, number in other.stored(QUOTE) if epoch == journal.epoch]
    assert [number for _, _, number in taken] == list(range(251, 501))


# ---------------------------------------------------------------- a disk that fails


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.slow
def test_an_error_at_any_call_loses_nothing_and_repeats_nothing(shm_dir: Path, error: int) -> None:
    """R7: the same work, with each call of it failing once in turn."""

    def work(files: FaultyFiles) -> JournalCase:
        shutil.rmtree(shm_dir / "data", ignore_errors=True)
        case = JournalCase(shm_dir, shm_dir / "data", sinks=False, retain_hours=0, quota_gb=0.01)
        journal = case.open(files)
        files.calls.clear()
        for _ in range(12):
            case.produce(journal, QUOTE, 700)
            case.produce(journal, TRADE, 20)
            for _ in range(3):
                if journal.commit():
                    break
            journal.upkeep()
        while not journal.commit():
            pass
        journal.end()
        case.lose_power()
        return case

    counting = FaultyFiles()
    work(counting)
    assert set(CHANGES) - {"truncate"} <= set(counting.calls)
    for nth in range(1, len(counting.calls) + 1):
        files = FaultyFiles(partial(is_nth, nth), error)
        case = work(files)
        assert len(files.failed) == 1
        what = f"call {nth}: {counting.calls[nth - 1]}"
        for stream in (QUOTE, TRADE):
            stored = case.stored(stream)
            first = stored[0][1]
            assert [seq for _, seq, _ in stored] == list(range(first, case.produced[stream] + 1)), what
            assert [number for _, _, number in stored] == list(range(first, case.produced[stream] + 1)), what
        # And what it left is in order, and goes on.
        journal = case.open()
        assert case.events.of(Event.JOURNAL_HOLE) == [], what
        case.produce(journal, QUOTE, 1)
        assert journal.commit()
        assert list(verify(Files(), case.directory)) == [], what
        case.lose_power()


def test_after_a_failed_sync_the_file_is_never_synced_again_and_its_records_come_from_the_ring(
    case: JournalCase,
) -> None:
    files = FaultyFiles()
    journal = case.open(files)
    case.produce(journal, QUOTE, 100)
    journal.commit()
    first = journal.segments.writer
    assert first is not None
    failing = {first._fd}
    synced: list[int] = []
    real = files.fdatasync

    def fdatasync(fd: int) -> None:
        synced.append(fd)
        if fd in failing:
            failing.clear()
            raise OSError(errno.EIO, "the write-back failed")
        real(fd)

    files.fdatasync = fdatasync  # type: ignore[method-assign]
    case.produce(journal, QUOTE, 50)
    assert journal.commit()
    assert synced.count(first._fd) == 1 or journal.segments.writer is not first
    assert journal.rings.sources[QUOTE].ring.durable == 150
    assert segment_files(case.directory) == ["000000000001.seg", "000000000002.seg"]
    assert numbers(case, QUOTE) == list(range(1, 151))
    assert case.events.names().count("JOURNAL_WRITE_FAILED") == 1
    assert case.events.names().count("JOURNAL_RESUMED") == 1
    # What the broken file holds behind its last good sync is cut off, so that nothing is stored twice.
    (case.directory / "000000000001.idx").unlink()
    case.open()
    assert case.events.of(Event.JOURNAL_DAMAGED) == []
    assert numbers(case, QUOTE) == list(range(1, 151))


def test_a_full_disk_stops_nobody_and_everything_is_written_when_there_is_space(case: JournalCase) -> None:
    files = FaultyFiles(error=errno.ENOSPC)
    journal = case.open(files)
    case.produce(journal, QUOTE, 10)
    files.fails = lambda operation, number: operation in ("fallocate", "pwritev")
    assert not journal.commit()
    case.produce(journal, QUOTE, 10)
    journal.report()
    assert case.health.state == "degraded"
    assert journal.turn() > 0  # it does not even try before a second has gone
    files.fails = lambda operation, number: False
    assert journal.commit()
    journal.report()
    assert case.health.state == "live"
    assert numbers(case, QUOTE) == list(range(1, 21))
    assert case.events.names().count("JOURNAL_FULL") >= 1
    assert case.events.names().count("JOURNAL_RESUMED") == 1


FULL_DISK = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from journal_case import QUOTE, JournalCase
from tickbay.events import Event
run_dir, disk = Path(sys.argv[1]), Path(sys.argv[2])
case = JournalCase(run_dir, disk / "data", quota_gb=1.0)
journal = case.open()
ballast = disk / "ballast"
written = 0
while journal.commit():
    if written > 40_000:
        sys.exit("the disk never filled")
    case.produce(journal, QUOTE, 500)
    written += 500
assert case.events.of(Event.JOURNAL_FULL), case.events.names()
held = journal.rings.sources[QUOTE].pending
assert held > 0
journal.upkeep(); journal.report()
assert case.health.state == "degraded"
ballast.unlink()
assert journal.commit()
assert journal.rings.sources[QUOTE].pending == 0
numbers = [number for _, _, number in case.stored(QUOTE)]
assert numbers == list(range(1, written + 1)), (len(numbers), written)
print("held", held, "stored", len(numbers))
"""


def test_on_a_disk_that_is_really_full_the_ring_holds_and_nothing_is_lost(shm_dir: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    program = tmp_path / "program.py"
    program.write_text(FULL_DISK)
    command = (
        f"mount -t tmpfs -o size=16m tickbay-test {disk} && mkdir {disk}/data && "
        f"fallocate -l 10m {disk}/ballast && "
        f"exec {sys.executable} {program} {shm_dir} {disk} {Path(__file__).parent}"
    )
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a tmpfs (unshare -rm)")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("held ")


# ---------------------------------------------------------------- what goes, and when


def test_a_segment_stays_until_it_is_old_and_every_sink_has_it(shm_dir: Path) -> None:
    """JRNL-3."""
    case = JournalCase(shm_dir, shm_dir / "data", retain_hours=1)
    journal = case.open()
    fill_segments(case, journal, 3)
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
    fill_segments(case, journal, 2)
    (shm_dir / "data" / "cursors" / "timescale.cursor").write_bytes(os.urandom(1 << 17))
    journal.upkeep()
    assert len(journal.segments.sealed) == 2


def test_the_quota_lets_the_oldest_go_as_a_counted_gap(shm_dir: Path) -> None:
    """JRNL-3: what a sink had not taken and the quota removed is known to the record."""
    case = JournalCase(shm_dir, shm_dir / "data", quota_gb=0.0045)
    journal = case.open()
    case.save_cursor({QUOTE: Position(journal.epoch, 100)})
    fill_segments(case, journal, 1)
    while journal.segments.sealed[0].segment < 4:
        case.produce(journal, QUOTE, 500)
        assert journal.commit()
        assert journal.segments.used_bytes <= 4_500_000
    journal.commit()
    oldest = case.stored(QUOTE)[0][1]
    gaps = case.gaps()
    assert {gap["cause"] for gap in gaps} == {Cause.JOURNAL_QUOTA}
    assert [gap["detail"] for gap in gaps] == [b"feed-1.quote: not taken by timescale"] * 3
    assert gaps[0]["first_missing"] == 101
    assert gaps[-1]["last_missing"] == oldest - 1
    assert sum(int(str(gap["count"])) for gap in gaps) == oldest - 101
    journal.report()
    assert case.health.counters["dropped_records"] == oldest - 101
    # A writer that comes back is told the same hole.
    (hole,) = case.holes(QUOTE, Position(journal.epoch, 100))
    assert (hole.first_seq, hole.last_seq) == (101, oldest - 1)


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
    fill_segments(case, journal, 4)
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


def test_a_quota_that_holds_no_journal_is_refused(shm_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"journal\.quota_gb must hold"):
        JournalCase(shm_dir, shm_dir / "data", segment_mb=64, quota_gb=0.1).open()


def test_segments_that_are_not_needed_any_more_are_used_again(shm_dir: Path) -> None:
    case = JournalCase(shm_dir, shm_dir / "data", sinks=False, retain_hours=0)
    journal = case.open()
    fill_segments(case, journal, 2)
    inodes = {(case.directory / name).stat().st_ino for name in segment_files(case.directory)}
    journal.upkeep()
    fill_segments(case, journal, 1)
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
    fill_segments(case, journal, 1)
    assert len(list(case.directory.glob("*.spare"))) < 2
    assert journal.segments.used_bytes == sum(path.stat().st_size for path in case.directory.glob("*.[s][ep]*"))


# ---------------------------------------------------------------- the process


CONFIG = """
data_dir = "{data_dir}"
run_dir = "{run_dir}"
[feeds]
count = 1
[ring]
quote = 8192
trade = 512
book = 2048
gap = 512
instrument = 512
status = 512
[journal]
commit_ms = 5
segment_mb = 1
quota_gb = 5
free_floor_gb = 0
"""


class Process:
    """`tickbay process journal`, and its rings as their producer sees them."""

    def __init__(self, run_dir: Path, data_dir: Path, file: Path) -> None:
        file.write_text(CONFIG.format(data_dir=data_dir, run_dir=run_dir))
        self.command = [sys.executable, "-m", "tickbay", "process", "journal", "--config", str(file)]
        self.ring_path = run_dir / "rings" / f"{QUOTE}.ring"
        self.popen = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)

    def restart(self) -> None:
        self.popen.communicate()
        self.popen = self._start()

    def attach(self) -> Ring:
        """Be the producer of the quotes."""
        wait_for(self.ring_path.exists)
        ring = Ring.attach(self.ring_path, Kind.QUOTE)
        own = Identity.own()
        ring.produce(own.pid, own.start_time)
        return ring

    def stop(self) -> str:
        self.popen.send_signal(signal.SIGTERM)
        _, log = self.popen.communicate(timeout=20)
        return log


def wait_for(condition: object, timeout_s: float = 20.0) -> None:
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


@pytest.mark.slow
def test_a_journal_killed_at_random_instants_loses_and_repeats_nothing(shm_dir: Path, tmp_path: Path) -> None:
    """R1 for the journal: JRNL-1, JRNL-2 and RING-2 under kill -9, with a producer that never stops."""
    seed = 20261121
    chance = random.Random(seed)
    process = Process(shm_dir, tmp_path / "data", tmp_path / "tickbay.toml")
    try:
        ring = process.attach()
        produced = 0
        for kill in range(12):
            end = time.monotonic() + chance.uniform(0.02, 0.3)
            while time.monotonic() < end:
                count = chance.choice((1, 10, 100, 700))
                if ring.free >= count:
                    ring.append(numbered(QUOTE, produced + 1, count))
                    produced += count
                time.sleep(0.001)
            durable = ring.durable
            process.popen.kill()
            process.restart()
            assert ring.durable >= durable, f"kill {kill}, seed {seed}"
        wait_for(lambda: ring.durable == produced)
        log = process.stop()
        assert process.popen.returncode == 0, log
    finally:
        process.popen.kill()
        process.popen.wait()
    case = JournalCase(shm_dir, tmp_path / "data")
    stored = case.stored(QUOTE)
    assert [seq for _, seq, _ in stored] == list(range(1, produced + 1)), f"seed {seed}"
    assert [number for _, _, number in stored] == list(range(1, produced + 1)), f"seed {seed}"
    epochs = np.array([epoch for epoch, _, _ in stored])
    assert (np.diff(epochs) >= 0).all()
    assert case.gaps() == []
    assert list(verify(Files(), case.directory)) == []


def test_a_journal_that_is_told_to_stop_drains_its_rings_and_ends_clean(shm_dir: Path, tmp_path: Path) -> None:
    process = Process(shm_dir, tmp_path / "data", tmp_path / "tickbay.toml")
    try:
        ring = process.attach()
        ring.append(numbered(QUOTE, 1, 5000))
        ring.produce(*DEAD)
        log = process.stop()
    finally:
        process.popen.kill()
        process.popen.wait()
    assert process.popen.returncode == 0, log
    assert ring.durable == 5000
    case = JournalCase(shm_dir, tmp_path / "data")
    assert numbers(case, QUOTE) == list(range(1, 5001))
    assert case.open().epoch == case.stored(QUOTE)[0][0]
    assert [chunk.end for chunk in case.chunks(QUOTE, START)][-1].seq == 5000


def test_an_end_is_not_clean_while_a_feed_may_still_write(case: JournalCase) -> None:
    """What it writes after us is only in the ring: if the power goes then, that must be known."""
    journal = case.open()
    own = Identity.own()
    journal.rings.sources[QUOTE].ring.produce(own.pid, own.start_time)
    case.produce(journal, QUOTE, 5)
    assert journal.end() == "feeds still write"
    case.produce(journal, QUOTE, 5)
    case.lose_power()
    again = case.open()
    assert again.epoch > journal.epoch
    again.commit()
    assert [gap["detail"] for gap in case.gaps()] == [b"unclean end: rings lost"]


def test_an_unwritable_journal_directory_is_one_line_and_status_2(shm_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "journal").write_text("not a directory")
    process = Process(shm_dir, tmp_path / "data", tmp_path / "tickbay.toml")
    _, log = process.popen.communicate(timeout=20)
    assert process.popen.returncode == 2
    assert len(log.splitlines()) == 1
    assert "data_dir" in log


# ---------------------------------------------------------------- lost power

# R6 asks for 10,000 seeds; what runs every time is a sample of them.
POWER_CUTS = int(os.environ.get("TICKBAY_R6", "150"))


@pytest.mark.slow
def test_a_power_cut_at_any_moment_leaves_everything_that_was_durable(shm_dir: Path) -> None:
    """R6: JRNL-1 and JRNL-2 on a disk that keeps any part of what was not synced, with recycled segments."""
    for seed in range(POWER_CUTS):
        chance = random.Random(seed)
        shutil.rmtree(shm_dir / "data", ignore_errors=True)
        case = JournalCase(shm_dir, shm_dir / "data", sinks=False, retain_hours=0)
        files = PowerlessFiles(case.directory)
        journal = case.open(files)
        durable: dict[str, int] = {}
        moment = Stop(files, chance.randint(5, 120))
        try:
            while True:
                for stream, most in ((QUOTE, 700), (TRADE, 50)):
                    case.produce(journal, stream, chance.randint(1, most))
                assert journal.commit()
                journal.upkeep()
        except PowerCut:
            durable = {stream: journal.rings.sources[stream].ring.durable for stream in (QUOTE, TRADE)}
        left = moment.files.cut_power(chance)
        shutil.rmtree(case.directory)
        case.directory.mkdir()
        for name, data in left.items():
            (case.directory / name).write_bytes(data)
        case.lose_power()
        again = case.open()
        for stream in (QUOTE, TRADE):
            stored = case.stored(stream)
            last = stored[-1][1] if stored else 0
            assert durable[stream] <= last or not stored, f"seed {seed}: {stream}"
            assert [seq for _, seq, _ in stored] == [number for _, _, number in stored], f"seed {seed}"
            assert [seq for _, seq, _ in stored] == list(range(last - len(stored) + 1, last + 1)), f"seed {seed}"
            # Old segments were let go: nothing is left only where all of it was in such.
            assert stored or durable[stream] == 0 or journal.segments.newest_number > 1, f"seed {seed}"
        assert case.events.of(Event.JOURNAL_HOLE) == [], f"seed {seed}"
        assert again.commit()
        assert list(verify(Files(), case.directory)) == [], f"seed {seed}"
        case.lose_power()


class PowerCut(Exception):
    """Not an OSError: nothing in the journal may handle it."""


class Stop:
    """Raises PowerCut in the call of `files` that comes after `calls` others that change the disk."""

    def __init__(self, files: PowerlessFiles, calls: int) -> None:
        self.files = files
        self._left = calls
        for operation in CHANGES:
            setattr(files, operation, partial(self._call, getattr(files, operation)))

    def _call(self, real: Callable[..., object], *arguments: object) -> object:
        self._left -= 1
        if self._left < 0:
            raise PowerCut
        return real(*arguments)
