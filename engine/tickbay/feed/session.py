"""The life of one connection to a venue, over and over (its table is life.py). Pure: time, chance and what
was heard arrive as arguments; what is to be done comes back as actions (action.py). feed.py does them.

In: what happened (connected, lost, a reply, a break, a tick of the clock, another assignment). Out: requests to send,
gaps to record, events to log, and when to connect and to close. The channels of the connection are channels.py.

FEED-1: every loss is counted and becomes a gap (gap.py says how one is written).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tickbay import config
from tickbay.errors import VenueFault
from tickbay.events import Event as LogEvent
from tickbay.feed.action import NS_PER_S, Action, Close, Connect, Heard, Moment, Outbox
from tickbay.feed.backoff import Backoff
from tickbay.feed.channels import Channels
from tickbay.feed.clock import VenueClock
from tickbay.feed.credits import Credits
from tickbay.feed.life import TABLE, Event, Step
from tickbay.feed.login import Login
from tickbay.feed.request import Ask, Request, Requests
from tickbay.feed.subscription import Place
from tickbay.gap import Cause, Gap
from tickbay.record import FeedState, Kind
from tickbay.venues.venue import Refusal, Reply, Trouble, Venue

STALL_NS = NS_PER_S  # a tick this late: it was we who stood still, and what came meanwhile is not read yet
CUT_NS = 10 * NS_PER_S  # a connection that was cut so little before we heard of maintenance was cut for it
FORGIVE = 4  # a connection that was live so many times longer than the wait before it was a good one


@dataclass(frozen=True, slots=True)
class Why:
    """The reason of an event: what its gap will say."""

    cause: Cause
    detail: str
    expected: bool = False  # the venue announced it
    slow: bool = False  # it will not help to come back soon


_OF_ITSELF = Why(Cause.DISCONNECT, "")


class Session:
    """One feed's connection, over and over. Each method that says what happened returns what to do, in order."""

    def __init__(
        self,
        venue: Venue,
        limits: config.Venue,
        *,
        feeds: int,
        heard: Heard,
        random: Callable[[], float],
        at: Moment,
        known_ns: int = 0,
        orphans: Sequence[Gap] = (),
    ) -> None:
        """`feeds` connections share the venue's credits. Of an earlier life of this feed: `known_ns` (our clock) is
        when it captured last, 0 if there was none; `orphans` are the holes that it died within."""
        self.state = FeedState.WAITING
        self.outbox = Outbox()
        self.reconnects = 0
        self.strays = 0  # answers to no request
        self.clock = VenueClock(self.outbox, off_ns=int(limits.clock_off_ms * 1e6))
        self._venue = venue
        self._limits = limits
        self._heard = heard
        self._backoff = Backoff(min_s=limits.backoff_min_s, max_s=limits.backoff_max_s, random=random)
        self._credits = Credits(
            pool=limits.subscribe_credits // feeds,
            cost=limits.subscribe_cost,
            refill_per_s=limits.subscribe_refill_per_s // feeds,
            mono_ns=at.mono_ns,
        )
        self._requests = Requests(self.outbox)
        self.channels = Channels(
            venue,
            limits,
            heard=heard,
            requests=self._requests,
            credits=self._credits,
            backoff=self._backoff,
            outbox=self.outbox,
        )
        self.login = Login(venue, limits, requests=self._requests, backoff=self._backoff, outbox=self.outbox)
        self._due_ns = at.mono_ns  # when to connect
        self._quiet_ns = at.mono_ns  # nothing is asked of the venue before
        self._tick_ns = self._excused_ns = at.mono_ns
        self._frames = 0
        self._frames_ns = at.mono_ns  # when their number last grew
        self._connected_ns = self._live_ns = 0  # 0: never, not
        self._maintenance_ns = 0  # our clock: announced then, and not over yet; 0: none
        self._told_maintenance_ns = 0  # as it was said last
        self._greet_ns = 0  # mono: ask for heartbeats then, again; 0: no need
        self._losses = 0  # in a row
        self._waited_ns = 0
        known_ns = known_ns or min((gap.from_ns for gap in orphans), default=0)
        self._known_ns = known_ns or at.wall_ns  # our clock: nothing was missing then
        self._orphans = list(orphans)
        self._hole: Gap | None = None  # of the whole feed
        if known_ns:
            self._open_hole(Why(Cause.RESTART, "the feed process was not running"))

    # ---------------------------------------------------------------- what happens

    def assign(self, asked: Mapping[str, int], at: Moment) -> list[Action]:
        """The channels wanted from now on, each with when its instrument expires (our clock, 0: never)."""
        self.channels.assign(asked, at)
        return self._done(at)

    def announced(self, paused: frozenset[str], maintenance_ns: int, at: Moment) -> list[Action]:
        """What the venue has announced: channels that will be silent, and since when (our clock) it is under
        maintenance, 0: it is not."""
        self.channels.pause(paused, at)
        if maintenance_ns != self._told_maintenance_ns:
            self._told_maintenance_ns = self._maintenance_ns = maintenance_ns
            if maintenance_ns:
                self._explain_hole(at)
            elif self.state is FeedState.WAITING:
                self._perform(Step.HURRY, at, _OF_ITSELF)
        return self._done(at)

    def connected(self, at: Moment) -> list[Action]:
        self._happen(Event.CONNECTED, at, _OF_ITSELF)
        return self._done(at)

    def lost(self, detail: str, at: Moment, *, slow: bool = False) -> list[Action]:
        """The connection could not be made, or ended. `slow`: the venue says that we come too often."""
        why = Why(Cause.DISCONNECT, detail, slow=slow)
        if self._maintenance_ns:
            why = Why(Cause.MAINTENANCE, detail, expected=True, slow=True)
        self._happen(Event.LOST, at, why)
        return self._done(at)

    def stop(self, at: Moment) -> list[Action]:
        self._happen(Event.STOP, at, Why(Cause.DISCONNECT, "stopping"))
        return self._done(at)

    def test_requested(self, at: Moment) -> list[Action]:
        """The venue wants to know whether we live."""
        if self._is_connected():
            self._requests.send(Ask.TEST, self._venue.ask_test, at)
        return self._done(at)

    def replied(self, payload: bytes, at: Moment) -> list[Action]:
        try:
            reply = self._venue.read_reply(payload)
        except VenueFault as fault:
            self._stray(str(fault))
            return self._done(at)
        request = self._requests.take(reply.id)
        if request is None:
            self._stray(f"{reply.refusal.code} {reply.refusal.reason}" if reply.refusal else f"id {reply.id}")
            return self._done(at)
        self.clock.answered(request.sent, at, reply.came_ns, reply.went_ns)
        if request.ask is Ask.LOGIN and reply.refusal is None:
            self._logged_in(reply, at)
        elif reply.refusal is None:
            self.channels.answered(request, reply.accepted, "not acknowledged", at)
        else:
            self._refused(request, reply.refusal, at)
        return self._done(at)

    def broken(
        self, kind: Kind, instrument: str, at: Moment, *, since_ns: int, recv_ns: int, expected: int, got: int
    ) -> list[Action]:
        """A message did not follow that of `since_ns` (0: not known): something from `expected` to `got` is missing."""
        since_ns = since_ns or self._known_ns
        if kind is Kind.BOOK:
            self.channels.broken(instrument, at, since_ns=since_ns, expected=expected, got=got)
        else:  # nothing to resubscribe: a trade is sent once
            gap = Gap(
                cause=Cause.SEQUENCE,
                kind=kind,
                instrument=instrument,
                from_ns=since_ns,
                to_ns=recv_ns,
                first_missing=expected,
                last_missing=got - 1,
                count=got - expected,
            )
            self.outbox.report(gap)
        return self._done(at)

    def leapt(
        self, instrument: str, at: Moment, *, since_ns: int, recv_ns: int, expected: int, got: int
    ) -> list[Action]:
        """A whole book came where a change that follows that of `since_ns` was due."""
        self.channels.leapt(instrument, since_ns=since_ns, recv_ns=recv_ns, expected=expected, got=got)
        return self._done(at)

    def disagreed(self, instrument: str, at: Moment, *, since_ns: int, seen_ns: int, detail: str) -> list[Action]:
        """Its book is not what its ticker says (checker/)."""
        self.channels.disagreed(instrument, at, since_ns=since_ns, seen_ns=seen_ns, detail=detail)
        return self._done(at)

    def clock_stepped(self, step_ns: int, at: Moment) -> list[Action]:
        """This machine's clock was set, by so much forward."""
        self.clock.stepped(step_ns)
        return self._done(at)

    def tick(self, at: Moment) -> list[Action]:
        """To be called some ten times a second."""
        if at.mono_ns - self._tick_ns >= STALL_NS:
            self._excused_ns = at.mono_ns
        self._tick_ns = at.mono_ns
        if self.state is FeedState.WAITING and at.mono_ns >= self._due_ns and self.channels.subscriptions:
            self._happen(Event.DUE, at, _OF_ITSELF)
        if self._is_connected() and 0 < self._greet_ns <= at.mono_ns:
            self._ask_heartbeat(at)
        if self._is_connected():
            self._watch_silence(at)
        if self._is_connected():
            self._watch_requests(at)
        if self._is_connected():
            self.login.watch(at)
            self.channels.watch(at, self._excused_ns)
        return self._done(at)

    # ---------------------------------------------------------------- the table at work

    def _happen(self, event: Event, at: Moment, why: Why) -> None:
        self.state, steps = TABLE[self.state, event]
        for step in steps:
            self._perform(step, at, why)

    def _perform(self, step: Step, at: Moment, why: Why) -> None:
        match step:
            case Step.CONNECT:
                self.outbox.put(Connect())
            case Step.GREET:
                self._greet(at)
            case Step.CLOSE:
                self.outbox.put(Close(why.detail))
            case Step.OPEN_HOLE:
                self._lose(why, at)
            case Step.FORGET:
                self._requests.clear()
                self.login.forget()
                self.channels.lose(at)
            case Step.WAIT:
                self._wait(why, at)
            case Step.HURRY:
                self._due_ns = max(at.mono_ns, self._quiet_ns)
                self._live_ns = 0
            case Step.REJOICE:
                self._rejoice(at)

    def _greet(self, at: Moment) -> None:
        if self._connected_ns:
            self.reconnects += 1
        self._connected_ns = self._frames_ns = at.mono_ns
        self._frames = self._heard.frames()
        self.login.begin(at)  # before everything else: a venue that is closed to strangers answers nothing without it
        if self.login.possible and self.channels.without_login:
            self.channels.without_login = False
            self.channels.assign(self.channels.asked, at)
        self._ask_heartbeat(at)

    def _ask_heartbeat(self, at: Moment) -> None:
        self._greet_ns = 0
        self._requests.send(Ask.HEARTBEAT, lambda id: self._venue.ask_heartbeat(id, self._limits.heartbeat_s), at)

    def _rejoice(self, at: Moment) -> None:
        self._live_ns = at.mono_ns
        self._maintenance_ns = 0
        took_s = round((at.mono_ns - self._connected_ns) / NS_PER_S, 3)
        self.outbox.tell(
            LogEvent.SESSION_LIVE, channels=len(self.channels.asked), live=self.channels.live(), took_s=took_s
        )

    def _wait(self, why: Why, at: Moment) -> None:
        if self._live_ns and at.mono_ns - self._live_ns >= FORGIVE * self._waited_ns:
            self._losses = 0
        self._live_ns = 0
        self._waited_ns = self._backoff.longest_ns() if why.slow else self._backoff.wait_ns(self._losses)
        self._losses += 1
        self._due_ns = max(at.mono_ns + self._waited_ns, self._quiet_ns)
        wait_s = round((self._due_ns - at.mono_ns) / NS_PER_S, 3)
        self.outbox.tell(LogEvent.SESSION_LOST, reason=why.detail, losses=self._losses, wait_s=wait_s)

    def _is_connected(self) -> bool:
        return self.state in (FeedState.SUBSCRIBING, FeedState.LIVE)

    # ---------------------------------------------------------------- watching, answers

    def silent_s(self, at: Moment) -> float:
        """Seconds since a message came, or since the connection was made."""
        return (at.mono_ns - self._frames_ns) / NS_PER_S

    def _watch_silence(self, at: Moment) -> None:
        frames = self._heard.frames()
        if frames != self._frames:
            self._frames = frames
            self._frames_ns = at.mono_ns
        silent_ns = at.mono_ns - max(self._frames_ns, self._excused_ns)
        if silent_ns >= self._limits.silent_s * NS_PER_S:
            self._happen(Event.FAULT, at, Why(Cause.STALE, f"nothing received for {silent_ns / NS_PER_S:.1f} s"))

    def _watch_requests(self, at: Moment) -> None:
        for request in self._requests.take_overdue(at.mono_ns, self._excused_ns):
            if request.ask is Ask.HEARTBEAT:
                self._happen(Event.FAULT, at, Why(Cause.DISCONNECT, "no answer to set_heartbeat"))
                return
            if request.ask is Ask.LOGIN:
                self._login_failed("no answer", at)
            else:
                self.channels.answered(request, frozenset(), "no answer", at)

    def _refused(self, request: Request, refusal: Refusal, at: Moment) -> None:
        """The venue answered with an error."""
        detail = f"{refusal.code} {refusal.reason}"
        match refusal.trouble:
            case Trouble.MAINTENANCE:
                self._happen(Event.FAULT, at, Why(Cause.MAINTENANCE, detail, expected=True, slow=True))
            case Trouble.CLOSED:
                self._happen(Event.FAULT, at, Why(Cause.REFUSED, detail, slow=True))
            case Trouble.HASTE:
                self._credits.drain(at.mono_ns)
                self._quiet_ns = at.mono_ns + self._credits.full_in_ns(at.mono_ns)
                self.outbox.tell(LogEvent.SESSION_HASTY, reason=detail)
                if request.ask is Ask.LOGIN:
                    self._login_failed(detail, at)
                self.channels.answered(request, frozenset(), detail, at)
            case _ if request.ask is Ask.LOGIN:
                self._login_failed(detail, at, denied=refusal.trouble is Trouble.DENIED)
            case Trouble.RAW | Trouble.STRANGER if self.login.forgotten(at):
                self.channels.ask_again(request.subscriptions, at)
            case Trouble.PAUSE:
                wait_ns = self._backoff.wait_ns(0)
                if request.ask is Ask.HEARTBEAT:
                    self._greet_ns = at.mono_ns + wait_ns
                self.channels.ask_again(request.subscriptions, at, wait_ns=wait_ns)
            case Trouble.RAW if not self.channels.without_login:
                self.channels.ask_again(request.subscriptions, at)
                self._go_without(detail, at)
            case _ if request.ask is Ask.HEARTBEAT:
                self._happen(Event.FAULT, at, Why(Cause.DISCONNECT, detail))
            case _:
                self.channels.refused(request, detail, at)

    # ---------------------------------------------------------------- the login

    def _logged_in(self, reply: Reply, at: Moment) -> None:
        if reply.grant is None:
            self._login_failed("an answer without a token", at)
            return
        self.login.granted(reply.grant, at)
        if self.channels.without_login:
            # Both at once would mix two chains of changes for one book, so the throttled ones end first.
            self.outbox.tell(LogEvent.RAW_AGAIN)
            why = Why(Cause.DISCONNECT, "logged in: a new connection for unthrottled channels")
            self._happen(Event.RECONNECT, at, why)

    def _login_failed(self, detail: str, at: Moment, *, denied: bool = False) -> None:
        if denied:
            self.login.denied(detail, at)
        else:
            self.login.failed(detail, at)
        if not self.login.undecided and not self.channels.without_login:
            self._go_without(detail, at)

    def _go_without(self, detail: str, at: Moment) -> None:
        """Throttled channels in place of those that need a login, if any is asked for."""
        if any(self._venue.without_login(name) != name for name in self.channels.asked):
            self.outbox.tell(LogEvent.RAW_REFUSED, reason=detail)
            self.channels.without_login = True
            self.channels.assign(self.channels.asked, at)

    def _stray(self, reason: str) -> None:
        self.strays += 1
        self.outbox.tell(LogEvent.REPLY_STRANGE, reason=reason)

    # ---------------------------------------------------------------- the hole of the whole feed

    def _lose(self, why: Why, at: Moment) -> None:
        """FEED-1: from the last message on, everything is missing."""
        self._known_ns = max(self._known_ns, self._heard.last_ns())
        if self._hole is not None and why.expected and not self._hole.expected:
            self._close_hole(at.wall_ns)  # from here on, the venue itself says why
            self._known_ns = at.wall_ns
        if self._hole is None and self.channels.subscriptions:
            self._open_hole(why)

    def _explain_hole(self, at: Moment) -> None:
        """We hear of maintenance: a connection that was cut just now was cut for it. The hole is written once more from
        its beginning, with the cause that the venue gives; of the other cause nothing is left."""
        hole = self._hole
        if hole is None or hole.cause is not Cause.DISCONNECT or hole.from_ns < self._maintenance_ns - CUT_NS:
            return
        self.outbox.finish(hole, hole.from_ns)
        self._known_ns = hole.from_ns
        self._open_hole(Why(Cause.MAINTENANCE, hole.detail, expected=True))
        if self.state is FeedState.WAITING:
            self._due_ns = max(self._due_ns, at.mono_ns + self._backoff.longest_ns())

    def _open_hole(self, why: Why) -> None:
        self._hole = Gap(cause=why.cause, from_ns=self._known_ns, expected=why.expected, detail=why.detail)
        self.channels.feed_hole_ns = self._known_ns
        self.outbox.report(self._hole)

    def _close_hole(self, to_ns: int) -> None:
        assert self._hole is not None
        for hole in (self._hole, *self._orphans):
            self.outbox.finish(hole, to_ns)
        self._orphans.clear()
        self._hole = None
        self.channels.feed_hole_ns = 0

    def _judge_hole(self, at: Moment) -> None:
        """It ends when every channel is whole, or is refused and so has, or will have, a hole of its own."""
        if self._hole is None:
            return
        missing = [s for s in self.channels.expected(at) if s.place is not Place.LIVE]
        if any(s.hole is None and s.place is not Place.REFUSED for s in missing):
            return
        for subscription in missing:
            if subscription.hole is None and not subscription.missing_ns:
                subscription.lack(Cause.REFUSED, subscription.detail, self._hole.from_ns)
        whole = [s.whole_ns for s in self.channels.expected(at) if s.place is Place.LIVE]
        self._close_hole(max(whole, default=at.wall_ns))

    # ---------------------------------------------------------------- the end of every call

    def _done(self, at: Moment) -> list[Action]:
        if self._is_connected() or not self.channels.subscriptions:
            self._judge_hole(at)
        if self._is_connected() and at.mono_ns >= self._quiet_ns and not self.login.undecided:
            self.channels.pump(at)
        if self.state is FeedState.SUBSCRIBING and not self.login.undecided and self.channels.settled(at):
            self.login.well()
            self._happen(Event.SETTLED, at, _OF_ITSELF)
        return self.outbox.take()
