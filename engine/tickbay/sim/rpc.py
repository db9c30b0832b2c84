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
from tickbay.sim.past_trades import PastTrades, integer
from tickbay.sim.refusal import RpcError, invalid
from tickbay.sim.venue import Venue

Params = Mapping[str, Any]
KINDS = ("option", "future", "spot", "option_combo", "future_combo", "any", "combo")
BOOK_DEPTHS = (1, 5, 10, 20, 50, 100, 1000, 10000)


def envelope(
    request_id: object, content: dict[str, object], received_us: int, *, ahead_us: int = 0
) -> dict[str, object]:
    """A whole reply, with the server's times; its clock is `ahead_us` ahead of ours."""
    sent_us = time.time_ns() // 1000
    return {
        "jsonrpc": "2.0",
        **({} if request_id is None else {"id": request_id}),
        **content,
        "usIn": received_us + ahead_us,
        "usOut": sent_us + ahead_us,
        "usDiff": sent_us - received_us,
        "testnet": True,
    }


class Methods:
    """public/… by name."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._methods: dict[str, Callable[[Params], object]] = {
            "public/get_time": lambda _params: time.time_ns() // 1_000_000,
            "public/status": self.status,
            "public/get_currencies": self.get_currencies,
            "public/get_combos": self.get_combos,
            "public/test": lambda _params: {"version": "1.2.26"},
            "public/hello": lambda _params: {"version": "1.2.26"},
            "public/get_instruments": self.get_instruments,
            "public/get_instrument": lambda params: venue.record(self._instrument(params)),
            "public/get_book_summary_by_currency": self.get_book_summary_by_currency,
            **PastTrades(venue).methods(),
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
        expired = str(params.get("expired", "false")).lower() == "true"
        return [self._venue.record(item) for item in self._chosen(currency, kind, expired=expired)]

    def get_combos(self, params: Params) -> object:
        return [
            {
                "id": item.name,
                "instrument_id": 400_000 + item.number,
                "state": "active",
                "legs": [{"instrument_name": leg, "amount": amount} for leg, amount in item.legs],
                "creation_timestamp": item.creation_ms,
                "state_timestamp": item.creation_ms,
            }
            for item in self._chosen(params.get("currency", "any"), "combo")
        ]

    def get_currencies(self, _params: Params) -> object:
        return [{"currency": name} for name in sorted({item.currency for item in self._venue.instruments.values()})]

    def status(self, _params: Params) -> object:
        locked = sorted(self._venue.locked)
        return {"locked": "partial" if locked else "false", "locked_indices": locked}

    def get_book_summary_by_currency(self, params: Params) -> object:
        currency, kind = params.get("currency"), params.get("kind", "any")
        if not currency or currency == "any":
            raise invalid("currency", "must be one currency")
        return [self._summary(item) for item in self._chosen(currency, kind)]

    def get_order_book(self, params: Params) -> object:
        item = self._instrument(params)
        depth = integer(params, "depth", 20)
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

    def _chosen(self, currency: str, kind: str, *, expired: bool = False) -> list[Instrument]:
        return [
            item
            for item in (self._venue.expired if expired else self._venue.instruments).values()
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
