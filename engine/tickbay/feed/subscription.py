"""The life of one channel on a connection, as a table: from wanting it to hearing it, and what goes wrong between.

Pure: channels.py says what happened and when; this keeps the channel's place, its troubles and its hole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from tickbay.feed.hearing import Hearing
from tickbay.gap import Cause, Gap
from tickbay.venues.venue import Channel


class Place(Enum):
    """Where a channel stands."""

    QUEUED = auto()  # to be asked for
    ASKED = auto()  # in a request that has no answer yet
    REFUSED = auto()  # the venue did not take it: waiting to be asked for again
    AWAITED = auto()  # taken: waiting for its first message
    LIVE = auto()  # nothing is missing
    LEAVING = auto()  # to be given back to the venue
    PARTING = auto()  # in a request to give it back that has no answer yet


class Turn(Enum):
    """What happens to a channel."""

    SENT = auto()  # its request went out
    ACCEPTED = auto()  # the answer names it
    MISSED = auto()  # the answer does not name it, or there is none
    HEARD = auto()  # its data comes
    UNHEARD = auto()  # its data does not come
    BROKEN = auto()  # its data has a hole
    DUE = auto()  # it has waited long enough
    UNWANTED = auto()  # nobody wants it any more
    LOST = auto()  # the connection is gone


# What is not listed leaves the channel where it is: a break while we resubscribe anyhow, data after we gave it back.
LIFE: dict[tuple[Place, Turn], Place] = {
    (Place.QUEUED, Turn.SENT): Place.ASKED,
    (Place.ASKED, Turn.ACCEPTED): Place.AWAITED,
    (Place.ASKED, Turn.MISSED): Place.REFUSED,
    (Place.ASKED, Turn.LOST): Place.QUEUED,
    (Place.REFUSED, Turn.DUE): Place.QUEUED,
    (Place.REFUSED, Turn.LOST): Place.QUEUED,
    (Place.AWAITED, Turn.HEARD): Place.LIVE,
    (Place.AWAITED, Turn.UNHEARD): Place.LEAVING,
    (Place.AWAITED, Turn.BROKEN): Place.LEAVING,
    (Place.AWAITED, Turn.UNWANTED): Place.LEAVING,
    (Place.AWAITED, Turn.LOST): Place.QUEUED,
    (Place.LIVE, Turn.UNHEARD): Place.LEAVING,
    (Place.LIVE, Turn.BROKEN): Place.LEAVING,
    (Place.LIVE, Turn.UNWANTED): Place.LEAVING,
    (Place.LIVE, Turn.LOST): Place.QUEUED,
    (Place.LEAVING, Turn.SENT): Place.PARTING,
    (Place.LEAVING, Turn.LOST): Place.QUEUED,
    (Place.PARTING, Turn.ACCEPTED): Place.QUEUED,
    (Place.PARTING, Turn.MISSED): Place.QUEUED,  # it was not subscribed: the same to us
    (Place.PARTING, Turn.LOST): Place.QUEUED,
}


@dataclass(slots=True)
class Subscription:
    channel: Channel
    expires_ns: int  # our clock: nothing comes from then on, and that is no hole; 0: never
    hearing: Hearing = field(repr=False)
    row: int = field(init=False)  # in it
    place: Place = Place.QUEUED
    wanted: bool = True  # False: given back, then forgotten
    since_ns: int = 0  # mono: when it came to its place
    due_ns: int = 0  # mono: not to be asked for, or given back, before
    refusals: int = 0  # in a row
    troubles: int = 0  # since it was last well for long: how patient to be
    batch_max: int = 1 << 30  # channels that its next request may hold
    before_ns: int = 0  # what was heard when it was asked for: its data is what comes later
    whole_ns: int = 0  # our clock: since when nothing of it is missing, while it is live
    missing_ns: int = 0  # our clock: since when it lacks data; 0: it does not, or the feed's own hole says so
    missing: Cause = Cause.REFUSED  # why
    detail: str = ""  # why, in words
    hole: Gap | None = None  # as it was reported

    def __post_init__(self) -> None:
        self.row = self.hearing.take()

    @property
    def heard_ns(self) -> int:
        """Our clock: its newest message, as last looked at …"""
        return self.hearing.heard_ns.item(self.row)

    @heard_ns.setter
    def heard_ns(self, recv_ns: int) -> None:
        self.hearing.heard_ns[self.row] = recv_ns

    @property
    def heard_mono_ns(self) -> int:
        """… and when that was new."""
        return self.hearing.heard_mono_ns.item(self.row)

    @heard_mono_ns.setter
    def heard_mono_ns(self, mono_ns: int) -> None:
        self.hearing.heard_mono_ns[self.row] = mono_ns

    @property
    def calm(self) -> bool:
        """Live and without a past: nothing is to be done while it speaks. Whoever changes that stirs the hearing."""
        return self.place is Place.LIVE and self.hole is None and not self.missing_ns and not self.troubles

    def turn(self, turn: Turn, mono_ns: int) -> bool:
        """What happened to it, and whether that changed anything."""
        place = LIFE.get((self.place, turn))
        if place is None:
            return False
        self.hearing.stirred |= Place.LIVE in (self.place, place)
        self.place = place
        self.since_ns = mono_ns
        return True

    def lack(self, cause: Cause, detail: str, since_ns: int) -> None:
        """Something of it is missing, perhaps not for long: reported when it is back, or when it stays away."""
        self.missing_ns = since_ns
        self.missing = cause
        self.detail = detail
        self.hearing.stirred = True

    def tear(self, hole: Gap) -> None:
        """It has a hole, which is reported."""
        self.hole = hole
        self.hearing.stirred = True

    def mend(self) -> None:
        """Nothing of it is missing."""
        self.hole = None
        self.missing_ns = 0
        self.hearing.stirred = True

    def forgive(self) -> None:
        self.troubles = 0
        self.hearing.stirred = True

    def ended(self, wall_ns: int) -> bool:
        """Has its instrument expired?"""
        return 0 < self.expires_ns <= wall_ns
