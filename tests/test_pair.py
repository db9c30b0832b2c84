"""A pair over real rings, without processes: what a merger's second life still knows of the first one's holes.
PAIR-1, GAP-1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tickbay import ring
from tickbay._native import MERGE_CHAINS, Merge
from tickbay.cursor import START
from tickbay.feed.producer import Producer
from tickbay.gap import Cause, Gap
from tickbay.identity import boot_id
from tickbay.journal.stream_reader import StreamReader
from tickbay.merger.cover import Cover
from tickbay.merger.leg_stream import LegStream
from tickbay.merger.pair import Leg, Moment, Pair
from tickbay.record import Flag, Kind, blank, stream_name
from tickbay.ring import Ring

KINDS = (Kind.TRADE, Kind.BOOK, Kind.MARK, Kind.GAP, Kind.STATUS)
FEEDS = ("feed-1a", "feed-1b")
S = 10**9
NAME = "ETH-A"


@dataclass
class Lives:
    """Two legs' rings and their pair's, and one life of a merger after the other."""

    folder: Path
    pair: Pair = field(init=False)
    now_ns: int = 1

    def __post_init__(self) -> None:
        (self.folder / "run" / "rings").mkdir(parents=True)
        (self.folder / "data" / "journal").mkdir(parents=True)
        for feed in (*FEEDS, "pair-1"):
            for kind in KINDS:
                stream = stream_name(feed, kind)
                ring.create(self._ring(stream), kind, 512, stream=stream, boot_id=boot_id(), epoch=1, first_seq=1)
        self.feeds = [{kind: self._attach(feed, kind) for kind in KINDS} for feed in FEEDS]
        for rings in self.feeds:
            for of_kind in rings.values():
                of_kind.produce(1, 1)
        self.pair = self._live(Merge(), Cover(), read={})

    def _ring(self, stream: str) -> Path:
        return self.folder / "run" / "rings" / f"{stream}.ring"

    def _attach(self, feed: str, kind: Kind) -> Ring:
        return Ring.attach(self._ring(stream_name(feed, kind)), kind)

    def _live(self, merge: Merge, cover: Cover, read: dict[str, int]) -> Pair:
        reader = StreamReader(self.folder / "run", self.folder / "data")
        producer = Producer.attach(self.folder / "run", "pair-1", wait=lambda _s: True, kinds=KINDS)
        assert producer is not None

        def leg(feed: str) -> Leg:
            found = {}
            for kind in KINDS:
                stream = stream_name(feed, kind)
                found[kind] = LegStream(reader, stream, self._attach(feed, kind), START)
                for _ in range(read.get(stream, 0)):
                    found[kind].read(1)
            return found

        return Pair(
            (leg(FEEDS[0]), leg(FEEDS[1])), producer, merge, cover, clock_ns=lambda: self.now_ns, wait=lambda _s: True
        )

    def restart(self, moment: Moment | None = None) -> None:
        """Killed: the next life has the checkpoint, of now if not another, and the pair's own streams."""
        moment, merge = moment or self.pair.moment(), Merge()
        merge.restore(moment.chains)
        breaks = []
        for kind in (Kind.TRADE, Kind.BOOK):
            breaks += merge.published(kind, self._attach("pair-1", kind).read(1))
        self.pair = self._live(merge, Cover.of_state(dict(moment.cover), self.told()), read=dict(moment.read))
        for told in breaks:
            self.pair.tell(told)

    def told(self) -> list[Gap]:
        return [Gap.of_record(record) for record in self._attach("pair-1", Kind.GAP).read(1)]

    def published(self) -> list[int]:
        """Trades and changes."""
        return [self._attach("pair-1", kind).head - 1 for kind in (Kind.TRADE, Kind.BOOK)]

    def many_trades(self, instruments: range, at_s: float) -> None:
        """One leg brings one of each."""
        records = np.repeat(blank(Kind.TRADE), len(instruments))
        records["instrument"] = [f"ETH-{number}".encode() for number in instruments]
        records["recv_ns"], records["trade_seq"], records["flags"], records["conn"] = int(at_s * S), 5, Flag.LAST, 1
        self.pair.merge.run(Kind.TRADE, (records, records[:0]), (0, 0))

    def hole(self, from_s: float, to_s: float = 0) -> None:
        """Both legs record it, at once."""
        for feed in self.feeds:
            gap = Gap(cause=Cause.DISCONNECT, from_ns=int(from_s * S), to_ns=int(to_s * S))
            feed[Kind.GAP].append(gap.record(recv_ns=1, conn=1))
        self.now_ns = int((to_s or from_s) * S)
        self.pair.turn()

    def trade(self, number: int, at_s: float) -> None:
        """Both legs bring it."""
        for leg, feed in enumerate(self.feeds):
            record = blank(Kind.TRADE)
            record["instrument"], record["trade_seq"], record["flags"] = NAME.encode(), number, Flag.LAST
            record["recv_ns"], record["conn"] = int(at_s * S) + leg, 1
            feed[Kind.TRADE].append(record)
        self.now_ns = int(at_s * S) + 2
        self.pair.turn()

    def change(self, change_id: int, previous: int, at_s: float) -> None:
        """Both legs bring it; a snapshot where `previous` is 0."""
        for leg, feed in enumerate(self.feeds):
            record = blank(Kind.BOOK)
            record["instrument"], record["change_id"], record["prev_change_id"] = NAME.encode(), change_id, previous
            record["flags"] = Flag.LAST | (0 if previous else Flag.SNAPSHOT)
            record["recv_ns"], record["conn"] = int(at_s * S) + leg, 1
            feed[Kind.BOOK].append(record)
        self.now_ns = int(at_s * S) + 2
        self.pair.turn()

    def marks(self, numbers: range) -> None:
        """Both legs bring them, and the journal has them all, so that their rings may be overwritten."""
        for leg, feed in enumerate(self.feeds):
            for number in numbers:
                record = blank(Kind.MARK)
                record["instrument"], record["exch_ns"], record["conn"] = b"eth_usd", number, 1
                record["recv_ns"] = number * S + leg
                feed[Kind.MARK].append(record)
                feed[Kind.MARK].set_durable(feed[Kind.MARK].head - 1)


