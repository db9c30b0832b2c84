"""What a venue says beside its ticks: of its instruments and of itself. In terms of any venue; one file per venue reads
it (deribit_announcements.py).

In: the bytes of a message on the universe's own connection. Out: an Announcement, or what else the message is. No
I/O, no clock, nothing remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol


class Phase(Enum):
    """What a state of an instrument means to us, whatever the venue's word for it."""

    TRADING = auto()
    PAUSED = auto()  # silence is expected, and it will go on
    IDLE = auto()  # not traded now, but it may be again
    ENDED = auto()  # nothing more will come
    NEUTRAL = auto()  # does not tell
    UNKNOWN = auto()  # a word that we do not know: recorded, and nothing is concluded from it


@dataclass(frozen=True, slots=True)
class Listed:
    """A new instrument in a market: `said` is its reference data, as the venue's REST gives it too."""

    currency: str
    kind: str
    said: Any


@dataclass(frozen=True, slots=True)
class StateChanged:
    """An instrument is in another state; `state` is the venue's word."""

    instrument: str
    state: str


@dataclass(frozen=True, slots=True)
class IndexLocked:
    """Trading of everything that settles in a price index stands still, or goes on."""

    price_index: str
    locked: bool


@dataclass(frozen=True, slots=True)
class Maintenance:
    """All of the venue: begins (connections will be cut), or is over."""

    begins: bool


@dataclass(frozen=True, slots=True)
class PublicAccess:
    """Whether those who have not logged in get data."""

    allowed: bool


Announcement = Listed | StateChanged | IndexLocked | Maintenance | PublicAccess


class Notice(Enum):
    """A message that announces nothing."""

    REPLY = auto()  # the answer to a request: for the session
    TEST_REQUEST = auto()  # the venue wants to know whether we live
    NOTHING = auto()  # a heartbeat, or something that we do not know


class Announcer(Protocol):
    def channels(self, markets: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        """What to subscribe to, to hear of these markets (currency, kind) and of the venue."""

    def read(self, payload: bytes) -> Announcement | Notice:
        """VenueFault for a message that cannot be understood."""

    def phase(self, state: str) -> Phase: ...
