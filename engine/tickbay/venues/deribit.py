"""Deribit, API v2: JSON-RPC over WebSocket. Channels, requests, replies and errors; https://docs.deribit.com.

Kept here: what an instrument is (strike, expiry, currency) is never read out of its name. A channel's name is taken
apart only at the dots that we ourselves put into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tickbay.errors import VenueFault
from tickbay.record import Kind
from tickbay.venues.venue import Cadence, Channel, Grant, Refusal, Reply, Trouble

NAME_BYTES_MAX = 48  # RECORD_INSTRUMENT_MAX: a longer name could not be recorded
INDEX_BYTES_MAX = 32  # DERIBIT_INDEX_MAX
DEPTHS = frozenset({"1", "10", "20"})  # of a window onto a book
INTERVALS = frozenset({"raw", "100ms", "agg2"})
KINDS = frozenset({"future", "option", "spot", "future_combo", "option_combo"})
ENVELOPE_BYTES = 110  # a subscribe request around its channels, with an id of 20 digits

# The codes that need a branch; every other one means that the request was refused.
TROUBLES = {
    10028: Trouble.HASTE,  # too_many_requests; the venue ends the session afterwards
    10041: Trouble.PAUSE,  # settlement_in_progress
    10066: Trouble.HASTE,  # too_many_concurrent_requests
    11051: Trouble.MAINTENANCE,  # system_maintenance
    11056: Trouble.CLOSED,  # unauthenticated_public_requests_temporarily_disabled
    13004: Trouble.DENIED,  # invalid_credentials
    13009: Trouble.STRANGER,  # unauthorized, or a token that is not valid (any more)
    13028: Trouble.MAINTENANCE,  # temporarily_unavailable
    13503: Trouble.MAINTENANCE,  # unavailable
    13778: Trouble.RAW,  # raw_subscriptions_not_available_for_unauthorized
}


def channel(name: str) -> Channel:
    if not name.isascii() or not name.isprintable() or any(mark in name for mark in ' "\\'):
        raise VenueFault(f"no channel of Deribit: {name[:80]!r}")
    match name.split("."):
        case ["ticker", instrument, interval] if interval in INTERVALS:
            return _channel(name, Kind.QUOTE, instrument, Cadence.STEADY)
        case ["book", instrument, interval] if interval in INTERVALS:
            return _channel(name, Kind.BOOK, instrument, Cadence.CHANGES)
        case ["trades", kind, currency, interval] if kind in KINDS and currency and interval in INTERVALS:
            return Channel(name, Kind.TRADE, "", Cadence.EVENTS, "")
        case ["trades", instrument, interval] if interval in INTERVALS:
            return _channel(name, Kind.TRADE, instrument, Cadence.EVENTS)
        case ["quote", instrument]:
            return _channel(name, Kind.BBO, instrument, Cadence.CHANGES)
        case ["book", instrument, group, depth, interval] if _is_window(group, depth) and interval in INTERVALS:
            return _channel(name, Kind.DEPTH, instrument, Cadence.CHANGES)
        case ["markprice", "options", index]:
            return _channel(name, Kind.MARK, index, Cadence.STEADY)
        case ["perpetual", instrument, interval] if interval in INTERVALS:
            return _channel(name, Kind.FUNDING, instrument, Cadence.CHANGES)
        case ["deribit_price_index", index]:
            return _channel(name, Kind.INDEX, index, Cadence.STEADY, "price.")
        case ["deribit_volatility_index", index]:
            return _channel(name, Kind.INDEX, index, Cadence.STEADY, "volatility.")
        case ["estimated_expiration_price", index]:
            return _channel(name, Kind.INDEX, index, Cadence.EVENTS, "delivery.")
        case ["platform_state", *_] | ["instrument", "creation" | "state", _, _]:
            # Of the universe's connection: deribit_announcements.py.
            return Channel(name, Kind.INSTRUMENT, "", Cadence.EVENTS, "")
    raise VenueFault(f"no channel that we record: {name[:80]!r}")


def _channel(name: str, kind: Kind, subject: str, cadence: Cadence, measure: str = "") -> Channel:
    limit = INDEX_BYTES_MAX if kind in (Kind.INDEX, Kind.MARK) else NAME_BYTES_MAX
    if not 0 < len(subject) <= limit:
        raise VenueFault(f"a name of {len(subject)} bytes in {name[:80]!r}")
    return Channel(name, kind, subject, cadence, measure + subject)


def _is_window(group: str, depth: str) -> bool:
    return depth in DEPTHS and (group == "none" or (group.isdigit() and int(group) > 0))


def without_login(name: str) -> str:
    return name.removesuffix(".raw") + ".100ms" if name.endswith(".raw") else name


def ask_login(id: int, key: str, secret: str) -> bytes:
    """The connection is logged in afterwards; no other request needs the token."""
    params = {"grant_type": "client_credentials", "client_id": key, "client_secret": secret}
    return _request(id, "public/auth", params)


def ask_renewal(id: int, token: str) -> bytes:
    return _request(id, "public/auth", {"grant_type": "refresh_token", "refresh_token": token})


def ask_heartbeat(id: int, interval_s: int) -> bytes:
    return _request(id, "public/set_heartbeat", {"interval": interval_s})


def ask_test(id: int) -> bytes:
    return _request(id, "public/test", {})


def ask_subscribe(id: int, names: Sequence[str]) -> bytes:
    return _request(id, "public/subscribe", {"channels": list(names)})


def ask_unsubscribe(id: int, names: Sequence[str]) -> bytes:
    return _request(id, "public/unsubscribe", {"channels": list(names)})


def request_bytes(names: Sequence[str]) -> int:
    return ENVELOPE_BYTES + sum(len(name) + 3 for name in names)  # quotes and a comma each


def read_reply(payload: bytes) -> Reply:
    try:
        message = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise VenueFault(f"a reply that is no JSON: {error}") from error
    if not isinstance(message, dict) or not ("result" in message or "error" in message):
        raise VenueFault("a message that is no reply")
    id = message.get("id")
    result = message.get("result")
    names = frozenset(name for name in result if isinstance(name, str)) if isinstance(result, list) else frozenset()
    refusal = _refusal(message.get("error"))
    return Reply(id if type(id) is int else None, names, refusal, *_server_times(message), _grant(result))


def _grant(result: Any) -> Grant | None:
    """Of the answer to public/auth."""
    match result:
        case {"access_token": str(), "expires_in": int(expires_s), "refresh_token": str(renewal)}:
            return Grant(float(expires_s), renewal)
    return None


def _request(id: int, method: str, params: dict[str, Any]) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def _refusal(error: Any) -> Refusal | None:
    if error is None:
        return None
    if not isinstance(error, dict) or type(error.get("code")) is not int:
        raise VenueFault("an error without a code")
    code = error["code"]
    reason = str(error.get("message", ""))
    data = error.get("data")
    if isinstance(data, dict) and "reason" in data:
        reason = f"{reason}: {data['reason']}"
    return Refusal(TROUBLES.get(code, Trouble.REFUSED), code, reason[:120])


def _server_times(message: dict[str, Any]) -> tuple[int, int]:
    came, went = message.get("usIn"), message.get("usOut")
    if type(came) is not int or type(went) is not int:
        return 0, 0
    return came * 1000, went * 1000