def spans(gaps: list[Gap]) -> list[tuple[str, float, float]]:
    return [(gap.cause.name.lower(), round(gap.from_ns / S, 1), round(gap.to_ns / S, 1)) for gap in gaps]


def test_a_merger_that_begins_within_a_hole_of_both_legs_knows_when_it_is_over(shm_dir: Path) -> None:
    """GAP-1: else it is deaf to all later ones, and would stretch them back to that one's beginning."""
    lives = Lives(shm_dir)
    lives.trade(5, 999)
    lives.hole(1000)
    lives.restart()
    lives.hole(1000, 1010)
    lives.trade(6, 1020)
    assert spans(lives.told()) == [("disconnect", 1000, 0), ("disconnect", 1000, 1010.1)]
    lives.trade(9, 2000)
    assert spans(lives.told())[2:] == [("sequence", 1020, 2000)]
    lives.hole(90_000)
    assert spans(lives.told())[3:] == [("disconnect", 90_000, 0)]
    lives.hole(90_000, 90_005)
    assert spans(lives.told())[4:] == [("disconnect", 90_000, 90_005.1)]
    assert not lives.pair.cover.open()


def test_a_chain_that_broke_in_an_earlier_life_is_told_again_when_it_breaks_again(shm_dir: Path) -> None:
    """FEED-1: also at once, with the very message that ended the first hole."""
    lives = Lives(shm_dir)
    lives.change(10, 0, 100)
    lives.change(30, 20, 101)
    lives.restart()
    lives.change(40, 0, 102)
    assert spans(lives.told()) == [("sequence", 100, 0), ("sequence", 100, 102)]
    lives.restart()
    lives.change(60, 50, 103)
    assert spans(lives.told())[2:] == [("sequence", 102, 0)]
    lives.change(70, 0, 104)
    assert spans(lives.told())[3:] == [("sequence", 102, 104)]


