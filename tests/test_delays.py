"""delays.py of the journal and of the writers: which stage of a tick took how long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from journal_case import QUOTE, JournalCase
from tickbay.journal.delays import COMMITS, EXCHANGE_TO_RECEIVE, FILE, RECEIVE_TO_DURABLE, Delays, DurableTimes
from tickbay.record import Flag, Kind, Records, blank, stream_name
from tickbay.sinks.sink import Chunk
from tickbay.writer.delays import DURABLE_TO_COMMIT, RECEIVE_TO_COMMIT
from tickbay.writer.delays import Delays as WriterDelays

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000


def ticks(kind: Kind, recv_ns: list[int], *, took_ns: int = 0, flags: int = 0) -> Records:
    records = blank(kind, len(recv_ns))
    records["recv_ns"] = recv_ns
    records["exch_ns"] = records["recv_ns"] - took_ns
    records["flags"] = flags
    records["seq"] = np.arange(1, len(records) + 1)
    return records


def total(stage: dict[str, Any], subject: str) -> tuple[int, int]:
    return stage[subject]["count"], stage[subject]["sum_ns"]


def test_the_journal_tells_both_stages_of_each_feed_s_ticks_and_of_nothing_else() -> None:
    delays = Delays()
    quotes = ticks(Kind.QUOTE, [START_NS, START_NS + 10 * MS], took_ns=3 * MS)
    healed = ticks(Kind.TRADE, [START_NS], took_ns=10**15, flags=Flag.HEALED)
    parts = [("feed-1.quote", quotes), ("feed-1.trade", healed), ("feed-2.book", ticks(Kind.BOOK, [START_NS]))]
    parts += [("feed-1.status", ticks(Kind.STATUS, [1])), ("universe.instrument", ticks(Kind.INSTRUMENT, [1]))]
    delays.synced([(stream, memoryview(records.tobytes())) for stream, records in parts], START_NS + 50 * MS)
    stages = delays.report(1.0)
    assert stages.keys() == {EXCHANGE_TO_RECEIVE, RECEIVE_TO_DURABLE}
    assert stages[RECEIVE_TO_DURABLE].keys() == {"feed-1", "feed-2"}
    assert total(stages[EXCHANGE_TO_RECEIVE], "feed-1") == (2, 6 * MS), "what is healed has no live delay"
    assert total(stages[RECEIVE_TO_DURABLE], "feed-1") == (3, (50 + 40 + 50) * MS)
    assert total(stages[RECEIVE_TO_DURABLE], "feed-2") == (1, 50 * MS)


def test_a_record_was_durable_with_the_first_commit_that_looked_after_its_receipt(shm_dir: Path) -> None:
    written = DurableTimes(shm_dir, write=True)
    for commit in range(3):
        written.add(START_NS + 100 * MS * (commit + 1), START_NS + 100 * MS * (commit + 1) + 7 * MS)
    found = DurableTimes(shm_dir).durable_ns(START_NS + MS * np.array([100, 101, 200, 250]))
    assert ((found - START_NS) // MS).tolist() == [107, 207, 207, 307]


def test_what_no_remembered_commit_looked_at_counts_as_durable_when_received(shm_dir: Path) -> None:
    empty = DurableTimes(shm_dir, write=True)
    times = np.array([START_NS])
    assert (empty.durable_ns(times) == times).all()
    empty.add(START_NS + 100 * MS, START_NS + 107 * MS)
    old_and_new = np.array([START_NS - 1, START_NS + 101 * MS])
    assert (empty.durable_ns(old_and_new) == old_and_new).all()


def test_only_the_newest_commits_are_remembered_also_by_the_next_journal_process(shm_dir: Path) -> None:
    for begin in (0, COMMITS + 10):
        written = DurableTimes(shm_dir, write=True)  # the second time: another process goes on
        for commit in range(begin, begin + COMMITS + 10):
            written.add(START_NS + commit * MS, START_NS + commit * MS + 5)
    last = 2 * COMMITS + 19
    found = DurableTimes(shm_dir).durable_ns(START_NS + MS * np.array([last, last - COMMITS + 2, last - COMMITS - 1]))
    assert (found - START_NS).tolist() == [last * MS + 5, (last - COMMITS + 2) * MS + 5, (last - COMMITS - 1) * MS]
    assert (shm_dir / FILE).stat().st_mode & 0o777 == 0o600


def test_a_writer_tells_both_ends_of_the_way_to_its_sink(shm_dir: Path) -> None:
    delays = WriterDelays(shm_dir, "questdb")
    chunk = Chunk("feed-1.quote", Kind.QUOTE, 1, ticks(Kind.QUOTE, [START_NS, START_NS + 10 * MS]))
    status = Chunk("feed-1.status", Kind.STATUS, 1, ticks(Kind.STATUS, [START_NS]))
    delays.committed([chunk, status], START_NS + 200 * MS)
    assert total(delays.report(1.0)[DURABLE_TO_COMMIT], "questdb") == (0, 0), "the journal's times are not there yet"
    written = DurableTimes(shm_dir, write=True)
    written.add(START_NS - 50 * MS, START_NS - 40 * MS)
    written.add(START_NS + 50 * MS, START_NS + 60 * MS)
    delays.committed([chunk, status], START_NS + 200 * MS)
    stages = delays.report(2.0)
    assert total(stages[DURABLE_TO_COMMIT], "questdb") == (2, 2 * 140 * MS)
    assert total(stages[RECEIVE_TO_COMMIT], "questdb") == (4, 2 * (200 + 190) * MS)


@pytest.mark.parametrize("kind", [Kind.QUOTE, Kind.BOOK])
def test_the_journal_process_reports_its_stages_in_its_health(shm_dir: Path, kind: Kind) -> None:
    case = JournalCase(shm_dir, shm_dir / "data")
    journal = case.open()
    stream = QUOTE if kind is Kind.QUOTE else stream_name("feed-1", kind)
    case.produce(journal, stream, 10)
    assert journal.commit()
    journal.report()
    assert case.health.stages[RECEIVE_TO_DURABLE]["feed-1"]["count"] == 10
