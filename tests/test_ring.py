"""ring.py: named ring files, from two processes, on a full disk, and in every broken state."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tickbay import ring
from tickbay.errors import RingFault
from tickbay.record import DTYPES, Kind, Records, blank

BOOT = "12345678-1234-1234-1234-123456789abc"
SLOTS = 512


def make(path: Path, kind: Kind = Kind.BOOK, *, slots: int = SLOTS, first_seq: int = 1) -> ring.Ring:
    ring.create(path, kind, slots, stream=f"feed-1.{kind.name.lower()}", boot_id=BOOT, epoch=7, first_seq=first_seq)
    return ring.Ring.attach(path, kind)


def books(first: int, count: int) -> Records:
    """Records that can be told apart, with the same number in three places."""
    records = blank(Kind.BOOK, count)
    numbers = np.arange(first, first + count)
    records["change_id"] = numbers
    records["price"] = numbers
    records["instrument"] = [f"ETH-{number}" for number in numbers]
    return records


def numbers(records: Records) -> list[int]:
    """What books() put in, after checking that each record is whole."""
    assert (records["change_id"] == records["price"]).all()
    assert [f"ETH-{number}".encode() for number in records["change_id"]] == records["instrument"].tolist()
    return [int(number) for number in records["change_id"]]


def run_python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_new_ring_is_private_empty_and_knows_itself(shm_dir: Path) -> None:
    path = shm_dir / "feed-1.book.ring"
    book = make(path, first_seq=41)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(shm_dir.iterdir()) == [path]
    assert (book.head, book.durable, book.oldest, book.epoch()) == (41, 40, 41, (7, 41))
    assert (book.capacity, book.free) == (SLOTS, SLOTS)
    identity = book.identity()
    assert (identity.stream, identity.boot_id, identity.kind) == ("feed-1.book", BOOT, Kind.BOOK)
    assert (identity.capacity, identity.producer_pid, identity.conn) == (SLOTS, 0, 0)
    assert len(book.read(41)) == 0


def test_every_page_is_allocated_at_once(shm_dir: Path) -> None:
    path = shm_dir / "ring"
    make(path)
    status = path.stat()
    assert status.st_blocks * 512 >= status.st_size


def test_a_record_read_is_the_record_appended(shm_dir: Path) -> None:
    book = make(shm_dir / "ring")
    book.produce(os.getpid(), 1)
    sent = books(10, 5)
    book.append(sent)
    got = book.read(1)
    assert got["seq"].tolist() == [1, 2, 3, 4, 5]
    assert numbers(got) == [10, 11, 12, 13, 14]
    assert numbers(book.read(2, limit=3)) == [11, 12]
    assert numbers(book.read(2, most=1)) == [11]
    assert got.dtype == DTYPES[Kind.BOOK]


def test_only_the_journal_holds_a_producer_back(shm_dir: Path) -> None:
    """RING-2: the ring is full when durable does not move, whatever readers do, and free again when it does."""
    book = make(shm_dir / "ring")
    book.produce(os.getpid(), 1)
    book.append(books(1, SLOTS))
    book.read(1)
    with pytest.raises(ring.RingFull, match="the journal is behind"):
        book.append(books(513, 1))
    book.set_durable(10)
    assert book.free == 10
    book.append(books(513, 10))
    with pytest.raises(ring.RingFull):
        book.append(books(523, 1))
    assert book.head == SLOTS + 11


def test_a_reader_that_was_lapped_learns_it(shm_dir: Path) -> None:
    """RING-1: what is overwritten is never given out; the reader is told where the ring begins now."""
    book = make(shm_dir / "ring")
    book.produce(os.getpid(), 1)
    book.append(books(1, SLOTS))
    book.set_durable(SLOTS)
    book.append(books(SLOTS + 1, 100))
    with pytest.raises(ring.Lapped) as lapped:
        book.read(100)
    assert (lapped.value.seq, lapped.value.oldest) == (100, 101)
    assert numbers(book.read(101)) == list(range(101, SLOTS + 101))


def test_a_slice_over_the_end_of_the_ring_is_contiguous(shm_dir: Path) -> None:
    book = make(shm_dir / "ring")
    book.produce(os.getpid(), 1)
    for first in range(1, 2 * SLOTS, 300):
        book.append(books(first, 300))
        assert numbers(book.peek(first, 1000)) == list(range(first, first + 300))
        book.set_durable(book.head - 1)


def test_a_view_of_the_journal_outlives_the_ring(shm_dir: Path) -> None:
    book = make(shm_dir / "ring")
    book.produce(os.getpid(), 1)
    book.append(books(1, 3))
    view = book.peek(1, 3)
    assert not view.flags.writeable
    book.close()
    (shm_dir / "ring").unlink()
    del book
    assert numbers(view) == [1, 2, 3]


def test_a_closed_ring_refuses_every_use(shm_dir: Path) -> None:
    book = make(shm_dir / "ring")
    book.close()
    book.close()
    for use in (lambda: book.head, lambda: book.read(1), lambda: book.append(books(1, 1)), book.identity):
        with pytest.raises(ValueError, match="closed"):
            use()


PRODUCER = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_ring import books
from tickbay import ring
from tickbay.record import Kind
book = ring.Ring.attach(Path(sys.argv[1]), Kind.BOOK)
assert book.produce(os.getpid(), 99) == 5
book.set_conn(6)
number, end = book.head, book.head + 20_000
while number < end:
    count = min(1 + number % 97, end - number)
    try:
        book.append(books(number, count))
        number += count
    except ring.RingFull:
        time.sleep(0.0002)
"""


