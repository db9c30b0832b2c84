"""What who watches sees: the newest quote of each instrument that is recorded, each gap once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tickbay.gap import Cause, Gap
from tickbay.record import Kind
from tickbay.watch.folded_gaps import GAPS_MAX, FoldedGaps
from tickbay.watch.quoted import Quoted
from tickbay.watch.quotes import LastQuotes
from watched import CALL, HOSTILE, NAMES, NEVER, PUT, SILENT, S, Watched


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with closing(Watched(tmp_path)) as watched:
        yield watched


def quoted(quotes: LastQuotes) -> Quoted:
    quotes.refresh()
    return Quoted(quotes.records)


# -------- quotes


def test_the_newest_quote_counts_and_what_was_never_quoted_is_there_without_a_time(watched: Watched) -> None:
    watched.run()
    quotes = LastQuotes(watched.config)
    found = {value["instrument"]: value for value in map(quoted(quotes).value, range(len(NAMES)))}
    assert set(found) == set(NAMES)
    assert (found[CALL]["bid_price"], found[CALL]["option"], found[CALL]["stale"]) == (0.05, True, False)
    assert (found[SILENT]["stale"], found[NEVER]["stale"]) == (True, True)
    assert (found[NEVER]["received_ns"], found[NEVER]["age_s"], found[NEVER]["bid_price"]) == (None, None, None)


def bid(quotes: LastQuotes, name: str) -> float:
    found = quoted(quotes)
    return float(found.records["bid_price"][found.chosen(text=name)[0]])


def test_of_one_stream_the_later_quote_counts_of_two_the_one_that_was_received_later(watched: Watched) -> None:
    """The clock may have been set back; an instrument may have moved to another feed."""
    quotes, other = LastQuotes(watched.config), watched.ring(Kind.QUOTE, "feed-2")
    watched.quote(CALL, bid=0.06, ask=0.07, iv=56)
    assert bid(quotes, CALL) == 0.06
    watched.quote(CALL, bid=0.05, ask=0.07, iv=56, age_s=3600)
    assert bid(quotes, CALL) == 0.05
    for price, age_s, expected in ((0.03, 7200, 0.05), (0.04, 0, 0.04)):
        record = watched.blank_quote(CALL, age_s)
        record["bid_price"] = price
        other.append(record)
        assert bid(quotes, CALL) == expected
    other.close()


def test_what_is_no_longer_recorded_leaves_and_what_is_new_comes(watched: Watched) -> None:
    watched.run()
    quotes = LastQuotes(watched.config)
    assert len(quoted(quotes).records) == len(NAMES)
    watched.assign(PUT, "ETH-27MAR26-9000-C")
    left = quoted(quotes)
    assert [left.name(int(row)) for row in left.chosen()] == [PUT, "ETH-27MAR26-9000-C"]
    watched.quote(CALL, bid=1, ask=2, iv=3)  # its last message
    assert len(quoted(quotes).records) == 2


def test_without_an_assignment_all_that_the_rings_have_is_shown(watched: Watched) -> None:
    watched.quote(CALL, bid=1, ask=2, iv=3)
    quotes = LastQuotes(watched.config)
    assert [quoted(quotes).name(0)] == [CALL]
    (watched.config.data_dir / "universe" / "assignment.json").write_text("{")
    watched.quote(PUT, bid=1, ask=2, iv=3)
    assert len(quoted(quotes).records) == 2


def test_a_ring_that_laps_who_watches_or_begins_anew_is_read_on(watched: Watched) -> None:
    quotes = LastQuotes(watched.config)
    watched.quote(CALL, bid=1, ask=2, iv=3)
    assert len(quoted(quotes).records) == 1
    ring = watched.rings[Kind.QUOTE]
    for number in range(600):  # the ring has 512
        if not ring.free:
            ring.set_durable(ring.head - 1)
        watched.quote(PUT, bid=number, ask=number + 1, iv=3)
    found = quoted(quotes)
    assert [found.value(int(row))["bid_price"] for row in found.chosen(text=PUT)] == [599]
    ring.close()
    watched.rings[Kind.QUOTE] = watched.ring(Kind.QUOTE)
    watched.quote(PUT, bid=7, ask=8, iv=3)
    again = quoted(quotes)
    assert [again.value(int(row))["bid_price"] for row in again.chosen(text=PUT)] == [7]


def test_rows_are_filtered_and_sorted_and_what_is_not_known_comes_last(watched: Watched) -> None:
    watched.run()
    found = quoted(LastQuotes(watched.config))

    def names(**wanted: object) -> list[str]:
        return [found.name(int(row)) for row in found.chosen(**wanted)]  # type: ignore[arg-type] # any of them

    assert names() == sorted(NAMES)
    assert names(descending=True) == sorted(NAMES, reverse=True)
    assert names(order="bid_price") == [SILENT, CALL, PUT, HOSTILE, NEVER]
    assert names(order="bid_price", descending=True) == [HOSTILE, PUT, CALL, SILENT, NEVER]
    assert names(order="age_s", descending=True)[:2] == [NEVER, SILENT]
    assert names(text="-p") == [PUT] and names(text="é") == []
    assert names(stale=True) == [SILENT, NEVER]
    assert found.stale_count == 2 and np.isinf(found.ages_s).sum() == 1


# -------- gaps


def test_a_gap_is_shown_once_as_it_was_told_last(watched: Watched) -> None:
    gaps = FoldedGaps(watched.config.run_dir)
    now_ns = time.time_ns()
    begun = Gap(cause=Cause.DISCONNECT, from_ns=now_ns - 9 * S)
    watched.gap(begun)
    gaps.refresh()
    assert [(folded.state, folded.feed, folded.seconds) for folded in gaps.newest()] == [("open", "feed-1", None)]
    watched.gap(Gap(cause=Cause.DISCONNECT, from_ns=begun.from_ns, to_ns=now_ns))
    watched.gap(Gap(cause=Cause.MAINTENANCE, from_ns=now_ns - 5 * S, to_ns=now_ns, expected=True))
    watched.gap(Gap(cause=Cause.STALE, from_ns=now_ns - 20 * S, kind=Kind.QUOTE, instrument=CALL))
    gaps.refresh()
    assert [folded.state for folded in gaps.newest()] == ["open", "announced", "missing"], "open first, then the newest"
    assert gaps.newest()[2].seconds == 9
    watched.gap(Gap(cause=Cause.DISCONNECT, from_ns=begun.from_ns, to_ns=now_ns, healed=True, count=3))
    watched.gap(begun)  # told again, by another who read it before
    gaps.refresh()
    assert [folded.state for folded in gaps.newest()] == ["open", "announced", "healed"]


def test_of_many_gaps_the_newest_are_kept(watched: Watched) -> None:
    gaps = FoldedGaps(watched.config.run_dir)
    ring = watched.rings[Kind.GAP]
    for number in range(GAPS_MAX + 3):
        if not ring.free:
            gaps.refresh()
            ring.set_durable(ring.head - 1)
        watched.gap(Gap(cause=Cause.STALE, from_ns=number + 1, to_ns=number + 2))
    gaps.refresh()
    assert len(gaps.newest()) == GAPS_MAX
    assert gaps.newest()[0].gap.from_ns == GAPS_MAX + 3
