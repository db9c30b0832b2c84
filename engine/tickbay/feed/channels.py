"""The channels of one connection: asking for them, comparing answers with questions, and watching that their data
comes. Pure.

In: what is wanted, answers, breaks, the time, and what was heard. Out, into the outbox: requests, gap records, log
events. The session (session.py) owns the connection; each channel's own life is subscription.py.

FEED-1: every loss of a channel is counted and becomes a gap (gap.py says how one is written).
FEED-2: what was asked of the venue is compared with what it acknowledged; the difference is retried, then reported.
FEED-3: requests never cost more than the venue's credits (credits.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tickbay import config
from tickbay.errors import VenueFault
from tickbay.events import Event
from tickbay.feed.action import NS_PER_S, Heard, Moment, Outbox
from tickbay.feed.backoff import Backoff
from tickbay.feed.credits import Credits
from tickbay.feed.request import Ask, Request, Requests
from tickbay.feed.roster import Roster
from tickbay.feed.subscription import Place, Subscription, Turn
from tickbay.gap import Cause, Gap
from tickbay.record import Kind
from tickbay.venues.venue import Cadence, Venue

REQUESTS_MAX = 4  # unanswered at a time: enough to hide the round trip, few enough to gather what breaks together
REFUSALS_MAX = 3  # then the refusal is a gap, and we go on asking slowly
LOOK_NS = NS_PER_S  # how often live channels are looked at; an idle option's ticker speaks each second
FEW = 4  # silent tickers that are a fault of their own in any case
WELL_NS = 60 * NS_PER_S  # a channel that was well for so long has no history of trouble


class Channels:
    def __init__(
        self,
        venue: Venue,
        limits: config.Venue,
        *,
        heard: Heard,
        requests: Requests,
        credits: Credits,
        backoff: Backoff,
        outbox: Outbox,
    ) -> None:
        self._roster = Roster()
        self.subscriptions = self._roster.subscriptions
        self.unknown: set[str] = set()  # asked of us, but none of the venue's
        self.asked: dict[str, int] = {}  # name → when its instrument expires (our clock, 0: never)
        self.refusals = 0
        self.resyncs = 0
        self.paused: frozenset[str] = frozenset()  # those whose silence the venue announced: locked, in settlement
        self.without_login = False  # the venue said that unthrottled channels are not for us
        self.feed_hole_ns = 0  # since when the whole feed has a hole; 0: it has none. Set by the session
        self._venue = venue
        self._limits = limits
        self._heard = heard
        self._requests = requests
        self._credits = credits
        self._backoff = backoff
        self._outbox = outbox
        self._looked_ns = 0
        self._ticker_patience_ns = int(limits.stale_s * NS_PER_S)

    # ---------------------------------------------------------------- figures

    def live(self) -> int:
        restless = sum(s.place is Place.LIVE and s.wanted for s in self._roster.restless())
        return self._roster.calm() + restless

    def whole(self) -> int:
        """Those that come, without a hole of their own right now."""
        restless = self._roster.restless()
        return self._roster.calm() + sum(s.place is Place.LIVE and s.wanted and s.hole is None for s in restless)

    def troubled(self) -> list[str]:
        """Those that have a hole of their own now, and those that the venue does not have."""
        return sorted([*(s.channel.name for s in self._roster.restless() if s.hole is not None), *self.unknown])

    def settled(self, at: Moment) -> bool:
        """Is every one live, or known to be refused, paused or expired?"""
        return all(
            s.place in (Place.LIVE, Place.REFUSED)
            or s.ended(at.wall_ns)
            or (s.hole is not None and s.channel.name in self.paused)
            for s in self.subscriptions.values()
        )

    def expected(self, at: Moment) -> list[Subscription]:
        """Those whose data should come."""
        return [s for s in self.subscriptions.values() if s.wanted and not s.ended(at.wall_ns)]

    # ---------------------------------------------------------------- what is wanted

    def assign(self, asked: Mapping[str, int], at: Moment) -> None:
        self.asked = dict(asked)
        rename = self._venue.without_login if self.without_login else str
        wanted = {rename(name): expires_ns for name, expires_ns in asked.items()}
        self.unknown &= wanted.keys()
        for name, expires_ns in wanted.items():
            self._want(name, expires_ns, at)
        for name in self.subscriptions.keys() - wanted.keys():
            self._drop(self.subscriptions[name], at)

    def pause(self, paused: frozenset[str], at: Moment) -> None:
        """The venue has announced that these will be silent. What is to speak again gets the time to."""
        for name in (self.paused - paused) & self.subscriptions.keys():
            self.subscriptions[name].heard_mono_ns = at.mono_ns
        self.paused = paused

    def _want(self, name: str, expires_ns: int, at: Moment) -> None:
        subscription = self.subscriptions.get(name)
        if subscription is not None:
            if not subscription.wanted:  # on its way out: what it misses until it is back is our doing
                subscription.lack(Cause.REBALANCE, "given back and taken again", at.wall_ns)
            subscription.wanted = True
            subscription.expires_ns = expires_ns
            return
        try:
            channel = self._venue.channel(name)
        except VenueFault as fault:
            if name not in self.unknown:
                self._outbox.tell(Event.CHANNEL_UNKNOWN, reason=str(fault))
            self.unknown.add(name)
            return
        self._roster.add(channel, expires_ns, at)

    def _drop(self, subscription: Subscription, at: Moment) -> None:
        """Nobody wants it: nothing of it is missing any more."""
        subscription.wanted = False
        self._close_hole(subscription, at.wall_ns)
        if subscription.turn(Turn.UNWANTED, at.mono_ns):
            subscription.due_ns = at.mono_ns
        elif subscription.place in (Place.QUEUED, Place.REFUSED):
            self._roster.remove(subscription)

    def lose(self, at: Moment) -> None:
        """The connection is gone, and every subscription with it."""
        for subscription in list(self.subscriptions.values()):
            subscription.turn(Turn.LOST, at.mono_ns)
            subscription.due_ns = at.mono_ns
            if not subscription.wanted:
                self._roster.remove(subscription)

    # ---------------------------------------------------------------- asking

    def pump(self, at: Moment) -> None:
        """Ask what may be asked now: bounded by credits, by requests under way, and each request by count and bytes."""
        for place, ask in ((Place.QUEUED, Ask.SUBSCRIBE), (Place.LEAVING, Ask.UNSUBSCRIBE)):
            ready = [s for s in self._roster.restless() if s.place is place and at.mono_ns >= s.due_ns]
            while ready and self._requests.under_way() < REQUESTS_MAX and self._credits.take(at.mono_ns):  # FEED-3
                batch = self._batch(ready)
                ready = ready[len(batch) :]
                self._send(ask, batch, at)

    def _batch(self, ready: list[Subscription]) -> list[Subscription]:
        """The first ones, as many as one request may hold; at least one."""
        batch: list[Subscription] = []
        count_max = self._limits.channels_per_call
        envelope = size = self._venue.request_bytes(())
        for subscription in ready:
            count_max = min(count_max, subscription.batch_max)
            size += self._venue.request_bytes((subscription.channel.name,)) - envelope
            if batch and (len(batch) >= count_max or size > self._limits.request_bytes_max):
                break
            batch.append(subscription)
        return batch

    def _send(self, ask: Ask, batch: list[Subscription], at: Moment) -> None:
        names = [subscription.channel.name for subscription in batch]
        for subscription in batch:
            subscription.turn(Turn.SENT, at.mono_ns)
            if ask is Ask.SUBSCRIBE:  # its data may come before the answer
                channel = subscription.channel
                subscription.before_ns = self._heard.of(channel.kind, channel.heard_as)
        build = self._venue.ask_subscribe if ask is Ask.SUBSCRIBE else self._venue.ask_unsubscribe
        self._requests.send(ask, lambda id: build(id, names), at, tuple(batch))

    # ---------------------------------------------------------------- answers

    def answered(self, request: Request, accepted: frozenset[str], otherwise: str, at: Moment) -> None:
        """FEED-2: what was asked against what was acknowledged; `otherwise` says why a channel is not in `accepted`."""
        for subscription in request.subscriptions:
            if request.ask is Ask.UNSUBSCRIBE:
                subscription.turn(Turn.ACCEPTED, at.mono_ns)
            elif subscription.channel.name in accepted:
                subscription.turn(Turn.ACCEPTED, at.mono_ns)
                if subscription.channel.cadence is Cadence.EVENTS:  # may be silent for hours
                    self._make_live(subscription, at.wall_ns, at)
            else:
                self._refuse(subscription, otherwise, request.sent, at)
            if not subscription.wanted:
                self._drop(subscription, at)

    def refused(self, request: Request, detail: str, at: Moment) -> None:
        """The venue answered with an error, which for many channels does not say which one: halve until it does."""
        if request.ask is Ask.SUBSCRIBE and len(request.subscriptions) > 1:
            for subscription in request.subscriptions:
                subscription.batch_max = len(request.subscriptions) // 2
            self.ask_again(request.subscriptions, at)
        else:
            self.answered(request, frozenset(), detail, at)

    def ask_again(self, subscriptions: Iterable[Subscription], at: Moment, *, wait_ns: int = 0) -> None:
        """Without blaming them."""
        for subscription in subscriptions:
            subscription.turn(Turn.MISSED, at.mono_ns)
            subscription.turn(Turn.DUE, at.mono_ns)
            subscription.due_ns = at.mono_ns + wait_ns
            if not subscription.wanted:
                self._drop(subscription, at)

    def _refuse(self, subscription: Subscription, detail: str, sent: Moment, at: Moment) -> None:
        subscription.turn(Turn.MISSED, at.mono_ns)
        self.refusals += 1
        final = subscription.refusals + 1 >= REFUSALS_MAX
        wait_ns = self._backoff.longest_ns() if final else self._backoff.wait_ns(subscription.refusals)
        subscription.due_ns = at.mono_ns + wait_ns
        subscription.refusals += 1
        subscription.detail = detail
        if subscription.ended(at.wall_ns) or not subscription.wanted:
            return
        if subscription.channel.name in self.paused:
            subscription.due_ns = at.mono_ns + self._backoff.longest_ns()
            self._open_announced_hole(subscription, at)
            return
        if not self.feed_hole_ns and not subscription.missing_ns:
            subscription.lack(Cause.REFUSED, detail, sent.wall_ns)
        if final:
            name = subscription.channel.name
            self._open_hole(subscription, Cause.REFUSED, self._missing_since_ns(subscription, at), detail)
            self._outbox.tell(Event.CHANNEL_REFUSED, channel=name, reason=detail, refusals=subscription.refusals)

    # ---------------------------------------------------------------- watching

    def heard_as(self) -> set[str]:
        """The names under which the listener hears what is ours."""
        return {subscription.channel.heard_as for subscription in self.subscriptions.values()}

    def watch(self, at: Moment, excused_ns: int) -> None:
        """Look who is heard. Silence before `excused_ns` does not count: it was we who stood still."""
        look = at.mono_ns - self._looked_ns >= LOOK_NS
        if look:
            self._looked_ns = at.mono_ns
            self._ticker_patience_ns = self._patience_with_tickers(at, excused_ns)
            self._roster.listen(self._heard, at)
        for subscription in self._silent(at, excused_ns) if look else self._roster.restless():
            if subscription.place is Place.REFUSED and at.mono_ns >= subscription.due_ns:
                subscription.turn(Turn.DUE, at.mono_ns)
            elif subscription.place is Place.AWAITED or (look and subscription.place is Place.LIVE):
                self._listen(subscription, at)
                self._judge(subscription, at, excused_ns)

    def _silent(self, at: Moment, excused_ns: int) -> list[Subscription]:
        """All but those of which there is nothing to judge."""
        patience_ns = int(self._limits.stale_s * NS_PER_S)
        return self._roster.to_be_judged(
            tickers_before_ns=_before(at, min(patience_ns, self._ticker_patience_ns), excused_ns),
            before_ns=_before(at, patience_ns, excused_ns),
        )

    def _patience_with_tickers(self, at: Moment, excused_ns: int) -> int:
        """One ticker that is silent while the others speak has a fault of its own, and soon. Where many are, it is the
        venue or the line: to resubscribe all of them would not help, so they have the time of any channel."""
        soon_ns = int(self._limits.ticker_stale_s * NS_PER_S)
        silent, live = self._roster.silent_tickers(_before(at, soon_ns, excused_ns))
        many = max(FEW, live // 4)
        return soon_ns if silent <= many else int(self._limits.stale_s * NS_PER_S)

    def _listen(self, subscription: Subscription, at: Moment) -> None:
        """Whether its data comes is told by what changed since the last look, never by comparing clocks."""
        heard_ns = self._heard.of(subscription.channel.kind, subscription.channel.heard_as)
        if heard_ns and heard_ns != subscription.heard_ns:
            subscription.heard_ns = heard_ns
            subscription.heard_mono_ns = at.mono_ns
            if subscription.place is Place.LIVE:  # it was paused, and speaks again
                self._close_hole(subscription, heard_ns)
        if subscription.place is Place.AWAITED and heard_ns not in (0, subscription.before_ns):
            self._make_live(subscription, heard_ns, at)

    def _judge(self, subscription: Subscription, at: Moment, excused_ns: int) -> None:
        if subscription.heard_mono_ns == at.mono_ns and not subscription.troubles:
            return  # it has just spoken
        if subscription.place is Place.LIVE and at.mono_ns - subscription.since_ns >= WELL_NS:
            subscription.forgive()
        # A ticker speaks each second, and a book that was asked for has a snapshot. Later a book may be silent.
        must_speak = subscription.channel.cadence is Cadence.STEADY or subscription.place is Place.AWAITED
        quiet_ns = at.mono_ns - max(subscription.heard_mono_ns, subscription.since_ns, excused_ns)
        patience_ns = int(self._limits.stale_s * NS_PER_S)
        if subscription.place is Place.LIVE and subscription.channel.kind is Kind.QUOTE:
            patience_ns = min(patience_ns, self._ticker_patience_ns)
        if must_speak and quiet_ns >= patience_ns and not subscription.ended(at.wall_ns):
            if subscription.channel.name in self.paused:  # asking again would not help
                self._open_announced_hole(subscription, at)
                return
            since_ns = self._missing_since_ns(subscription, at)
            self._open_hole(subscription, Cause.STALE, since_ns, subscription.channel.name)
            self._resubscribe(subscription, Turn.UNHEARD, at)

    def broken(self, instrument: str, at: Moment, *, since_ns: int, expected: int, got: int) -> None:
        """A change of this book did not follow that of `since_ns`: change ids from `expected` to `got` are missing."""
        subscription = self._of(Kind.BOOK, instrument)
        if subscription is not None and subscription.wanted:
            name = subscription.channel.name
            self._open_hole(subscription, Cause.SEQUENCE, since_ns, name, first_missing=expected, last_missing=got)
            self._resubscribe(subscription, Turn.BROKEN, at)

    def leapt(self, instrument: str, *, since_ns: int, recv_ns: int, expected: int, got: int) -> None:
        """A snapshot of this book, with the id `got`, came at `recv_ns`, where changes behind `expected` were due.
        FEED-1: unless we asked for it, and have told why, those are missing; nothing is from here on."""
        subscription = self._of(Kind.BOOK, instrument)
        if subscription is None or not subscription.wanted or subscription.place is not Place.LIVE:
            return
        if subscription.hole is None and recv_ns > subscription.whole_ns:  # else it is what made the channel live
            gap = Gap(
                cause=Cause.SEQUENCE,
                from_ns=since_ns,
                to_ns=recv_ns,
                kind=Kind.BOOK,
                instrument=instrument,
                first_missing=expected,
                last_missing=got,
                detail="a snapshot that nobody asked for",
            )
            self._outbox.report(gap)

    def disagreed(self, instrument: str, at: Moment, *, since_ns: int, seen_ns: int, detail: str) -> None:
        """The best prices of this book, as they were at `seen_ns`, are not the ticker's, and were last at `since_ns`: a
        change was lost without breaking the chain (CHECK-1)."""
        subscription = self._of(Kind.BOOK, instrument)
        if subscription is None or not subscription.wanted or subscription.place is not Place.LIVE:
            return
        if seen_ns > subscription.whole_ns:  # else it has begun anew since
            self._open_hole(subscription, Cause.DISAGREEMENT, since_ns, detail)
            self._resubscribe(subscription, Turn.BROKEN, at)

    def _resubscribe(self, subscription: Subscription, turn: Turn, at: Moment) -> None:
        """Give it back and take it again: only that brings a new snapshot. At once, but not at once again and again."""
        if subscription.turn(turn, at.mono_ns):
            wait_ns = self._backoff.wait_ns(subscription.troubles - 1) if subscription.troubles else 0
            subscription.due_ns = at.mono_ns + wait_ns
            subscription.troubles += 1
            self.resyncs += 1
            event = Event.BOOK_BROKEN if turn is Turn.BROKEN else Event.CHANNEL_SILENT
            self._outbox.tell(event, channel=subscription.channel.name, wait_s=round(wait_ns / NS_PER_S, 3))

    def _of(self, kind: Kind, instrument: str) -> Subscription | None:
        for subscription in self.subscriptions.values():
            if subscription.channel.instrument == instrument and subscription.channel.kind is kind:
                return subscription
        return None

    def _make_live(self, subscription: Subscription, whole_ns: int, at: Moment) -> None:
        subscription.turn(Turn.HEARD, at.mono_ns)
        subscription.heard_ns = subscription.whole_ns = whole_ns
        subscription.heard_mono_ns = at.mono_ns
        subscription.refusals = 0
        subscription.batch_max = self._limits.channels_per_call
        self._close_hole(subscription, whole_ns)

    # ---------------------------------------------------------------- holes

    def _missing_since_ns(self, subscription: Subscription, at: Moment) -> int:
        """GAP-1: the last time at which nothing of it was missing."""
        if subscription.missing_ns:
            return subscription.missing_ns
        if subscription.place is Place.LIVE:
            return subscription.heard_ns
        return self.feed_hole_ns or at.wall_ns - (at.mono_ns - subscription.since_ns)

    def _open_announced_hole(self, subscription: Subscription, at: Moment) -> None:
        since_ns = self._missing_since_ns(subscription, at)
        self._open_hole(subscription, Cause.MAINTENANCE, since_ns, subscription.channel.name, expected=True)

    def _open_hole(
        self,
        subscription: Subscription,
        cause: Cause,
        from_ns: int,
        detail: str,
        *,
        first_missing: int = 0,
        last_missing: int = 0,
        expected: bool = False,
    ) -> None:
        if subscription.hole is not None:
            return  # one hole at a time: it lasts until the channel is whole, whatever comes on top
        hole = Gap(
            cause=cause,
            from_ns=from_ns,
            kind=subscription.channel.kind,
            instrument=subscription.channel.instrument,
            first_missing=first_missing,
            last_missing=last_missing,
            expected=expected,
            detail=detail,
        )
        subscription.tear(hole)
        self._outbox.report(hole)

    def _close_hole(self, subscription: Subscription, to_ns: int) -> None:
        if subscription.hole is None and subscription.missing_ns:  # it was too short to be reported before
            self._open_hole(subscription, subscription.missing, subscription.missing_ns, subscription.detail)
        if subscription.hole is not None:
            self._outbox.finish(subscription.hole, to_ns)
        subscription.mend()


def _before(at: Moment, patience_ns: int, excused_ns: int) -> int:
    """Mono: what was last new then or before has been silent for longer than that; -1: nothing has."""
    before_ns = at.mono_ns - patience_ns
    return before_ns if before_ns >= excused_ns else -1
