"""The generated values of one message, as the ledger keeps them: before they were spelled as JSON, so independent of
any decoder.

A row's ids and time are linear in the number of the cycle (`loop`): value = base + step * loop. Absent numbers are NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[Any]  # structured, of one of the types below

# The kinds of rows, numbered as the engine's record kinds are: a ledger and a database are compared stream by stream.
QUOTE, TRADE, BOOK = 1, 2, 3
BBO, INDEX, MARK, FUNDING, DEPTH = 7, 8, 9, 10, 11
KIND_NAMES = {
    QUOTE: "quote",
    TRADE: "trade",
    BOOK: "book",
    BBO: "bbo",
    INDEX: "index",
    MARK: "mark",
    FUNDING: "funding",
    DEPTH: "depth",
}
BUY, SELL = 1, 2
BID, ASK = 1, 2
NEW, CHANGE, DELETE = 1, 2, 3
ACTION_NAMES = {NEW: "new", CHANGE: "change", DELETE: "delete"}
LIQUIDATION_NAMES = {1: "M", 2: "T", 3: "MT"}
NO_TICK_DIRECTION = 255

QUOTE_NUMBERS = (
    "bid_price",
    "bid_amount",
    "ask_price",
    "ask_amount",
    "mark_price",
    "index_price",
    "underlying_price",
    "last_price",
    "open_interest",
    "mark_iv",
    "bid_iv",
    "ask_iv",
    "delta",
    "gamma",
    "vega",
    "theta",
    "rho",
    "settlement_price",
    "delivery_price",
    "estimated_delivery_price",
    "min_price",
    "max_price",
    "interest_rate",
    "high",
    "low",
    "price_change",
    "volume",
    "volume_usd",
    "volume_notional",
    "current_funding",
    "funding_8h",
    "interest_value",
)
TRADE_NUMBERS = ("price", "amount", "contracts", "mark_price", "index_price", "iv")

DTYPES: dict[int, np.dtype[Any]] = {
    QUOTE: np.dtype(
        [
            ("instrument", "S64"),
            ("offset_ms", "<i8"),
            ("option", "u1"),
            *((name, "<f8") for name in QUOTE_NUMBERS),
            ("underlying_index", "S32"),
            ("state", "S16"),
        ]
    ),
    TRADE: np.dtype(
        [
            ("instrument", "S64"),
            ("offset_ms", "<i8"),
            ("option", "u1"),
            ("last", "u1"),
            ("trade_seq", "<i8"),
            ("trade_seq_step", "<i8"),
            ("trade_prefix", "S32"),
            ("trade_number", "<i8"),
            ("trade_number_step", "<i8"),  # id = prefix + number
            *((name, "<f8") for name in TRADE_NUMBERS),
            ("match_id", "<i8"),
            ("match_id_step", "<i8"),
            ("match_sub_ns", "<i8"),  # nanoseconds behind the millisecond; -1: no match time
            ("block_trade_leg_count", "<u4"),
            ("direction", "u1"),
            ("tick_direction", "u1"),
            ("liquidation", "u1"),
            ("block_trade_id", "S32"),
            ("block_rfq_id", "S24"),
            ("combo_id", "S64"),
            ("combo_trade_id", "S32"),
        ]
    ),
    BOOK: np.dtype(
        [
            ("instrument", "S64"),
            ("offset_ms", "<i8"),
            ("snapshot", "u1"),
            ("last", "u1"),
            ("change_id", "<i8"),
            ("prev_change_id", "<i8"),
            ("step", "<i8"),
            ("price", "<f8"),
            ("amount", "<f8"),
            ("side", "u1"),
            ("action", "u1"),
        ]
    ),
    BBO: np.dtype(
        [
            ("instrument", "S64"),
            ("offset_ms", "<i8"),
            *((name, "<f8") for name in ("bid_price", "bid_amount", "ask_price", "ask_amount")),
        ]
    ),
    INDEX: np.dtype(
        [
            ("instrument", "S64"),  # the index
            ("offset_ms", "<i8"),
            ("measure", "u1"),  # 1 price, 2 volatility, 3 delivery: of that no time is sent
            ("value", "<f8"),
            ("remaining_s", "<f8"),
            ("is_estimated", "u1"),
        ]
    ),
    MARK: np.dtype(
        [
            ("instrument", "S64"),
            ("offset_ms", "<i8"),
            ("last", "u1"),
            ("price_index", "S32"),
            ("mark_price", "<f8"),
            ("iv", "<f8"),  # a fraction, as sent
        ]
    ),
    FUNDING: np.dtype(
        [("instrument", "S64"), ("offset_ms", "<i8"), ("interest", "<f8"), ("index_price", "<f8")],
    ),
    DEPTH: np.dtype(
        [
            ("instrument", "S64"),
            ("offset_ms", "<i8"),
            ("last", "u1"),
            ("change_id", "<i8"),
            ("step", "<i8"),
            ("price_group", "<f8"),
            ("levels_max", "u1"),
            ("side", "u1"),
            ("level", "u1"),
            ("price", "<f8"),
            ("amount", "<f8"),
        ]
    ),
}


def empty(kind: int, count: int) -> Rows:
    """`count` rows with every number absent and every text empty."""
    rows = np.zeros(count, DTYPES[kind])
    for name in rows.dtype.names or ():
        if rows.dtype[name].kind == "f":
            rows[name] = np.nan
    return rows
