"""cursor.py: a sink's cursor survives whatever happens to its file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from faulty_files import DribblingFiles, FaultyFiles
from tickbay.cursor import SLOT_SIZE, SLOTS, START, STREAMS_MAX, CursorFile, Position, newest, pack_slot, read_cursor
from tickbay.errors import JournalFault
from tickbay.files import Files

OLD = {"feed-1.quote": Position(1_700_000_000, 10), "feed-1.trade": Position(1_700_000_000, 3)}
NEW = {"feed-1.quote": Position(1_700_000_000, 11), "feed-1.trade": Position(1_700_000_001, 1)}
NEWER = {"feed-1.quote": Position(1_700_000_001, 77), "feed-1.trade": Position(1_700_000_002, 78)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A cursor file to which OLD and then NEW were saved."""
    file = tmp_path / "timescale.cursor"
    cursor = CursorFile(file, Files())
    cursor.save(OLD)
    cursor.save(NEW)
    cursor.close()
    return file


def slot_of(data: bytes, positions: dict[str, Position]) -> range:
    """The bytes of the slot that holds `positions`."""
    for slot in range(SLOTS):
        for generation in (1, 2):
            packed = pack_slot(generation, positions)
            if data[slot * SLOT_SIZE :].startswith(packed):
                return range(slot * SLOT_SIZE, slot * SLOT_SIZE + len(packed))
    raise AssertionError("these positions are in no slot")


def test_a_saved_cursor_is_read_back_by_its_writer_and_by_the_journal(path: Path) -> None:
    assert read_cursor(path, Files()) == NEW
    assert CursorFile(path, Files()).positions == NEW
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_file_means_that_nothing_is_committed(tmp_path: Path) -> None:
    assert read_cursor(tmp_path / "none.cursor", Files()) == {}
    assert CursorFile(tmp_path / "new.cursor", Files()).positions == {}


def test_positions_are_ordered_by_epoch_before_sequence() -> None:
    assert START < Position(1, 900) < Position(2, 1) < Position(2, 2)


def test_damage_at_any_byte_of_a_slot_leaves_the_other_slot(path: Path) -> None:
    data = path.read_bytes()
    for positions, other in ((NEW, OLD), (OLD, NEW)):
        for at in slot_of(data, positions):
            for damage in (0x01, 0x80, 0xFF):
                damaged = bytearray(data)
                damaged[at] ^= damage
                assert newest(damaged)[1] == other, f"byte {at} ^ {damage:#x}"


def test_truncation_anywhere_leaves_a_cursor_that_was_saved(path: Path) -> None:
    data = path.read_bytes()
    ends = sorted(slot_of(data, positions).stop for positions in (OLD, NEW))
    lengths = {*range(0, 200), *(end + step for end in ends for step in range(-200, 3)), len(data)}
    for length in sorted(max(0, length) for length in lengths):
        assert newest(data[:length])[1] in ({}, OLD, NEW), f"{length} bytes"
    assert newest(data)[1] == NEW


def test_after_damage_the_next_save_overwrites_the_damaged_slot(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[slot_of(bytes(data), NEW).start + 20] ^= 1
    path.write_bytes(data)
    cursor = CursorFile(path, Files())
    assert cursor.positions == OLD
    cursor.save(NEW)
    assert read_cursor(path, Files()) == NEW


@pytest.mark.parametrize("operation", ["pwritev", "fdatasync"])
def test_cursor_stays_when_a_save_fails_and_the_next_save_counts(path: Path, operation: str) -> None:
    files = FaultyFiles()
    cursor = CursorFile(path, files)
    files.fails = lambda name, number: name == operation
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        cursor.save(NEWER)
    assert cursor.positions == NEW
    if operation == "pwritev":
        assert read_cursor(path, Files()) == NEW
    files.fails = lambda name, number: False
    cursor.save(NEWER)
    assert read_cursor(path, Files()) == NEWER


def test_a_save_in_small_pieces_is_whole(tmp_path: Path) -> None:
    cursor = CursorFile(tmp_path / "x.cursor", DribblingFiles())
    cursor.save(NEW)
    assert read_cursor(tmp_path / "x.cursor", DribblingFiles()) == NEW


def test_a_slot_holds_its_bound_of_streams_and_refuses_more(tmp_path: Path) -> None:
    cursor = CursorFile(tmp_path / "x.cursor", Files())
    most = {f"feed-{number}.quote": Position(1, number) for number in range(STREAMS_MAX)}
    cursor.save(most)
    assert read_cursor(tmp_path / "x.cursor", Files()) == most
    with pytest.raises(JournalFault, match="fewer feeds"):
        cursor.save(most | {"one.more": START})
    with pytest.raises(JournalFault, match="longer than 32 bytes"):
        cursor.save({"f" * 33: START})


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.cursor").symlink_to("/dev/null")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        CursorFile(tmp_path / "x.cursor", Files())
