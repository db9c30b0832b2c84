"""The journal process: takes every new record from the rings, writes it to segments, and says what is durable.

Comes in: all rings, the sinks' cursors. Goes out: `data/journal/*.seg`, each ring's durable position, stream
`journal.gap`. One group commit every commit_ms, or sooner when a ring fills.

JRNL-1: recovery.py. JRNL-2: commit.py. JRNL-3: retention.py. RING-2: this process alone holds producers back, so it
waits for nobody but the disk; while that takes nothing, the rings keep what comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from tickbay.clock import MACHINE, Clock
from tickbay.config import Config
from tickbay.events import Event, Events
from tickbay.files import Files
from tickbay.gap import Gap
from tickbay.gap_count import GapCount
from tickbay.health import Health
from tickbay.identity import Identity
from tickbay.journal.commit import GroupCommit
from tickbay.journal.delays import Delays, DurableTimes
from tickbay.journal.lost import Loss
from tickbay.journal.opening import Parts, open_parts
from tickbay.journal.recovery import write_marker
from tickbay.journal.retention import Retention
from tickbay.journal.ring_set import OWN_GAPS
from tickbay.journal.segments import Segments, no_space
from tickbay.process import ProcessContext
from tickbay.ring import RingFull

URGENT_FILL = 0.25  # of a ring: then a commit does not wait for its time
FULL_FILL = 0.9  # of a ring whose next message may not fit: while the disk takes nothing, nothing more is recorded
BUSY_FILL = 1 / 16  # seen at a commit: look at the rings every BUSY_POLL_S until the next
BUSY_POLL_S = 0.010
RETRY_S = 1.0  # after a disk error; ENOSPC must end within 5 s of the space coming back
BEAT_S = 0.5
UPKEEP_S = 0.2  # retention, a step of a spare file, rings that go
SYNC_WINDOW_S = 60.0


class Journal:
    """The open journal, one thread."""

    def __init__(
        self,
        config: Config,
        files: Files,
        events: Events,
        health: Health,
        parts: Parts,
        *,
        clock: Clock,
    ) -> None:
        self._files = files
        self._events = events
        self._health = health
        self._clock = clock
        self._directory = config.data_dir / "journal"
        self._commit_s = config.journal.commit_ms / 1000
        self.rings = parts.rings
        self.epoch = parts.epoch
        self.segments = Segments(
            files,
            self._directory,
            parts.recovered,
            epoch=parts.epoch,
            segment_bytes=config.journal.segment_bytes,
            quota_bytes=config.journal.quota_bytes,
            free_floor_bytes=config.journal.free_floor_bytes,
            clock_ns=clock.unix_ns,
        )
        self._delays = Delays()
        self._durable_times = DurableTimes(config.run_dir, write=True)
        self._looked_ns = 0  # when the commit under way looked at the rings
        self._retention = Retention(config, files, self.segments, clock_ns=clock.unix_ns, on_lost=self._dropped)
        self._commits = GroupCommit(
            parts.rings,
            self.segments,
            last=parts.recovered.last,
            clock_s=clock.now_s,
            clock_ns=clock.unix_ns,
            on_synced=self._synced,
            make_room=self._retention.make_room,
        )
        own = Identity.own()
        self.rings.sources[OWN_GAPS].ring.produce(own.pid, own.start_time)
        self._gaps: deque[Gap] = deque()  # not yet in journal.gap
        self._gap_count = GapCount()
        self._due = 0.0  # the next commit
        self._busy = False
        self._retry_at = 0.0  # 0: the disk takes what we write
        self._sync_ms: deque[tuple[float, float]] = deque(maxlen=4096)  # (when, how long)
        self._lost = {"write_errors": 0, "dropped_segments": 0, "dropped_records": 0}

    # -------- committing

    def turn(self) -> float:
        """Commit if it is time; returns how long to wait, in seconds."""
        now = self._clock.now_s()
        if now < self._retry_at:
            return min(self._retry_at - now, self._commit_s)
        fill = self.rings.fill
        if fill >= URGENT_FILL or now >= self._due:
            self._busy = fill > BUSY_FILL
            self._due = now + self._commit_s
            self.commit()
        wait = max(0.0, self._due - self._clock.now_s())
        return min(wait, BUSY_POLL_S) if self._busy else wait

    def commit(self) -> bool:
        """Make everything durable that the rings hold now; False where the disk refused, and they keep it."""
        for _ in range(2):  # a broken file is given up at the first try, and a new one may do
            try:
                self._write_gaps()
                self._looked_ns = self._clock.unix_ns()
                self._commits.run()
            except OSError as error:
                if not self._failed(error):
                    return False
            else:
                self._resumed()
                return True
        return False

    def _synced(self, parts: Sequence[tuple[str, memoryview]]) -> None:
        now_ns = self._clock.unix_ns()
        self._durable_times.add(self._looked_ns, now_ns)
        self._delays.synced(parts, now_ns)

    def _failed(self, error: OSError) -> bool:
        """Take back what was not synced; returns whether trying again at once may help."""
        self._lost["write_errors"] += 1
        self._retry_at = self._clock.now_s() + RETRY_S
        self._commits.forget()
        full = no_space(error)
        self._events.emit(
            Event.JOURNAL_FULL if full else Event.JOURNAL_WRITE_FAILED,
            directory=self._directory,
            segment=self.segments.newest_number,
            error=error.strerror or error,
        )
        if not full and self.segments.writer is not None:
            # Never sync this file again: the kernel would say that all is well (SegmentWriter.abandon).
            self.segments.give_up()
        return not full

    def _resumed(self) -> None:
        if self._retry_at:
            self._retry_at = 0.0
            self._events.emit(Event.JOURNAL_RESUMED, directory=self._directory, segment=self.segments.newest_number)

    # -------- gaps of our own

    def add_gap(self, gap: Gap) -> None:
        """Record a gap in journal.gap; the next commit takes it along."""
        self._gap_count.add(gap)
        self._gaps.append(gap)
        self._write_gaps()

    def _dropped(self, lost: list[Loss]) -> None:
        """JRNL-3: told here and now, since the sink that lacks it may never come back to record its gap."""
        for stream in sorted({loss.stream for loss in lost}):
            most = max((loss for loss in lost if loss.stream == stream), key=lambda loss: loss.records)
            self._lost["dropped_records"] += most.records
            first = most.last.seq - most.records + 1
            self._events.emit(Event.JOURNAL_DROPPED, sink=most.sink, stream=stream, records=most.records, first=first)

    def _write_gaps(self) -> None:
        with suppress(RingFull):  # the rest waits for the journal, that is for us
            while self._gaps:
                self.rings.sources[OWN_GAPS].ring.append(
                    self._gaps[0].record(recv_ns=self._clock.unix_ns(), conn=self.epoch, writer="journal")
                )
                self._gaps.popleft()

    # -------- now and then

    def upkeep(self) -> None:
        """Let go of what nobody needs, prepare spare files, remove rings that ended."""
        before = len(self.segments.sealed)
        try:
            self._retention.enforce()
            if not self._busy and not self._retry_at:
                self.segments.prepare()
        except OSError as error:
            # Nothing that counts was touched; a disk that is broken shows at the next commit.
            self._lost["write_errors"] += 1
            self._events.emit(Event.JOURNAL_UPKEEP_FAILED, directory=self._directory, error=error.strerror or error)
        self._lost["dropped_segments"] += before - len(self.segments.sealed)
        for stream in self.rings.retire():
            self._events.emit(Event.JOURNAL_RING_REMOVED, stream=stream)

    def report(self) -> None:
        """Fill in health."""
        now = self._clock.now_s()
        while self._sync_ms and now - self._sync_ms[0][0] > SYNC_WINDOW_S:
            self._sync_ms.popleft()
        self._sync_ms.extend((now, milliseconds) for milliseconds in self._commits.sync_ms)
        self._commits.sync_ms.clear()
        times = sorted(milliseconds for _, milliseconds in self._sync_ms) or [0.0]
        done = self._commits.committed
        health = self._health
        health.counters = self._lost | {
            "records": done.records,
            "bytes": done.bytes,
            "batches": done.batches,
            "syncs": done.syncs,
            "segments": done.segments,
            **self._gap_count.counters(),
        }
        health.gauges |= {
            "sync_p50_ms": times[len(times) // 2],
            "sync_p99_ms": times[len(times) * 99 // 100],
            "journal_bytes": self.segments.used_bytes,
            "ring_fill": self.rings.fill,
            "lag_records": sum(source.pending for source in self.rings.sources.values()),
        }
        with suppress(OSError):  # a directory that cannot be looked at shows at the next commit
            health.gauges["free_bytes"] = self.segments.disk_free_bytes()
            health.gauges["hold_hours"] = self._retention.hold_hours(done.bytes, now)
        # Also of streams that nobody writes any more: a sink may still have to take them.
        health.streams = {stream: {"durable": position.seq} for stream, position in self._commits.last.items()} | {
            stream: {"durable": source.ring.durable, "head": source.ring.head, "pending": source.pending}
            for stream, source in self.rings.sources.items()
        }
        health.stages = self._delays.report(now)
        state, detail = self._judge()
        health.state, health.detail = ("stopping" if health.state == "stopping" else state), detail

    def _judge(self) -> tuple[str, str]:
        """Health in a word, and why."""
        if not self._retry_at:
            return "live", ""
        if self.rings.fill >= FULL_FILL:
            return "waiting", "the disk refuses writes and memory is full: new records are lost"
        return "degraded", "the disk refuses writes: new records wait in memory"

    # -------- the end

    def end(self) -> str:
        """Make durable what the rings hold and say that this was a clean end; or why it was not. Nothing is lost
        either way while the machine is up: the rings stay, and the next start takes what they hold."""
        # A gap that waited for room in its ring comes with the second.
        if not self.commit() or (self._gaps and not self.commit()):
            return "the disk refuses writes"
        if any(source.producer_lives() for stream, source in self.rings.sources.items() if stream != OWN_GAPS):
            return "feeds still write"  # what comes after us is in the rings only
        try:
            write_marker(self._files, self._directory, self.segments.writer, self.epoch, self._commits.last)
        except OSError as error:
            return str(error)
        self.close()
        return ""

    def close(self) -> None:
        if self.segments.writer is not None:
            self.segments.writer.close()
        self.rings.close()


def open_journal(config: Config, files: Files, events: Events, health: Health, *, clock: Clock = MACHINE) -> Journal:
    """Errors as open_parts() in opening.py."""
    parts = open_parts(config, files, events, clock=clock)
    journal = Journal(config, files, events, health, parts, clock=clock)
    for gap in parts.gaps:
        journal.add_gap(gap)
    return journal


def run(context: ProcessContext) -> None:
    """The journal process. Ends when told to, after everything in the rings is durable: also when it is told so
    while it starts."""
    stopping, health = context.stopping, context.health
    journal: Journal | None = None
    while journal is None:
        try:
            journal = open_journal(context.config, context.files, context.events, health, clock=context.clock)
        except OSError as error:
            health.state, health.detail = "waiting", f"the journal cannot be opened: {error}"
            context.events.emit(Event.JOURNAL_UNREADABLE, directory=context.config.data_dir / "journal", error=error)
            health.beat()
            if stopping.wait(RETRY_S):
                return
    _work(journal, context)
    _end(journal, context)


def _work(journal: Journal, context: ProcessContext) -> None:
    beat_at = upkeep_at = 0.0
    while not context.stopping.is_set():
        wait_s = journal.turn()
        now = context.clock.now_s()
        if now >= upkeep_at:
            journal.upkeep()
            upkeep_at = now + UPKEEP_S
        if now >= beat_at:
            journal.report()
            context.health.beat()
            beat_at = now + BEAT_S
        context.stopping.wait(wait_s)


def _end(journal: Journal, context: ProcessContext) -> None:
    reason = journal.end()
    if reason:
        context.events.emit(Event.JOURNAL_LEFT_OPEN, reason=reason)
