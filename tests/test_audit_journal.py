"""The audit of a journal by the ledger: it sees one lost, one doubled or one wrong record among thousands. Real files,
written by the journal's own process code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audited import play
from journal_case import JournalCase
from rows import WORDS
from tickbay.audit import comparison
from tickbay.audit.columns import BOOK, COLUMNS, QUOTE, TRADE, Rows
from tickbay.audit.expected import expected_rows
from tickbay.audit.pairs import sent_times
from tickbay.audit.stored_journal import JournalDatabase
from tickbay.audit.verdict import Verdict, audit_ledger
from tickbay.files import Files
from tickbay.gap import Cause, Gap
from tickbay.journal.journal_reader import JournalReader
from tickbay.journal.segment import segment_name
from tickbay.record import Flag, Kind, Records, blank
from tickbay.sim.ledger import ENTRY, LedgerReader

S = 10**9
COMMITS = 10
FLAGS = {"message_end": Flag.LAST, "snapshot": Flag.SNAPSHOT}
KINDS = (QUOTE, TRADE, BOOK)  # that the ledger has
FEEDS = ((1, "feed-1", 1001), (2, "feed-2", 1000), (3, "feed-1", 1002))  # connection, feed, connection epoch


def recorded(kind: str, rows: Rows) -> Records:
    """Rows that were sent, as a feed records them."""
    number = Kind[kind.upper()]
    records = blank(number, len(rows))
    records["flags"][rows["option"]] |= int(Flag.OPTION)
    for name in COLUMNS[kind]:
        if name in FLAGS:
            records["flags"][rows[name]] |= int(FLAGS[name])
        elif (number, name) in WORDS:
            numbers = {word.encode(): value for value, word in WORDS[number, name].items()}
            records[name] = [numbers.get(word, 0) for word in rows[name].tolist()]
        else:
            records[name] = rows[name]
    return records


@dataclass
class Captured:
    """What goes into the journal: records by stream, to be spoilt by a test before it is written."""

    reader: LedgerReader
    streams: dict[str, Records] = field(default_factory=dict)

    def add(self, connection: int, feed: str, conn: int) -> None:
        sent_ns = sent_times(self.reader, connection)
        for kind in KINDS:
            for rows, message in expected_rows(self.reader, connection, kind):
                records = recorded(kind, rows)
                records["conn"], records["recv_ns"] = conn, sent_ns[message] + 1000 * (message + 1)
                self.append(f"{feed}.{kind}", records)

    def append(self, stream: str, records: Records) -> None:
        self.streams[stream] = np.concatenate([self.streams.get(stream, records[:0]), records])

    def gap(self, feed: str, from_ns: int) -> None:
        gap = Gap(cause=Cause.DISCONNECT, from_ns=from_ns, to_ns=from_ns + 5 * S)
        self.append(f"{feed}.gap", gap.record(recv_ns=gap.to_ns, conn=1))

    def write(self, case: JournalCase, *, versions: int = 0) -> None:
        """As a journal takes them: in a few commits what came meanwhile, of every stream, and so many versions of
        instruments, which are large."""
        journal = case.open()
        times = np.concatenate([records["recv_ns"] for records in self.streams.values()])
        ends = np.quantile(times, np.arange(1, COMMITS + 1) / COMMITS, method="higher")
        for begin, end in zip([0, *ends], ends, strict=False):
            for stream, records in self.streams.items():
                part = records[(records["recv_ns"] > begin) & (records["recv_ns"] <= end)]
                journal.rings.sources[stream].ring.append(part)
            instruments = blank(Kind.INSTRUMENT, versions)
            instruments["recv_ns"] = end
            journal.rings.sources["universe.instrument"].ring.append(instruments)
            assert journal.commit()
        journal.close()

    def spoil(self, stream: str, place: int, name: str, value: Any) -> None:
        self.streams[stream][name][place] = value

    def without(self, stream: str, place: int) -> None:
        self.streams[stream] = np.delete(self.streams[stream], place)


def captured(reader: LedgerReader) -> Captured:
    """Everything that was sent, and that the first connection was cut, as the ledger says."""
    found = Captured(reader)
    for connection, feed, conn in FEEDS:
        found.add(connection, feed, conn)
    found.gap("feed-1", int(found.streams["feed-1.quote"]["recv_ns"].min()))
    return found


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> LedgerReader:
    return play(tmp_path_factory.mktemp("audit") / "ledger")


@pytest.fixture
def good(reader: LedgerReader) -> Captured:
    return captured(reader)


@pytest.fixture
def case(tmp_path: Path, shm_dir: Path) -> JournalCase:
    return JournalCase(shm_dir / "run", tmp_path / "data", feeds=2)


Judge = Callable[[Captured], Verdict]


@pytest.fixture
def judge(case: JournalCase) -> Judge:
    def verdict(journal: Captured) -> Verdict:
        journal.write(case)
        return audited(case, journal.reader)

    return verdict


def audited(case: JournalCase, reader: LedgerReader) -> Verdict:
    found = JournalReader(Files(), case.directory)
    try:
        return audit_ledger(JournalDatabase(found), reader)
    finally:
        found.close()


def counts(verdict: Verdict) -> tuple[int, ...]:
    return verdict.lost, verdict.twice, verdict.different, verdict.stray, verdict.holes


def test_what_was_sent_and_journalled_is_found_good(good: Captured, judge: Judge) -> None:
    total = sum(len(records) for stream, records in good.streams.items() if not stream.endswith(".gap"))
    verdict = judge(good)
    assert counts(verdict) == (0, 0, 0, 0, 0) and verdict.good
    assert verdict.expected == verdict.stored == total > 2500
    assert str(verdict).endswith(f"{total:,} rows expected, {total:,} stored; 0 lost, 0 twice, 0 different: OK")


@pytest.mark.parametrize("kind", KINDS)
def test_one_lost_record_is_found(good: Captured, judge: Judge, kind: str) -> None:
    good.without(f"feed-2.{kind}", len(good.streams[f"feed-2.{kind}"]) // 2)
    verdict = judge(good)
    assert counts(verdict) == (1, 0, 0, 0, 0) and not verdict.good
    assert verdict.lines[0].startswith("lost: 1 rows of connection 2")


@pytest.mark.parametrize("kind", KINDS)
def test_one_record_that_was_journalled_twice_is_found(good: Captured, judge: Judge, kind: str) -> None:
    stream = good.streams[f"feed-2.{kind}"]
    place = len(stream) // 2
    good.streams[f"feed-2.{kind}"] = np.insert(stream, place, stream[place])
    verdict = judge(good)
    assert counts(verdict) == (0, 1, 0, 0, 0) and not verdict.good


@pytest.mark.parametrize("kind", KINDS)
def test_one_wrong_value_is_found_in_whatever_column(good: Captured, judge: Judge, kind: str) -> None:
    """One record for each column, each with that column wrong by a bit."""
    records = good.streams[f"feed-1.{kind}"]
    del good.streams["feed-1.gap"]
    for place, name in enumerate(COLUMNS[kind], 5):
        record = records[place : place + 1]
        if name in FLAGS:
            record["flags"] ^= int(FLAGS[name])
        elif record.dtype[name].kind == "S":
            record[name] = record[name].item() + b"x"
        elif record.dtype[name].kind == "f":
            record[name] = np.nextafter(np.nan_to_num(record[name]), 1e300)
        else:  # by a bit that makes it no other row's
            record[name] += 1 << 40 if record.dtype[name].itemsize == 8 else 1
    records["flags"][4] ^= int(Flag.OPTION if kind != BOOK else Flag.LAST)
    verdict = judge(good)
    assert verdict.stored == verdict.expected and not verdict.good
    assert verdict.different + verdict.stray == len(COLUMNS[kind]) + 1
    assert verdict.lost == verdict.stray, "a wrong instrument, time or number makes another row of it"


def test_a_number_that_no_enumeration_has_is_a_wrong_value(good: Captured, judge: Judge) -> None:
    good.spoil("feed-2.trade", 5, "direction", 250)
    assert counts(judge(good)) == (0, 0, 1, 0, 0)


@pytest.mark.parametrize("is_told", [True, False])
def test_the_tail_of_a_cut_connection_is_known_only_by_its_gap(good: Captured, judge: Judge, is_told: bool) -> None:
    tail = good.streams["feed-1.book"]
    good.streams["feed-1.book"] = np.delete(tail, np.flatnonzero(tail["conn"] == 1001)[-20:])
    if not is_told:
        del good.streams["feed-1.gap"]
    verdict = judge(good)
    assert (verdict.known, verdict.lost) == ((20, 0) if is_told else (0, 20))


def test_a_trade_that_was_healed_though_it_was_captured_is_twice(good: Captured, judge: Judge) -> None:
    """HEAL-1."""
    trades = good.streams["feed-2.trade"].copy()
    missing, captured_too = trades[3:4], trades[8:9]
    good.without("feed-2.trade", 3)
    good.gap("feed-2", int(missing["recv_ns"][0]))
    for each in (missing, captured_too):
        each["flags"] = each["flags"] & ~np.uint32(Flag.LAST) | np.uint32(Flag.HEALED)
        good.append("healer.trade", each)
    verdict = judge(good)
    assert (verdict.healed, verdict.twice, verdict.known, verdict.lost) == (2, 1, 1, 0)
    assert verdict.lines == [
        f"captured and healed: {captured_too['instrument'][0].decode()} trade {captured_too['trade_seq'][0]}"
    ]


# --- what the journal has let go of -----------------------------------------------------------------------------------


@pytest.fixture
def slow(reader: LedgerReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Captured:
    """The same ledger, of connections that lasted: minutes lie between their slices, and more is let go than what both
    sides may have drifted apart."""
    monkeypatch.setattr(comparison, "LOOK_AHEAD_ROWS", 64)
    shutil.copytree(reader.directory, tmp_path / "slow")
    for path in (tmp_path / "slow").glob("connection-*.bin"):
        entries = np.fromfile(path, ENTRY)
        minutes = np.arange(len(entries)) + (100 if path.name == "connection-3.bin" else 0)
        entries["sent_ns"] = entries["sent_ns"][0] + minutes * 60 * S
        path.write_bytes(entries.tobytes())
    return captured(LedgerReader(tmp_path / "slow"))


def let_go(case: JournalCase) -> None:
    """As the journal's retention does it with its oldest segment."""
    path = case.directory / segment_name(1)
    assert (case.directory / segment_name(2)).exists(), "there is more than one"
    path.unlink()
    path.with_suffix(".idx").unlink()