def test_another_process_receives_every_record_whole_and_in_order(shm_dir: Path) -> None:
    """RING-1, RING-2: 20,000 records through 512 slots between two processes."""
    path = shm_dir / "ring"
    book = make(path, first_seq=1_000)
    book.set_conn(5)
    received: list[int] = []
    producer = subprocess.Popen([sys.executable, "-c", PRODUCER, str(path), str(Path(__file__).parent)])
    try:
        deadline = time.monotonic() + 60
        while len(received) < 20_000 and time.monotonic() < deadline:
            assert producer.poll() in (None, 0)
            records = book.read(1_000 + len(received))
            assert records["seq"].tolist() == list(range(1_000 + len(received), 1_000 + len(received) + len(records)))
            received += numbers(records)
            book.set_durable(1_000 + len(received) - 1)
            time.sleep(0.0001)
        assert producer.wait(timeout=10) == 0
    finally:
        producer.kill()
        producer.wait()
    assert received == list(range(1_000, 21_000))
    assert (book.identity().producer_pid, book.identity().conn) == (producer.pid, 6)


DIES_IN_A_CLAIM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_ring import books
from tickbay import ring
from tickbay.record import Kind
book = ring.Ring.attach(Path(sys.argv[1]), Kind.BOOK)
book.produce(os.getpid(), 99)
book.append(books(1, 3))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_successor_of_a_killed_producer_goes_on_where_it_ended(shm_dir: Path) -> None:
    path = shm_dir / "ring"
    book = make(path)
    assert run_python(DIES_IN_A_CLAIM, str(path), str(Path(__file__).parent)).returncode == -9
    dead = book.identity().producer_pid
    assert dead not in (0, os.getpid())
    successor = ring.Ring.attach(path, Kind.BOOK)
    successor.produce(os.getpid(), 1)
    successor.append(books(4, 2))
    assert numbers(book.read(1)) == [1, 2, 3, 4, 5]
    assert book.identity().producer_pid == os.getpid()


def test_a_ring_made_anew_takes_the_place_of_the_old_one(shm_dir: Path) -> None:
    path = shm_dir / "ring"
    old = make(path)
    old.produce(1, 1)
    old.append(books(1, 1))
    (shm_dir / "ring.new").write_bytes(b"left by a journal that died while it made a ring")
    new = make(path, first_seq=2)
    assert (new.head, old.head) == (2, 2)
    assert len(new.read(2)) == 0
    assert list(shm_dir.iterdir()) == [path]


