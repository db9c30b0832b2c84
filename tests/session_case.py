"""A session and everything around it, without socket, clock or waiting: a venue that remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import orjson

from tickbay import config
from tickbay.events import Event as LogEvent
from tickbay.feed.action import NS_PER_S, Action, Close, Connect, Moment, Report, Send, Tell
from tickbay.feed.session import Session
from tickbay.feed.subscription import Place
from tickbay.gap import Gap
from tickbay.record import FeedState, Kind
from tickbay.venues import deribit
from tickbay.venues.venue import Channel

BEGIN_NS = 1_800_000_000 * NS_PER_S
TICKER = "ticker.ETH-1JAN27-3000-C.100ms"
BOOK = "book.ETH-1JAN27-3000-C.100ms"
TRADES = "trades.option.ETH.100ms"
INSTRUMENT = "ETH-1JAN27-3000-C"


@dataclass
class FakeHeard:
    count: int = 0
    last: int = 0
    times: dict[tuple[Kind, str], int] = field(default_factory=dict)

    def frames(self) -> int:
        return self.count

    def last_ns(self) -> int:
        return self.last

    def of(self, kind: Kind, instrument: str) -> int:
        return self.times.get((kind, instrument), 0)

    def newest(self, channels: Sequence[Channel]) -> npt.NDArray[np.int64]:
        return np.array([self.of(channel.kind, channel.heard_as) for channel in channels], np.int64)


class World:
    """A session, and everything around it: a clock, and a venue that remembers what it was asked."""

    def __init__(
        self,
        *,
        known_ns: int = 0,
        orphans: Iterable[Gap] = (),
        feeds: int = 1,
        chance: float = 1.0,
        **limits: object,
    ) -> None:
        self.mono_ns = 5 * NS_PER_S
        self.wall_ns = BEGIN_NS
        self.heard = FakeHeard()
        limits.setdefault("ticker_stale_s", limits.get("stale_s", 10.0))  # one patience, unless a test is about the two
        self.limits = config.Venue(**limits)  # type: ignore[arg-type]  # a test's keywords, checked by the dataclass
        self.session = Session(
            deribit,
            self.limits,
            feeds=feeds,
            heard=self.heard,
            random=lambda: chance,
            at=self.at,
            known_ns=known_ns,
            orphans=list(orphans),
        )
        self.sent: list[dict[str, object]] = []  # requests, as the venue reads them
        self.sent_bytes: list[int] = []
        self.gaps: list[Gap] = []
        self.told: list[Tell] = []
        self.connects = 0
        self.closes: list[str] = []
        self.answered = 0  # requests that answer() has seen

    @property
    def at(self) -> Moment:
        return Moment(self.mono_ns, self.wall_ns)

    def do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Connect():
                    self.connects += 1
                case Close(detail):
                    self.closes.append(detail)
                case Send(payload):
                    self.sent.append(orjson.loads(payload))
                    self.sent_bytes.append(len(payload))
                case Report(gap):
                    self.gaps.append(gap)
                case Tell():
                    self.told.append(action)

    def sleep(self, seconds: float, *, speaking: Iterable[tuple[Kind, str]] = (), silent: bool = False) -> None:
        """Let time pass in ticks; the venue's heartbeats come unless `silent`, and messages of `speaking`."""
        for _ in range(round(seconds * 10)):
            self.mono_ns += NS_PER_S // 10
            self.wall_ns += NS_PER_S // 10
            self.heard.count += not silent
            for key in speaking:
                self.hear(*key)
            self.do(self.session.tick(self.at))

    def hear(self, kind: Kind, instrument: str) -> None:
        self.heard.times[kind, instrument] = self.heard.last = self.wall_ns
        self.heard.count += 1

    def assign(self, *names: str, expires_ns: int = 0) -> None:
        self.do(self.session.assign(dict.fromkeys(names, expires_ns), self.at))

    def connect(self) -> None:
        self.do(self.session.tick(self.at))
        assert self.connects, "no connection was asked for"
        self.heard.times.clear()
        self.do(self.session.connected(self.at))

    def lose(self, detail: str = "the connection broke", **more: bool) -> None:
        self.do(self.session.lost(detail, self.at, **more))

    def reply(self, id: object, **fields: object) -> None:
        self.do(self.session.replied(orjson.dumps({"jsonrpc": "2.0", "id": id, **fields}), self.at))

    def answer(self, *, refuse: Callable[[str], bool] = lambda _: False, speak: bool = True, error: int = 0) -> None:
        """Answer every request not answered yet, as the venue does: only accepted channels, in another order; a ticker
        and a book send their first message. With `error`, every request about channels so far gets that code."""
        until = len(self.sent)
        while self.answered < (until if error else len(self.sent)):
            request = self.sent[self.answered]
            self.answered += 1
            if request["method"] == "public/auth":
                continue  # test_login.py answers it
            names = channels_of(request)
            accepted = [name for name in reversed(names) if not refuse(name)]
            if error and names:
                self.reply(request["id"], error={"code": error, "message": "as asked by the test"})
                continue
            if speak and request["method"] == "public/subscribe":
                for name in accepted:
                    channel = deribit.channel(name)
                    if channel.kind is not Kind.TRADE:
                        self.hear(channel.kind, channel.heard_as)
            self.reply(request["id"], result=accepted if names else "ok")

    def live(self, *names: str) -> None:
        """Assigned, connected, everything accepted and heard."""
        self.assign(*names)
        self.connect()
        self.answer()
        self.sleep(0.2)
        assert self.session.state is FeedState.LIVE
        assert self.session.channels.live() == len(names)

    def requests(self, method: str) -> list[list[str]]:
        return [channels_of(request) for request in self.sent if request["method"] == f"public/{method}"]

    def events(self) -> list[LogEvent]:
        return [tell.event for tell in self.told]

    def place(self, name: str) -> Place:
        return self.session.channels.subscriptions[name].place

    def open_holes(self) -> list[Gap]:
        """Holes that were reported and did not end."""
        ended = {(gap.cause, gap.kind, gap.instrument, gap.from_ns) for gap in self.gaps if gap.to_ns}
        return [
            gap
            for gap in self.gaps
            if not gap.to_ns and (gap.cause, gap.kind, gap.instrument, gap.from_ns) not in ended
        ]


def channels_of(request: dict[str, object]) -> list[str]:
    params = request["params"]
    assert isinstance(params, dict)
    names: list[str] = params.get("channels", [])
    return names


def options(count: int) -> list[str]:
    return [f"ticker.ETH-1JAN27-{number}-C.100ms" for number in range(count)]


def break_book(world: World, *, expected: int = 10, got: int = 13) -> None:
    since_ns = world.heard.times.pop((Kind.BOOK, INSTRUMENT), 0)  # not chained any more
    world.do(
        world.session.broken(
            Kind.BOOK,
            INSTRUMENT,
            world.at,
            since_ns=since_ns,
            recv_ns=world.wall_ns,
            expected=expected,
            got=got,
        )
    )