def test_a_hole_that_an_earlier_life_told_is_not_told_twice(shm_dir: Path) -> None:
    lives = Lives(shm_dir)
    lives.trade(5, 100)
    lives.change(10, 0, 100)
    moment = lives.pair.moment()
    lives.trade(8, 101)
    lives.change(30, 20, 101)
    lives.change(40, 0, 102)
    lives.change(60, 50, 103)
    told = spans(lives.told())
    assert told == [("sequence", 100, 101), ("sequence", 100, 0), ("sequence", 100, 102), ("sequence", 102, 0)]
    lives.restart(moment)
    lives.pair.turn()
    assert spans(lives.told()) == told and lives.published() == [2, 4]
    lives.change(70, 0, 104)
    assert spans(lives.told()) == [*told, ("sequence", 102, 104)]


def test_a_merger_that_dies_before_it_tells_of_a_hole_tells_in_its_next_life(shm_dir: Path) -> None:
    """GAP-1: it had published what came behind the hole."""
    lives = Lives(shm_dir)
    lives.trade(5, 100)
    lives.change(10, 0, 100)
    moment = lives.pair.moment()
    lives.pair.tell = lambda told: None  # type: ignore[method-assign]  # it dies before that
    lives.trade(8, 101)
    lives.change(30, 20, 101)
    lives.change(40, 0, 102)
    lives.change(60, 50, 103)
    assert lives.told() == []
    lives.restart(moment)
    trades, books = [("sequence", 100, 101)], [("sequence", 100, 0), ("sequence", 100, 102), ("sequence", 102, 0)]
    assert spans(lives.told()) == [*trades, *books]
    lives.change(70, 0, 104)
    assert spans(lives.told())[4:] == [("sequence", 102, 104)]


def test_instruments_that_are_no_more_leave_the_table_once_it_is_half_full_the_longest_silent_first(
    shm_dir: Path,
) -> None:
    """Else it is full after months, and nobody hears of a hole in what is new."""
    lives, half, day_s = Lives(shm_dir), MERGE_CHAINS // 2, 86_400
    lives.many_trades(range(100), 1)
    lives.many_trades(range(100, 200), 20 * day_s)
    lives.many_trades(range(200, half), 35 * day_s)
    lives.now_ns = 36 * day_s * S
    assert lives.pair.forget_silent() == 0, "there is room"
    lives.many_trades(range(half, half + 50), 36 * day_s)
    assert lives.pair.forget_silent() == 100
    lives.many_trades(range(half + 50, half + 250), 36 * day_s)
    assert lives.pair.forget_silent() == 100
    assert lives.pair.forget_silent() == 0 and lives.pair.merge.chains_used == half + 50, "all others spoke lately"
    assert lives.pair.merge.unchained == 0


def test_what_the_journal_no_longer_has_of_both_legs_is_a_gap_of_the_pair(shm_dir: Path) -> None:
    """GAP-1: a merger that was away for as long as the quota lasts."""
    lives = Lives(shm_dir)
    lives.marks(range(1, 11))
    assert lives.pair.turn()
    lives._attach("pair-1", Kind.MARK).set_durable(10)
    lives.marks(range(11, 611))  # of which the rings still have 512, and there is no journal
    lives.now_ns = 611 * S
    while lives.pair.turn():
        pass
    (told,) = [gap for gap in lives.told() if gap.to_ns]
    assert (told.cause, told.kind, told.count) == (Cause.JOURNAL_QUOTA, Kind.MARK, 88)
    assert told.from_ns <= 11 * S and told.to_ns >= 98 * S
    assert lives._attach("pair-1", Kind.MARK).head - 1 == 10 + 512
