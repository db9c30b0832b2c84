"""What was covered of each instrument, and why not: the rules of a certificate. Pure.

An instrument is *due* while it is listed and the venue has announced no pause; an index, of which there are records
too, always. All kinds of records are judged that it has: ticks, trades, books, and whatever else rules ask for. Of
each a moment is *covered* where all of this holds, for one of the feeds that carry it:

- the feed proves by heartbeats, each soon enough after the one before, that it was capturing;
- no gap of the ledger lies there that was not healed;
- no row is missing in the sequence of its stream;
- a ticker, which comes about once a second, left a row in that step (a minute).

The first two are what the engine says, the last two what the rows themselves prove.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from tickbay.certificate.evidence import FOREVER_NS, TICK_KINDS, Evidence, Heartbeat, KnownGap, Listing
from tickbay.certificate.spans import Span, Spans, clipped, intersection, length, union, without
from tickbay.legs import first_leg, recorders_of

HEARTBEAT_NS_MAX = 15 * 10**9  # three times the usual pause: then nothing proves that the feed was capturing
# From its listing an instrument's first message may take so long. Listings are announced, so more than that is a hole,
# however seldom universe.refresh_s makes us look for one that was missed.
LISTING_NS = 60 * 10**9
TALKATIVE = ("option", "future", "perpetual")  # whose tickers come every second, also when nothing happens
OF_CONNECTION = ("disconnect", "stale", "maintenance", "restart")  # why a whole feed captures nothing
WATCHERS = ("universe", "healer")  # tell of instruments that no feed had room for; of trades that no gap told of


@dataclass(frozen=True, slots=True, kw_only=True)
class Unexplained:
    """A hole that no gap of the ledger names."""

    what: str  # silent, missing_rows, not_running
    feed: str
    instrument: str  # empty: all of the feed
    kind: str
    from_ns: int
    to_ns: int
    rows: int  # known to be missing; 0: not known


@dataclass(slots=True)
class KindCoverage:
    feeds: list[str]
    rows: int
    covered: Spans


@dataclass(slots=True)
class InstrumentCoverage:
    instrument: str
    listing: Listing | None
    due: Spans
    kinds: dict[str, KindCoverage]

    @property
    def covered(self) -> Spans:
        """Where every kind of its records was."""
        covered = self.due
        for kind in self.kinds.values():
            covered = intersection(covered, kind.covered)
        return covered


@dataclass(slots=True)
class Coverage:
    instruments: list[InstrumentCoverage] = field(default_factory=list)
    alive: dict[str, Spans] = field(default_factory=dict)  # by feed
    unexplained: list[Unexplained] = field(default_factory=list)


def judge(evidence: Evidence) -> Coverage:
    return _Judge(evidence).run()


def alive_of(heartbeats: list[Heartbeat], gaps: Iterable[KnownGap]) -> Spans:
    """When a feed proves that it was capturing. `heartbeats` are one feed's, in order.

    A life of its process is proven from its first heartbeat while live on; what then went wrong is in the ledger. The
    end of a life is proven up to where the next one says that it captured last, its beginning from where it says that
    all was whole again.
    """
    proven: Spans = []
    begins: list[int] = []  # of lives
    ends: list[int] = []
    was_live = False
    for before, after in pairwise(heartbeats):
        same = after.epoch == before.epoch and after.frames >= before.frames
        was_live = same and (was_live or before.live)
        if after.live and not was_live:
            begins.append(after.at_ns)
        if before.live and not same:
            ends.append(before.at_ns)
        if was_live and after.at_ns - before.at_ns <= HEARTBEAT_NS_MAX:
            proven.append((before.at_ns, after.at_ns))
        elif before.live or was_live:
            ends.append(before.at_ns)
    if heartbeats and heartbeats[-1].live:
        ends.append(heartbeats[-1].at_ns)
    restarts = [gap for gap in gaps if gap.cause == "restart" and not gap.instrument]
    for gap in restarts:
        proven += [(end, gap.from_ns) for end in ends if 0 < gap.from_ns - end <= HEARTBEAT_NS_MAX]
        proven += [(gap.to_ns, begin) for begin in begins if 0 < begin - gap.to_ns <= HEARTBEAT_NS_MAX]
    return union(proven)


class _Judge:
    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._period = evidence.period
        self._found = Coverage()
        self._missing: dict[str, Spans] = {}  # stream → where rows are missing
        self._gaps_of: dict[str, list[KnownGap]] = defaultdict(list)
        for gap in evidence.gaps:
            self._gaps_of[gap.feed].append(gap)
        self._trade_feeds: dict[tuple[str, str], set[str]] = defaultdict(set)  # (kind, index) → who carries its trades

    def run(self) -> Coverage:
        self._prove_feeds()
        self._find_missing()
        names = sorted({name for _, name in self._evidence.seen} | self._named_by_gaps())
        for (kind, name), feeds in self._evidence.seen.items():
            listing = self._evidence.listings.get(name)
            if kind == "trade" and listing is not None:
                self._trade_feeds[listing.kind, listing.index] |= {feed for feed in feeds if _captures(feed)}
        self._found.instruments = [found for name in names if (found := self._judge_instrument(name)).due]
        self._found.unexplained.sort(key=lambda hole: (hole.from_ns, hole.feed, hole.instrument, hole.kind, hole.what))
        return self._found

    def _named_by_gaps(self) -> set[str]:
        """Instruments that were asked for, of which perhaps nothing ever came."""
        begin, end = self._period.span
        return {
            gap.instrument for gap in self._evidence.gaps if gap.instrument and gap.from_ns < end and gap.to_ns > begin
        }

    def _prove_feeds(self) -> None:
        beats: dict[str, list[Heartbeat]] = defaultdict(list)
        for beat in sorted(self._evidence.heartbeats):
            beats[beat.feed].append(beat)
        for feed, own in sorted(beats.items()):
            self._found.alive[feed] = clipped(alive_of(own, self._gaps_of[feed]), *self._period.span)
        for feed in self._found.alive:
            if first_leg(feed):
                continue  # its other leg may do, so the pair is asked
            for begin, end in without([self._period.span], self.alive(feed)):
                if not self._is_named(feed, begin, end):
                    self._unexplained("not_running", feed, "", "", begin, end, 0)

    def _is_named(self, feed: str, begin: int, end: int) -> bool:
        """Whether the ledger covers a time in which the feed proves nothing."""
        gaps = [gap for gap in self._gaps_of[feed] if not gap.instrument and gap.cause in OF_CONNECTION]
        return not without([(begin, end)], union((gap.from_ns, gap.to_ns) for gap in gaps))

    def alive(self, feed: str) -> Spans:
        """Of a pair: where one of its legs was capturing."""
        return union(span for recorder in recorders_of(feed) for span in self._found.alive.get(recorder, []))

    # ---------------------------------------------------------------- sequences

    def _find_missing(self) -> None:
        """Rows that a stream's own sequence lacks."""
        last_of: dict[str, int] = {}
        for (stream, _), sequence in sorted(self._evidence.sequences.items()):
            last, last_step = sequence.before or last_of.get(stream, 0), None
            holes = []
            for step, (rows, first, newest) in sorted(sequence.steps.items()):
                lacking = newest - first + 1 - rows + (max(0, first - last - 1) if last else 0)
                if lacking > 0:
                    begin = (
                        step if last_step is None or newest - first + 1 > rows else last_step
                    ) * self._period.step_ns
                    holes.append((begin, (step + 1) * self._period.step_ns, lacking))
                last, last_step = max(last, newest), step
            last_of[stream] = last
            self._name_missing(stream, sequence.quarantined, holes)

    def _name_missing(self, stream: str, quarantined: int, holes: list[tuple[int, int, int]]) -> None:
        feed, _, kind = stream.rpartition(".")
        if not _captures(feed):
            return
        if sum(lacking for _, _, lacking in holes) <= quarantined:
            return  # refused by the database, and kept there with the reason
        known = sum(
            gap.count
            for gap in self._gaps_of[feed]
            if gap.first_missing and gap.kind == kind and gap.cause.startswith("journal_")
        )
        self._missing[stream] = clipped(((begin, end) for begin, end, _ in holes), *self._period.span)
        if sum(lacking for _, _, lacking in holes) > quarantined + known:
            for begin, end, lacking in holes:
                self._unexplained("missing_rows", feed, "", kind, begin, end, lacking)

    # ---------------------------------------------------------------- one instrument

    def _judge_instrument(self, name: str) -> InstrumentCoverage:
        listing = self._evidence.listings.get(name)
        carriers = {kind: self._carriers(name, kind, listing) for kind in TICK_KINDS}
        due = self._due(name, listing, {feed for feeds in carriers.values() for feed in feeds})
        kinds = {}
        for kind, feeds in carriers.items():
            if not feeds:
                continue
            covered = union(
                span for feed, carried in feeds.items() for span in self._covered(name, kind, feed, carried)
            )
            covered = intersection(due, covered)
            if kind == "quote" and listing is not None and listing.kind in TALKATIVE:
                covered = self._without_silence(name, covered)
            kinds[kind] = KindCoverage(sorted(feeds), self._evidence.rows.get((kind, name), 0), covered)
        return InstrumentCoverage(name, listing, due, kinds)

    def _carriers(self, name: str, kind: str, listing: Listing | None) -> dict[str, Spans]:
        """Which feeds had this kind of its records, and when: by the rows themselves. With one feed it is always that;
        with several each from its first to its last row, the first from the beginning and the last to the end."""
        seen = {feed: steps for feed, steps in self._evidence.seen.get((kind, name), {}).items() if _captures(feed)}
        if not seen and kind == "trade" and listing is not None:
            return {feed: [self._period.span] for feed in self._trade_feeds.get((listing.kind, listing.index), ())}
        if kind == "trade" or len(seen) == 1:
            return {feed: [self._period.span] for feed in seen}
        if not seen:
            gaps = [gap for gap in self._evidence.gaps if gap.instrument == name and gap.kind in ("", kind)]
            return {gap.feed: [self._period.span] for gap in gaps if gap.cause in ("refused", "stale")}
        first, last = min(map(min, seen.values())), max(map(max, seen.values()))
        step_ns, found = self._period.step_ns, {}
        for feed, steps in seen.items():
            begin = self._period.begin_ns if min(steps) == first else min(steps) * step_ns
            end = self._period.end_ns if max(steps) == last else (max(steps) + 1) * step_ns
            found[feed] = [(begin, end)]
        return found

    def _due(self, name: str, listing: Listing | None, feeds: set[str]) -> Spans:
        """While it is listed; without what the venue announced, and without its first moments."""
        begin, end = self._period.span
        if listing is not None and listing.from_ns > 0:
            begin = max(begin, self._first_due(name, listing.from_ns))
        if listing is not None:
            end = min(end, listing.to_ns)
        own = [
            gap for gap in self._evidence.gaps if gap.instrument == name or (not gap.instrument and gap.feed in feeds)
        ]
        for gap in own:
            if gap.cause == "expired" and gap.instrument == name:
                end = min(end, gap.from_ns)
        announced = union(
            (gap.from_ns, gap.to_ns)
            for gap in own
            # Of a pause only the ticker tells, which comes always, but everything of the instrument pauses.
            if gap.expected and (gap.cause == "maintenance" or (gap.cause != "expired" and not gap.kind))
        )
        return without([(begin, end)] if begin < end else [], announced)

    def _first_due(self, name: str, listed_ns: int) -> int:
        """Its first row, or a minute after its listing where that is earlier."""
        if listed_ns <= self._period.begin_ns:
            return listed_ns
        steps = [
            step for kind in TICK_KINDS for seen in self._evidence.seen.get((kind, name), {}).values() for step in seen
        ]
        first_ns = min(steps, default=FOREVER_NS) * self._period.step_ns if steps else FOREVER_NS
        return max(listed_ns, min(first_ns + self._period.step_ns, listed_ns + LISTING_NS))

    def _covered(self, name: str, kind: str, feed: str, carried: Spans) -> Spans:
        listing = self._evidence.listings.get(name)
        # The marks of all options of an index come in one message, so a hole in them is that index's.
        subject = listing.index if kind == "mark" and listing is not None else name
        holes = [
            (gap.from_ns, gap.to_ns)
            for owner in (feed, *WATCHERS)
            for gap in self._gaps_of[owner]
            if not gap.healed
            and gap.cause != "expired"
            and (gap.concerns(name, kind) or gap.concerns(subject, kind))
            and (gap.instrument or owner == feed)
        ]
        covered = intersection(carried, self.alive(feed))
        return without(without(covered, union(holes)), self._missing.get(f"{feed}.{kind}", []))

    def _without_silence(self, name: str, covered: Spans) -> Spans:
        """A whole step without a ticker is no coverage, whatever the ledger says."""
        seen = {step for steps in self._evidence.seen.get(("quote", name), {}).values() for step in steps}
        step_ns = self._period.step_ns
        silent: Spans = union(
            (step * step_ns, (step + 1) * step_ns)
            for begin, end in covered
            for step in range(-(-begin // step_ns), end // step_ns)
            if step not in seen
        )
        for begin, end in silent:
            self._unexplained("silent", "", name, "quote", begin, end, 0)
        return without(covered, silent)

    def _unexplained(self, what: str, feed: str, instrument: str, kind: str, begin: int, end: int, rows: int) -> None:
        self._found.unexplained.append(
            Unexplained(what=what, feed=feed, instrument=instrument, kind=kind, from_ns=begin, to_ns=end, rows=rows)
        )


def _captures(feed: str) -> bool:
    """Not the healer: what it stores was fetched afterwards."""
    return feed.startswith(("feed-", "pair-"))


def share(covered: Spans, due: Spans, within: Span) -> float | None:
    """Percent of what was due `within` a time, rounded down so that 100 is all of it; None where nothing was due."""
    due_ns = length(clipped(due, *within))
    if not due_ns:
        return None
    covered_ns = length(clipped(covered, *within))
    return covered_ns * 1_000_000 // due_ns / 10_000
