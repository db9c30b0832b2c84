"""The journal on a disk that fails, is full, or loses power (R6, R7)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from disk_errors import fail_each_call
from faulty_files import FaultyFiles
from journal_case import QUOTE, JournalCase, segment_files
from power_cut import survive_power_cut
from tickbay.events import Event
from tickbay.files import Files


@pytest.fixture
def case(shm_dir: Path) -> JournalCase:
    return JournalCase(shm_dir, shm_dir / "data")


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.slow
def test_an_error_at_any_call_loses_nothing_and_repeats_nothing(shm_dir: Path, error: int) -> None:
    """R7: the same work, with each call of it failing once in turn."""
    assert fail_each_call(shm_dir, error) > 50


def test_after_a_failed_sync_the_file_is_never_synced_again_and_its_records_come_from_the_ring(
    case: JournalCase,
) -> None:
    class OneBadFile(Files):
        def fdatasync(self, fd: int) -> None:
            inode = os.fstat(fd).st_ino
            assert inode not in failed, "synced again"
            if inode in bad:
                failed.add(inode)
                raise OSError(errno.EIO, "the write-back failed")
            super().fdatasync(fd)

    bad: set[int] = set()
    failed: set[int] = set()
    journal = case.open(OneBadFile())
    case.produce(journal, QUOTE, 100)
    journal.commit()
    bad.add((case.directory / "000000000001.seg").stat().st_ino)
    case.produce(journal, QUOTE, 50)
    assert journal.commit()
    assert failed == bad
    assert journal.rings.sources[QUOTE].ring.durable == 150
    assert segment_files(case.directory) == ["000000000001.seg", "000000000002.seg"]
    assert case.numbers(QUOTE) == list(range(1, 151))
    assert case.events.names().count("JOURNAL_WRITE_FAILED") == 1
    assert case.events.names().count("JOURNAL_RESUMED") == 1
    # What the broken file holds behind its last good sync is cut off, so that nothing is stored twice.
    (case.directory / "000000000001.idx").unlink()
    case.open()
    assert case.events.of(Event.JOURNAL_DAMAGED) == []
    assert case.numbers(QUOTE) == list(range(1, 151))


def test_a_full_disk_stops_nobody_and_everything_is_written_when_there_is_space(case: JournalCase) -> None:
    files = FaultyFiles(error=errno.ENOSPC)
    journal = case.open(files)
    case.produce(journal, QUOTE, 10)
    files.fails = lambda operation, number: operation in ("fallocate", "pwritev")
    assert not journal.commit()
    case.produce(journal, QUOTE, 10)
    journal.report()
    assert case.health.state == "degraded"
    case.produce(journal, QUOTE, 1000)
    journal.report()
    assert case.health.state == "waiting", "the ring is full: what comes now is lost"
    assert journal.turn() > 0  # it does not even try before a second has gone
    files.fails = lambda operation, number: False
    assert journal.commit()
    journal.report()
    assert case.health.state == "live"
    assert case.numbers(QUOTE) == list(range(1, 1021))
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


@pytest.mark.slow
def test_a_power_cut_at_any_moment_leaves_everything_that_was_durable(shm_dir: Path) -> None:
    """R6: JRNL-1 and JRNL-2. A sample; faults/r06_power_cut.py takes 10,000 seeds."""
    for seed in range(150):
        survive_power_cut(shm_dir, seed)
