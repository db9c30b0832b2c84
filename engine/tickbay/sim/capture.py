"""Recorded frames to be played instead of generated ones.

In: files in either of two forms, one message a line: the bare message, or `RECEIVED: message` with other lines
between. Out: the frames in recorded order, with the values that the ledger is to have of each, parsed by Python's
json: not by tickbay's decoder.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tickbay.errors import ConfigError
from tickbay.sim import rows
from tickbay.sim.rows import Rows
from tickbay.sim.strip import websocket_frame

LINE = re.compile(rb"(?:\d+\.\d+: )?(\{.*\})\s*")
TRADE_ID = re.compile(r"(.*?)((?:[1-9]\d{0,17})?)", re.DOTALL)
NAMED = {
    "bid_price": "best_bid_price",
    "bid_amount": "best_bid_amount",
    "ask_price": "best_ask_price",
    "ask_amount": "best_ask_amount",
}
STATS = ("high", "low", "price_change", "volume", "volume_usd", "volume_notional")
GREEKS = ("delta", "gamma", "vega", "theta", "rho")
SIDES = {"bids": rows.BID, "asks": rows.ASK}
ACTIONS = {name: number for number, name in rows.ACTION_NAMES.items()}
LIQUIDATIONS = {name: number for number, name in rows.LIQUIDATION_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded message."""

    channel: str
    frame: bytes
    kind: int
    values: Rows  # offset_ms: the true time


class Capture:
    """All messages of some files. ConfigError where one cannot be read or has none."""

    def __init__(self, paths: Sequence[Path], interval: str) -> None:
        """`interval` replaces the last part of channel names (100ms), empty: as recorded."""
        self.messages: list[Recorded] = []
        for path in paths:
            try:
                lines = path.read_bytes().splitlines()
            except OSError as error:
                raise ConfigError(f"--capture {path}: {error.strerror}") from error
            found = [recorded for line in lines if (recorded := _recorded(line, interval))]
            if not found:
                raise ConfigError(f"--capture {path}: no recorded messages in it")
            self.messages += found
        self.by_channel: dict[str, list[int]] = {}
        for place, message in enumerate(self.messages):
            self.by_channel.setdefault(message.channel, []).append(place)
        self.names = sorted(
            {name.decode() for message in self.messages for name in message.values["instrument"].tolist()}
        )


def _recorded(line: bytes, interval: str) -> Recorded | None:
    match = LINE.fullmatch(line)
    if not match or b'"method":"subscription"' not in match[1]:
        return None
    parameters = json.loads(match[1])["params"]
    channel, data = parameters["channel"], parameters["data"]
    payload = match[1]
    if interval:
        renamed = f"{channel.rpartition('.')[0]}.{interval}"
        payload = payload.replace(f'"channel":"{channel}"'.encode(), f'"channel":"{renamed}"'.encode(), 1)
        channel = renamed
    if channel.split(".")[0] not in ("ticker", "book", "trades"):
        return None
    kind, values = values_of(channel, data)
    return Recorded(channel, websocket_frame(payload), kind, values)


def values_of(channel: str, data: Any) -> tuple[int, Rows]:
    """The kind and the values of the data of a ticker, book or trades channel, as Python's json gave them."""
    match channel.split(".")[0]:
        case "ticker":
            return rows.QUOTE, quote(data)
        case "book":
            return rows.BOOK, book(data)
        case family:
            assert family == "trades"
            return rows.TRADE, trades(data)


def quote(data: dict[str, Any]) -> Rows:
    """A ticker's values. An empty side, spelled as zeros, is absent."""
    result = rows.empty(rows.QUOTE, 1)
    row = result[0]
    flat = {
        **data,
        **{name: data.get("stats", {}).get(name) for name in STATS},
        **{name: data["greeks"][name] for name in GREEKS if "greeks" in data},
    }
    for name in rows.QUOTE_NUMBERS:
        value = flat.get(NAMED.get(name, name))
        row[name] = math.nan if value is None else value
    for side in ("bid", "ask"):
        if row[f"{side}_price"] == 0 and row[f"{side}_amount"] == 0:
            row[f"{side}_price"] = row[f"{side}_amount"] = row[f"{side}_iv"] = math.nan
    row["instrument"], row["offset_ms"] = data["instrument_name"].encode(), data["timestamp"]
    row["option"] = "greeks" in data
    row["underlying_index"], row["state"] = data.get("underlying_index", "").encode(), data.get("state", "").encode()
    return result


def book(data: dict[str, Any]) -> Rows:
    levels = [
        (SIDES[side], ACTIONS[action], price, amount)
        for side in data
        if side in SIDES
        for action, price, amount in data[side]
    ]
    result = rows.empty(rows.BOOK, max(1, len(levels)))
    result["instrument"], result["offset_ms"] = data["instrument_name"].encode(), data["timestamp"]
    result["snapshot"] = data["type"] == "snapshot"
    result["change_id"], result["prev_change_id"] = data["change_id"], data.get("prev_change_id", 0)
    for row, (side, action, price, amount) in zip(result, levels, strict=False):
        row["side"], row["action"], row["price"], row["amount"] = side, action, price, amount
    result["last"][-1] = 1
    return result


def trades(data: list[dict[str, Any]]) -> Rows:
    result = rows.empty(rows.TRADE, len(data))
    for row, trade in zip(result, data, strict=True):
        row["instrument"], row["offset_ms"] = trade["instrument_name"].encode(), trade["timestamp"]
        row["option"] = "iv" in trade
        match = TRADE_ID.fullmatch(trade["trade_id"])
        assert match, "every text matches"
        row["trade_prefix"], row["trade_number"] = match[1].encode(), int(match[2] or -1)
        for name in rows.TRADE_NUMBERS:
            row[name] = trade.get(name, math.nan)
        row["trade_seq"], row["match_id"] = trade["trade_seq"], trade.get("starbase_match_id", 0)
        row["match_sub_ns"] = (
            trade["starbase_timestamp"] - trade["timestamp"] * 10**6 if "starbase_timestamp" in trade else -1
        )
        row["direction"] = rows.BUY if trade["direction"] == "buy" else rows.SELL
        row["tick_direction"] = trade.get("tick_direction", rows.NO_TICK_DIRECTION)
        row["liquidation"] = LIQUIDATIONS.get(trade.get("liquidation", ""), 0)
        row["block_trade_leg_count"] = trade.get("block_trade_leg_count", 0)
        for name in ("block_trade_id", "block_rfq_id", "combo_id", "combo_trade_id"):
            row[name] = str(trade.get(name, "")).encode()
    result["last"][-1] = 1
    return result
