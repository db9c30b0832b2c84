"""WRITER: streams → batches → one sink. The process writer-<sink>.

Comes in: rings and the journal, up to what is durable (JRNL-2). Goes out: rows in the database, health, and
`data/cursors/<sink>.cursor` for the journal's retention (JRNL-3).

SINK-1: a cursor is believed only as the sink tells it; after any trouble it is asked again, and reading goes on there.
SINK-3: trouble with the database stays in this process: the journal keeps what comes.

The work is done by a thread of its own, because a database may keep a call waiting for longer than a process may be
silent; the main thread beats and takes signals. A step that exceeds even its own patience stops the heartbeat, and so
the supervisor ends it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from tickbay.config import SINKS
from tickbay.cursor import START, CursorFile
from tickbay.errors import ConfigError, SinkDown, SinkParked, SinkSuspended
from tickbay.events import Event, Events
from tickbay.gap_count import GapCount
from tickbay.health import Health
from tickbay.journal.stream_reader import StreamReader
from tickbay.process import ProcessContext
from tickbay.schema import Applied
from tickbay.sinks import questdb_schema
from tickbay.sinks.connection import DDL_TIMEOUT_S, STATEMENT_TIMEOUT_S
from tickbay.sinks.orders import Orders
from tickbay.sinks.questdb import QuestdbSink
from tickbay.sinks.rewind import marks_of
from tickbay.sinks.sink import Committed, CursorMoved, Sink
from tickbay.sinks.timescale import TimescaleSink
from tickbay.writer.batch_sizes import BatchSizes
from tickbay.writer.delays import Delays
from tickbay.writer.intake import Batch, BatchSize, Intake
from tickbay.writer.pace import LOOK_S, Pace

BEAT_S = 0.5
REFRESH_S = 1.0  # how soon a new feed's streams are seen
MEASURE_S = 1.0
SAVE_S = 1.0  # the cursor file only tells the journal what may go: once a second spares a hard disk ten syncs
BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 10.0  # how late a database that is back may be noticed
PARKED_RETRY_S = 60.0  # an operator's repair is seen within this, and with `tickbay sink resume` at once
DISK_RETRY_S = 1.0
RIVAL_RETRY_S = 0.1
SETTLE_S = 5.0  # at the end, for what is committed to be settled; what is not is sent again by the next start
DRAIN_SHARE = 0.6  # of the stop timeout, for what is durable but not committed
# How long the work may be in one step before it counts as hung: several statements, each with its timeout.
PATIENCE_S = 10.0 * STATEMENT_TIMEOUT_S
DDL_PATIENCE_S = 2.0 * DDL_TIMEOUT_S


def run(context: ProcessContext) -> None:
    """Be writer-<sink> until told to stop."""
    cursor = CursorFile(context.config.data_dir / "cursors" / f"{context.argument}.cursor", context.files)
    sink = make_sink(context, cursor)
    reader = StreamReader(context.config.run_dir, context.config.data_dir, files=context.files, clock=context.clock)
    try:
        writer = Writer(context, sink, reader, cursor)
        _watch(writer, context.health)
    finally:
        sink.close()
        cursor.close()
        reader.close()


def make_sink(context: ProcessContext, cursor: CursorFile) -> Sink:
    """The sink that a process is called after."""
    name, config, events = context.argument, context.config, context.events
    if name == "timescale":
        return TimescaleSink(config.timescale, name=name, on_schema=lambda applied: _tell_schema(applied, events))
    if name == "questdb":
        return QuestdbSink(
            config.questdb,
            cursor,
            marks_of(config, name, context.files),
            Orders(config.data_dir, name),
            name=name,
            on_schema=lambda applied: _tell_tables(applied, events),
            on_rewind=lambda why, minutes: events.emit(
                Event.SINK_REWOUND, why=why, minutes=minutes if minutes < math.inf else "all"
            ),
        )
    raise ConfigError(f"there is no sink {name!r}: known are {', '.join(SINKS)}")


def _tell_schema(applied: Applied, events: Events) -> None:
    for step in applied.steps:
        events.emit(Event.SCHEMA_STEP, step=step)
    for note in applied.notes:
        events.emit(Event.SINK_NOTE, note=note)
    events.emit(Event.SINK_OPENED, server=applied.server, edition=applied.edition.value, schema=applied.version)


def _tell_tables(applied: questdb_schema.Applied, events: Events) -> None:
    for step in applied.steps:
        events.emit(Event.SCHEMA_STEP, step=step)
    events.emit(Event.SINK_OPENED, server=applied.server, edition="open", schema=applied.version)


def _watch(writer: Writer, health: Health) -> None:
    """Run the work in its thread and beat beside it, unless it is stuck. Raises what the work raises."""
    with ThreadPoolExecutor(1, "work") as pool:
        work = pool.submit(writer.work)
        while not wait([work], BEAT_S).done:
            if writer.patient:
                health.beat()
        work.result()


class Writer:
    """The work: one thread, one sink."""

    def __init__(
        self,
        context: ProcessContext,
        sink: Sink,
        reader: StreamReader,
        cursor: CursorFile,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = context.clock
        self.patience_until = self._clock.now_s() + DDL_PATIENCE_S
        self._sink = sink
        self._reader = reader
        self._cursor = cursor
        self._health = context.health
        self._events = context.events
        self._stopping = context.stopping
        self._jitter = jitter
        config = context.config
        settings = config.settings_of(sink.name)
        self._orders = Orders(config.data_dir, sink.name)
        self._flush_s = settings.flush_ms / 1000
        self._stop_s = config.supervisor.stop_timeout_s * DRAIN_SHARE
        self._intake = Intake(reader)
        self._size = BatchSize(settings.batch_rows)
        self._pace = Pace(self._clock.now_s())
        self._delays = Delays(config.run_dir, sink.name)
        self._open = False
        self._down_since = 0.0  # monotonic; 0: it is not
        self._backoff_s = BACKOFF_MIN_S
        self._batch_sizes = BatchSizes()
        self._gap_count = GapCount()
        self._refreshed = self._measured = self._saved = float("-inf")
        for counter in ("rows", "batches", "retries", "quarantined", "holes", "bytes", "rivals"):
            self._health.counters[counter] = 0
        self._health.counters |= self._batch_sizes.counters() | self._gap_count.counters()

    @property
    def patient(self) -> bool:
        """Whether the work may still be where it is: no step takes longer unless it hangs."""
        return self._clock.now_s() < self.patience_until

    def work(self) -> None:
        """Until told to stop, and then until all that is durable is committed, or it takes too long. A database that is
        away is not waited for: the next start goes on from its cursor."""
        deadline = float("inf")
        while True:
            if self._stopping.is_set():
                deadline = min(deadline, self._clock.now_s() + self._stop_s)
            pause_s = self._step()
            if self._stopping.is_set() and (pause_s > 0 or self._clock.now_s() >= deadline):
                break
            if pause_s > 0 and self._pause(pause_s) and self._down_since:
                break
        self._sink.settled(SETTLE_S)
        self._save_cursor(now=float("inf"))

    def _pause(self, pause_s: float) -> bool:
        """Until so much later, or, while much comes, until there is more to take, or, parked, until the operator has
        mended it. Returns whether we are to stop."""
        if pause_s == PARKED_RETRY_S:
            until_s = self._clock.now_s() + pause_s
            while not self._stopping.wait(REFRESH_S):
                if self._orders.resumed() or self._clock.now_s() >= until_s:
                    return False
            return True
        if not self._pace.busy or not self._open:
            return self._stopping.wait(pause_s)
        until_s = self._clock.now_s() + pause_s
        while not self._stopping.wait(LOOK_S):
            if self._intake.behind() or self._clock.now_s() >= until_s:
                return False
        return True

    def _step(self) -> float:
        """One batch, whatever comes of it; returns how long to pause, 0 for more at once."""
        began = self._clock.now_s()
        self.patience_until = began + PATIENCE_S
        try:
            self._look_around(began)
            batch = self._intake.take(self._size.rows, now=began)
            if batch.chunks or batch.holes:
                self._commit(batch)
            if not batch.full:
                self._pace.taken(batch.rows, began)
            self._recovered()
            self._show(began)
            self._save_cursor(now=began)
            return 0.0 if batch.full or (self._stopping.is_set() and batch.rows) else self._flush_s
        except CursorMoved as moved:
            self._open = False
            self._health.counters["rivals"] += 1
            self._events.emit(Event.CURSOR_MOVED, error=moved)
            return RIVAL_RETRY_S
        except SinkParked as parked:
            by_order = self._orders.parked() is not None
            return self._wait(parked, Event.SINK_PARKED, REFRESH_S if by_order else PARKED_RETRY_S)
        except SinkDown as down:
            pause_s = self._backoff_s * (0.5 + self._jitter() / 2)
            self._backoff_s = min(self._backoff_s * 2, BACKOFF_MAX_S)
            return self._wait(down, Event.SINK_DOWN, pause_s)
        except OSError as error:  # the journal's disk or ours
            return self._wait(error, Event.WRITER_DISK, DISK_RETRY_S)

    # ------------------------------------------------------------ one batch

    def _look_around(self, now: float) -> None:
        """See which streams there are, connect, and ask the sink about those that are new."""
        if now - self._refreshed >= REFRESH_S or not self._open:
            self._reader.refresh()
            self._refreshed = now
            if (reason := self._orders.parked()) is not None:
                self._sink.close()  # the database may be another one afterwards
                raise SinkParked(f"parked by you: {reason or 'no reason given'}: tickbay sink resume {self._sink.name}")
        new = self._intake.new_streams()
        if not self._open or new:
            self.patience_until = now + DDL_PATIENCE_S
            streams = sorted({*self._intake.positions, *new})
            self._intake.restart(self._sink.open(streams))
            self._cursor.renewed()  # by a restore; from what the sink has told, it is ours again
            self._open = True
        self.patience_until = self._clock.now_s() + DDL_PATIENCE_S
        for told in self._sink.maintain():
            self._events.emit(Event.SINK_MAINTAINED, done=told)
        self.patience_until = self._clock.now_s() + PATIENCE_S

    def _commit(self, batch: Batch) -> None:
        began = self._clock.now_s()
        committed = self._sink.commit(batch.chunks, batch.holes)
        self._intake.committed(batch)
        commit_s = self._clock.now_s() - began
        self._delays.committed(batch.chunks, self._clock.unix_ns())
        self._delays.took(commit_s)
        self._size.after(full=batch.full, commit_s=commit_s)
        self._count(batch, committed)

    def _count(self, batch: Batch, committed: Committed) -> None:
        counters = self._health.counters
        counters["rows"] += committed.rows
        counters["batches"] += 1
        counters["bytes"] += committed.bytes
        self._batch_sizes.add(batch.rows)
        counters.update(self._batch_sizes.counters())
        if committed.quarantined:
            counters["quarantined"] += committed.quarantined
            reasons = "; ".join(committed.reasons)
            self._events.emit(Event.ROWS_QUARANTINED, rows=committed.quarantined, reasons=reasons)
        for hole in batch.holes:
            counters["holes"] += 1
            self._gap_count.add(hole.gap)
            cause = hole.cause.name.lower()
            self._events.emit(
                Event.WRITER_HOLE, stream=hole.stream, first=hole.first_seq, last=hole.last_seq, cause=cause
            )
        counters |= self._gap_count.counters()

    # ------------------------------------------------------------ trouble

    def _wait(self, error: Exception, event: Event, pause_s: float) -> float:
        """The sink cannot go on for now. It is asked for its cursors again before anything else (SINK-1)."""
        self._open = False
        # What the sink could not be asked about yet lags, too: behind the cursor that was saved last.
        unasked = {stream: self._cursor.positions.get(stream, START) for stream in self._intake.new_streams()}
        self._intake.restart(unasked | self._intake.positions)
        self._down_since = self._down_since or self._clock.now_s()
        self._health.counters["retries"] += 1
        self._health.state = "degraded"
        self._health.detail = f"{error}"
        suspended = error.tables if isinstance(error, SinkSuspended) else 0
        self._health.gauges |= {"parked": isinstance(error, SinkParked), "suspended_tables": suspended}
        self._events.emit(event, error=error, retry_s=round(pause_s, 1))
        self._measure(self._clock.now_s())
        return pause_s

    def _recovered(self) -> None:
        """A step went well to its end."""
        if self._down_since:
            self._events.emit(Event.SINK_BACK, down_s=round(self._clock.now_s() - self._down_since, 1))
        self._down_since = 0.0
        self._health.gauges |= {"parked": 0, "suspended_tables": 0}
        self._backoff_s = BACKOFF_MIN_S

    # ------------------------------------------------------------ what is told

    def _show(self, now: float) -> None:
        unreadable = next(iter(self._intake.unreadable.items()), None)
        if unreadable is not None:
            self._health.state, self._health.detail = "degraded", f"{unreadable[0]}: {unreadable[1]}"
            self._events.emit(Event.WRITER_UNREADABLE, stream=unreadable[0], error=unreadable[1])
        elif not self._intake.positions:
            self._health.state, self._health.detail = "waiting", "the journal is not open yet"
        elif not self._stopping.is_set():
            self._health.state, self._health.detail = "live", ""
        if now - self._measured >= MEASURE_S:
            self._measure(now)

    def _measure(self, now: float) -> None:
        self._measured = now
        gauges = self._health.gauges
        lags = self._intake.lag_rows()
        # Both at once: the main thread may beat between two assignments.
        gauges.update({"lag_rows": sum(lags.values()), "lag_s": self._lag_s()})
        gauges["batch_rows"] = self._size.rows
        self._health.stages = self._delays.report(now)
        self._health.streams = {
            stream: {"committed": position.seq, "epoch": position.epoch, "lag": lags[stream]}
            for stream, position in self._intake.positions.items()
        }

    def _lag_s(self) -> float:
        try:
            return self._intake.lag_s(self._clock.unix_ns())
        except OSError:  # the next step meets the same, and says so
            return self._health.gauges.get("lag_s", 0.0)

    def _save_cursor(self, *, now: float) -> None:
        """JRNL-3: the journal may let go of what is before this. Never ahead of the sink, often a second behind it."""
        positions = self._sink.settled()
        if now - self._saved >= SAVE_S and positions and positions != self._cursor.positions:
            self._cursor.save(positions)
            self._saved = now
