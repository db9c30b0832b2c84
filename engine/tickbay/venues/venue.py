"""What a session needs to know of a venue's protocol: how to ask, and what an answer means.

In: names of channels, and the bytes of replies. Out: the bytes of requests, and a Reply. A venue is a module or
object that has these functions; it does no I/O, reads no clock and remembers nothing. The ticks themselves never come
here: native/decode_*.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol

from tickbay.record import Kind


class Trouble(Enum):
    """What a venue's error asks of us, one branch of the session each."""

    REFUSED = "refused"  # this request, or a channel of it: ask again later, in smaller parts
    RAW = "raw"  # unthrottled channels need a login: take the throttled ones
    HASTE = "haste"  # we asked too much: ask nothing for a while, and expect to be cut off
    MAINTENANCE = "maintenance"  # announced: come back slowly
    PAUSE = "pause"  # a few seconds of settlement: the same again, a little later
    DENIED = "denied"  # the key is not known: do not try it again
    STRANGER = "stranger"  # the login has ended: log in again
    CLOSED = "closed"  # public data is not given without a login now: come back slowly


class Cadence(Enum):
    """When a channel that is well speaks."""

    STEADY = "steady"  # each second or so: silence is a fault
    CHANGES = "changes"  # at once when it is asked for, then on changes
    EVENTS = "events"  # when something happens, perhaps for hours not


@dataclass(frozen=True, slots=True)
class Channel:
    """One subscription. `instrument` is empty where it covers many (all trades of a currency)."""

    name: str
    kind: Kind
    instrument: str  # or index
    cadence: Cadence
    heard_as: str  # under which name the listener hears it (native/continuity.h)


@dataclass(frozen=True, slots=True)
class Refusal:
    trouble: Trouble
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A login."""

    expires_s: float
    renewal: str = field(default="", repr=False)  # the token to renew it with; empty: by the key


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request of ours. `id` is None when the venue could not tell which request it means."""

    id: int | None
    accepted: frozenset[str]  # names of channels, in a reply that lists them
    refusal: Refusal | None
    came_ns: int = 0  # the venue's clock when it had the request; 0 when it does not say
    went_ns: int = 0  # and when it answered
    grant: Grant | None = None  # in the answer to a login


class Venue(Protocol):
    def channel(self, name: str) -> Channel:
        """VenueFault for a name of which we could not record what it brings."""

    def without_login(self, name: str) -> str:
        """The channel to take in place of one that needs a login; the same one where it does not."""

    def ask_heartbeat(self, id: int, interval_s: int) -> bytes: ...

    def ask_login(self, id: int, key: str, secret: str) -> bytes: ...

    def ask_renewal(self, id: int, token: str) -> bytes:
        """With Grant.renewal."""

    def ask_test(self, id: int) -> bytes:
        """The answer to a test request."""

    def ask_subscribe(self, id: int, names: Sequence[str]) -> bytes: ...

    def ask_unsubscribe(self, id: int, names: Sequence[str]) -> bytes: ...

    def request_bytes(self, names: Sequence[str]) -> int:
        """At most how long a request for these channels is."""

    def read_reply(self, payload: bytes) -> Reply:
        """VenueFault when it is no reply."""


class Printed(NamedTuple):
    """One trade that the venue's history told of."""

    instrument: str
    number: int  # grows by 1 with each trade of its instrument
    exch_ns: int


@dataclass(frozen=True, slots=True)
class Query:
    """A REST call."""

    method: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """Trades in ascending order. `frame` is what the venue's decoder (native/decode_*.c) makes the same records of, in
    that order."""

    trades: Sequence[Printed]
    more: bool  # there are others behind them
    frame: bytes


class History(Protocol):
    """What the healer needs of a venue: to ask for trades of the past, by their sequence or by time."""

    def market_of(self, channel: str) -> str:
        """Whose trades a channel brings, in the venue's own words; empty: none."""

    def ask_parts(self, market: str) -> Query | None:
        """Which markets to list in place of one that the venue does not list as a whole; None: it does."""

    def read_parts(self, market: str, result: Any) -> Sequence[str]:
        """At least one. VenueFault when it is none."""

    def ask_trades(self, instrument: str, first: int, last: int) -> Query:
        """Those with these numbers, ascending, as many as the venue gives at once."""

    def ask_window(self, market: str, from_ns: int, to_ns: int) -> Query:
        """Those of a time, both ends included, ascending."""

    def read_trades(self, result: Any) -> Page:
        """VenueFault when it is none."""
