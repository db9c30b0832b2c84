"""What a session and the feed around it say to each other: the time, what was heard, and what is to be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tickbay.events import Event
from tickbay.gap import Gap
from tickbay.gap_count import GapCount
from tickbay.record import Kind
from tickbay.venues.venue import Channel

NS_PER_S = 1_000_000_000


class Moment(NamedTuple):
    """Now, on two clocks: one for durations, which never steps, and that of the records, in ns since 1970."""

    mono_ns: int
    wall_ns: int


class Heard(Protocol):
    """What came on this connection so far. recv_ns is our clock; 0: nothing yet."""

    def frames(self) -> int:
        """Frames of any kind, since the process started."""

    def last_ns(self) -> int:
        """recv_ns of the newest message of any kind: the venue sends in order, so nothing before it is missing."""

    def of(self, kind: Kind, instrument: str) -> int:
        """recv_ns of its newest message; for a book, 0 also while its chain is broken."""

    def newest(self, channels: Sequence[Channel]) -> npt.NDArray[np.int64]:
        """of() each of them; quick where it is asked of the same ones again."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection, then say connected() or lost()."""


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection; whether lost() is said of it does not matter."""

    detail: str


@dataclass(frozen=True, slots=True)
class Send:
    """One text frame."""

    payload: bytes = field(repr=False)  # a login has secrets


@dataclass(frozen=True, slots=True)
class Report:
    """Write this gap record."""

    gap: Gap


@dataclass(frozen=True, slots=True)
class Tell:
    """Log this."""

    event: Event
    fields: Mapping[str, object]


Action = Connect | Close | Send | Report | Tell


class Outbox:
    """Actions in the order in which they are to be done."""

    def __init__(self) -> None:
        self.gaps = GapCount()  # holes reported
        self._actions: list[Action] = []

    def put(self, action: Action) -> None:
        self._actions.append(action)

    def tell(self, event: Event, **fields: object) -> None:
        self._actions.append(Tell(event, fields))

    def report(self, gap: Gap) -> None:
        """A hole was found, whether it lasts or not."""
        self.gaps.add(gap)
        self._actions.append(Report(gap))

    def finish(self, gap: Gap, to_ns: int) -> None:
        """A hole that was reported has ended."""
        self._actions.append(Report(replace(gap, to_ns=max(to_ns, gap.from_ns))))

    def take(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions
