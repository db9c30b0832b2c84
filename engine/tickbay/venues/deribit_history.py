"""Deribit's trades of the past: get_last_trades_by_instrument, …_by_currency_and_time; https://docs.deribit.com.

Trades are asked for by sequence wherever their instrument is known: by time, a page that ends within a millisecond of
several trades would lose some. The same methods are served by the host of recent trades (about a day) and by the one of
history.
"""

from __future__ import annotations

from typing import Any

import orjson

from tickbay.errors import VenueFault
from tickbay.venues.venue import Page, Printed, Query

COUNT_MAX = 1000  # trades of one answer
NS_PER_MS = 1_000_000
EVERY = ".any"  # at the end of a market: of every currency


def market_of(channel: str) -> str:
    """`option.ETH` of `trades.option.ETH.100ms`, `ETH-PERPETUAL` of `trades.ETH-PERPETUAL.100ms`."""
    parts = channel.split(".")
    return ".".join(parts[1:-1]) if parts[0] == "trades" and len(parts) in (3, 4) else ""


def ask_parts(market: str) -> Query | None:
    """Trades of any currency come over one channel, and are listed one currency at a time (`any` is refused)."""
    return Query("get_currencies", {}) if market.endswith(EVERY) else None


def read_parts(market: str, result: Any) -> tuple[str, ...]:
    match result:
        case [_, *_] if all(isinstance(item, dict) and isinstance(item.get("currency"), str) for item in result):
            return tuple(market.removesuffix(EVERY) + f".{item['currency']}" for item in result)
    raise VenueFault("get_currencies: the result is no list of currencies")


def ask_trades(instrument: str, first: int, last: int) -> Query:
    numbers = {"start_seq": str(first), "end_seq": str(last)}
    return Query(
        "get_last_trades_by_instrument",
        {"instrument_name": instrument, **numbers, "count": str(COUNT_MAX), "sorting": "asc"},
    )


def ask_window(market: str, from_ns: int, to_ns: int) -> Query:
    times = {"start_timestamp": str(from_ns // NS_PER_MS), "end_timestamp": str(-(-to_ns // NS_PER_MS))}
    page = {**times, "count": str(COUNT_MAX), "sorting": "asc"}
    kind, dot, currency = market.partition(".")
    if dot:
        return Query("get_last_trades_by_currency_and_time", {"currency": currency, "kind": kind, **page})
    return Query("get_last_trades_by_instrument_and_time", {"instrument_name": market, **page})


def read_trades(result: Any) -> Page:
    if not isinstance(result, dict) or not isinstance(result.get("trades"), list):
        raise VenueFault("an answer without trades")
    trades = result["trades"]
    # Each number becomes a double here as in the decoder, and its shortest text that same double again.
    frame = b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.history","data":%b}}'
    return Page(tuple(map(_printed, trades)), result.get("has_more") is True, frame % orjson.dumps(trades))


def _printed(trade: Any) -> Printed:
    match trade:
        case {"instrument_name": str(name), "trade_seq": int(number), "timestamp": int(time_ms)}:
            return Printed(name, number, time_ms * NS_PER_MS)
    raise VenueFault("a trade without name, sequence or time")
