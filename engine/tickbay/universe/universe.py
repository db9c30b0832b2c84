"""UNIVERSE: which instruments are recorded, and on which feed. One process.

In: the rules, what the venue announces (announcements.py), its REST, `data/universe/`. Out:
`data/universe/assignment.json`, told to the feeds over their control sockets; streams `universe.instrument` (each new
version of an instrument's reference data) and `universe.gap` (what no feed has room for, and which instrument ended
when).

An announcement takes effect within a fraction of a second. Since one can be missed, all that the venue lists is fetched
and compared every refresh_s, and at once when the connection that announces is back. When the venue does not answer,
what it listed last goes on counting (minus what has expired since), and health is degraded.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from tickbay import control, legs
from tickbay.errors import ControlDown, VenueDown, VenueFault
from tickbay.events import Event
from tickbay.feed.backoff import Backoff
from tickbay.gap import Cause, Gap
from tickbay.gap_count import GapCount
from tickbay.process import ProcessContext
from tickbay.record import FeedState, Kind
from tickbay.universe.announcements import Announcements
from tickbay.universe.assignment import Assignment, assignment_path, read_assignment, write_assignment
from tickbay.universe.catalogue import (
    catalogue_path,
    fetch_ended,
    fetch_listing,
    fetch_locked,
    read_catalogue,
    write_catalogue,
)
from tickbay.universe.instrument import ENDED, Instrument
from tickbay.universe.news import carried, missing, told, without_old
from tickbay.universe.outlet import Outlet
from tickbay.universe.placement import Placement, place
from tickbay.universe.rest import Rest
from tickbay.universe.selection import Listing, Selection, Unit, market_of, select
from tickbay.universe.standing import Standing
from tickbay.venues.announcement import Announcement, Phase

BEAT_S = 0.5
TELL_TIMEOUT_S = 2.0
RECORDS_PER_PUT = 256  # half of the smallest ring that can be configured
GATHER_S = 0.05  # what is announced within so little is placed together: at 08:00 UTC a whole expiry is listed
UNHEARD_S = 60.0  # without a connection that announces: worth telling; a reconnect takes less
SPACING_S = 2.0  # between two listings that were fetched out of turn; one costs a second's credits
SAVE_NS = 600 * 10**9  # the catalogue is saved so often even where only open interest changed


class Universe:
    def __init__(self, context: ProcessContext) -> None:
        self._context = context
        self._config = context.config
        self._events = context.events
        self._health = context.health
        self._stopped = asyncio.Event()
        self._catalogue_path = catalogue_path(self._config.data_dir)
        self._catalogue = read_catalogue(self._catalogue_path)
        self._saved_ns = 0
        self._assignment_path = assignment_path(self._config.data_dir)
        self._assignment = self._last_assignment()
        self._selected = {channel.split(".")[1] for feed in self._assignment.feeds.values() for channel in feed}
        self._instruments = Outlet(context, Kind.INSTRUMENT)
        self._gaps = Outlet(context, Kind.GAP)
        self._pending: list[Instrument] = []  # versions to be recorded
        self._put: dict[str, Instrument] = {}  # versions that are in the ring but not yet known to be on disk
        self._pending_gaps: list[Gap] = []
        self._gap_count = GapCount()
        self._untold = self._feeds_of(self._assignment.feeds)  # feeds that may not have heard of the newest assignment
        self._troubles: dict[str, str] = {}  # why health is degraded
        self._standing = Standing()
        self._stir = asyncio.Event()  # something was announced
        self._listing_wanted = False  # something may have been missed
        self._reselect_ns = 0  # our clock: when an instrument that has ended is to go; 0: none
        self._announcements = Announcements(
            context,
            map(market_of, self._config.select),
            take=self._take,
            whole=self._hear_again,
            doubt=self._want_listing,
        )
        self._heard_s = time.monotonic()  # when announcements came last
        health = self._health
        health.counters = {"fetches": 0, "fetch_failures": 0, "records": 0, "announcements": 0}
        health.counters |= self._gap_count.counters()

    def _last_assignment(self) -> Assignment:
        try:
            return read_assignment(self._assignment_path) or Assignment()
        except VenueFault as fault:
            self._events.emit(Event.ASSIGNMENT_LOST, error=fault)
            return Assignment()

    async def run(self) -> None:
        """Until told to stop."""
        loop = asyncio.get_running_loop()
        self._context.stopping.add_callback(lambda: loop.call_soon_threadsafe(self._stopped.set))
        working = {asyncio.create_task(self._work()), asyncio.create_task(self._announcements.run())}
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            while not self._stopped.is_set() and not any(task.done() for task in working):
                self._beat()
                await asyncio.wait({*working, stopped}, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stopped, *working):
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
        for task in working:
            if not task.cancelled():
                task.result()  # raises what ended it

    async def _work(self) -> None:
        while not (self._instruments.attach() and self._gaps.attach()):
            self._health.state, self._health.detail = "waiting", "for the journal to make the rings"
            await asyncio.sleep(BEAT_S / 5)
        backoff = Backoff(min_s=self._config.venue.backoff_min_s, max_s=self._refresh_s(), random=random.random)
        failures = 0
        async with Rest(self._config.venue, timeout_s=self._config.universe.timeout_s) as rest:
            while True:
                fetched = await self._fetch(rest)
                if self._catalogue.listing is not None:
                    self._apply(self._catalogue.listing, fresh=fetched)
                failures = 0 if fetched else failures + 1
                wait_s = self._refresh_s() if fetched else backoff.wait_ns(failures - 1) / 1e9
                await self._settle(time.monotonic() + wait_s)

    def _refresh_s(self) -> float:
        return self._config.universe.refresh_s

    async def _settle(self, until_s: float) -> None:
        """Until the next fetch: hear what is announced, tell feeds, put records, save; again where it did not work."""
        soonest_s = time.monotonic() + SPACING_S
        while True:
            self._hear()
            self._put_records()
            self._save()
            await self._tell()
            remaining_s = (min(until_s, soonest_s) if self._listing_wanted else until_s) - time.monotonic()
            if remaining_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stir.wait(), min(BEAT_S, remaining_s))
                await asyncio.sleep(GATHER_S)

    # What the venue announces

    def _take(self, announcement: Announcement, at_ns: int) -> None:
        """In the turn in which it came; what follows from it is done by _settle()."""
        self._health.counters["announcements"] += 1
        try:
            heard = self._standing.take(announcement, at_ns)
        except VenueFault as fault:
            self._events.emit(Event.ANNOUNCEMENT_STRANGE, error=fault)
            self._want_listing()
            return
        if heard is None:
            return  # nothing new
        self._events.emit(Event.ANNOUNCED, what=heard.what, instrument=heard.about)
        if heard.unknown_state:
            self._events.emit(Event.STATE_UNKNOWN, instrument=heard.about, state=heard.unknown_state)
        self._listing_wanted |= heard.incomplete
        self._stir.set()

    def _hear_again(self) -> None:
        """The connection that announces is back: so no maintenance goes on, and something may have been missed."""
        self._standing.maintenance_ns = 0
        self._want_listing()

    def _want_listing(self) -> None:
        """Compare with REST soon."""
        self._listing_wanted = True
        self._stir.set()

    def _hear(self) -> None:
        """Let what was announced, and the time that has passed, take effect."""
        listing, now_ns = self._catalogue.listing, time.time_ns()
        stirred = self._stir.is_set()
        self._stir.clear()
        if listing is None or not (stirred or 0 < self._reselect_ns <= now_ns):
            return
        self._catalogue.listing = told(listing, self._standing.take_news())
        self._apply(self._catalogue.listing, fresh=False)

    # What the venue lists

    async def _fetch(self, rest: Rest) -> bool:
        """Renew the listing; False, with the reason logged, where the venue does not give it."""
        began_s, began_ns = time.monotonic(), time.time_ns()
        self._health.counters["fetches"] += 1
        self._listing_wanted = False
        try:
            listing, refused = await fetch_listing(rest, self._config.select)
            ended = await self._fetch_ended(rest, listing)
            self._standing.lock(await fetch_locked(rest), began_ns)
        except (VenueDown, VenueFault) as error:
            self._health.counters["fetch_failures"] += 1
            if self._catalogue.listing is None:
                self._events.emit(Event.UNIVERSE_UNKNOWN, error=error)
                self._troubles["fetch"] = f"no instruments are known: {error}"
            else:
                age_s = round((time.time_ns() - self._catalogue.fetched_ns) / 1e9)
                self._events.emit(Event.UNIVERSE_STALE, error=error, age_s=age_s)
                self._troubles["fetch"] = f"instruments are {age_s} s old: {error}"
            return False
        now_ns = time.time_ns()
        listing = carried(self._catalogue.listing, listing, ended, now_ns=now_ns)
        listing = told(listing, self._standing.news_since(began_ns))
        listing = without_old(listing, self._selected, now_ns=now_ns, linger_ns=self._linger_ns)
        self._catalogue.listing, self._catalogue.fetched_ns = listing, now_ns
        self._troubles.pop("fetch", None)
        for name, reason in refused.items():
            self._events.emit(Event.INSTRUMENT_REFUSED, instrument=name, reason=reason)
        self._trouble("refused", f"{len(refused)} instruments cannot be recorded" if refused else "")
        count = sum(len(items) for items in listing.instruments.values())
        self._events.emit(Event.UNIVERSE_FETCHED, instruments=count, took_s=round(time.monotonic() - began_s, 3))
        return True

    async def _fetch_ended(self, rest: Rest, listing: Listing) -> dict[str, Instrument]:
        """The last versions of those that `listing` has no more."""
        gone = missing(self._catalogue.listing, listing)
        try:
            return await fetch_ended(rest, gone) if gone else {}
        except (VenueDown, VenueFault):
            return {}  # then our own word has to do

    @property
    def _linger_ns(self) -> int:
        return int(self._config.universe.linger_s * 1e9)

    def _trouble(self, topic: str, text: str) -> None:
        """Set or, with an empty text, end a reason for being degraded."""
        if text:
            self._troubles[topic] = text
        else:
            self._troubles.pop(topic, None)

    # What follows from it

    def _apply(self, listing: Listing, *, fresh: bool) -> None:
        """Select, place, and assign; and find what is new in the reference data."""
        now_ns = time.time_ns()
        rules, feeds = self._config.select, legs.places(self._config)
        missing = {market for market in map(market_of, rules) if market not in listing.instruments}
        if missing:  # the listing on disk is of other rules, and the venue does not answer
            self._trouble("missing", f"not known yet: {', '.join(' '.join(market) for market in sorted(missing))}")
            rules = tuple(rule for rule in rules if market_of(rule) not in missing)
        else:
            self._trouble("missing", "")
        known = self._catalogue.recorded | self._put
        selection = select(
            rules,
            listing,
            now_ns=now_ns,
            selected=self._selected,
            linger_ns=self._linger_ns,
            ended={name for name, item in known.items() if item.has_ended(now_ns)},
        )
        for name in selection.unlisted:
            self._events.emit(Event.INSTRUMENT_REFUSED, instrument=name, reason="the venue does not list it")
        self._trouble("unlisted", f"not listed: {', '.join(selection.unlisted)}" if selection.unlisted else "")
        if not selection.instruments:
            self._events.emit(Event.UNIVERSE_EMPTY, rules=len(rules))
        self._trouble("empty", "" if selection.instruments else "the rules select no instrument")
        current = _units_of(self._assignment, selection.units)
        placement = place(current, selection.units, feeds=feeds, channels_max=self._config.feeds.channels_max)
        of_name = {item.name: item for items in listing.instruments.values() for item in items}
        self._report_ended(of_name, self._selected - selection.instruments, now_ns)
        self._assign(selection, placement, of_name, now_ns)
        self._find_versions(of_name, fresh=fresh)
        ends = [item.end_ns for name in selection.instruments if (item := of_name[name]).end_ns]
        self._reselect_ns = min((end_ns + self._linger_ns for end_ns in ends), default=0)

    def _assign(
        self, selection: Selection, placement: Placement, of_name: Mapping[str, Instrument], now_ns: int
    ) -> None:
        old, units = self._assignment, selection.units
        self._report_refused(placement, now_ns)
        new = Assignment(
            version=old.version + 1,
            feeds={
                feed: tuple(channel for name in names for channel in units[name].channels)
                for feed, names in placement.feeds.items()
            },
            expires_ns={
                channel: unit.expires_ns for unit in units.values() if unit.expires_ns for channel in unit.channels
            },
            refused={name: old.refused.get(name, now_ns) for name in placement.refused},
            paused_ns={
                channel: old.paused_ns.get(channel, now_ns)
                for name, unit in units.items()
                if self._standing.pauses(of_name.get(name), unit.price_index)
                for channel in unit.channels
            },
            maintenance_ns=self._standing.maintenance_ns,
        )
        channels = sum(len(names) for names in new.feeds.values())
        self._health.gauges |= {
            "instruments": len(selection.instruments),
            "channels": channels,
            "refused": len(new.refused),
        }
        if replace(new, version=old.version) == old:
            return
        write_assignment(self._assignment_path, new)
        announced = (new.paused_ns, new.maintenance_ns) != (old.paused_ns, old.maintenance_ns)
        changed = [place for place in new.feeds if announced or new.channels_of(place) != old.channels_of(place)]
        self._untold |= self._feeds_of(changed)
        self._events.emit(
            Event.UNIVERSE_CHANGED,
            version=new.version,
            instruments=len(selection.instruments),
            channels=channels,
            listed=len(selection.instruments - self._selected),
            ended=len(self._selected - selection.instruments),
        )
        self._assignment, self._selected = new, set(selection.instruments)

    def _report_refused(self, placement: Placement, now_ns: int) -> None:
        """FEED-1: what no feed has room for is a known hole, from when it was refused to when it is placed or ends."""
        old, refused = self._assignment.refused, set(placement.refused)
        capacity = self._config.feeds.count * self._config.feeds.channels_max
        if refused:
            self._events.emit(Event.UNIVERSE_OVERFLOW, refused=len(refused), capacity=capacity)
        self._trouble("overflow", f"no feed has room for {len(refused)} instruments" if refused else "")
        holes = [(name, now_ns, 0) for name in placement.refused if name not in old]
        holes += [(name, since_ns, now_ns) for name, since_ns in old.items() if name not in refused]
        for name, from_ns, to_ns in holes:
            # A unit named by a channel is the trades of many instruments.
            instrument, kind = (name, None) if "." not in name else ("", Kind.TRADE)
            self._pending_gaps.append(
                Gap(
                    cause=Cause.REFUSED, from_ns=from_ns, to_ns=to_ns, kind=kind, instrument=instrument,
                    detail=f"{capacity} channels are not enough" if instrument else name,
                )
            )  # fmt: skip

    def _report_ended(self, of_name: Mapping[str, Instrument], left: set[str], now_ns: int) -> None:
        """An instrument that we recorded has ended: an expected end, which is no hole but is told like one, at the time
        of the end. Not expected is only one that vanished before its time and without a word."""
        for name in sorted(left):
            item = of_name.get(name)
            if item is not None and 0 < item.end_ns <= now_ns:
                expired = 0 < item.expiration_ns <= now_ns
                self._pending_gaps.append(
                    Gap(
                        cause=Cause.EXPIRED, from_ns=item.end_ns, to_ns=item.end_ns, instrument=name,
                        expected=expired or item.state != ENDED, detail=item.state,
                    )
                )  # fmt: skip

    def _find_versions(self, listed: Mapping[str, Instrument], *, fresh: bool) -> None:
        """Reference data that is not recorded yet, and instruments that the venue lists no more."""
        known = self._catalogue.recorded | self._put
        changed = [item for name, item in listed.items() if known.get(name) != item]
        gone = [item for name, item in known.items() if fresh and name not in listed and item.phase is not Phase.ENDED]
        now_ns = time.time_ns()
        self._pending = [*changed, *(item.in_state(ENDED, now_ns) for item in gone)]

    # What others are told

    def _put_records(self) -> None:
        now_ns = time.time_ns()
        while self._pending_gaps:
            gap = self._pending_gaps[0]
            if not self._gaps.put(gap.record(recv_ns=now_ns, conn=self._gaps.conn, writer=self._context.name)):
                break
            self._pending_gaps.pop(0)
            if gap.to_ns in (0, gap.from_ns):  # found; not the end of one that was told
                self._gap_count.add(gap)
                self._health.counters |= self._gap_count.counters()
        while self._pending:
            batch = self._pending[:RECORDS_PER_PUT]
            records = [item.record(now_ns=now_ns, conn=self._instruments.conn) for item in batch]
            if not self._instruments.put(np.concatenate(records)):
                self._events.emit(Event.INSTRUMENT_RING_FULL, pending=len(self._pending))
                return
            del self._pending[: len(batch)]
            self._put |= {item.name: item for item in batch}
            self._health.counters["records"] += len(batch)

    def _save(self) -> None:
        """A version counts as recorded when it is on disk (JRNL-2): a crash before that records it again."""
        now_ns = time.time_ns()
        settled = bool(self._put) and not self._pending and self._instruments.is_durable()
        if settled:
            self._catalogue.recorded |= self._put
            self._put = {}
        forgotten = self._forget_ended()
        if self._catalogue.listing is not None and (settled or forgotten or now_ns - self._saved_ns > SAVE_NS):
            write_catalogue(self._catalogue_path, self._catalogue)
            self._saved_ns = now_ns

    def _forget_ended(self) -> bool:
        """What has ended, is recorded as such, is listed no more and has no rule of its own needs not be remembered;
        whether there was any."""
        recorded, listing = self._catalogue.recorded, self._catalogue.listing
        ended = {name for name, item in recorded.items() if item.phase is Phase.ENDED}
        if not ended or listing is None:
            return False
        ended -= {item.name for items in listing.instruments.values() for item in items}
        ended -= {name for rule in self._config.select for name in rule.names}
        for name in ended:
            del recorded[name]
        return bool(ended)

    def _feeds_of(self, places: Iterable[str]) -> set[str]:
        """The processes that record them."""
        return {feed for place in places for feed in legs.feeds_of(self._config, place)}

    async def _tell(self) -> None:
        """Feeds that are not up read the file when they start; whoever is, is told until it has heard."""
        feeds = sorted(self._untold)
        answers = await asyncio.gather(*(asyncio.to_thread(self._tell_one, feed) for feed in feeds))
        self._untold -= {feed for feed, heard in zip(feeds, answers, strict=True) if heard}

    def _tell_one(self, feed: str) -> bool:
        path = self._config.run_dir / "sockets" / f"{feed}.sock"
        try:
            answer = control.ask(path, {"op": "assign"}, TELL_TIMEOUT_S)
        except ControlDown:
            return False
        if not answer.get("ok"):
            self._events.emit(Event.ASSIGNMENT_REFUSED, feed=feed, error=answer.get("error"))
        return True

    def _judge_announcements(self) -> None:
        """What of it a person should know."""
        now_s, live = time.monotonic(), self._announcements.state is FeedState.LIVE
        if live:
            self._heard_s = now_s
        unheard = not live and now_s - self._heard_s >= UNHEARD_S
        self._trouble(
            "unheard", f"no announcements: comparing with REST every {self._refresh_s():g} s" if unheard else ""
        )
        standing = self._standing
        self._trouble("maintenance", "the venue is under maintenance" if standing.maintenance_ns else "")
        self._trouble("public", "" if standing.public else "the venue gives data only after a login")
        self._health.gauges |= {"announcing": int(live), "indices_locked": len(standing.locked_ns)}

    def _beat(self) -> None:
        self._judge_announcements()
        if self._catalogue.listing is not None or self._troubles:
            known = self._catalogue.listing is not None
            self._health.state = ("degraded" if known else "waiting") if self._troubles else "live"
            self._health.detail = "; ".join(self._troubles.values())
        self._health.beat()


def _units_of(assignment: Assignment, units: Mapping[str, Unit]) -> dict[str, list[str]]:
    """The placement that an assignment was made from, of the units that are still wanted."""
    unit_of = {channel: name for name, unit in units.items() for channel in unit.channels}
    return {
        feed: list(dict.fromkeys(unit_of[channel] for channel in channels if channel in unit_of))
        for feed, channels in assignment.feeds.items()
    }


def run(context: ProcessContext) -> None:
    """The process's life."""

    async def live() -> None:
        await Universe(context).run()

    asyncio.run(live())
