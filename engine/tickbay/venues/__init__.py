"""What exchanges say: requests to bytes, replies to values. No I/O, no clock, no state.

`VENUES` is the one place where the name of the configuration (venue.name) becomes what speaks for the venue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tickbay.venues import deribit, deribit_announcements, deribit_history
from tickbay.venues.announcement import Announcer
from tickbay.venues.venue import History, Venue


@dataclass(frozen=True, slots=True)
class Speakers:
    """A module for each process that asks."""

    session: Venue  # of feeds, and of the universe's own connection
    announcer: Announcer  # of the universe
    history: History  # of the healer


VENUES: Mapping[str, Speakers] = {"deribit": Speakers(deribit, deribit_announcements, deribit_history)}
