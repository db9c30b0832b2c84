"""A feed's rings from the side that writes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import feed_case
from feed_case import (
    FeedCase,
)
from tickbay.errors import RingFault
from tickbay.feed import producer
from tickbay.feed.producer import Producer
from tickbay.gap import Cause, Gap
from tickbay.record import Kind


def test_gaps_wait_in_order_while_their_ring_is_full(shm_dir: Path, tmp_path: Path) -> None:
    """FEED-1."""
    case = FeedCase(shm_dir, tmp_path / "data")
    writer = Producer("feed-1", case.rings)
    capacity = case.rings[Kind.GAP].capacity
    for number in range(capacity + 3):
        writer.write_gap(Gap(cause=Cause.STALE, from_ns=number + 1), recv_ns=5)
    assert writer.flush() == 3
    case.gaps()
    assert writer.flush() == 0
    assert case.gaps()["from_ns"].tolist() == list(range(1, capacity + 4))
    assert writer.lost_gaps == 0
    writer.close()


def test_rings_of_an_earlier_boot_are_not_written(
    shm_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal will make new ones: what went into these would be lost."""
    monkeypatch.setattr(feed_case, "boot_id", lambda: "another")
    FeedCase(shm_dir, tmp_path / "data").close()
    monkeypatch.setattr(producer, "ATTACH_S", 0.0)
    with pytest.raises(RingFault, match="of an earlier boot"):
        Producer.attach(shm_dir, "feed-1", wait=lambda _seconds: False)


def test_the_connection_epoch_grows_over_lives_and_within_a_second(shm_dir: Path, tmp_path: Path) -> None:
    case = FeedCase(shm_dir, tmp_path / "data")
    writer = Producer("feed-1", case.rings)
    assert [writer.next_conn(1000) for _ in range(3)] == [1000, 1001, 1002]
    assert Producer("feed-1", case.rings).next_conn(500) == 1003, "also where the clock was set back"
    case.close()


def test_rings_that_nobody_makes_are_waited_for_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "ATTACH_S", 0.2)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        time.sleep(seconds)
        return False

    with pytest.raises(RingFault, match="is the journal process running"):
        Producer.attach(tmp_path, "feed-1", wait=wait)
    assert len(waits) >= 2
    assert Producer.attach(tmp_path, "feed-1", wait=lambda _seconds: True) is None
