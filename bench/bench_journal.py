"""Rings to disk, as the journal process does it: the group commit over real rings and real segments, beside a plain
pwrite + fdatasync of the same bytes in the same folder.

Three figures: how fast it writes when the disk does not matter (the sync is left out), what a commit every 100 ms costs
at 200,000 records a second, and how long a written record waits for its sync.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.bench_encode import records_of
from bench.result import Result, Size, main, median
from bench.rings import memory_folder
from tickbay.config import Config, Feeds, Timescale
from tickbay.config import Journal as Settings
from tickbay.cursor import START
from tickbay.events import Events
from tickbay.files import Files
from tickbay.health import Health
from tickbay.journal.journal import Journal, open_journal
from tickbay.journal.journal_reader import JournalReader
from tickbay.process import make_directories
from tickbay.record import Kind, Records
from tickbay.sinks.sink import Chunk

MIX = {Kind.QUOTE: 0.45, Kind.BOOK: 0.55}  # of 200,000 records a second, as the corpus has them
RECORDS_PER_S = 200_000
COMMIT_S = 0.1


class NoSync(Files):
    """A disk that costs nothing: the rest is ours."""

    def fdatasync(self, fd: int) -> None:
        pass


@contextmanager
def opened(files: Files, size: Size) -> Iterator[tuple[Journal, Path]]:
    """A journal in a folder of its own, with a feed's rings of the default sizes, this process as the feed."""
    with tempfile.TemporaryDirectory(prefix="tickbay-bench-") as data, memory_folder() as run:
        config = Config(
            data_dir=Path(data),
            run_dir=run,
            feeds=Feeds(count=1),
            timescale=Timescale(enabled=False),
            journal=Settings(segment_mb=size.of(64, 4)),
        )
        make_directories(config)
        journal = open_journal(config, files, Events("bench"), Health(config.run_dir, "journal", "journal"))
        for kind in MIX:
            journal.rings.sources[f"feed-1.{kind.name.lower()}"].ring.produce(os.getpid(), 1)
        try:
            yield journal, config.data_dir / "journal"
        finally:
            journal.close()


def measure(size: Size) -> Result:
    result = Result("journal", size)
    records = records_of(size)
    flat_out(result, records)
    paced(result, records)
    return result


def flat_out(result: Result, records: dict[Kind, Records]) -> None:
    """Fill the rings, commit, again: only the commit is timed."""
    rounds = result.size.of(40, 2)
    rates, raw = [], []
    with opened(NoSync(), result.size) as (journal, directory), (directory.parent / "raw").open("wb") as plain:
        os.posix_fallocate(plain.fileno(), 0, 64 << 20)
        for turn in range(rounds):
            parts = produce(journal, records, 20_000 if not result.size.small else 500)
            count = sum(part.nbytes for part in parts)
            began = time.process_time_ns()
            assert journal.commit()
            rates.append(count / (time.process_time_ns() - began))
            began = time.process_time_ns()
            os.pwritev(plain.fileno(), [part.view("u1").data for part in parts], (turn % 6) * count)
            raw.append(count / (time.process_time_ns() - began))
    result.add("to the page cache, with CRC and headers", median(rates), "GB/s", "bytes a CPU second")
    result.add("limit: pwritev of the same bytes", median(raw), "GB/s")
    if not result.size.small:
        result.aim("journal", "to the page cache", 1, median(rates), " GB/s")


def paced(result: Result, records: dict[Kind, Records]) -> None:
    """200,000 records a second, a commit every 100 ms, with real syncs."""
    rounds = result.size.of(50, 2)
    count = result.size.of(int(RECORDS_PER_S * COMMIT_S), 400)
    busy_s = 0.0
    waits_ms, raw_ms = [], []
    with opened(Files(), result.size) as (journal, directory):
        raw_path = directory.parent / "raw"
        with raw_path.open("wb") as plain:
            os.posix_fallocate(plain.fileno(), 0, 64 << 20)
            for turn in range(rounds):
                due = time.monotonic() + (COMMIT_S if not result.size.small else 0.0)
                parts = produce(journal, records, count)
                began_cpu, began = time.thread_time(), time.monotonic()
                assert journal.commit()
                busy_s += time.thread_time() - began_cpu
                waits_ms.append((time.monotonic() - began) * 1e3)
                began = time.monotonic()
                os.pwritev(plain.fileno(), [part.view("u1").data for part in parts], (turn % 6) * parts[0].nbytes * 2)
                os.fdatasync(plain.fileno())
                raw_ms.append((time.monotonic() - began) * 1e3)
                time.sleep(max(0.0, due - time.monotonic()))
        result.checked = f"{check(directory)} records read back from the segments, each in its place"
    share = 100 * busy_s / (rounds * COMMIT_S)
    result.add("CPU at 200,000 records a second", share, "% of a core")
    result.add(
        "written → durable, p50", float(np.quantile(waits_ms, 0.5)), "ms", f"{sum_bytes(records, count)} MB each"
    )
    p99 = result.add("written → durable, p99", float(np.quantile(waits_ms, 0.99)), "ms")
    result.add("limit: pwrite + fdatasync, p50", float(np.quantile(raw_ms, 0.5)), "ms")
    result.add("limit: pwrite + fdatasync, p99", float(np.quantile(raw_ms, 0.99)), "ms")
    if not result.size.small:
        result.aim("journal", "CPU at 200,000 records a second", 10, share, " % of a core", most=True)
        result.aim("journal", "written → durable, p99", 100, p99, " ms", most=True)


def produce(journal: Journal, records: dict[Kind, Records], count: int) -> list[Records]:
    """`count` records into the rings, as a feed would; returns them."""
    parts = []
    for kind, share in MIX.items():
        part = np.resize(records[kind], int(count * share))
        journal.rings.sources[f"feed-1.{kind.name.lower()}"].ring.append(part)
        parts.append(part)
    return parts


def sum_bytes(records: dict[Kind, Records], count: int) -> float:
    return round(sum(records[kind].itemsize * count * share for kind, share in MIX.items()) / 1e6, 1)


def check(directory: Path) -> int:
    """Read everything back; AssertionError where a record is missing or not what was written."""
    reader = JournalReader(Files(), directory)
    reader.refresh()
    total = 0
    for kind in MIX:
        after, seq = START, 0
        while chunk := reader.read(f"feed-1.{kind.name.lower()}", after, None, rows_max=50_000, bytes_max=32 << 20):
            assert isinstance(chunk, Chunk), "a hole"
            assert chunk.records["seq"].tolist() == list(range(seq + 1, seq + 1 + len(chunk.records)))
            assert (chunk.records["instrument"] != b"").all()
            after, seq = chunk.end, seq + len(chunk.records)
        total += seq
    reader.close()
    assert total > 0
    return total


if __name__ == "__main__":
    main(measure)
