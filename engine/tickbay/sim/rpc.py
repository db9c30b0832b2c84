"""The venue's methods that answer at once: the same over REST and over WebSocket. Parameters in, result or RpcError
out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tickbay.sim import frames, rows
from tickbay.sim.instruments import Instrument
from tickbay.sim.ledger import moved_one
from tickbay.sim.venue import Venue

Params = Mapping[str, Any]
KINDS = ("option", "future", "spot", "option_combo", "future_combo", "any", "combo")
TRADES_COUNT_MAX = 1000
BOOK_DEPTHS = (1, 5, 10, 20, 50, 100, 1000, 10000)


class RpcError(Exception):
    """What the venue refuses, with its own code."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code, self.data = code, data

    def body(self) -> dict[str, object]:
        return {"code": self.code, "message": str(self)} | ({"data": self.data} if self.data else {})


def invalid(param: str, reason: str) -> RpcError:
    return RpcError(-32602, "Invalid params", {"reason": reason, "param": param})


def envelope(request_id: object, content: dict[str, object], received_us: int) -> dict[str, object]:
    """A whole reply, with the server's times."""
    sent_us = time.time_ns() // 1000
    return {
        "jsonrpc": "2.0",
        **({} if request_id is None else {"id": request_id}),
        **content,
        "usIn": received_us,
        "usOut": sent_us,
        "usDiff": sent_us - received_us,
        "testnet": True,
    }


