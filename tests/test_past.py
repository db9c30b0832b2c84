"""What a feed finds of its earlier life: in its rings, or in a real journal where a reboot has taken the rings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from journal_case import JournalCase
from tickbay.config import Config
from tickbay.feed.past import Past
from tickbay.gap import Cause, Gap
from tickbay.record import FeedState, Kind, Records, blank, feed_kinds, stream_name

S = 1_000_000_000
LONG_AGO_NS = 1_700_000_000 * S


def quote(recv_ns: int) -> Records:
    record = blank(Kind.QUOTE)
    record["recv_ns"] = recv_ns
    return record


def trade(instrument: bytes, trade_seq: int, recv_ns: int = 1) -> Records:
    record = blank(Kind.TRADE)
    record["instrument"], record["trade_seq"], record["recv_ns"] = instrument, trade_seq, recv_ns
    return record


def status(recv_ns: int, state: FeedState, frames: int, conn: int = 3) -> Records:
    record = blank(Kind.STATUS)
    record["recv_ns"], record["state"], record["frames"], record["conn"] = recv_ns, state, frames, conn
    return record


def gap(from_ns: int, to_ns: int = 0, *, instrument: str = "", cause: Cause = Cause.STALE) -> Gap:
    return Gap(cause=cause, from_ns=from_ns, to_ns=to_ns, instrument=instrument, kind=Kind.BOOK, detail="why")


LIFE: list[tuple[Kind, Records]] = [
    (Kind.QUOTE, quote(LONG_AGO_NS + 5 * S)),
    (Kind.TRADE, trade(b"ETH-1", 7)),
    (Kind.TRADE, trade(b"ETH-2", 400)),
    (Kind.TRADE, trade(b"ETH-1", 9)),
    (Kind.TRADE, trade(b"ETH-1", 8)),
    (Kind.STATUS, status(LONG_AGO_NS + 1 * S, FeedState.LIVE, 10)),
    (Kind.STATUS, status(LONG_AGO_NS + 6 * S, FeedState.LIVE, 20)),
    (Kind.STATUS, status(LONG_AGO_NS + 11 * S, FeedState.LIVE, 30)),
    (Kind.STATUS, status(LONG_AGO_NS + 16 * S, FeedState.LIVE, 30)),
    (Kind.STATUS, status(LONG_AGO_NS + 21 * S, FeedState.WAITING, 30)),
    (Kind.STATUS, status(LONG_AGO_NS + 26 * S, FeedState.LIVE, 40, conn=4)),
    (Kind.GAP, gap(1).record(recv_ns=1, conn=1)),
    (Kind.GAP, gap(1, 2).record(recv_ns=2, conn=1)),
    (Kind.GAP, gap(3, instrument="ETH-1").record(recv_ns=3, conn=1)),
    (Kind.GAP, gap(3, instrument="ETH-2", cause=Cause.REFUSED).record(recv_ns=3, conn=1)),
    (Kind.GAP, gap(3, 4, instrument="ETH-2", cause=Cause.REFUSED).record(recv_ns=4, conn=2)),
    (Kind.GAP, gap(9, 9, cause=Cause.UNDECODABLE).record(recv_ns=9, conn=2)),
]


def check(past: Past) -> None:
    assert past.newest_ns() == LONG_AGO_NS + 6 * S, "only frames after a heartbeat prove that the connection lived"
    assert past.last_trades() == {b"ETH-1": 9, b"ETH-2": 400}
    assert past.open_holes() == [gap(3, instrument="ETH-1")]


@pytest.mark.parametrize("reboots", [0, 1, 2])
@pytest.mark.parametrize("clean", [True, False])
def test_the_past_is_the_same_from_the_rings_and_after_reboots_from_the_journal(
    shm_dir: Path, tmp_path: Path, reboots: int, clean: bool
) -> None:
    case = JournalCase(shm_dir / "run", tmp_path / "data")
    journal = case.open()
    for kind, record in LIFE:
        journal.rings.sources[stream_name("feed-1", kind)].ring.append(record)
    assert journal.commit()
    for _ in range(reboots):
        if clean:
            journal.close()
        case.lose_power()
        journal = case.open()
    rings = {kind: journal.rings.sources[stream_name("feed-1", kind)].ring for kind in feed_kinds(Config().tick_kinds)}
    check(Past(rings, case.directory))
    journal.close()


def test_a_feed_that_never_ran_has_no_past(shm_dir: Path, tmp_path: Path) -> None:
    case = JournalCase(shm_dir / "run", tmp_path / "data")
    journal = case.open()
    rings = {kind: journal.rings.sources[stream_name("feed-1", kind)].ring for kind in feed_kinds(Config().tick_kinds)}
    past = Past(rings, case.directory)
    assert (past.newest_ns(), past.last_trades(), past.open_holes()) == (0, {}, [])
    journal.close()


def test_a_gap_comes_back_from_its_record_as_it_was() -> None:
    whole = Gap(
        cause=Cause.SEQUENCE,
        from_ns=3,
        to_ns=4,
        kind=Kind.BOOK,
        instrument="ETH-1",
        first_missing=5,
        last_missing=6,
        count=7,
        expected=True,
        detail="book.ETH-1.100ms",
    )
    for one in (whole, Gap(cause=Cause.RESTART, from_ns=1)):
        (record,) = one.record(recv_ns=9, conn=2)
        assert Gap.of_record(record) == one
        assert (record["recv_ns"], record["conn"], record["exch_ns"]) == (9, 2, one.from_ns)


def test_causes_are_those_of_the_header() -> None:
    header = (Path(__file__).parents[1] / "native" / "record.h").read_text()
    body = header.split("enum gap_cause {")[1].split("};")[0]
    names = re.findall(r"^\s*(GAP_\w+) =", body, re.MULTILINE)
    assert names == [f"GAP_{cause.name}" for cause in Cause]
    for cause in Cause:
        assert f"GAP_{cause.name} = {cause.value}," in header
