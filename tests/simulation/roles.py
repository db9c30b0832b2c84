"""What each process runs. Journal, writers and supervisor are the real ones, put together as their own run() does; the
feed is a counter that writes real rings; who writes no ticks only lives.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, cast

import numpy as np
import psycopg

from journal_case import DEAD, HeardEvents
from simulation.disk import Disk, VirtualFiles
from simulation.ledger import Ledger
from simulation.machine import SupervisorsView, VirtualHealth, VirtualMachine, identity_of
from simulation.postgres import Postgres
from simulation.questdb import Client, Questdb
from simulation.world import BEGAN_NS, Process, VirtualClock, World
from tickbay.clock import Clock
from tickbay.config import Config, Timescale
from tickbay.cursor import CursorFile
from tickbay.errors import ControlRefused
from tickbay.events import Event
from tickbay.feed.producer import Producer
from tickbay.gap import Cause, Gap
from tickbay.journal import journal
from tickbay.journal.stream_reader import StreamReader
from tickbay.process import ProcessContext
from tickbay.record import FeedState, Kind, Records, blank
from tickbay.ring import RingFull
from tickbay.schema import Applied
from tickbay.sinks.orders import Orders
from tickbay.sinks.partitions import Edition
from tickbay.sinks.questdb import QuestdbSink
from tickbay.sinks.rewind import marks_of
from tickbay.sinks.sink import Sink
from tickbay.sinks.timescale import TimescaleSink
from tickbay.supervisor.supervisor import Supervisor
from tickbay.writer.writer import BEAT_S, Writer

APPLIED = Applied(version=1, edition=Edition.COMMUNITY, server="virtual", steps=(), notes=())
SHARES = {Kind.BOOK: 0.8, Kind.TRADE: 0.5}  # how often a burst has records of the kind
STATUS_S = 5.0


def _templates() -> dict[Kind, Records]:
    templates = {}
    for kind in SHARES:
        records = blank(kind, 512)
        records["instrument"] = b"I"
        templates[kind] = records
    templates[Kind.BOOK]["side"] = templates[Kind.BOOK]["action"] = 1
    return templates


class NotedEvents(HeardEvents):
    def __init__(self, world: World, process: Process) -> None:
        super().__init__()
        self._world = world
        self._noted = process.name
        self.on: dict[Event, Callable[[dict[str, object]], None]] = {}

    def emit(self, event: Event, **fields: object) -> None:
        self._world.note(f"{self._noted}: {event.name.lower()} {fields or ''}")
        if event in self.on:
            self.on[event](fields)


class Roles:
    """`burst`: the most records of a kind at once; `pause_s`: between bursts."""

    TEMPLATES = _templates()

    def __init__(
        self,
        world: World,
        config: Config,
        disk: Disk,
        ledger: Ledger,
        postgres: Postgres,
        questdb: Questdb,
        *,
        burst: int,
        pause_s: float,
    ) -> None:
        self.world = world
        self.config = config
        self.disk = disk
        self.ledger = ledger
        self.postgres = postgres
        self.questdb = questdb
        self.clock: Clock = VirtualClock(world)
        self.feeding = True
        self.overflowed = 0
        self.supervisors: dict[int, Supervisor] = {}
        self._burst = burst
        self._pause_s = pause_s
        self._numbers = 0
        self.machine: VirtualMachine

    def table(self) -> dict[str, Callable[[Process], int]]:
        return {
            "journal": self.journal,
            "writer": self.writer,
            "rival": self.rival,
            "feed": self.feed,
            "other": self.other,
            "supervisor": self.supervisor,
        }

    def context(self, process: Process) -> ProcessContext:
        machine = self.machine
        called = self.ledger.look if process.name == "journal" else None
        context = ProcessContext(
            process.name,
            self.config,
            VirtualHealth(machine, process.name, identity_of(process), self.config.run_dir),
            NotedEvents(self.world, process),
            machine.stoppings[process.pid],
            VirtualFiles(self.disk, self.world, process, called=called),
            self.clock,
        )
        context.health.beat()
        return context

    # -------- the real ones

    def journal(self, process: Process) -> int:
        context = self.context(process)
        events = cast(NotedEvents, context.events)
        events.on[Event.JOURNAL_OPENED] = lambda _: self.ledger.rings_opened()
        events.on[Event.JOURNAL_DROPPED] = self._dropped
        journal.run(context)
        return self._finished(context)

    def _dropped(self, fields: dict[str, object]) -> None:
        self.ledger.dropped.add(str(fields["stream"]).partition(":")[0])

    def supervisor(self, process: Process) -> int:
        context = self.context(process)
        view = SupervisorsView(self.machine, process)
        supervisor = Supervisor(
            context,
            view,
            env={},
            previous=self.machine.reports.get("supervisor"),
            sleep=view.sleep,
            jitter=self.world.chance.random,
        )
        self.supervisors[process.pid] = supervisor
        return drive(supervisor.supervise())

    def restart(self, name: str) -> None:
        """`tickbay restart`."""
        process = self.machine.find("supervisor")
        if process is not None and process.pid in self.supervisors:
            supervisor = self.supervisors[process.pid]
            self.world.start(process, lambda: self._ask(supervisor, name))

    def _ask(self, supervisor: Supervisor, name: str) -> None:
        async def ask() -> int:
            with suppress(ControlRefused):  # it has not come back in time: it will
                await supervisor.control({"op": "restart", "process": name})
            return 0

        drive(ask())

    def writer(self, process: Process) -> int:
        context = self.context(process)
        name = context.argument
        cursor = CursorFile(self.config.data_dir / "cursors" / f"{name}.cursor", context.files)
        sink = self._timescale(process) if name == "timescale" else self._questdb(process, context, cursor)
        return self._write(process, context, sink, cursor)

    def rival(self, process: Process) -> int:
        """A second writer of the same sink, which nobody told of the first; its cursor file is its own."""
        context = self.context(process)
        cursor = CursorFile(self.config.data_dir / "cursors" / "rival.cursor", context.files)
        return self._write(process, context, self._timescale(process), cursor)

    def _write(self, process: Process, context: ProcessContext, sink: Sink, cursor: CursorFile) -> int:
        reader = StreamReader(self.config.run_dir, self.config.data_dir, files=context.files, clock=self.clock)
        try:
            writer = Writer(context, sink, reader, cursor, jitter=self.world.chance.random)
            self.world.start(process, partial(self._beat, context, writer))
            writer.work()
        finally:
            sink.close()
            cursor.close()
            reader.close()
        return self._finished(context)

    def _beat(self, context: ProcessContext, writer: Writer) -> None:
        """The main thread of a writer."""
        while True:
            self.world.sleep(BEAT_S)
            if writer.patient:
                context.health.beat()

    def _timescale(self, process: Process) -> Sink:
        def connect(_: Timescale, name: str) -> tuple[psycopg.Connection, Applied]:
            return cast(psycopg.Connection, self.postgres.connect(process)), APPLIED

        return TimescaleSink(self.config.timescale, clock=self.clock, connector=connect)

    def _questdb(self, process: Process, context: ProcessContext, cursor: CursorFile) -> Sink:
        return QuestdbSink(
            self.config.questdb,
            cursor,
            marks_of(self.config, "questdb", context.files),
            Orders(self.config.data_dir, "questdb"),
            clock=self.clock,
            server=Client(self.questdb, process),
        )

    def _finished(self, context: ProcessContext) -> int:
        context.health.state = "stopped"
        context.health.beat()
        return 0

    # -------- imitations

    def other(self, process: Process) -> int:
        """Whoever writes no ticks: universe, healer and the like."""
        context = self.context(process)
        context.health.state = "live"
        while not context.stopping.is_set():
            context.health.beat()
            context.stopping.wait(1.0)
        return self._finished(context)

    def feed(self, process: Process) -> int:
        """RING-2: it waits for the journal once, then counts what it cannot publish, and says so."""
        context = self.context(process)

        def wait(seconds: float) -> bool:
            context.health.beat()
            return context.stopping.wait(seconds)

        producer = Producer.attach(self.config.run_dir, "feed-1", wait=wait)
        if producer is None:
            return self._finished(context)
        process.ended.append(partial(_leave, producer))
        context.health.state = "live"
        lost: dict[Kind, int] = dict.fromkeys(SHARES, 0)
        status_at = 0.0
        while not context.stopping.is_set():
            context.health.beat()
            if self.feeding:
                self._produce(producer, lost)
            if self.world.now_s >= status_at:
                producer.write_status(self.clock.unix_ns(), FeedState.LIVE, {})
                status_at = self.world.now_s + STATUS_S
            producer.flush()
            producer.check()
            context.stopping.wait(self.world.chance.expovariate(1 / self._pause_s))
        return self._finished(context)

    def _produce(self, producer: Producer, lost: dict[Kind, int]) -> None:
        chance = self.world.chance
        for kind, share in SHARES.items():
            if chance.random() >= share:
                continue
            ring = producer.rings[kind]
            records = self._records(kind, min(chance.randint(1, self._burst), 512))
            try:
                ring.append(records)
            except RingFull:
                if lost[kind] == 0:
                    self.world.sleep(self.config.ring.full_wait_ms / 1000)
                lost[kind] += len(records)
                self.overflowed += len(records)
                continue
            first, received_ns = int(records["exch_ns"][0]) - BEGAN_NS, int(records["recv_ns"][0])
            self.ledger.published(f"feed-1.{kind.name.lower()}", len(records), first, received_ns)
            if lost[kind]:
                now_ns = self.clock.unix_ns()
                gap = Gap(cause=Cause.OVERFLOW, from_ns=now_ns, to_ns=now_ns, kind=kind, count=lost[kind])
                producer.write_gap(gap, now_ns)
                lost[kind] = 0

    def _records(self, kind: Kind, count: int) -> Records:
        records = self.TEMPLATES[kind][:count]
        first = self._numbers + 1
        self._numbers += count
        records["exch_ns"] = np.arange(BEGAN_NS + first, BEGAN_NS + first + count)
        records["recv_ns"] = self.clock.unix_ns()
        return records


def _leave(producer: Producer) -> None:
    """The rings say who produces: from now on nobody who lives."""
    for ring in producer.rings.values():
        ring.produce(*DEAD)


def drive(coroutine: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine whose every wait is one of ours, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return int(done.value)
    raise AssertionError("it waits for something that is not ours")
