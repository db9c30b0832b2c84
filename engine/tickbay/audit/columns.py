"""What is compared: for each kind the columns of its tables, as fixed-width values that both sides can be brought
to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickbay.record import TICKS

Rows = NDArray[Any]  # structured, of one of DTYPES, or with META before it

QUOTE, TRADE, BOOK = "quote", "trade", "book"
BBO, INDEX, MARK, FUNDING, DEPTH = "bbo", "index", "mark", "funding", "depth"
KINDS = tuple(kind.name.lower() for kind in TICKS)
HEALED = (QUOTE, TRADE, BOOK)  # kinds whose rows say whether they were fetched afterwards
INTEGER, REAL, FLAG = "<i8", "<f8", "?"
INSTRUMENT = "S65"  # one byte wider than a name can be: one that is too long differs
TEXT = "S33"

REALS: dict[str, tuple[str, ...]] = {
    QUOTE: (
        *("bid_price", "bid_amount", "ask_price", "ask_amount", "mark_price", "index_price", "underlying_price"),
        *("last_price", "open_interest", "mark_iv", "bid_iv", "ask_iv", "delta", "gamma", "vega", "theta", "rho"),
        *("settlement_price", "delivery_price", "estimated_delivery_price", "min_price", "max_price", "interest_rate"),
        *("high", "low", "price_change", "volume", "volume_usd", "volume_notional"),
        *("current_funding", "funding_8h", "interest_value"),
    ),
    TRADE: ("price", "amount", "contracts", "mark_price", "index_price", "iv"),
    BOOK: ("price", "amount"),
    BBO: ("bid_price", "bid_amount", "ask_price", "ask_amount"),
    INDEX: ("value", "remaining_s"),
    MARK: ("mark_price", "mark_iv"),
    FUNDING: ("interest", "index_price"),
    DEPTH: ("price_group", "price", "amount"),
}
COLUMNS: dict[str, dict[str, str]] = {
    QUOTE: {
        "exch_ns": INTEGER,
        "instrument": INSTRUMENT,
        **dict.fromkeys(REALS[QUOTE], REAL),
        "underlying_index": TEXT,
        "state": TEXT,
    },
    TRADE: {
        "exch_ns": INTEGER,
        "instrument": INSTRUMENT,
        "trade_seq": INTEGER,
        "message_end": FLAG,
        **dict.fromkeys(REALS[TRADE], REAL),
        "match_id": INTEGER,
        "match_ns": INTEGER,
        "block_trade_leg_count": INTEGER,
        "direction": TEXT,
        "tick_direction": INTEGER,
        "liquidation": TEXT,
        "trade_id": TEXT,
        "block_trade_id": TEXT,
        "block_rfq_id": TEXT,
        "combo_id": INSTRUMENT,
        "combo_trade_id": TEXT,
    },
    BOOK: {
        "exch_ns": INTEGER,
        "instrument": INSTRUMENT,
        "change_id": INTEGER,
        "prev_change_id": INTEGER,
        "snapshot": FLAG,
        "message_end": FLAG,
        **dict.fromkeys(REALS[BOOK], REAL),
        "side": TEXT,
        "action": TEXT,
    },
    BBO: {"exch_ns": INTEGER, "instrument": INSTRUMENT, **dict.fromkeys(REALS[BBO], REAL)},
    INDEX: {
        "exch_ns": INTEGER,
        "instrument": INSTRUMENT,
        "measure": TEXT,
        **dict.fromkeys(REALS[INDEX], REAL),
        "is_estimated": FLAG,
    },
    MARK: {
        "exch_ns": INTEGER,
        "instrument": INSTRUMENT,
        "message_end": FLAG,
        "price_index": TEXT,
        **dict.fromkeys(REALS[MARK], REAL),
    },
    FUNDING: {"exch_ns": INTEGER, "instrument": INSTRUMENT, **dict.fromkeys(REALS[FUNDING], REAL)},
    DEPTH: {
        "exch_ns": INTEGER,
        "instrument": INSTRUMENT,
        "message_end": FLAG,
        "change_id": INTEGER,
        "levels_max": INTEGER,
        "side": TEXT,
        "level": INTEGER,
        **dict.fromkeys(REALS[DEPTH], REAL),
    },
}
assert tuple(COLUMNS) == KINDS
# What is compared in place of a column. A delivery price is sent without a time: what is stored must be recv_ns.
INSTEAD = {(INDEX, "exch_ns"): "CASE WHEN measure = 'delivery' THEN exch_ns - recv_ns ELSE exch_ns END"}
# An integer column's value that is NULL in the database.
NULL_INTEGER = {"tick_direction": 255}
# Where the rows lie: (table, whether its rows are of options). A book's rows all lie in one.
TABLES = {
    QUOTE: (("option_quotes", True), ("delta_one_quotes", False)),
    TRADE: (("option_trades", True), ("delta_one_trades", False)),
    BOOK: (("book_changes", False),),
    BBO: (("bbo_quotes", False),),
    INDEX: (("index_values", False),),
    MARK: (("mark_prices", False),),
    FUNDING: (("perpetual_funding", False),),
    DEPTH: (("depth_levels", False),),
}
# What tells two rows apart that should be one and the same.
IDENTITY = {
    QUOTE: ("instrument", "exch_ns"),
    TRADE: ("instrument", "trade_seq"),
    BOOK: ("instrument", "change_id", "side", "price"),
    BBO: ("instrument", "exch_ns"),
    INDEX: ("instrument", "exch_ns", "measure"),
    MARK: ("instrument", "exch_ns"),
    FUNDING: ("instrument", "exch_ns"),
    DEPTH: ("instrument", "change_id", "levels_max", "side", "level"),
}
DTYPES = {kind: np.dtype([("option", FLAG), *columns.items()]) for kind, columns in COLUMNS.items()}
META = [("epoch", "<i8"), ("seq", "<i8"), ("conn", "<i8"), ("recv_ns", "<i8")]
STORED_DTYPES = {kind: np.dtype([*META, ("option", FLAG), *columns.items()]) for kind, columns in COLUMNS.items()}


def one_nan(rows: Rows) -> Rows:
    """Make every absent number the same NaN, so that rows can be compared as bytes. In place."""
    for name in rows.dtype.names or ():
        if rows.dtype[name].kind == "f":
            column = rows[name]
            column[np.isnan(column)] = np.nan
    return rows
