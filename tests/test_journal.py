"""journal.py: the process, its health, and its end by any signal."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

from journal_case import DEAD, QUOTE, TRADE, JournalCase, numbered
from journal_process import JournalProcess
from patience import wait_for
from tickbay.cursor import START
from tickbay.files import Files
from tickbay.identity import Identity
from tickbay.journal.recovery import verify


@pytest.fixture
def case(shm_dir: Path) -> JournalCase:
    return JournalCase(shm_dir, shm_dir / "data")


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


@pytest.mark.slow
def test_a_journal_killed_at_random_instants_loses_and_repeats_nothing(shm_dir: Path, tmp_path: Path) -> None:
    """R1 for the journal: JRNL-1, JRNL-2 and RING-2 under kill -9, with a producer that never stops."""
    seed = 20261121
    chance = random.Random(seed)
    process = JournalProcess(shm_dir, tmp_path / "data", tmp_path / "tickbay.toml")
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
        wait_for(lambda: ring.durable == produced, "all to be durable")
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
    process = JournalProcess(shm_dir, tmp_path / "data", tmp_path / "tickbay.toml")
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
    assert case.numbers(QUOTE) == list(range(1, 5001))
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
    process = JournalProcess(shm_dir, tmp_path / "data", tmp_path / "tickbay.toml")
    _, log = process.popen.communicate(timeout=20)
    assert process.popen.returncode == 2
    assert len(log.splitlines()) == 1
    assert "data_dir" in log
