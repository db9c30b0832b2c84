"""orders.py: what the operator asks of a sink is on disk, for a writer that runs now or starts later."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tickbay.sinks.orders import FILE_BYTES_MAX, Orders


@pytest.fixture
def cursors(tmp_path: Path) -> Path:
    """Where a sink's cursor lies, and so its orders."""
    folder = tmp_path / "cursors"
    folder.mkdir()
    return folder


@pytest.fixture
def orders(cursors: Path) -> Orders:
    return Orders(cursors.parent, "questdb")


def test_without_an_order_nothing_is_asked(orders: Orders) -> None:
    assert orders.parked() is None
    assert orders.minutes_back() is None
    orders.unpark()
    orders.went_back()


def test_a_parked_sink_is_parked_for_who_comes_later_until_it_is_unparked(orders: Orders, cursors: Path) -> None:
    orders.park("disk is replaced")
    orders.park("it takes longer")
    assert Orders(cursors.parent, "questdb").parked() == "it takes longer"
    orders.unpark()
    assert Orders(cursors.parent, "questdb").parked() is None
    assert list(cursors.iterdir()) == []


def test_a_sink_is_parked_without_a_reason_too(orders: Orders, cursors: Path) -> None:
    orders.park("")
    assert orders.parked() == ""
    (cursors / "questdb.parked").write_bytes(b"")  # touch(1) will do
    assert orders.parked() == ""


def test_to_resume_is_obeyed_once_by_whoever_waits(orders: Orders, cursors: Path) -> None:
    assert not orders.resumed()
    orders.resume()
    assert not Orders(cursors.parent, "timescale").resumed()
    assert Orders(cursors.parent, "questdb").resumed()
    assert not orders.resumed()


def test_an_order_is_for_one_sink(orders: Orders, cursors: Path) -> None:
    orders.park("x")
    orders.go_back(5)
    other = Orders(cursors.parent, "timescale")
    assert other.parked() is None and other.minutes_back() is None
    other.unpark()
    other.went_back()
    assert orders.parked() == "x" and orders.minutes_back() == 5


@pytest.mark.parametrize("reason", ["é" * FILE_BYTES_MAX, "x" * 10_000, "\udcff of another encoding"])
def test_a_reason_of_any_length_and_encoding_is_kept_as_far_as_it_goes(
    orders: Orders, cursors: Path, reason: str
) -> None:
    orders.park(reason)
    kept = orders.parked()
    assert kept and kept[:50] == reason.replace("\udcff", "?")[:50]
    assert (cursors / "questdb.parked").stat().st_size <= FILE_BYTES_MAX


def test_a_reason_that_is_no_text_still_parks(orders: Orders, cursors: Path) -> None:
    (cursors / "questdb.parked").write_bytes(b"\xff\xfe" * FILE_BYTES_MAX)
    assert orders.parked() == "\ufffd" * FILE_BYTES_MAX


def test_going_back_is_asked_until_it_is_carried_out_and_the_last_order_counts(orders: Orders, cursors: Path) -> None:
    orders.go_back(15)
    orders.go_back(0.5)
    assert [Orders(cursors.parent, "questdb").minutes_back() for _ in range(2)] == [0.5, 0.5]
    orders.went_back()
    assert orders.minutes_back() is None
    assert list(cursors.iterdir()) == []


def test_the_longest_way_back_is_kept_to_the_minute(orders: Orders) -> None:
    orders.go_back(60 * 24 * 366)
    assert orders.minutes_back() == 527_040


@pytest.mark.parametrize("data", [b"", b"soon", b"\xff\xff", b"nan", b"inf", b"-5", b"0", b"1e999"])
def test_an_order_that_is_none_of_ours_is_dropped(orders: Orders, cursors: Path, data: bytes) -> None:
    (cursors / "questdb.rewind").write_bytes(data)
    assert orders.minutes_back() is None
    assert list(cursors.iterdir()) == []


def test_a_writer_never_sees_half_of_an_order(orders: Orders, cursors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that read it while it was still empty took it for none of ours, and deleted it."""
    seen: list[float | None] = []
    replace = Path.replace

    def look_and_replace(self: Path, target: Path) -> Path:
        seen.append(orders.minutes_back())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look_and_replace)
    orders.go_back(20)
    orders.go_back(30)
    assert seen == [None, 20]
    assert orders.minutes_back() == 30


def test_orders_are_nobody_else_s(orders: Orders, cursors: Path) -> None:
    old = os.umask(0)
    try:
        orders.park("x")
        orders.go_back(5)
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in cursors.iterdir()} == {0o600}


def test_a_disk_that_fails_is_told_to_who_gives_the_order(tmp_path: Path) -> None:
    orders = Orders(tmp_path / "none", "questdb")
    with pytest.raises(FileNotFoundError):
        orders.park("x")
    with pytest.raises(FileNotFoundError):
        orders.go_back(5)