class Methods:
    """public/… by name."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._methods: dict[str, Callable[[Params], object]] = {
            "public/get_time": lambda _params: time.time_ns() // 1_000_000,
            "public/status": lambda _params: {"locked": "false", "locked_indices": []},
            "public/test": lambda _params: {"version": "1.2.26"},
            "public/hello": lambda _params: {"version": "1.2.26"},
            "public/get_instruments": self.get_instruments,
            "public/get_instrument": lambda params: self._instrument(params).record(),
            "public/get_book_summary_by_currency": self.get_book_summary_by_currency,
            "public/get_last_trades_by_instrument": self.get_last_trades_by_instrument,
            "public/get_order_book": self.get_order_book,
            "public/ticker": self.ticker,
        }

    def call(self, method: str, params: Params) -> object:
        """RpcError where the venue would refuse."""
        found = self._methods.get(method)
        if found is None:
            raise (
                RpcError(13009, "unauthorized", {"reason": "invalid_token"})
                if method.startswith("private/")
                else RpcError(-32601, "Method not found")
            )
        return found(params)

    def get_instruments(self, params: Params) -> object:
        currency, kind = params.get("currency", "any"), params.get("kind", "any")
        if kind not in KINDS:
            raise invalid("kind", "wrong format")
        if str(params.get("expired", "false")).lower() == "true":
            return []
        return [item.record() for item in self._chosen(currency, kind)]

    def get_book_summary_by_currency(self, params: Params) -> object:
        currency, kind = params.get("currency"), params.get("kind", "any")
        if not currency or currency == "any":
            raise invalid("currency", "must be one currency")
        return [self._summary(item) for item in self._chosen(currency, kind)]

    def get_last_trades_by_instrument(self, params: Params) -> object:
        """By sequence numbers, or the newest. Trades of the moment and before, however old."""
        item = self._instrument(params)
        trades = self._venue.script(item).trades
        count = _integer(params, "count", 10)
        if not 1 <= count <= TRADES_COUNT_MAX:
            raise invalid("count", f"must be between 1 and {TRADES_COUNT_MAX}")
        if not len(trades):
            return {"trades": [], "has_more": False}
        base = int(trades["trade_seq"][0])
        newest = base + self._venue.trades_so_far(item) - 1
        first = max(base, _integer(params, "start_seq", base))
        last = min(newest, _integer(params, "end_seq", newest))
        ascending = params.get("sorting", "desc") == "asc"
        has_more = last - first + 1 > count
        if has_more and ascending:
            last = first + count - 1
        elif has_more:
            first = last - count + 1
        found = [self._trade(item, sequence - base) for sequence in range(first, last + 1)]
        return {
            "trades": [orjson.Fragment(text) for text in (found if ascending else reversed(found))],
            "has_more": has_more,
        }

    def get_order_book(self, params: Params) -> object:
        item = self._instrument(params)
        depth = _integer(params, "depth", 20)
        if depth not in BOOK_DEPTHS:
            raise invalid("depth", "wrong depth")
        script = self._venue.script(item)
        place = self._venue.events_so_far(script.change_at_us)
        loop, change = divmod(place, len(script.books))
        begin, end = script.snapshot_first[change : change + 2]
        book = moved_one(rows.BOOK, script.snapshots[begin:end], loop, self._venue.clock_ms(), self._venue.cycle_ms)
        levels = {
            side: [[float(row["price"]), float(row["amount"])] for row in book if row["side"] == number][:depth]
            for side, number in (("bids", rows.BID), ("asks", rows.ASK))
        }
        return {
            "timestamp": int(book["offset_ms"][0]),
            "instrument_name": item.name,
            "change_id": int(book["change_id"][0]),
            "state": "open",
            **levels,
        }

    def ticker(self, params: Params) -> object:
        item = self._instrument(params)
        script = self._venue.script(item)
        place = (self._venue.events_so_far(script.quote_at_us) - 1) % len(script.quotes)
        return orjson.Fragment(
            frames.ticker(item, script.quotes[place]).replace(frames.STAMP, str(time.time_ns() // 1_000_000))
        )

    def _trade(self, item: Instrument, number: int) -> str:
        script = self._venue.script(item)
        loop, place = divmod(number, len(script.trades))
        message = next(message for message, first in enumerate(script.trade_first[1:]) if place < first)
        clock_ms = self._venue.sent_clock_ms(loop, script.trade_at_us[message])
        row = moved_one(rows.TRADE, script.trades[place : place + 1], loop, clock_ms, self._venue.cycle_ms)[0]
        return frames.trade(row, stamp=str(row["offset_ms"]))

    def _chosen(self, currency: str, kind: str) -> list[Instrument]:
        return [
            item
            for item in self._venue.instruments.values()
            if currency in ("any", item.currency)
            and (kind in ("any", item.kind) or (kind == "combo" and item.kind.endswith("_combo")))
        ]

    def _instrument(self, params: Params) -> Instrument:
        item = self._venue.instruments.get(str(params.get("instrument_name", "")))
        if item is None:
            raise invalid("instrument_name", "instrument not found")
        return item

    def _summary(self, item: Instrument) -> dict[str, object]:
        script = self._venue.script(item)
        quote = script.quotes[(self._venue.events_so_far(script.quote_at_us) - 1) % len(script.quotes)]
        value = {
            name: None if math.isnan(number) else number
            for name in rows.QUOTE_NUMBERS
            for number in (float(quote[name]),)
        }
        summary = {
            "instrument_name": item.name,
            "base_currency": item.base,
            "quote_currency": "USDC" if item.linear else item.base,
            "creation_timestamp": time.time_ns() // 1_000_000,
            "bid_price": value["bid_price"],
            "ask_price": value["ask_price"],
            "mark_price": value["mark_price"],
            "last": value["last_price"],
            "high": value["high"],
            "low": value["low"],
            "open_interest": value["open_interest"],
            "volume": value["volume"] or 0.0,
            "volume_usd": value["volume_usd"],
            "price_change": value["price_change"],
            "estimated_delivery_price": value["estimated_delivery_price"],
        }
        if item.kind == "option":
            summary |= {
                "mark_iv": value["mark_iv"],
                "underlying_price": value["underlying_price"],
                "interest_rate": 0.0,
                "underlying_index": quote["underlying_index"].decode(),
            }
        return summary


def _integer(params: Params, name: str, default: int) -> int:
    try:
        return int(params.get(name, default))
    except (TypeError, ValueError) as error:
        raise invalid(name, "must be an integer") from error