def test_what_the_journal_has_let_go_of_is_told_and_all_that_it_holds_is_compared(
    slow: Captured, case: JournalCase
) -> None:
    total = sum(len(records) for stream, records in slow.streams.items() if not stream.endswith(".gap"))
    slow.write(case, versions=200)
    let_go(case)
    verdict = audited(case, slow.reader)
    assert counts(verdict) == (0, 0, 0, 0, 0) and verdict.good
    assert verdict.deleted + verdict.expected == total and verdict.expected == verdict.stored > 500
    assert verdict.deleted > 500 and f"{verdict.deleted:,} sent before " in str(verdict)
    assert str(verdict).endswith("Z and deleted since: OK")


def test_behind_what_the_journal_has_let_go_of_one_lost_record_is_found(slow: Captured, case: JournalCase) -> None:
    for stream in ("feed-2.quote", "feed-1.book"):
        slow.without(stream, len(slow.streams[stream]) - 40)
    slow.spoil("feed-2.book", len(slow.streams["feed-2.book"]) - 30, "amount", 1e9)
    slow.write(case, versions=200)
    let_go(case)
    assert counts(audited(case, slow.reader)) == (2, 0, 1, 0, 0)


def test_a_connection_of_which_the_journal_has_nothing_is_lost_where_it_began_behind_what_was_let_go(
    slow: Captured, case: JournalCase
) -> None:
    gone = sum(len(slow.streams.pop(f"feed-2.{kind}")) for kind in KINDS)
    slow.write(case, versions=200)
    let_go(case)
    verdict = audited(case, slow.reader)
    assert verdict.lost == gone > 500 and verdict.deleted > 0
