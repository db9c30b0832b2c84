"""The universe's own connection to the venue: what it announces of its instruments and of itself, within milliseconds.

In: the venue's WebSocket. Out: announcements, each with when it came, and word that the connection (again) tells
everything. The life of the connection is that of a feed's (feed/session.py): heartbeats, credits, back-off, refused
channels. But nothing is recorded of it, and a hole in it is no gap: what was not announced to us is found by comparing
with REST, at once when the connection is back.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
from picows import WSFrame, WSListener, WSMsgType, WSTransport

from tickbay import legs
from tickbay.errors import VenueDown, VenueFault
from tickbay.events import Event
from tickbay.feed.action import Action, Close, Connect, Moment, Report, Send, Tell
from tickbay.feed.link import Link, TooOften
from tickbay.feed.session import Session
from tickbay.process import ProcessContext
from tickbay.record import FeedState, Kind
from tickbay.venues import VENUES
from tickbay.venues.announcement import Announcement, Notice
from tickbay.venues.venue import Channel

TICK_S = 0.25
MESSAGE_BYTES_MAX = 8 << 20  # of a message in several frames; announcements have some hundred bytes


class Announcements(WSListener):
    """`take` is called with each announcement and when it came; `whole` when none will be missed from now on; `doubt`
    when there was one that could not be understood."""

    def __init__(
        self,
        context: ProcessContext,
        markets: Iterable[tuple[str, str]],
        *,
        take: Callable[[Announcement, int], None],
        whole: Callable[[], None],
        doubt: Callable[[], None],
    ) -> None:
        super().__init__()
        self._events = context.events
        self._take, self._whole, self._doubt = take, whole, doubt
        venue = VENUES[context.config.venue.name]
        self._announcer = venue.announcer
        self._frames = 0
        self._newest_ns = 0
        self._fragments = bytearray()
        self._connecting: asyncio.Task[None] | None = None
        self._link = Link(context.config.venue, self)
        at = _now()
        self._session = Session(
            venue.session,
            context.config.venue,
            feeds=len(legs.feeds(context.config)) + 1,  # FEED-3: one more connection shares the credits
            heard=self,
            random=random.random,
            at=at,
        )
        # Nothing was asked for yet, so nothing is to be done.
        assert not self._session.assign(dict.fromkeys(self._announcer.channels(markets), 0), at)
        self._was_live = False

    # ---------------------------------------------------------------- what the session hears (action.Heard)

    def frames(self) -> int:
        return self._frames

    def last_ns(self) -> int:
        return self._newest_ns

    def of(self, _kind: Kind, _instrument: str) -> int:
        return 0  # announcements may be silent for days

    def newest(self, channels: Sequence[Channel]) -> npt.NDArray[np.int64]:
        return np.zeros(len(channels), np.int64)

    # ---------------------------------------------------------------- life

    @property
    def state(self) -> FeedState:
        return self._session.state

    @property
    def reconnects(self) -> int:
        return self._session.reconnects

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._do(self._session.tick(_now()))
                live = self._session.state is FeedState.LIVE
                if live and not self._was_live:
                    self._whole()
                self._was_live = live
                await asyncio.sleep(TICK_S)
        finally:
            self._do(self._session.stop(_now()))
            if self._connecting is not None:
                self._connecting.cancel()

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Connect():
                    self._connecting = asyncio.get_running_loop().create_task(self._connect())
                case Close():
                    self._link.end(politely=self._session.state is FeedState.STOPPING)
                case Send(payload):
                    self._link.send(payload)
                case Tell(event, fields):
                    self._events.emit(event, **fields)
                case Report():
                    pass  # no tick is missing for it

    async def _connect(self) -> None:
        try:
            await self._link.open()
        except VenueDown as error:
            self._link.end(politely=False)
            self._do(self._session.lost(str(error), _now(), slow=isinstance(error, TooOften)))

    # ---------------------------------------------------------------- called by picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._fragments.clear()
        self._link.made(transport)
        self._do(self._session.connected(_now()))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._link.is_current(transport):
            self._link.end(politely=False)
            self._do(self._session.lost(self._link.ending(transport), _now()))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if not self._link.is_current(transport):
            return
        if frame.msg_type == WSMsgType.CLOSE:
            self._link.closing(int(frame.get_close_code().value), frame.get_close_reason() or "")
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            if frame.msg_type != WSMsgType.CONTINUATION:
                self._fragments.clear()
            self._fragments += frame.get_payload_as_memoryview()[: MESSAGE_BYTES_MAX + 1 - len(self._fragments)]
            if frame.fin:
                self._message(bytes(self._fragments))

    def _message(self, payload: bytes) -> None:
        at = _now()
        self._frames += 1
        self._newest_ns = at.wall_ns
        try:
            message = self._announcer.read(payload)
        except VenueFault as fault:
            self._events.emit(Event.ANNOUNCEMENT_STRANGE, error=fault)
            self._doubt()
            return
        match message:
            case Notice.REPLY:
                self._do(self._session.replied(payload, at))
            case Notice.TEST_REQUEST:
                self._do(self._session.test_requested(at))
            case Notice.NOTHING:
                pass
            case announcement:
                self._take(announcement, at.wall_ns)


def _now() -> Moment:
    return Moment(time.monotonic_ns(), time.time_ns())
