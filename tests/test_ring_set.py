"""ring_set.py and opening.py: which rings are made, kept, replaced and removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from journal_case import QUOTE, JournalCase
from tickbay.config import Ring as RingSlots
from tickbay.cursor import START, Position
from tickbay.errors import ConfigError
from tickbay.identity import Identity
from tickbay.journal.ring_set import wanted_streams
from tickbay.journal.stream_reader import StreamReader
from tickbay.status.positions import sink_lag


@pytest.fixture
def case(shm_dir: Path) -> JournalCase:
    return JournalCase(shm_dir, shm_dir / "data")


def test_every_stream_of_the_configuration_gets_a_ring(shm_dir: Path) -> None:
    case = JournalCase(shm_dir, shm_dir / "data", feeds=3)
    journal = case.open()
    expected = set(wanted_streams(case.config))
    of_others = ["universe.instrument", "universe.gap", "healer.trade", "healer.gap", "journal.gap"]
    assert len(expected) == 3 * 5 + len(of_others) and expected.issuperset(of_others)
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
    assert one.numbers("feed-2.trade") == list(range(1, 41))
    # It is still to be stored, by whoever has not.
    reader = StreamReader(shm_dir, shm_dir / "data")
    assert [reader.lag("feed-2.trade", Position(journal.epoch, seq)) for seq in (0, 30, 40, 50)] == [40, 10, 0, 0]
    assert reader.lag("feed-2.quote", START) == 0
    reader.close()
    journal.report()
    journal._health.beat()
    assert sink_lag(shm_dir, {"feed-2.trade": Position(journal.epoch, 30)}, 0).rows == 10
    # A crash afterwards lost nothing of it: the ring was drained before it went.
    before, journal = journal.epoch, one.open()
    assert journal.epoch > before
    journal.commit()
    assert one.gaps() == []
    one.lose_power()
    journal = one.open()
    journal.commit()
    assert [gap["detail"] for gap in one.gaps()] == [b"unclean end: rings lost"]


@pytest.mark.parametrize("content", [b"", b"x" * 4096, b"\0" * (1 << 20)])
def test_a_file_that_is_no_ring_is_replaced(case: JournalCase, shm_dir: Path, content: bytes) -> None:
    (shm_dir / "rings" / f"{QUOTE}.ring").write_bytes(content)
    journal = case.open()
    case.produce(journal, QUOTE, 3)
    journal.commit()
    assert case.numbers(QUOTE) == [1, 2, 3]


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
    assert case.numbers(QUOTE) == list(range(1, 36))


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
