"""MERGER: the streams of two legs → the streams of their pair. The process merger-<n>.

In: the rings of feed-<n>a and feed-<n>b, and the journal where they have been overwritten. Out: `pair-<n>.…`,
`data/merger/merger-<n>.state`, and the cursor by which the journal knows what of the legs it may let go (JRNL-3).

PAIR-1: whatever either leg recorded is published once, wherever this process is killed: pair.py, checkpoint.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from tickbay import legs
from tickbay.cursor import CursorFile
from tickbay.errors import RingFault
from tickbay.events import Event
from tickbay.feed.producer import Producer
from tickbay.identity import Identity
from tickbay.merger.checkpoint import save
from tickbay.merger.late import Late
from tickbay.merger.pair import LATE_MIN_NS, Leg, Moment, Pair
from tickbay.merger.past import Past
from tickbay.process import ProcessContext
from tickbay.record import COUNTERS, FeedState, Kind, feed_kinds
from tickbay.ring import Ring, RingFull, RingMissing
from tickbay.timer import Timer

POLL_S = 0.002  # what the merge adds to a record's way; the journal's commit comes later anyway
BEAT_S = 0.5
CHECKPOINT_S = 10.0  # of reading the legs again after a death; each writes some 200 kB
STATUS_S = 5.0
FORGET_S = 3600.0
STOP_S = 5.0  # at the end, for the journal to take what is published
FEED_GONE_S = 1.0


class Merger:
    def __init__(self, context: ProcessContext, producer: Producer, sources: tuple[Leg, Leg], past: Past) -> None:
        self._context = context
        self._health = context.health
        self._producer = producer
        self._past = past
        self._late = [Late(), Late()]
        self._losses = [0, 0]  # of connections, when these were begun
        wait = self._wait_for_journal
        self.pair = Pair(sources, producer, past.merge, past.cover, clock_ns=time.time_ns, wait=wait)
        for told in past.breaks:
            self.pair.tell(told)
        self._files = context.files
        self._cursor = CursorFile(context.config.data_dir / "cursors" / f"{context.name}.cursor", self._files)
        self._pending: Moment | None = None  # a checkpoint that is not on disk yet
        self._beat, self._status, self._sweep = Timer(BEAT_S), Timer(STATUS_S), Timer(FORGET_S)
        self._checkpoint = Timer(CHECKPOINT_S, first_s=CHECKPOINT_S)
        self._gave_up_s = 0.0

    def run(self) -> None:
        stopping = self._context.stopping
        while not stopping.is_set():
            moved = self.pair.turn()
            self._now_and_then()
            if not moved:
                stopping.wait(POLL_S)
        self._end()

    def _now_and_then(self) -> None:
        if self._beat.due():
            self.pair.check()
            self._past.reader.refresh()
            self._past.merge.judge(time.time_ns())
            self._report()
            self._settle()
        if self._status.due():
            self._write_status()
        if self._checkpoint.due() and self._pending is None:
            self._pending = self.pair.moment()
        if self._sweep.due():
            self.pair.forget_silent()

    def _wait_for_journal(self, seconds: float) -> bool:
        """The pair's ring is full: the journal stands still. Whether to give up."""
        if self._beat.due():
            self._health.detail = "the journal is behind"
            self._health.beat()
        if self._context.stopping.wait(seconds):
            self._gave_up_s = self._gave_up_s or time.monotonic() + STOP_S
            time.sleep(seconds)  # a stop that was asked for wakes no more
        return bool(self._gave_up_s) and time.monotonic() > self._gave_up_s

    # -------- what outlives us

    def _settle(self) -> None:
        """Save the pending checkpoint once all of it is on disk: first the state, then the cursor."""
        checkpoint = self.pair.settled(self._pending) if self._pending is not None else None
        if checkpoint is None:
            return
        try:
            save(self._past.path, checkpoint, self._files)
            self._cursor.save(checkpoint.read)
            self._pending = None
        except OSError as error:  # the older one holds; this one is tried again
            self._context.events.emit(Event.WRITER_DISK, error=error, retry_s=BEAT_S)

    def _end(self) -> None:
        """Merge what the legs still published; where both are gone, nothing waits for the other one any more."""
        with suppress(RingFull):  # the journal stands still: it comes again from the legs
            while self.pair.turn():
                self._health.beat()
            if not any(_producer_lives(stream.ring) for leg in self.pair.legs for stream in leg.values()):
                self.pair.turn(release=True)
            self._write_status()
            self._pending = self.pair.moment()
            ends_s = time.monotonic() + STOP_S
            while self._pending is not None and time.monotonic() < ends_s:
                self._settle()
                time.sleep(POLL_S)
                if self._beat.due():
                    self._health.beat()
        self._report()
        self._cursor.close()
        self._past.reader.close()

    # -------- what is told

    def _report(self) -> None:
        health, pair = self._health, self.pair
        figures = [self._past.merge.figures(leg) for leg in range(len(legs.LEGS))]
        health.counters = {
            "records": pair.published,
            "gaps": pair.gap_count.total,
            "unchained": self._past.merge.unchained,
        }
        health.counters |= pair.gap_count.counters()
        health.gauges = {"held": pair.held}
        for leg, name in enumerate(legs.LEGS):
            own, other = figures[leg], figures[1 - leg]
            if pair.losses[leg] != self._losses[leg]:  # how late it is belongs to a connection
                self._losses[leg], self._late[leg] = pair.losses[leg], Late()
            late = self._late[leg]
            late.note(time.monotonic(), own.late)
            health.counters |= {
                f"{name}_records": own.records,
                f"{name}_first": own.first,
                f"{name}_second": own.second,
                f"{name}_repeats": own.repeats,
                f"{name}_missed": other.only,
            }
            health.gauges |= {
                f"{name}_late_p50_ms": late.percentile_ns(0.5) / 1e6,
                f"{name}_late_p99_ms": late.percentile_ns(0.99) / 1e6,
            }
        first, second = (max(LATE_MIN_NS, late.percentile_ns(1.0)) for late in self._late)
        pair.late_ns = first, second
        self._show_state()
        health.beat()

    def _show_state(self) -> None:
        gone = [_feed(leg) for leg in self.pair.legs if not _producer_lives(leg[Kind.QUOTE].ring)]
        if self._health.state == "stopping":
            return
        now_ns, pair = time.time_ns(), self.pair
        alone = [
            _feed(leg)
            for number, leg in enumerate(pair.legs)
            if pair.cover.depends_on(number, now_ns, late_ns=pair.late_ns)
        ]
        open_holes = self.pair.cover.open()
        if open_holes:
            self._health.state, self._health.detail = "degraded", f"neither leg records: {open_holes[0].detail}"
        elif gone:
            self._health.state, self._health.detail = "degraded", f"{' and '.join(gone)} does not run"
        elif alone:
            self._health.state, self._health.detail = "degraded", f"only {' and '.join(alone)} has everything"
        else:
            self._health.state, self._health.detail = "live", ""

    def _write_status(self) -> None:
        figures = {COUNTERS[kind]: ring.head - 1 for kind, ring in self._producer.rings.items() if kind in COUNTERS}
        figures["gaps"] = self.pair.gap_count.total
        self._producer.write_status(time.time_ns(), FeedState.LIVE, figures)


