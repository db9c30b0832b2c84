"""The rings of a feed alone, where an engine has them: in shared memory, with no disk behind it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tickbay import ring
from tickbay.config import MEMORY_DIR
from tickbay.identity import Identity, boot_id
from tickbay.record import Kind, stream_name

SLOTS = {Kind.QUOTE: 1 << 16, Kind.TRADE: 1 << 13, Kind.BOOK: 1 << 17}  # as native/bench/bench_receive.c has room for


@contextmanager
def memory_folder() -> Iterator[Path]:
    """Where there is no shared memory that we may write to, a folder on a disk, which then takes part."""
    with tempfile.TemporaryDirectory(
        prefix="tickbay-bench-", dir=MEMORY_DIR if os.access(MEMORY_DIR, os.W_OK) else None
    ) as name:
        yield Path(name)


@contextmanager
def produced() -> Iterator[dict[Kind, ring.Ring]]:
    """New ones, this process their producer."""
    with memory_folder() as folder:
        yield {kind: _produced(folder / f"{kind.name}.ring", kind) for kind in SLOTS}


def _produced(path: Path, kind: Kind) -> ring.Ring:
    ring.create(path, kind, SLOTS[kind], stream=stream_name("bench", kind), boot_id=boot_id(), epoch=1, first_seq=1)
    attached = ring.Ring.attach(path, kind)
    own = Identity.own()
    attached.produce(own.pid, own.start_time)
    return attached
