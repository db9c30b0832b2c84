"""HEALER: asks the venue for the trades that were not captured, and publishes them as if a feed had. One process.

In: every feed's trades and every gap, like a sink (rings up to durable, else journal); the venue's REST, recent and
history; `data/universe/assignment.json`. Out: streams `healer.trade` (flagged HEALED) and `healer.gap` (the end of each
gap in which trades were missing); `data/healer/memory.json`.

What is missing and what to ask is decided in plan.py, which is pure; here it is done.

HEAL-1: a trade is published at most once, and never when it was captured. Before each answer is used, all that was
captured or published meanwhile is read, also what is not durable yet; a new life first reads back its own streams.
FEED-3: requests never cost more than our share of the venue's credits (feed/credits.py).
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack

import numpy as np

from tickbay import memory
from tickbay._native import DECODE_OK, MESSAGE_TRADE, decode_deribit
from tickbay.errors import VenueDown, VenueFault
from tickbay.events import Event
from tickbay.feed.backoff import Backoff
from tickbay.feed.credits import Credits
from tickbay.gap import Gap
from tickbay.healer.case import CLOCK_NS, Host
from tickbay.healer.intake import Intake, by_instrument
from tickbay.healer.plan import Ask, AskWindow, Patience, Plan
from tickbay.journal.stream_reader import StreamReader
from tickbay.legs import place_of
from tickbay.process import ProcessContext
from tickbay.record import DTYPES, Flag, Kind, Records
from tickbay.timer import Timer
from tickbay.universe.assignment import Assignment, assignment_path, read_assignment
from tickbay.universe.outlet import Outlet
from tickbay.universe.rest import Rest
from tickbay.venues import VENUES
from tickbay.venues.venue import Page, Query

TICK_S = 0.25  # what is missing is asked for after settle_s, which is seconds: nothing here is in a hurry
BEAT_S = 0.5
REFRESH_S = 1.0  # how soon a new feed's streams are seen
SAVE_S = 30.0  # how much of the journal a restart reads again, at most
AT_ONCE = 4  # questions under way: they hide the round trip
RECORDS_PER_PUT = 256  # half of the smallest ring that can be configured
BACKOFF_MIN_S, BACKOFF_MAX_S = 1.0, 60.0
NICENESS = 5  # whoever captures, journals and stores goes first
STOP_S = 2.0  # at the end, for what we published to become durable
NS_PER_S = 1_000_000_000


def run(context: ProcessContext) -> None:
    """Until told to stop."""
    os.nice(NICENESS)
    asyncio.run(Healer(context).run())


class Healer:
    def __init__(self, context: ProcessContext) -> None:
        self._context, self._config, self._health = context, context.config, context.health
        heal = self._config.heal
        self._history = VENUES[self._config.venue.name].history
        self._backoff = Backoff(min_s=BACKOFF_MIN_S, max_s=BACKOFF_MAX_S, random=random.random)
        self._plan = Plan(
            Patience(
                settle_ns=int(heal.settle_s * NS_PER_S),
                recent_ns=int(heal.recent_hours * 3600 * NS_PER_S),
                tries_max=heal.tries,
                history=bool(self._config.history_url),
                wait_ns=self._backoff.wait_ns,
            )
        )
        self._credits = Credits(
            pool=heal.requests_burst, cost=1, refill_per_s=heal.requests_per_s, mono_ns=self._mono_ns()
        )
        self._reader = StreamReader(
            self._config.run_dir, self._config.data_dir, files=context.files, clock=context.clock
        )
        self._intake = Intake(self._reader, self._plan, self._markets_of)
        self._trades = Outlet(context, Kind.TRADE)
        self._gaps = Outlet(context, Kind.GAP)
        self._reports: deque[Gap] = deque()  # that wait for space in their ring
        self._hosts: dict[Host, Rest] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._assignment_path = assignment_path(self._config.data_dir)
        self._memory_path = memory.memory_path(self._config.data_dir, context.name)
        periods_s = (REFRESH_S, BEAT_S, self._config.heal.check_s, SAVE_S)
        self._refreshes, self._beats, self._checks, self._saves = (
            Timer(each, clock=context.clock) for each in periods_s
        )
        self._trouble = ""  # why the venue gives nothing
        self._failure: BaseException | None = None
        for counter in ("requests", "failures", "rows", "healed", "unhealed", "holes"):
            self._health.counters[counter] = 0

    def _mono_ns(self) -> int:
        return int(self._context.clock.now_s() * NS_PER_S)

    async def run(self) -> None:
        """RingFault, ConfigError: as the other processes. What a question's task raises ends the process."""
        stopping = self._context.stopping
        if not await self._begin():
            return
        async with AsyncExitStack() as stack:
            timeout_s, venue = self._config.heal.timeout_s, self._config.venue
            urls = {Host.RECENT: "", Host.HISTORY: self._config.history_url}
            for host, url in urls.items():
                if host is Host.RECENT or url:
                    self._hosts[host] = await stack.enter_async_context(Rest(venue, timeout_s=timeout_s, url=url))
            while not stopping.is_set():
                self._step()
                await asyncio.sleep(TICK_S)
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._end()

    async def _begin(self) -> bool:
        """HEAL-1: nothing is asked before we know all that an earlier life published. False: told to stop meanwhile."""
        self._health.state, self._health.detail = "waiting", "for the journal to make the rings"
        while not (self._trades.attach() and self._gaps.attach() and self._is_durable()):
            self._health.beat()
            if self._context.stopping.is_set():
                return False
            await asyncio.sleep(TICK_S)
        self._reader.refresh()
        known = memory.load(self._context.files, self._memory_path)
        if known is not None:
            positions, said = known
            self._intake.restart(positions)
            self._plan.remember(said, self._mono_ns())
        self._intake.read_own(self._mono_ns())
        self._health.state, self._health.detail = "live", ""
        return True

    async def _end(self) -> None:
        self._write_reports()
        ends_s = self._context.clock.now_s() + STOP_S
        while not self._is_durable() and self._context.clock.now_s() < ends_s:  # noqa: ASYNC110 - no event is set
            await asyncio.sleep(TICK_S)
        self._save()
        self._reader.close()

    def _is_durable(self) -> bool:
        return self._trades.is_durable() and self._gaps.is_durable()

    # ---------------------------------------------------------------- one turn

    def _step(self) -> None:
        if self._failure is not None:
            raise self._failure  # our mistake: end here, and be restarted
        if self._refreshes.due():
            self._reader.refresh()
        holes = self._intake.holes
        self._intake.read(self._mono_ns())
        if self._intake.holes > holes:
            self._context.events.emit(Event.HEAL_FORGOT, holes=self._intake.holes - holes)
        self._write_reports()
        while len(self._under_way) < AT_ONCE and (ask := self._next()) is not None:
            task = asyncio.get_running_loop().create_task(self._ask(ask))
            self._under_way.add(task)
            task.add_done_callback(self._done)
        if self._beats.due():
            self._beat()
        if self._checks.due():
            to_ns = self._context.clock.unix_ns() - int(self._config.heal.settle_s * NS_PER_S) - CLOCK_NS
            self._plan.check(self._markets_of(""), to_ns, self._mono_ns())
        if self._saves.due():
            self._save()

    def _next(self) -> Ask | None:
        ask = self._plan.ask(self._mono_ns(), self._context.clock.unix_ns())
        if ask is not None and not self._credits.take(self._mono_ns()):  # FEED-3
            self._plan.later(ask)
            return None
        return ask

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            self._failure = self._failure or task.exception()

    async def _ask(self, ask: Ask) -> None:
        self._health.counters["requests"] += 1
        try:
            if isinstance(ask, AskWindow):
                await self._list(ask)
            else:
                query = self._history.ask_trades(ask.instrument, ask.first, ask.last)
                self._take(ask, await self._page(query, ask.host))
            self._trouble = ""
        except VenueDown as error:
            self._fail(Event.HEAL_DOWN, error)
            self._plan.down(ask, self._mono_ns())
        except VenueFault as error:
            self._fail(Event.HEAL_REFUSED, error)
            self._plan.refused(ask, str(error), self._mono_ns())

    async def _list(self, ask: AskWindow) -> None:
        window = ask.window
        parts = self._history.ask_parts(window.market)
        if parts is None:
            query = self._history.ask_window(window.market, window.from_ns, window.to_ns)
            self._take(ask, await self._page(query, window.host))
        else:  # each time anew: a part that is new may have traded already
            told = await self._hosts[Host.RECENT].call(parts.method, parts.parameters)
            self._plan.split(ask, self._history.read_parts(window.market, told))

    async def _page(self, query: Query, host: Host) -> Page:
        return self._history.read_trades(await self._hosts[host].call(query.method, query.parameters))

    def _fail(self, event: Event, error: VenueDown | VenueFault) -> None:
        self._health.counters["failures"] += 1
        self._trouble = str(error)
        self._context.events.emit(event, error=error, missing=self._plan.missing)

    # ---------------------------------------------------------------- answers

    def _take(self, ask: Ask, page: Page) -> None:
        """From here to the publishing nothing else runs, so what is looked at does not change."""
        self._intake.read(self._mono_ns())
        if isinstance(ask, AskWindow):
            self._take_list(ask, page)
            return
        records = self._decode(page)
        if any(each.instrument != ask.instrument for each in page.trades):
            raise VenueFault(f"trades of another instrument than {ask.instrument}")
        if not self._publish(records):
            self._plan.later(ask)  # the ring is full: the journal is behind
            return
        self._plan.answered(ask, [each.number for each in page.trades], page.more, self._mono_ns())

    def _take_list(self, ask: AskWindow, page: Page) -> None:
        """Most of what a lost connection took is in the list of who traded in it; the rest is asked for by number."""
        if not self._trades.has_room(len(page.trades)):
            self._plan.later(ask)  # the journal is behind
            return
        self._plan.listed(ask, page.trades, page.more, self._mono_ns())
        now_ns = self._context.clock.unix_ns()
        owed = np.array([self._plan.owed(each, now_ns) for each in page.trades], bool)
        if not owed.any():
            return
        try:
            records = self._decode(page)
        except VenueFault as error:  # which trade it is will show when they are asked for by number
            self._fail(Event.HEAL_REFUSED, error)
            return
        self._publish(records[owed])

    def _decode(self, page: Page) -> Records:
        now_ns = self._context.clock.unix_ns()
        room = max(1, len(page.trades))
        result, message, data, _ = decode_deribit(page.frame, now_ns, self._trades.conn, room)
        if result != DECODE_OK or message != MESSAGE_TRADE:
            raise VenueFault("trades that cannot be decoded")
        records: Records = np.frombuffer(bytearray(data), DTYPES[Kind.TRADE])
        decoded = zip(records["instrument"].tolist(), records["trade_seq"].tolist(), strict=True)
        if [(name.decode(), number) for name, number in decoded] != [each[:2] for each in page.trades]:
            raise VenueFault("trades that are decoded to others")
        # Where its message ended, and with which other trades it came, is not known any more.
        records["flags"] = (records["flags"] & ~np.uint32(Flag.LAST)) | np.uint32(Flag.HEALED)
        return records

    def _publish(self, records: Records) -> bool:
        """HEAL-1. False where the ring is full; what went into it is known."""
        unsettled = self._intake.unsettled()
        for instrument, _, mine in by_instrument(records):
            mine = mine[np.unique(mine["trade_seq"], return_index=True)[1]]
            lacking = [
                self._plan.lacking(instrument, number) and number not in unsettled.get(instrument, ())
                for number in mine["trade_seq"].tolist()
            ]
            wanted = mine[np.array(lacking, bool)]
            for begin in range(0, len(wanted), RECORDS_PER_PUT):
                piece = wanted[begin : begin + RECORDS_PER_PUT]
                if not self._trades.put(piece):
                    return False
                numbers = [(number, number) for number in piece["trade_seq"].tolist()]
                self._plan.fetched(instrument, numbers, int(piece["exch_ns"].max()))
                self._health.counters["rows"] += len(piece)
        return True

    # ---------------------------------------------------------------- gaps, memory, figures

    def _write_reports(self) -> None:
        self._intake.mark_own()
        for gap in self._plan.reports():
            self._reports.append(gap)
            if gap.to_ns:
                event = Event.HOLE_HEALED if gap.healed else Event.HOLE_UNHEALED
                cause, instrument = gap.cause.name.lower(), gap.instrument or None
                fields = {"feed": gap.feed, "cause": cause, "instrument": instrument, "trades": gap.count}
                self._context.events.emit(event, **fields)
        while self._reports:
            now_ns = self._context.clock.unix_ns()
            record = self._reports[0].record(recv_ns=now_ns, conn=self._gaps.conn, writer=self._context.name)
            if not self._gaps.put(record):
                return
            self._reports.popleft()

    def _save(self) -> None:
        """JRNL-2: knowledge of what may yet be lost is not saved; the next time, then."""
        if self._reports or not self._is_durable():
            self._saves.soon()
            return
        self._intake.mark_own()
        try:
            memory.save(self._context.files, self._memory_path, self._intake.positions, self._plan.said())
        except OSError as error:
            self._context.events.emit(Event.HEAL_UNSAVED, error=error)
        else:
            self._plan.saved()

    def _beat(self) -> None:
        health, plan = self._health, self._plan
        health.counters |= {"healed": plan.healed, "unhealed": plan.unhealed, "holes": self._intake.holes}
        health.gauges = {
            "instruments": len(plan.courses),
            "cases": plan.cases.gaps,
            "missing": plan.missing,
            "under_way": len(self._under_way),
        }
        if self._trouble and plan.cases:
            health.state, health.detail = "degraded", f"{len(plan.cases)} gaps wait to be healed: {self._trouble}"
        else:
            health.state, health.detail = "live", ""
        health.beat()

    def _markets_of(self, feed: str) -> Sequence[str]:
        """Whose trades a feed brings, as it is assigned now; of one that brings none, all: they may have been moved."""
        try:
            assignment = read_assignment(self._assignment_path) or Assignment()
        except VenueFault:
            assignment = Assignment()  # the universe says so
        return self._markets(assignment.feeds.get(place_of(feed), ())) or self._markets(
            channel for channels in assignment.feeds.values() for channel in channels
        )

    def _markets(self, channels: Iterable[str]) -> list[str]:
        return sorted({market for channel in channels if (market := self._history.market_of(channel))})
