"""Listings to select from, for the tests of the universe."""

from __future__ import annotations

from typing import Any

from rest_server import option
from tickbay.universe.instrument import Instrument, read_instrument
from tickbay.universe.selection import Listing, Market

NOW_NS = 1_800_000_000 * 10**9
ETH = Market("ETH", "option")


def listed(*items: Instrument, **open_interest: float) -> Listing:
    return Listing({ETH: items}, {name.replace("_", "-"): value for name, value in open_interest.items()})


def made(name: str, **fields: Any) -> Instrument:
    return read_instrument(option(name, **fields))