# -------- RING-3: attaching trusts nothing


def test_a_ring_that_is_not_there_is_worth_waiting_for(shm_dir: Path) -> None:
    with pytest.raises(ring.RingMissing, match="is the journal process running"):
        ring.Ring.attach(shm_dir / "ring", Kind.BOOK)


def test_a_ring_that_is_still_being_made_is_worth_waiting_for(shm_dir: Path) -> None:
    path = shm_dir / "ring"
    make(path)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ring.RingMissing, match="still being made"):
        ring.Ring.attach(path, Kind.BOOK)


def test_a_ring_of_another_kind_is_refused(shm_dir: Path) -> None:
    """RING-3."""
    make(shm_dir / "ring")
    with pytest.raises(RingFault, match="is no quote ring of this version"):
        ring.Ring.attach(shm_dir / "ring", Kind.QUOTE)


@pytest.mark.parametrize("size", [0, 1, 4096, 65536, 65537, 100_000, 131_072])
def test_a_file_of_another_size_is_refused(shm_dir: Path, size: int) -> None:
    """RING-3."""
    path = shm_dir / "ring"
    make(path)
    os.truncate(path, size)
    with pytest.raises(RingFault) as fault:
        ring.Ring.attach(path, Kind.BOOK)
    assert not isinstance(fault.value, ring.RingMissing)


@pytest.mark.parametrize("offset", range(0, 40, 4))
def test_a_damaged_identity_is_refused(shm_dir: Path, offset: int) -> None:
    """RING-3: magic, version, layout, kind and sizes, each flipped; the file itself stays whole."""
    path = shm_dir / "ring"
    make(path)
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(RingFault):
        ring.Ring.attach(path, Kind.BOOK)


def test_a_link_and_a_folder_are_refused(shm_dir: Path) -> None:
    """RING-3."""
    make(shm_dir / "ring")
    (shm_dir / "link").symlink_to(shm_dir / "ring")
    (shm_dir / "folder").mkdir()
    for name in ("link", "folder"):
        with pytest.raises(RingFault, match="cannot be made or opened"):
            ring.Ring.attach(shm_dir / name, Kind.BOOK)


# -------- what the operator must change


@pytest.mark.parametrize("slots", [0, 1, 100, 513, 2**40])
def test_a_number_of_slots_that_cannot_be_is_refused(shm_dir: Path, slots: int) -> None:
    with pytest.raises(RingFault, match="power of two from 512 on"):
        make(shm_dir / "ring", slots=slots)


def test_a_missing_directory_is_named(shm_dir: Path) -> None:
    with pytest.raises(RingFault, match="No such file or directory"):
        make(shm_dir / "absent" / "ring")


ON_A_SMALL_TMPFS = """
import sys
from pathlib import Path
from tickbay import ring
from tickbay.record import Kind
try:
    ring.create(Path(sys.argv[1]) / "ring", Kind.BOOK, 1 << 14, stream="feed-1.book", boot_id="b", epoch=1, first_seq=1)
except Exception as error:
    print(type(error).__name__, error)
print([path.name for path in Path(sys.argv[1]).iterdir()])
"""


def test_a_tmpfs_that_is_too_small_is_told_with_both_sizes(tmp_path: Path) -> None:
    """No SIGBUS later: the space is had at once or not at all."""
    mount = f"mount -t tmpfs -o size=1m none '{tmp_path}' && exec \"$0\" -c \"$1\" '{tmp_path}'"
    outcome = subprocess.run(
        ["unshare", "--mount", "--user", "--map-root-user", "sh", "-c", mount, sys.executable, ON_A_SMALL_TMPFS],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if outcome.returncode != 0:
        pytest.skip(f"no right to mount a tmpfs here: {outcome.stderr.strip()}")
    fault, left = outcome.stdout.splitlines()
    assert fault.startswith("RingFault no space for ring ring: it needs 2,031,616 bytes and ")
    assert fault.endswith("has 1,048,576 free; enlarge that tmpfs or set fewer slots under [ring]")
    assert left == "[]"
