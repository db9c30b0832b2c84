"""The requests of one connection that have no answer yet, by their id. Pure.

FEED-4: an id is used once; an answer to no request changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from tickbay.feed.action import NS_PER_S, Moment, Outbox, Send
from tickbay.feed.subscription import Subscription

REPLY_NS = 10 * NS_PER_S  # the venue answers within milliseconds; what it did not answer by now, it will not


class Ask(Enum):
    LOGIN = auto()
    HEARTBEAT = auto()
    TEST = auto()
    SUBSCRIBE = auto()
    UNSUBSCRIBE = auto()


@dataclass(frozen=True, slots=True)
class Request:
    ask: Ask
    sent: Moment
    subscriptions: tuple[Subscription, ...]


class Requests:
    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._open: dict[int, Request] = {}
        self._last_id = 0

    def send(
        self, ask: Ask, build: Callable[[int], bytes], at: Moment, subscriptions: tuple[Subscription, ...] = ()
    ) -> None:
        """`build` makes the request's bytes from its id."""
        self._last_id += 1  # FEED-4: also over connections, so that a late answer finds nothing
        assert self._last_id not in self._open
        self._open[self._last_id] = Request(ask, at, subscriptions)
        self._outbox.put(Send(build(self._last_id)))

    def take(self, id: int | None) -> Request | None:
        """The request that this answers; None for an answer to no request."""
        return self._open.pop(id, None) if id is not None else None

    def take_overdue(self, mono_ns: int, excused_ns: int) -> list[Request]:
        """Those without an answer for too long; time before `excused_ns` does not count."""
        late = [id for id, request in self._open.items() if mono_ns - max(request.sent.mono_ns, excused_ns) >= REPLY_NS]
        return [self._open.pop(id) for id in late]

    def under_way(self) -> int:
        """Requests about channels that have no answer yet."""
        return sum(bool(request.subscriptions) for request in self._open.values())

    def clear(self) -> None:
        """The connection is gone: nothing of it will be answered."""
        self._open.clear()
