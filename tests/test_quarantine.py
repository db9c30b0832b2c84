"""The quarantine file: what goes in comes out byte for byte, whatever was cut off, and it stays within its bound."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbay.feed.quarantine import REASON_BYTES_MAX, Entry, Quarantine, read_entries, rotated

MIB = 1 << 20


def opened(path: Path, bytes_max: int = MIB) -> Quarantine:
    return Quarantine(path, bytes_max=bytes_max)


def test_a_frame_comes_back_byte_for_byte_with_its_time_and_reason(tmp_path: Path) -> None:
    """QUAR-1."""
    path = tmp_path / "feed-1.frames"
    frames = [b"", b'{"a":', bytes(range(256)), b"TBQ1" * 50]
    kept = opened(path)
    for number, frame in enumerate(frames):
        assert kept.keep(frame, recv_ns=number - 1, reason="undecodable")
    assert list(read_entries(path)) == [Entry(number - 1, "undecodable", frame) for number, frame in enumerate(frames)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_kept_is_there_after_another_opening(tmp_path: Path) -> None:
    path = tmp_path / "feed-1.frames"
    first = opened(path)
    first.keep(b"one", recv_ns=1, reason="r")
    first.close()
    opened(path).keep(b"two", recv_ns=2, reason="r")
    assert [entry.frame for entry in read_entries(path)] == [b"one", b"two"]


@given(st.data())
def test_whatever_a_crash_cut_off_only_whole_entries_are_read_and_writing_goes_on(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """QUAR-1."""
    path = tmp_path_factory.mktemp("cut") / "feed-1.frames"
    kept = opened(path)
    frames = data.draw(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
    for frame in frames:
        kept.keep(frame, recv_ns=5, reason="x")
    kept.close()
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut] + data.draw(st.binary(max_size=30)))
    again = opened(path)
    survivors = [entry.frame for entry in read_entries(path)]
    assert survivors == frames[: len(survivors)]
    again.keep(b"after", recv_ns=6, reason="y")
    again.close()
    assert [entry.frame for entry in read_entries(path)] == [*survivors, b"after"]


def test_a_flipped_bit_ends_the_reading_before_it(tmp_path: Path) -> None:
    """QUAR-1: nothing damaged is shown as something the venue sent."""
    path = tmp_path / "feed-1.frames"
    kept = opened(path)
    kept.keep(b"good", recv_ns=1, reason="r")
    size = path.stat().st_size
    kept.keep(b"bad one", recv_ns=2, reason="r")
    content = bytearray(path.read_bytes())
    for offset in range(size, len(content)):
        damaged = content.copy()
        damaged[offset] ^= 4
        path.write_bytes(damaged)
        assert [entry.frame for entry in read_entries(path)] == [b"good"], offset


def test_both_files_together_stay_within_the_bound_and_the_newest_stay(tmp_path: Path) -> None:
    """QUAR-2."""
    path = tmp_path / "feed-1.frames"
    kept = opened(path, bytes_max=4000)
    for number in range(200):
        assert kept.keep(b"%03d" % number * 50, recv_ns=number, reason="flood")
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 4000
    numbers = [entry.recv_ns for file in (rotated(path), path) for entry in read_entries(file)]
    assert numbers == list(range(numbers[0], 200))
    assert len(numbers) > 10


def test_a_frame_larger_than_half_of_the_bound_is_refused_and_counted(tmp_path: Path) -> None:
    kept = opened(tmp_path / "feed-1.frames", bytes_max=1000)
    assert not kept.keep(bytes(600), recv_ns=1, reason="r")
    assert kept.keep(bytes(100), recv_ns=2, reason="r")
    assert (kept.kept, kept.unkept) == (1, 1)


def test_a_reason_of_any_kind_fits(tmp_path: Path) -> None:
    path = tmp_path / "feed-1.frames"
    kept = opened(path)
    kept.keep(b"f", recv_ns=1, reason="é\N{SNOWMAN}" * 500)
    (entry,) = read_entries(path)
    assert entry.frame == b"f"
    assert len(entry.reason) == REASON_BYTES_MAX


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "feed-1.frames").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="Too many levels"):
        opened(tmp_path / "feed-1.frames")
    assert (tmp_path / "target").read_bytes() == b"precious"


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tickbay.feed.quarantine import Quarantine, read_entries
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
kept = Quarantine(path, bytes_max=1 << 20)
assert kept.keep(b"a" * 100, recv_ns=1, reason="r")
resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
assert not kept.keep(b"b" * 1000, recv_ns=2, reason="r")
assert not kept.keep(b"b" * 1000, recv_ns=3, reason="r")
assert kept.unkept == 2
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert kept.keep(b"c" * 10, recv_ns=4, reason="r")
assert [entry.recv_ns for entry in read_entries(path)] == [1, 4]
"""


def test_a_disk_that_takes_only_half_of_an_entry_is_counted_and_the_next_ones_are_kept(tmp_path: Path) -> None:
    """QUAR-1, with a real limit on the size of files: the system writes what fits, then refuses."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path / "feed-1.frames")], check=True)
