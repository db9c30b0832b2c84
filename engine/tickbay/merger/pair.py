"""Two legs into one: what is new of both, decided by native/merge.c, published in the pair's rings, its holes recorded.

PAIR-1: whatever either leg recorded is published once. A message becomes visible as a whole (one append), so a death
between two messages is all that can happen; the next life takes up what was published from the rings themselves.

Used by merger.py, one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from tickbay._native import MERGE_CHAINS, Merge, MergeBreak
from tickbay.config import MERGER_HOLD_S
from tickbay.cursor import Position
from tickbay.feed.producer import Producer
from tickbay.gap import Cause, Gap
from tickbay.gap_count import GapCount
from tickbay.merger.checkpoint import Checkpoint
from tickbay.merger.cover import Cover
from tickbay.merger.leg_stream import LegStream
from tickbay.record import DTYPES, Flag, Kind, Records, stream_name
from tickbay.ring import Ring, RingFull

Leg: TypeAlias = dict[Kind, LegStream]  # every stream of one leg but its heartbeats

ROWS_MAX = 8192  # of one stream at a time: 3 MB of quotes
# Connections of one machine to one venue are milliseconds apart; one that is later than this is about to be given up by
# its own feed (venue.silent_s).
HOLD_NS = int(MERGER_HOLD_S * 10**9)
RING_WAIT_S = 0.005
# How far behind the other one a leg is at least taken to be, whatever is measured: more than a busy machine adds.
LATE_MIN_NS = 10**8
# Instruments that are no more leave the table of chains once it is half full, the longest silent first: one that trades
# once in a month is known by its chain as long as there is room. A leg is never two days behind the other one.
FORGET_DAYS = (32, 16, 8, 4, 2)
DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Moment:
    """What would be a checkpoint, once it is on disk: sequences."""

    read: Mapping[str, int]
    published: Mapping[str, int]
    chains: bytes
    cover: Mapping[str, object]


class Pair:
    """`clock_ns` is our clock; `wait` sleeps so many seconds and says whether to give up."""

    def __init__(
        self,
        legs: tuple[Leg, Leg],
        producer: Producer,
        merge: Merge,
        cover: Cover,
        *,
        clock_ns: Callable[[], int],
        wait: Callable[[float], bool],
    ) -> None:
        self.legs = legs
        self.merge = merge
        self.cover = cover
        self.published = 0  # records
        self.losses = [0, 0]  # of each leg's connection
        self.late_ns = (LATE_MIN_NS, LATE_MIN_NS)  # of each leg behind the other one; set by whoever measures it
        self.gap_count = GapCount()
        self._producer = producer
        self._clock_ns = clock_ns
        self._wait = wait
        self._kinds = [kind for kind in producer.rings if kind not in (Kind.GAP, Kind.STATUS)]
        self._held: dict[Kind, tuple[Records, Records]] = {}
        self._rest: dict[Kind, tuple[Records, Records]] = {}  # read, but not taken: half of a message
        for kind in self._kinds:
            none: Records = np.empty(0, DTYPES[kind])
            self._held[kind] = self._rest[kind] = (none, none)
        self._broken = {(gap.kind, gap.instrument): gap for gap in cover.broken_before.values() if not gap.to_ns}
        self._lost: set[int] = set()  # legs that told of it; believed when all they brought before is merged

    @property
    def held(self) -> int:
        """Messages' records that wait for the other leg."""
        return sum(len(records) for pair in self._held.values() for records in pair)

    @property
    def caught_up(self) -> bool:
        """Has everything been read that the legs published?"""
        return all(stream.caught_up for leg in self.legs for stream in leg.values())

    # -------- one turn

    def turn(self, *, release: bool = False) -> bool:
        """Merge what is new; whether there was any. `release`: nothing more will come, so nothing waits.
        JournalFault, OSError: the journal cannot be read."""
        # Gaps first: what a feed published before it told of its hole is then seen below.
        moved = self._take_gaps()
        for kind in self._kinds:
            moved = self._take(kind, release=release) or moved
        self._take_holes()
        for leg in list(self._lost):
            if all(stream.caught_up for stream in self.legs[leg].values()):
                self.merge.lost(leg)
                self.losses[leg] += 1
                self._lost.discard(leg)
        self._producer.flush()
        return moved

    def _take(self, kind: Kind, *, release: bool) -> bool:
        fresh = [leg[kind].read(ROWS_MAX) for leg in self.legs]
        new = len(fresh[0]) + len(fresh[1]) > 0
        release_ns = self._release_ns(kind, release=release)
        if new or release:
            self._run(kind, self._with_rest(kind, fresh), release_ns, again=False)
        while any(len(records) for records in self._held[kind]) and (new or self._is_due(kind, release_ns)):
            held = self._held[kind]
            self._held[kind] = (held[0][:0], held[1][:0])
            self._run(kind, held, release_ns, again=True)
            new = len(held[0]) + len(held[1]) > sum(map(len, self._held[kind]))
            if not new:
                break
        return len(fresh[0]) + len(fresh[1]) > 0

    def _with_rest(self, kind: Kind, fresh: list[Records]) -> tuple[Records, Records]:
        rest = self._rest[kind]
        first, second = (
            np.concatenate([before, records]) if len(before) else records
            for before, records in zip(rest, fresh, strict=True)
        )
        return first, second

    def _release_ns(self, kind: Kind, *, release: bool) -> tuple[int, int]:
        """Up to when what a leg received has waited long enough: until the other one was read HOLD_NS further."""
        now_ns = self._clock_ns()
        if release:
            return now_ns, now_ns
        read_ns = [now_ns if leg[kind].caught_up else leg[kind].recv_ns for leg in self.legs]
        return read_ns[1] - HOLD_NS, read_ns[0] - HOLD_NS

    def _is_due(self, kind: Kind, release_ns: tuple[int, int]) -> bool:
        return any(
            len(records) and records["recv_ns"][0] <= limit
            for records, limit in zip(self._held[kind], release_ns, strict=True)
        )

    def _run(self, kind: Kind, given: tuple[Records, Records], release_ns: tuple[int, int], *, again: bool) -> None:
        """Until all is taken but half a message."""
        dtype = DTYPES[kind]
        while True:
            turn = self.merge.run(kind, given, release_ns, again=again)
            self._publish(kind, np.frombuffer(turn.out, dtype))
            for told in turn.breaks:
                self.tell(told)
            held = [np.frombuffer(view, dtype) for view in turn.held]
            self._held[kind] = (
                np.concatenate([self._held[kind][0], held[0]]),
                np.concatenate([self._held[kind][1], held[1]]),
            )
            given = given[0][turn.consumed[0] :], given[1][turn.consumed[1] :]
            if not any(turn.consumed) or not (len(given[0]) or len(given[1])):
                break
        if not again:
            self._rest[kind] = (given[0].copy(), given[1].copy())

    def _publish(self, kind: Kind, records: Records) -> None:
        ring = self._producer.rings[kind]
        self.published += len(records)
        while len(records):
            count = _whole_messages(kind, records, ring.capacity // 2)
            self._append(ring, records[:count])
            records = records[count:]

    def _append(self, ring: Ring, records: Records) -> None:
        """RING-2: while the journal stands still, we do; the legs' rings and then the journal keep what comes.
        RingFull where we are to end: what is not published comes again."""
        while True:
            try:
                return ring.append(records)
            except RingFull:
                if self._wait(RING_WAIT_S):
                    raise

    # -------- holes

    def _take_gaps(self) -> bool:
        moved = False
        for leg, streams in enumerate(self.legs):
            for record in streams[Kind.GAP].read(ROWS_MAX):
                moved = True
                gap = Gap.of_record(record)
                if not gap.instrument and gap.kind is None and not gap.to_ns:
                    self._lost.add(leg)
                for shared in self.cover.add(leg, gap, late_ns=self.late_ns):
                    self._record(shared)
        return moved

    def _take_holes(self) -> None:
        """What the journal lacks of a leg's stream is a hole of that leg; of its gaps: anything may be missing."""
        for leg, streams in enumerate(self.legs):
            for hole in [hole for stream in streams.values() for hole in stream.take_holes()]:
                gap = replace(hole.gap, feed="", kind=None if hole.kind is Kind.GAP else hole.kind)
                for shared in self.cover.add(leg, gap, late_ns=self.late_ns):
                    self._record(shared)

    def tell(self, told: MergeBreak) -> None:
        """GAP-1: what neither leg brought of a chain, unless a recorded hole of the pair says so already."""
        key = (Kind(told.kind), told.instrument)
        earlier = None if told.ends else self.cover.broken_before.get((Cause.SEQUENCE, *key, told.from_ns))
        if earlier is not None:
            if earlier.to_ns:
                self._broken.pop(key, None)
            else:
                self._broken[key] = earlier
            return
        if told.ends:
            gap = self._broken.pop(key, None)
            if gap is not None:
                self._record(replace(gap, to_ns=told.to_ns))
            return
        if self.cover.has(*key, told.from_ns, told.to_ns or self._clock_ns()):
            return
        gap = Gap(
            cause=Cause.SEQUENCE,
            from_ns=told.from_ns,
            to_ns=told.to_ns,
            kind=key[0],
            instrument=told.instrument,
            first_missing=told.first_missing,
            last_missing=told.last_missing,
            detail="neither leg brought it",
        )
        if not gap.to_ns:
            self._broken[key] = gap
        self._record(gap)

    def _record(self, gap: Gap) -> None:
        if not gap.to_ns or gap.cause is Cause.SEQUENCE:
            self.gap_count.add(gap)
        self._producer.write_gap(gap, self._clock_ns())

    def forget_silent(self) -> int:
        """Each day lists new instruments, and we run for months. Returns how many chains are gone."""
        gone = 0
        for days in FORGET_DAYS:
            if self.merge.chains_used > MERGE_CHAINS // 2:
                gone += self.merge.forget(self._clock_ns() - days * DAY_NS)
        return gone

    # -------- what outlives us

    def moment(self) -> Moment:
        """Now, between two turns."""
        read = {}
        for leg, streams in enumerate(self.legs):
            for kind, stream in streams.items():
                waiting = [records[leg][:1] for store in (self._held, self._rest) if (records := store.get(kind))]
                firsts = [int(first["seq"][0]) for first in waiting if len(first)]
                read[stream.name] = min([stream.seq, *(seq - 1 for seq in firsts)])
        rings = self._producer.rings
        published = {stream_name(self._producer.feed, kind): ring.head - 1 for kind, ring in rings.items()}
        return Moment(read, published, self.merge.chains(), self.cover.state())

    def settled(self, moment: Moment) -> Checkpoint | None:
        """The checkpoint of a moment; None while some of it is not on disk (JRNL-2)."""
        streams = [stream for leg in self.legs for stream in leg.values()]
        read = {stream.name: stream.durable_position(moment.read[stream.name]) for stream in streams}
        published: dict[str, Position | None] = {}
        for kind, ring in self._producer.rings.items():
            name = stream_name(self._producer.feed, kind)
            durable = ring.durable >= moment.published[name]
            published[name] = Position(ring.epoch()[0], moment.published[name]) if durable else None
        positions = {name: position for name, position in (read | published).items() if position is not None}
        if len(positions) < len(read) + len(published) or self._producer.flush():
            return None
        return Checkpoint(
            {name: positions[name] for name in read},
            {name: positions[name] for name in published},
            moment.chains,
            moment.cover,
        )

    def check(self) -> None:
        """RingFault where a ring is another one now."""
        self._producer.check()
        for leg in self.legs:
            for stream in leg.values():
                stream.check()


def _whole_messages(kind: Kind, records: Records, most: int) -> int:
    """How many of the first records to publish at once: about `most`, but never half of a book's message."""
    if kind is not Kind.BOOK or len(records) <= most:
        return min(len(records), most)
    ends = np.flatnonzero(records["flags"] & Flag.LAST)
    fitting = ends[ends < most]
    return int(fitting[-1] if len(fitting) else ends[0]) + 1
