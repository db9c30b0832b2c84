"""coverage.py: the rules of a certificate, one story each, told as evidence by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tickbay.certificate.certificate import BELOW, CERTIFIED, UNKNOWN, Document, checksum_of, document
from tickbay.certificate.coverage import Coverage, judge, share
from tickbay.certificate.evidence import (
    DAY_NS,
    FOREVER_NS,
    HOUR_NS,
    STEP_NS,
    Evidence,
    GapRecord,
    Heartbeat,
    KnownGap,
    Listing,
    Period,
    folded,
)
from tickbay.certificate.spans import length

S = 10**9
BEGIN = 1_795_132_800 * S  # 2026-11-20
PERIOD = Period(BEGIN, BEGIN + DAY_NS)
NAME = "ETH-27NOV26-3000-C"


def gap(cause: str, begin_s: float, end_s: float | None, **more: Any) -> KnownGap:
    """A gap from so many seconds after midnight; end None: it lasts."""
    values: dict[str, Any] = {
        "feed": "feed-1", "instrument": "", "kind": "", "cause": cause, "expected": False, "healed": False,
        "first_missing": 0, "last_missing": 0, "count": 0, "detail": "", "from_ns": BEGIN + int(begin_s * S),
        "to_ns": FOREVER_NS if end_s is None else BEGIN + int(end_s * S),
    }  # fmt: skip
    return KnownGap(**(values | more))


def beats(begin_s: float, end_s: float, *, feed: str = "feed-1", epoch: int = 1, frames: int = 1) -> list[Heartbeat]:
    return [
        Heartbeat(feed, BEGIN + int(begin_s * S) + number * 5 * S, epoch, True, frames + number)
        for number in range(int((end_s - begin_s) // 5) + 1)
    ]


def recorded(
    *, name: str = NAME, feed: str = "feed-1", kind: str = "quote", begin_s: float = 0, end_s: float = 86_400
) -> Evidence:
    """A whole day of one option, its heartbeats from before it to after it; its rows from `begin_s` to `end_s`."""
    evidence = Evidence(PERIOD)
    evidence.heartbeats = beats(-20, 86_420, feed=feed)
    evidence.listings[name] = Listing(name, "option", "eth_usd", 0, FOREVER_NS)
    see(evidence, name=name, feed=feed, kind=kind, begin_s=begin_s, end_s=end_s)
    return evidence


def see(evidence: Evidence, *, name: str = NAME, feed: str, kind: str, begin_s: float, end_s: float) -> None:
    """One row each minute, numbered from 1."""
    sequence = evidence.sequence(f"{feed}.{kind}", 1)
    for minute in range(int(begin_s // 60), int(-(-end_s // 60))):
        step = BEGIN // STEP_NS + minute
        evidence.seen[kind, name][feed].add(step)
        evidence.rows[kind, name] += 1
        sequence.add(step, 1, minute + 1, minute + 1)


def uncovered_s(coverage: Coverage, name: str = NAME) -> float:
    (found,) = [found for found in coverage.instruments if found.instrument == name]
    due = sum(end - begin for begin, end in found.due)
    return (due - sum(end - begin for begin, end in found.covered)) / S


def certificate(evidence: Evidence, **more: Any) -> Document:
    values: dict[str, Any] = {"title": "x", "store": "timescale", "target_percent": 98.0, "others": {}, "doubts": []}
    return document(evidence, judge(evidence), **(values | more))


def test_a_day_with_heartbeats_and_rows_and_without_gaps_is_covered_whole() -> None:
    found = certificate(recorded())
    assert found["verdict"] == CERTIFIED and found["summary"]["percent"] == 100.0
    assert found["instruments"][0]["hours"] == [100.0] * 24


def test_a_gap_that_was_not_healed_is_not_covered_to_the_nanosecond() -> None:
    evidence = recorded()
    evidence.gaps = [gap("disconnect", 3600.5, 3602.75)]
    assert uncovered_s(judge(evidence)) == 2.25
    found = certificate(evidence)
    assert found["verdict"] == CERTIFIED and found["instruments"][0]["percent"] < 100, "99.9 % of that hour, and named"
    assert certificate(evidence, target_percent=99.99)["verdict"] == BELOW


@pytest.mark.parametrize(
    ("more", "lost_s"),
    [
        ({"instrument": NAME}, 60),
        ({"instrument": "ETH-27NOV26-3100-C"}, 0),
        ({"kind": "quote"}, 60),
        ({"kind": "book"}, 0),
        ({"feed": "feed-2"}, 0),
        ({"feed": "healer", "instrument": NAME}, 60),
        ({"feed": "healer"}, 0),
        ({"healed": True}, 0),
        ({"cause": "expired", "expected": True, "instrument": "another"}, 0),
    ],
)
def test_a_gap_is_charged_to_what_it_is_of_and_to_nothing_else(more: dict[str, Any], lost_s: int) -> None:
    evidence = recorded()
    arguments: dict[str, Any] = {"cause": "disconnect", "begin_s": 600, "end_s": 660} | more
    evidence.gaps = [gap(**arguments)]
    assert uncovered_s(judge(evidence)) == lost_s


def test_what_the_venue_announced_is_not_due() -> None:
    evidence = recorded()
    evidence.gaps = [gap("maintenance", 7200, 9000, expected=True)]
    for minute in range(120, 150):
        evidence.seen["quote", NAME]["feed-1"].discard(BEGIN // STEP_NS + minute)
    found = certificate(evidence)
    assert found["instruments"][0]["due_s"] == 86_400 - 1800 and found["instruments"][0]["percent"] == 100.0
    assert found["verdict"] == CERTIFIED and found["summary"]["gaps_expected"] == 1


@pytest.mark.parametrize(
    ("kind", "subject", "lost_s"),
    [
        ("bbo", NAME, 60), ("depth", NAME, 60), ("funding", NAME, 60),
        ("mark", NAME, 60), ("mark", "eth_usd", 60), ("mark", "btc_usd", 0), ("bbo", "eth_usd", 0),
    ],
)  # fmt: skip
def test_every_kind_that_it_has_counts_and_marks_are_missing_by_the_index(kind: str, subject: str, lost_s: int) -> None:
    evidence = recorded()
    see(evidence, feed="feed-1", kind=kind, begin_s=0, end_s=86_400)
    evidence.gaps = [gap("stale", 600, 660, kind=kind, instrument=subject)]
    (found,) = [each for each in judge(evidence).instruments if each.instrument == NAME]
    assert length(found.due) - length(found.covered) == lost_s * S
    assert {"quote", kind} == found.kinds.keys()


def test_an_index_is_judged_by_its_own_records() -> None:
    evidence = recorded()
    see(evidence, name="eth_usd", feed="feed-1", kind="index", begin_s=0, end_s=86_400)
    evidence.gaps = [gap("stale", 600, 660, kind="index", instrument="eth_usd")]
    found = {each.instrument: length(each.due) - length(each.covered) for each in judge(evidence).instruments}
    assert found == {NAME: 0, "eth_usd": 60 * S}
    assert certificate(evidence)["summary"]["rows"].keys() == {"quote", "trade", "book", "index"}


def test_a_pause_that_only_the_ticker_tells_of_is_due_of_no_kind() -> None:
    """It was charged to the ticker: a lock of an index or the settlement at 08:00 lowered the certificate."""
    evidence = recorded()
    see(evidence, feed="feed-1", kind="book", begin_s=0, end_s=86_400)
    evidence.gaps = [gap("maintenance", 7200, 7260, kind="quote", instrument=NAME, expected=True)]
    found = certificate(evidence)["instruments"][0]
    assert (found["due_s"], found["percent"]) == (86_400 - 60, 100.0)


def test_a_healed_gap_of_all_kinds_covers_the_trades_and_only_them() -> None:
    open_and_ended = [
        gap("disconnect", 60, None),
        gap("disconnect", 60, 120),
        gap("disconnect", 60, 120, kind="trade", healed=True),
    ]
    names = KnownGap.__dataclass_fields__
    records = [
        GapRecord(**{name: getattr(each, name) for name in names}, stream="feed-1.gap", recv_ns=BEGIN, seq=number)
        for number, each in enumerate(open_and_ended)
    ]
    evidence = recorded()
    see(evidence, feed="feed-1", kind="trade", begin_s=0, end_s=86_400)
    evidence.gaps = folded(reversed(records))
    kinds = certificate(evidence)["instruments"][0]["kinds"]
    assert kinds["trade"]["percent"] == 100.0 and kinds["quote"]["percent"] < 100
    assert uncovered_s(judge(evidence)) == 60


def test_without_heartbeats_nothing_is_covered_and_the_feed_is_told_of() -> None:
    evidence = recorded()
    evidence.heartbeats = beats(-20, 3600) + beats(7200, 86_420, frames=10**6)
    coverage = judge(evidence)
    assert uncovered_s(coverage) == 3600
    assert [(hole.what, hole.feed, hole.from_ns, hole.to_ns) for hole in coverage.unexplained] == [
        ("not_running", "feed-1", BEGIN + HOUR_NS, BEGIN + 2 * HOUR_NS)
    ]
    assert certificate(evidence)["verdict"] == BELOW


def test_a_restart_that_the_ledger_names_costs_exactly_its_gap() -> None:
    evidence = recorded()
    evidence.heartbeats = beats(-20, 3600) + beats(3632, 86_420, frames=0)
    evidence.gaps = [gap("restart", 3603, 3632)]
    coverage = judge(evidence)
    assert uncovered_s(coverage) == 29 and coverage.unexplained == []


def test_a_life_is_proven_from_where_the_ledger_says_that_all_was_whole_again() -> None:
    evidence = recorded()
    evidence.heartbeats = [*beats(-20, 3600), Heartbeat("feed-1", BEGIN + 3625 * S, 1, False, 0)]
    evidence.heartbeats += beats(3632, 86_420, frames=0)
    evidence.gaps = [gap("restart", 3598, 3631.9, kind=kind) for kind in ("quote", "book")]  # the trades were healed
    coverage = judge(evidence)
    assert uncovered_s(coverage) == 33.9 and coverage.unexplained == []


def test_a_feed_that_beats_but_was_never_live_covers_nothing() -> None:
    evidence = recorded()
    evidence.heartbeats = [Heartbeat(beat.feed, beat.at_ns, 1, False, beat.frames) for beat in evidence.heartbeats]
    assert uncovered_s(judge(evidence)) == 86_400


def test_minutes_without_a_ticker_are_a_hole_although_nothing_says_why() -> None:
    evidence = recorded()
    evidence.seen["quote", NAME]["feed-1"] -= {BEGIN // STEP_NS + 30, BEGIN // STEP_NS + 31}
    coverage = judge(evidence)
    assert uncovered_s(coverage) == 120
    (hole,) = coverage.unexplained
    assert (hole.what, hole.instrument, hole.to_ns - hole.from_ns) == ("silent", NAME, 120 * S)
    assert certificate(evidence)["verdict"] == BELOW, "however little it is"


def test_a_spot_or_a_combo_may_be_silent() -> None:
    evidence = recorded()
    evidence.listings[NAME] = Listing(NAME, "option_combo", "eth_usd", 0, FOREVER_NS)
    evidence.seen["quote", NAME]["feed-1"] -= {BEGIN // STEP_NS + 30}
    assert uncovered_s(judge(evidence)) == 0


def test_rows_missing_in_the_sequence_are_a_hole_of_all_that_the_stream_carries() -> None:
    evidence = recorded()
    steps = evidence.sequence("feed-1.quote", 1).steps
    step = BEGIN // STEP_NS + 100
    steps[step] = (1, 101, 104)  # three of four rows are gone within the minute, and the next begins at 105
    for later in range(step + 1, BEGIN // STEP_NS + 1440):
        rows, first, last = steps[later]
        steps[later] = rows, first + 3, last + 3
    coverage = judge(evidence)
    assert uncovered_s(coverage) == 60
    (hole,) = coverage.unexplained
    assert (hole.what, hole.feed, hole.kind, hole.rows) == ("missing_rows", "feed-1", "quote", 3)


def test_rows_that_the_database_refused_and_kept_aside_are_no_hole() -> None:
    evidence = recorded()
    sequence = evidence.sequence("feed-1.quote", 1)
    del sequence.steps[BEGIN // STEP_NS + 100]
    sequence.quarantined = 1
    coverage = judge(evidence)
    assert coverage.unexplained == [] and uncovered_s(coverage) == 0


def test_rows_that_the_journal_had_to_let_go_are_missing_but_named() -> None:
    evidence = recorded()
    del evidence.sequence("feed-1.quote", 1).steps[BEGIN // STEP_NS + 100]
    evidence.gaps = [gap("journal_quota", 6000, 6060, kind="quote", first_missing=101, last_missing=101, count=1)]
    coverage = judge(evidence)
    assert coverage.unexplained == [] and uncovered_s(coverage) >= 60


def test_an_instrument_is_due_from_its_listing_to_its_end_and_not_for_its_first_moments() -> None:
    listed, ended = 30_000, 50_000
    evidence = recorded(begin_s=listed + 20, end_s=ended)
    evidence.listings[NAME] = Listing(NAME, "option", "eth_usd", BEGIN + listed * S, BEGIN + ended * S)
    found = certificate(evidence)["instruments"][0]
    assert found["percent"] == 100.0 and ended - listed - 60 <= found["due_s"] <= ended - listed
    assert found["hours"][0] is None and found["hours"][23] is None and found["hours"][10] == 100.0


def test_an_instrument_that_was_captured_late_is_charged_from_a_minute_after_its_listing() -> None:
    evidence = recorded(begin_s=33_600)
    evidence.listings[NAME] = Listing(NAME, "option", "eth_usd", BEGIN + 30_000 * S, FOREVER_NS)
    assert uncovered_s(judge(evidence)) == 3600 - 60


def test_an_instrument_that_no_feed_had_room_for_is_not_covered() -> None:
    evidence = recorded()
    evidence.gaps = [gap("refused", 0, None, feed="universe", instrument="ETH-27NOV26-9000-C")]
    evidence.listings["ETH-27NOV26-9000-C"] = Listing("ETH-27NOV26-9000-C", "option", "eth_usd", 0, FOREVER_NS)
    coverage = judge(evidence)
    assert uncovered_s(coverage, "ETH-27NOV26-9000-C") == 86_400 and uncovered_s(coverage) == 0


def test_of_two_connections_one_is_enough() -> None:
    evidence = recorded()
    evidence.heartbeats += beats(-20, 86_420, feed="feed-2")
    see(evidence, feed="feed-2", kind="quote", begin_s=0, end_s=86_400)
    evidence.gaps = [gap("disconnect", 600, 660)]
    assert uncovered_s(judge(evidence)) == 0
    evidence.gaps.append(gap("disconnect", 650, 700, feed="feed-2"))
    assert uncovered_s(judge(evidence)) == 10


def test_a_leg_that_is_down_costs_a_pair_nothing_while_the_other_records() -> None:
    evidence = recorded(feed="pair-1")
    evidence.heartbeats += beats(-20, 50_000, feed="feed-1a") + beats(-20, 600, feed="feed-1b")
    evidence.heartbeats += beats(7200, 86_420, feed="feed-1b", frames=10**6)
    coverage = judge(evidence)
    assert uncovered_s(coverage) == 0 and coverage.unexplained == []
    shares = {feed["feed"]: feed["percent"] for feed in certificate(evidence)["feeds"]}
    assert shares["feed-1a"] < 60 and shares["feed-1b"] < 95, "but what each leg did is told"


def test_a_pair_is_not_covered_while_neither_leg_records() -> None:
    evidence = recorded(feed="pair-1")
    evidence.heartbeats += beats(-20, 600, feed="feed-1a") + beats(660, 86_420, feed="feed-1a", frames=10**6)
    coverage = judge(evidence)
    assert uncovered_s(coverage) == 60
    assert [(hole.what, hole.feed) for hole in coverage.unexplained] == [("not_running", "pair-1")]


def test_an_instrument_that_moved_to_another_feed_is_covered_by_each_in_its_time() -> None:
    evidence = recorded(end_s=43_200)
    evidence.heartbeats += beats(-20, 86_420, feed="feed-2")
    see(evidence, feed="feed-2", kind="quote", begin_s=43_200, end_s=86_400)
    evidence.gaps = [gap("disconnect", 600, 660, feed="feed-2"), gap("disconnect", 80_000, 80_060)]
    assert uncovered_s(judge(evidence)) == 0


def test_the_trades_of_an_instrument_without_any_are_those_of_its_index() -> None:
    evidence = recorded()
    other = "ETH-27NOV26-3100-C"
    evidence.listings[other] = Listing(other, "option", "eth_usd", 0, FOREVER_NS)
    evidence.heartbeats += beats(-20, 86_420, feed="feed-2")
    see(evidence, name=other, feed="feed-2", kind="trade", begin_s=0, end_s=86_400)
    evidence.gaps = [gap("disconnect", 600, 660, feed="feed-2", kind="trade")]
    assert uncovered_s(judge(evidence)) == 60


def test_a_share_is_a_hundred_only_if_it_is_all() -> None:
    assert share([(0, 10**15 - 1)], [(0, 10**15)], (0, 10**15)) == 99.9999
    assert share([(0, 10**15)], [(0, 10**15)], (0, 10**15)) == 100.0
    assert share([], [], (0, 1)) is None


def test_nothing_recorded_and_a_store_that_is_behind_are_no_certificate() -> None:
    assert certificate(Evidence(PERIOD))["verdict"] == UNKNOWN
    assert certificate(recorded(), doubts=["it is behind"])["reasons"] == ["it is behind"]


def test_stores_that_differ_or_do_not_answer_are_no_certificate() -> None:
    other = recorded()
    other.sequence("feed-1.quote", 1).add_checksum(1)
    assert certificate(recorded(), others={"questdb": recorded()})["verdict"] == CERTIFIED
    assert certificate(recorded(), others={"questdb": other})["reasons"] == [
        "questdb and timescale differ in feed-1.quote (epoch 1)"
    ]
    assert certificate(recorded(), others={"questdb": "does not tell"})["verdict"] == BELOW
    assert certificate(recorded(), others={"journal": "does not tell"})["verdict"] == CERTIFIED, "it need not have it"


def test_the_same_evidence_gives_the_same_certificate_and_any_change_another_checksum() -> None:
    first, again, other = certificate(recorded()), certificate(recorded()), certificate(recorded(end_s=86_340))
    assert first == again and first["sha256"] == checksum_of(first) != other["sha256"]
