"""The feed process: one connection to the venue, its frames decoded into rings, its holes written down.

In: the venue's WebSocket; `data/universe/assignment.json`; requests at `run/sockets/<feed>.sock`. Out: a stream of
each kind that rules have (`<feed>.quote`, …), `.gap` and `.status`; `data/quarantine/<feed>.frames`.

What to do is decided in session.py, which is pure; here it is done. A frame of ticks never comes here: picows hands
it to the compiled listener (native/_listener.pxi), which calls the methods on_… below for what is rare.

FEED-1: every loss (disconnect, sequence break, overflow, refused channel, undecodable frame) is counted and becomes a
gap.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import uvloop
from picows import WSError, WSTransport

from tickbay._native import (
    MESSAGE_ERROR,
    MESSAGE_REPLY,
    MESSAGE_TEST_REQUEST,
    MESSAGE_UNKNOWN,
    FeedListener,
)
from tickbay.control import Server
from tickbay.errors import ConfigError, JournalFault, VenueDown, VenueFault
from tickbay.events import Event
from tickbay.feed.action import NS_PER_S, Action, Close, Connect, Moment, Report, Send, Tell
from tickbay.feed.backoff import apart
from tickbay.feed.clock import StepWatch
from tickbay.feed.heard import ListenerHeard
from tickbay.feed.link import Link, TooOften
from tickbay.feed.login import Standing
from tickbay.feed.past import Past
from tickbay.feed.producer import Producer
from tickbay.feed.quarantine import Quarantine
from tickbay.feed.session import Session
from tickbay.gap import Cause, Gap
from tickbay.health import heartbeat_ns
from tickbay.process import ProcessContext
from tickbay.record import COUNTERS, TICKS, FeedState, Kind, feed_kinds
from tickbay.timer import Timer
from tickbay.universe.assignment import assignment_path, read_assignment
from tickbay.venues import VENUES

OTHER_TICKS = set(TICKS) - {Kind.QUOTE, Kind.TRADE, Kind.BOOK}

TICK_S = 0.1
BEAT_S = 0.5
SETTLE_S = 1.0  # overflows, undecodable frames in a row, an assignment that we were not told of
STATUS_S = 5.0
SWEEP_S, SILENT_NS = 3600.0, 86_400 * 10**9  # what has expired is forgotten: looked for so often, silent so long
QUARANTINE_BYTES_MAX = 64 << 20  # with its older half; a venue that sends nothing but rubbish must not fill the disk
CLOSE_S = 1.0  # at the end, for the close frame to go out


def run(context: ProcessContext) -> None:
    """Capture until told to stop. RingFault where the journal makes no rings, ConfigError where the settings are of
    no use."""
    logging.disable()  # picows and asyncio log what on_disconnected() and our events say already
    context.health.state = "waiting"
    context.health.detail = "for the rings, which the journal makes"

    def wait(seconds: float) -> bool:
        context.health.beat()
        return context.stopping.wait(seconds)

    kinds = feed_kinds(context.config.tick_kinds)
    producer = Producer.attach(context.config.run_dir, context.name, wait=wait, kinds=kinds)
    if producer is None:
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Feed(context, producer).run())
    producer.close()


def now() -> Moment:
    return Moment(time.monotonic_ns(), time.time_ns())


class Feed:
    def __init__(self, context: ProcessContext, producer: Producer) -> None:
        config = context.config
        self._context = context
        self._health = context.health
        self._producer = producer
        self._quarantine = _open_quarantine(context)
        self._listener = FeedListener(
            self,
            producer.rings[Kind.QUOTE].native,
            producer.rings[Kind.TRADE].native,
            producer.rings[Kind.BOOK].native,
            others=tuple(ring.native for kind, ring in producer.rings.items() if kind in OTHER_TICKS),
            full_wait_ms=config.ring.full_wait_ms,
            frame_bytes_max=config.venue.frame_bytes_max,
            instruments_max=1 << max(14, (4 * config.feeds.channels_max).bit_length()),
        )
        known_ns, orphans = self._remember()
        self._heard = ListenerHeard(self._listener)
        self._link = Link(config.venue, self._listener)
        self._session = Session(
            VENUES[config.venue.name].session,
            config.venue,
            feeds=config.feeds.count * config.feeds.redundancy
            + 1,  # the universe's connection takes its share of the credits
            heard=self._heard,
            random=apart(context.name),
            at=now(),
            known_ns=known_ns,
            orphans=orphans,
        )
        self._assignment_path = assignment_path(config.data_dir)
        self._assignment_stamp: tuple[int, int] | None = None  # modification time and inode of what was read last
        self._server = Server(config.run_dir / "sockets" / f"{context.name}.sock", self._control)
        self._steps = StepWatch()
        self._told_state: FeedState | None = None  # in the last heartbeat
        self._overflows: dict[Kind, Gap] = {}  # that last
        self._undecodable: Gap | None = None  # frames counted and not yet reported
        self._undecodable_ns = 0  # mono: when some were reported last
        self._beat, self._settle, self._status, self._sweep = map(Timer, (BEAT_S, SETTLE_S, STATUS_S, SWEEP_S))
        self._connecting: asyncio.Task[None] | None = None
        self._live_ns: int | None = None  # mono: when it was last seen so
        self._failure: BaseException | None = None

    def _remember(self) -> tuple[int, list[Gap]]:
        """When an earlier life captured last, and the holes that it died within; its trades go to the listener."""
        past = Past(self._producer.rings, self._context.config.data_dir / "journal")
        try:
            for instrument, trade_seq in past.last_trades().items():
                self._listener.remember_trade(instrument, trade_seq)
            return past.newest_ns(), past.open_holes()
        except (JournalFault, OSError) as error:
            self._context.events.emit(Event.PAST_UNREADABLE, error=error)
            return 0, []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        loop.set_exception_handler(self._note_failure)
        await self._server.start()
        self._read_assignment()
        while not self._context.stopping.is_set():
            if self._failure is not None:
                raise self._failure  # our mistake: end here, and be restarted
            self._tick()
            await asyncio.sleep(TICK_S)
        await self._end()

    def _note_failure(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What a callback raised. A connection's own trouble (OSError, WSError) is told by on_disconnected()."""
        error = context.get("exception")
        if error is not None and not isinstance(error, OSError | WSError):
            self._failure = error

    async def _end(self) -> None:
        """Close, settle what is open, and say goodbye; what is not durable yet is safe in the rings."""
        self._health.state = "stopping"
        self._do(self._session.stop(now()))
        if self._connecting is not None:
            await asyncio.wait([self._connecting], timeout=CLOSE_S)
        await asyncio.sleep(0)  # a turn for the loop, in which the close frame goes out
        self._listener.settle(closing=True)
        await asyncio.sleep(0)  # and for what settle() told
        self._report_undecodable()
        self._write_status()
        self._publish_health()
        self._quarantine.close()
        await self._server.stop()

    # ---------------------------------------------------------------- time

    def _tick(self) -> None:
        if step_ns := self._steps.step_ns(time.time_ns(), heartbeat_ns()):
            self._do(self._session.clock_stepped(step_ns, now()))
        self._do(self._session.tick(now()))
        if self._settle.due():
            self._listener.settle()
            self._report_undecodable()
            self._producer.check()
            self._producer.flush()
            self._read_assignment()
        if self._status.due() or self._session.state is not self._told_state:
            self._write_status()
        if self._beat.due():
            self._publish_health()
        if self._sweep.due():
            self._heard.forget_silent(time.time_ns() - SILENT_NS, self._session.channels.heard_as())

    # ---------------------------------------------------------------- actions

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Connect():
                    self._connecting = self._loop.create_task(self._connect())
                    self._connecting.add_done_callback(_raise_failure)
                case Close():
                    self._link.end(politely=self._session.state is FeedState.STOPPING)
                case Send(payload):
                    self._link.send(payload)
                case Report(gap):
                    self._producer.write_gap(gap, time.time_ns())
                case Tell(event, fields):
                    self._context.events.emit(event, **fields)

    async def _connect(self) -> None:
        self._listener.start(self._producer.next_conn(int(time.time())))
        self._heard.begin()
        try:
            await self._link.open()
        except VenueDown as error:
            self._link.end(politely=False)
            self._do(self._session.lost(str(error), now(), slow=isinstance(error, TooOften)))

    # ---------------------------------------------------------------- what the listener tells, on the loop's thread
    # Each is done in the loop's next turn: a frame's way into the ring stays short, and an error of ours is not taken
    # for one of the connection.

    def on_connected(self, transport: WSTransport) -> None:
        self._link.made(transport)
        self._loop.call_soon(self._connected, transport)

    def on_disconnected(self, transport: WSTransport) -> None:
        self._loop.call_soon(self._disconnected, transport)

    def on_close(self, code: int, reason: str) -> None:
        self._link.closing(code, reason)

    def on_message(self, message: int, payload: bytes, recv_ns: int) -> None:
        self._heard.message_ns = recv_ns
        self._loop.call_soon(self._take_message, message, payload, Moment(time.monotonic_ns(), recv_ns))

    def on_undecodable(self, payload: bytes, recv_ns: int) -> None:
        self._loop.call_soon(self._take_undecodable, payload, recv_ns)

    def on_break(self, kind: int, instrument: bytes, expected: int, got: int, recv_ns: int, since_ns: int) -> None:
        self._loop.call_soon(self._take_break, Kind(kind), instrument.decode(), expected, got, recv_ns, since_ns)

    def on_leap(self, instrument: bytes, expected: int, got: int, recv_ns: int, since_ns: int) -> None:
        self._loop.call_soon(self._take_leap, instrument.decode(), expected, got, recv_ns, since_ns)

    def on_overflow_begin(self, kind: int, recv_ns: int) -> None:
        self._loop.call_soon(self._begin_overflow, Kind(kind), recv_ns)

    def on_overflow_end(self, kind: int, records: int, from_ns: int, to_ns: int) -> None:
        self._loop.call_soon(self._end_overflow, Kind(kind), records, from_ns, to_ns)

    # ---------------------------------------------------------------- and what is done about it

    def _connected(self, transport: WSTransport) -> None:
        if not self._link.is_current(transport):
            return  # given up in the meantime
        self._context.events.emit(
            Event.SESSION_CONNECTED, url=self._context.config.venue.ws_url, conn=self._producer.conn
        )
        self._do(self._session.connected(now()))

    def _disconnected(self, transport: WSTransport) -> None:
        if self._link.is_current(transport):
            self._link.end(politely=False)
            self._do(self._session.lost(self._link.ending(transport), now()))

    def _take_message(self, message: int, payload: bytes, at: Moment) -> None:
        if message in (MESSAGE_REPLY, MESSAGE_ERROR):
            self._do(self._session.replied(payload, at))
        elif message == MESSAGE_TEST_REQUEST:
            self._do(self._session.test_requested(at))
        elif message == MESSAGE_UNKNOWN:
            self._context.events.emit(Event.MESSAGE_UNKNOWN, bytes=len(payload))

    def _take_break(self, kind: Kind, instrument: str, expected: int, got: int, recv_ns: int, since_ns: int) -> None:
        self._do(
            self._session.broken(
                kind, instrument, now(), since_ns=since_ns, recv_ns=recv_ns, expected=expected, got=got
            )
        )

    def _take_leap(self, instrument: str, expected: int, got: int, recv_ns: int, since_ns: int) -> None:
        self._do(self._session.leapt(instrument, now(), since_ns=since_ns, recv_ns=recv_ns, expected=expected, got=got))

    def _take_undecodable(self, payload: bytes, recv_ns: int) -> None:
        """FEED-1. The first is reported at once; a flood of them in one record each second, with their number."""
        too_long = len(payload) > self._context.config.venue.frame_bytes_max
        kept = self._quarantine.keep(payload, recv_ns=recv_ns, reason="too long" if too_long else "undecodable")
        self._context.events.emit(
            Event.FRAME_UNDECODABLE, bytes=len(payload), kept=kept, file=self._quarantine.path.name
        )
        if self._undecodable is None:
            self._undecodable = Gap(cause=Cause.UNDECODABLE, from_ns=recv_ns, to_ns=recv_ns, count=1)
        else:
            count = self._undecodable.count + 1
            self._undecodable = replace(self._undecodable, to_ns=max(recv_ns, self._undecodable.to_ns), count=count)
        if time.monotonic_ns() - self._undecodable_ns >= SETTLE_S * NS_PER_S:
            self._report_undecodable()

    def _report_undecodable(self) -> None:
        if self._undecodable is not None:
            self._undecodable_ns = time.monotonic_ns()
            self._session.outbox.report(self._undecodable)
            self._undecodable = None
            self._do(self._session.outbox.take())

    def _begin_overflow(self, kind: Kind, recv_ns: int) -> None:
        self._overflows[kind] = Gap(cause=Cause.OVERFLOW, kind=kind, from_ns=recv_ns, detail="the journal is behind")
        self._session.outbox.report(self._overflows[kind])
        self._session.outbox.tell(Event.RING_OVERFLOW, kind=kind.name.lower())
        self._do(self._session.outbox.take())

    def _end_overflow(self, kind: Kind, records: int, from_ns: int, to_ns: int) -> None:
        gap = self._overflows.pop(kind)
        assert gap.from_ns == from_ns
        self._session.outbox.finish(replace(gap, count=records), to_ns)
        self._session.outbox.tell(Event.RING_OVERFLOWED, kind=kind.name.lower(), lost=records)
        self._do(self._session.outbox.take())

    # ---------------------------------------------------------------- assignment, control socket

    def _read_assignment(self) -> bool:
        """Take the channels of the assignment if it is another one than before; whether there is one."""
        try:
            stat = self._assignment_path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp == self._assignment_stamp:
                return True
            assignment = read_assignment(self._assignment_path)
        except FileNotFoundError:
            return False
        except (OSError, VenueFault) as error:
            self._context.events.emit(Event.ASSIGNMENT_UNREADABLE, error=error)
            return False
        if assignment is None:
            return False
        self._assignment_stamp = stamp
        asked = assignment.channels_of(self._context.name)
        if asked != self._session.channels.asked:
            self._context.events.emit(Event.ASSIGNMENT_CHANGED, version=assignment.version, channels=len(asked))
            self._do(self._session.assign(asked, now()))
        self._do(self._session.announced(frozenset(assignment.paused_ns), assignment.maintenance_ns, now()))
        return True

    async def _control(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        match request:
            case {"op": "assign"}:
                if not self._read_assignment():
                    raise VenueFault(f"no assignment can be read from {self._assignment_path}")
                return {"channels": len(self._session.channels.asked)}
            case {
                "op": "disagreement",
                "instrument": str(instrument),
                "since_ns": int(since_ns),
                "seen_ns": int(seen_ns),
                "detail": str(detail),
            }:
                self._do(self._session.disagreed(instrument, now(), since_ns=since_ns, seen_ns=seen_ns, detail=detail))
                return {}
            case {"op": "status"}:  # for who looks at one feed closely; `tickbay status` reads what it reports
                return {
                    "state": self._session.state.name.lower(),
                    "conn": self._producer.conn,
                    "channels_asked": len(self._session.channels.asked),
                    "channels_live": self._session.channels.live(),
                    "login": self._session.login.standing.name.lower(),
                    "channels_held": len(self._session.channels.subscriptions),
                    "troubled": self._session.channels.troubled(),
                }
        raise ConfigError("a feed knows the operations assign, disagreement and status")

    # ---------------------------------------------------------------- figures

    def _figures(self) -> dict[str, int]:
        """The counters of struct status."""
        counters = self._listener.counters()
        return {
            "frames": counters["frames"],
            "bytes": counters["bytes"],
            **{name: counters[name] for name in COUNTERS.values()},
            "undecodable": counters["undecodable"],
            "overflows": counters["overflows"],
            "gaps": self._session.outbox.gaps.total,
            "reconnects": self._session.reconnects,
        }

    def _write_status(self) -> None:
        """A heartbeat: every STATUS_S, and with each change of the state, so that no time live is unproven."""
        self._told_state = self._session.state
        channels = {
            "channels_asked": len(self._session.channels.asked),
            "channels_live": self._session.channels.live(),
        }
        offset = self._session.clock.offset(time.monotonic_ns())
        clock = {}
        if offset is not None:  # 0 says that it is not known
            clock = {"clock_offset_ns": offset.offset_ns or 1, "clock_error_ns": offset.error_ns}
        self._producer.write_status(time.time_ns(), self._session.state, self._figures() | channels | clock)

    def _publish_health(self) -> None:
        session, channels, counters = self._session, self._session.channels, self._listener.counters()
        troubled = channels.troubled()
        pending = self._producer.flush()
        if pending:
            self._context.events.emit(Event.GAPS_PENDING, pending=pending)
        health = self._health
        health.counters = self._figures() | {
            "lost_records": counters["lost_records"],
            "unknown": counters["unknown"],
            "repeats": counters["repeats"],
            "unwatched": counters["unwatched"],
            "refusals": channels.refusals,
            "resyncs": channels.resyncs,
            "strays": session.strays,
            "quarantine_unkept": self._quarantine.unkept,
            "lost_gaps": self._producer.lost_gaps,
            "missed_status": self._producer.missed_status,
            **session.outbox.gaps.counters(),
        }
        health.gauges = {
            "channels_asked": len(channels.asked),
            "channels_live": channels.live(),
            "channels_whole": channels.whole(),
            "channels_troubled": len(troubled),
            "gaps_pending": pending,
            "conn": self._producer.conn,
            "silent_s": session.silent_s(now()),
            **{f"ring_fill.{kind.name.lower()}": fill for kind, fill in self._producer.fills().items()},
        }
        if (offset := session.clock.offset(time.monotonic_ns())) is not None:
            health.gauges |= {"clock_offset_ms": offset.offset_ns / 1e6, "clock_error_ms": offset.error_ns / 1e6}
        health.streams = {
            ring.path.stem: {"head": ring.head - 1, "durable": ring.durable, "slots": ring.capacity}
            for ring in self._producer.rings.values()
        }
        if health.state != "stopping":
            health.state, health.detail = self._judge(troubled)
        health.beat()

    def _judge(self, troubled: list[str]) -> tuple[str, str]:
        """Health in a word, and why. A lost connection is mostly back in seconds, so it counts as degraded at first."""
        state = self._session.state
        if not self._session.channels.asked:
            return "waiting", "for an assignment from the universe"
        if state is FeedState.LIVE:
            self._live_ns = time.monotonic_ns()
            if self._overflows:
                return "degraded", "the journal does not keep up: records are lost"
            if troubled:
                return "degraded", f"{len(troubled)} channels have an open gap, the first is {troubled[0]}"
            if self._session.login.standing in (Standing.OUT, Standing.DENIED):
                denied = self._session.login.standing is Standing.DENIED
                why = "the venue refuses the API key" if denied else "no login yet"
                return "degraded", f"{why} ({self._session.login.reason}): recording 100ms in place of raw"
            return (
                "live",
                "100ms in place of raw: that needs an API key" if self._session.channels.without_login else "",
            )
        if self._live_ns is None:
            return "starting", state.name.lower()
        lost_s = (time.monotonic_ns() - self._live_ns) / 1e9
        brief = lost_s < self._context.config.venue.silent_s
        return ("degraded" if brief else "waiting"), f"no connection for {lost_s:.0f} s: {state.name.lower()}"


def _open_quarantine(context: ProcessContext) -> Quarantine:
    path = context.config.data_dir / "quarantine" / f"{context.name}.frames"
    bytes_max = max(QUARANTINE_BYTES_MAX, 4 * context.config.venue.frame_bytes_max)
    try:
        return Quarantine(path, bytes_max=bytes_max)
    except OSError as error:
        raise ConfigError(f"data_dir: {path} cannot be opened: {error.strerror}") from error


def _raise_failure(task: asyncio.Task[None]) -> None:
    """Into the loop's exception handler, at once and not when the task is forgotten."""
    if not task.cancelled():
        task.result()
