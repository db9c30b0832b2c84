"""rewind.py: a sink can go back to where it was some time ago, and never to where it was later than that (SINK-2)."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

import orjson
import pytest

from faulty_files import DribblingFiles, FaultyFiles, is_nth
from tickbay.cursor import Position
from tickbay.files import Files
from tickbay.sinks.rewind import MARK_S, Marks

STREAM = "feed-1.quote"
T0_S = 1_700_000_000.0
KEEP_S = 15 * 60.0


def at(minute: float) -> float:
    return T0_S + 60 * minute


def where(minute: int) -> dict[str, Position]:
    """How far the sink was."""
    return {STREAM: Position(7, 100 * minute), "feed-2.book": Position(8, minute)}


def opened(path: Path, files: Files | None = None) -> Marks:
    return Marks(path, files or Files(), keep_s=KEEP_S)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The marks of a sink that was at where(n) at minute n, for forty minutes."""
    file = tmp_path / "questdb.marks"
    marks = opened(file)
    marks.went_back("monday", at(-1))
    for minute in range(40):
        marks.add(at(minute), where(minute))
    return file


def kept(path: Path) -> list[float]:
    """The minutes of which there are marks."""
    return [(when - T0_S) / 60 for when, _ in orjson.loads(path.read_bytes())["marks"]]


def test_without_a_file_no_server_is_known_and_the_sink_goes_back_to_the_beginning(tmp_path: Path) -> None:
    marks = opened(tmp_path / "questdb.marks")
    assert marks.server == ""
    assert marks.before(at(1e6)) == {}


def test_a_restarted_writer_knows_the_server_and_where_the_sink_was(path: Path) -> None:
    marks = opened(path)
    assert marks.server == "monday"
    for minute in range(25, 40):
        assert marks.before(at(minute)) == where(minute)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_between_two_marks_the_earlier_one_counts(path: Path) -> None:
    """SINK-2: the later one may be ahead of what the server has on its disk."""
    assert opened(path).before(at(30) - 0.001) == where(29)
    assert opened(path).before(at(30.9)) == where(30)
    assert opened(path).before(at(1000)) == where(39)


def test_marks_are_kept_for_as_long_as_one_may_go_back_and_one_more(path: Path) -> None:
    assert kept(path) == list(range(24, 40))
    marks = opened(path)
    marks.add(at(100), where(100))
    assert kept(path) == [39, 100]
    assert marks.before(at(100) - KEEP_S) == where(39)
    assert marks.before(at(23)) == {}


def test_of_a_day_old_marks_lie_further_apart(tmp_path: Path) -> None:
    """Going back for hours is asked of `tickbay sink rewind`; an eighth more of it costs little."""
    file = tmp_path / "questdb.marks"
    marks = Marks(file, Files(), keep_s=24 * 3600.0)
    for minute in range(3000):
        marks.add(at(minute), where(minute))
    assert 2999 - kept(file)[0] >= 24 * 60
    assert len(kept(file)) < 200
    for back in (1, 16, 60, 300, 1400):
        position = opened(file).before(at(2999 - back))[STREAM]
        assert 100 * (2999 - back * 9 / 8 - 1) <= position.seq <= 100 * (2999 - back), back


def test_how_far_the_cursor_was_before_it_went_back_outlives_the_writer(path: Path) -> None:
    """JRNL-3: else its successor takes all before the oldest record for a hole."""
    opened(path).going_back(where(39))
    opened(path).went_back("tuesday", at(30))
    opened(path).going_back({STREAM: Position(7, 5)})
    assert opened(path).gone_back == where(39)
    opened(path).add(at(50), where(12))
    assert opened(path).gone_back == where(39)


def test_a_mark_is_made_once_a_minute(path: Path) -> None:
    marks = opened(path, files := FaultyFiles())
    marks.add(at(39) + MARK_S - 0.001, where(50))
    assert files.calls == []
    assert marks.before(at(60)) == where(39)
    marks.add(at(39) + MARK_S, where(51))
    assert "rename" in files.calls
    assert opened(path).before(at(60)) == where(51)


