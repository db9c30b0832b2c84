"""What Deribit announces: `instrument.creation`, `instrument.state`, `platform_state` and its `public_methods_state`;
https://docs.deribit.com. An Announcer (announcement.py).

A new instrument is announced once, with the same data as in public/get_instruments. While an index is locked the venue
sends no instrument.state for it, and no word comes when a message was missed: so the universe compares with REST too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from tickbay.errors import VenueFault
from tickbay.venues.announcement import (
    Announcement,
    IndexLocked,
    Listed,
    Maintenance,
    Notice,
    Phase,
    PublicAccess,
    StateChanged,
)

PLATFORM = "platform_state"
PUBLIC_METHODS = "platform_state.public_methods_state"

# Words of the documentation and of what was recorded; newer ones are to be expected.
PHASES = {
    "created": Phase.NEUTRAL,
    "open": Phase.TRADING,
    "started": Phase.TRADING,
    "settlement": Phase.PAUSED,  # a few seconds at 08:00 UTC
    "locked": Phase.PAUSED,  # an incident
    "halted": Phase.PAUSED,  # a planned stop
    "inactive": Phase.IDLE,  # a combo of which nobody asks, a product that has not begun
    "delivered": Phase.ENDED,
    "settled": Phase.ENDED,
    "closed": Phase.ENDED,
    "terminated": Phase.ENDED,
    "deactivated": Phase.ENDED,
    "archivized": Phase.ENDED,
}


def channels(markets: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    names = [PLATFORM, PUBLIC_METHODS]
    for currency, kind in markets:
        names += [f"instrument.creation.{kind}.{currency}", f"instrument.state.{kind}.{currency}"]
    return tuple(dict.fromkeys(names))


def phase(state: str) -> Phase:
    return PHASES.get(state, Phase.UNKNOWN)


def read(payload: bytes) -> Announcement | Notice:
    try:
        message = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise VenueFault(f"a message that is no JSON: {error}") from error
    match message:
        case {"method": "subscription", "params": {"channel": str(channel), "data": data}}:
            return _announcement(channel, data)
        case {"method": "heartbeat", "params": {"type": "test_request"}}:
            return Notice.TEST_REQUEST
        case {"method": _}:
            return Notice.NOTHING
        case {"result": _} | {"error": _}:
            return Notice.REPLY
    raise VenueFault("a message that is none of the venue's")


def _announcement(channel: str, data: Any) -> Announcement | Notice:
    """A channel's name is taken apart only at the dots that we ourselves put into it."""
    match channel.split("."), data:
        case ["instrument", "creation", kind, currency], dict():
            return Listed(currency, kind, data)
        case ["instrument", "state", _, _], {"instrument_name": str(name), "state": str(state)}:
            return StateChanged(name, state)
        case [_, *_], {"maintenance": bool(begins)} if channel == PLATFORM:
            return Maintenance(begins)
        case [_, *_], {"price_index": str(index), "locked": bool(locked)} if channel == PLATFORM:
            return IndexLocked(index, locked)
        case [_, *_], {"allow_unauthenticated_public_requests": bool(allowed)} if channel == PUBLIC_METHODS:
            return PublicAccess(allowed)
        case [_, *_], dict() if channel in (PLATFORM, PUBLIC_METHODS):
            return Notice.NOTHING  # a key that is new to us
    raise VenueFault(f"an announcement that is none: {channel[:80]!r}")