def _feed(leg: Leg) -> str:
    return leg[Kind.GAP].name.partition(".")[0]


def _producer_lives(ring: Ring) -> bool:
    identity = ring.identity()
    return (
        identity.producer_pid != 0
        and Identity(identity.producer_pid, identity.producer_start_time, identity.boot_id).alive()
    )


def run(context: ProcessContext) -> None:
    """Be merger-<n> until told to stop. RingFault where the journal makes no rings."""
    context.health.state, context.health.detail = "waiting", "for the rings, which the journal makes"
    pair, place = f"pair-{context.argument}", f"feed-{context.argument}"

    def wait(seconds: float) -> bool:
        context.health.beat()
        return context.stopping.wait(seconds)

    kinds = feed_kinds(context.config.tick_kinds)
    producer = Producer.attach(context.config.run_dir, pair, wait=wait, kinds=kinds)
    if producer is None:
        return
    past = Past(context, pair, producer)
    sources = _sources(context, past, [f"{place}{leg}" for leg in legs.LEGS], list(producer.rings), wait)
    if sources is None:
        return
    producer.next_conn(int(time.time()))
    for leg, source in enumerate(sources):
        past.merge.connected(leg, max(stream.ring.identity().conn for stream in source.values()))
    Merger(context, producer, sources, past).run()
    producer.close()


def _sources(
    context: ProcessContext, past: Past, feeds: list[str], kinds: list[Kind], wait: Callable[[float], bool]
) -> tuple[Leg, Leg] | None:
    """Every stream of both legs but their heartbeats, which the sinks take; None where we are to stop."""
    rings, merged = context.config.run_dir / "rings", [kind for kind in kinds if kind is not Kind.STATUS]
    ends_s = time.monotonic() + STOP_S
    while True:
        try:
            past.reader.refresh()
            first, second = ([past.source(feed, rings, kind) for kind in merged] for feed in feeds)
            return dict(zip(merged, first, strict=True)), dict(zip(merged, second, strict=True))
        except RingMissing as error:
            if time.monotonic() >= ends_s:
                raise RingFault(f"{error} (waited {STOP_S:g} s)") from error
        if wait(FEED_GONE_S / 10):
            return None