def test_a_mark_does_not_follow_the_positions_that_were_given(path: Path) -> None:
    marks = opened(path)
    positions = where(40)
    marks.add(at(40), positions)
    positions[STREAM] = Position(9, 9)
    assert marks.before(at(40)) == where(40)


def test_going_back_forgets_what_came_later_and_names_the_new_server(path: Path) -> None:
    opened(path).went_back("tuesday", at(30))
    marks = opened(path)
    assert marks.server == "tuesday"
    assert kept(path)[-1] == 30
    assert marks.before(at(1000)) == where(30)
    marks.add(at(40), where(31))
    assert opened(path).before(at(39)) == where(30)


def test_a_clock_that_was_set_back_takes_no_mark_of_the_future_for_an_old_one(path: Path) -> None:
    """The sink is further on now than it was at the minute 39 of the wrong clock."""
    marks = opened(path)
    marks.add(at(30.5), where(41))
    assert kept(path)[-2:] == [30, 30.5]
    assert marks.before(at(45)) == where(41)
    assert marks.before(at(30)) == where(30)


def damages(data: bytes) -> list[bytes]:
    """The file cut off anywhere, and whole JSON that is no mark."""
    told = [b"[]", b"{}", b"null", b"7", b'{"server":"s"}', b'{"marks":[]}', b'{"server":"s","marks":7}', b"\xff\0"]
    told.append(b'{"server":"s","marks":[],"gone_back":[]}')
    positions = [b"7", b'{"a":7}', b'{"a":[1]}', b'{"a":[1,2,3]}', b'{"a":["x","y"]}', b'{"a":[1,null]}', b'{"a":"xy"}']
    start = b'{"server":"s","gone_back":{},"marks":['
    told += [start + b"[1.0," + each + b"]]}" for each in positions]
    told += [start + b'["x",{}]]}', start + b"[1.0]]}", start + b"null]}"]
    told += [b'{"server":"s","marks":[],"gone_back":' + each + b"}" for each in positions]
    return [*(data[:end] for end in range(0, len(data), 7)), *told]


def test_a_damaged_file_is_one_of_an_unknown_server_without_marks(path: Path) -> None:
    """The server's name differs from any, so the sink goes back, and to the beginning: nothing is lost."""
    for damaged in damages(path.read_bytes()):
        path.write_bytes(damaged)
        marks = opened(path)
        assert (marks.server, marks.before(at(1e6))) == ("?", {}), damaged
    marks.add(at(50), where(50))
    assert opened(path).before(at(50)) == where(50)


def test_a_disk_that_cannot_be_read_is_not_taken_for_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "questdb.marks").mkdir()
    with pytest.raises(OSError, match="not a regular file"):
        opened(tmp_path / "questdb.marks")


@pytest.mark.parametrize("nth", range(1, 6))
def test_marks_on_disk_are_the_old_or_the_new_whichever_call_fails(path: Path, nth: int) -> None:
    files = FaultyFiles(partial(is_nth, nth))
    marks = opened(path, files)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        marks.add(at(40), where(40))
    assert opened(path).before(at(1000)) == where(40 if files.failed == ["sync_directory"] else 39)
    marks.add(at(41), where(41))
    assert opened(path).before(at(1000)) == where(41)
    assert opened(path).before(at(40)) == where(40), "what could not be saved is saved with the next"


def test_marks_are_synced_before_they_take_the_place_of_the_old_ones(path: Path) -> None:
    opened(path, files := FaultyFiles()).add(at(40), where(40))
    assert files.calls == ["open", "pwritev", "fdatasync", "rename", "sync_directory"]


def test_a_save_and_a_load_in_small_pieces_are_whole(path: Path) -> None:
    opened(path, DribblingFiles()).add(at(40), where(40))
    assert opened(path, DribblingFiles()).before(at(40)) == where(40)


def test_what_a_save_that_was_cut_off_left_is_written_over(path: Path) -> None:
    path.with_suffix(".marks-new").write_bytes(b"x" * 100_000)
    opened(path).add(at(40), where(40))
    assert opened(path).before(at(40)) == where(40)
