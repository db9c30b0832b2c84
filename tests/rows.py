"""Records to store, and the rows they must become: a second opinion on sinks/columns.py and native/pgcopy.c."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from tickbay.record import DTYPES, Kind, Records, blank

DAY_NS = 86_400 * 10**9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# The meaning of each enumeration of native/record.h, written down a second time.
WORDS: dict[tuple[Kind, str], dict[int, str]] = {
    (Kind.TRADE, "direction"): {1: "buy", 2: "sell"},
    (Kind.TRADE, "liquidation"): {1: "maker", 2: "taker", 3: "both"},
    (Kind.BOOK, "side"): {1: "bid", 2: "ask"},
    (Kind.BOOK, "action"): {1: "new", 2: "change", 3: "delete"},
    (Kind.INDEX, "measure"): {1: "price", 2: "volatility", 3: "delivery"},
    (Kind.DEPTH, "side"): {1: "bid", 2: "ask"},
    (Kind.GAP, "kind"): {
        1: "quote",
        2: "trade",
        3: "book",
        4: "gap",
        5: "instrument",
        6: "status",
        7: "bbo",
        8: "index",
        9: "mark",
        10: "funding",
        11: "depth",
    },
    (Kind.GAP, "cause"): {
        1: "disconnect",
        2: "stale",
        3: "sequence",
        4: "refused",
        5: "undecodable",
        6: "overflow",
        7: "maintenance",
        8: "restart",
        9: "journal_torn",
        10: "journal_quota",
        11: "expired",
        12: "rebalance",
        13: "disagreement",
    },
    (Kind.STATUS, "state"): {1: "connecting", 2: "subscribing", 3: "live", 4: "waiting", 5: "stopping"},
    (Kind.INSTRUMENT, "kind"): {
        1: "option",
        2: "future",
        3: "perpetual",
        4: "spot",
        5: "option_combo",
        6: "future_combo",
    },
}
BOOLEANS = {"expected", "healed", "is_active", "is_estimated"}
# Integers whose 0 says "not known".
UNKNOWN_AT_0 = {
    "match_id",
    "match_ns",
    "block_trade_leg_count",
    "prev_change_id",
    "from_ns",
    "to_ns",
    "first_missing",
    "last_missing",
    "count",
    "instrument_id",
    "expiration_ns",
    "creation_ns",
}
TIMES = {
    Kind.GAP: {"to_ts": "to_ns"},
    Kind.INSTRUMENT: {"expiration": "expiration_ns", "creation": "creation_ns"},
}
FLAGS = {
    Kind.QUOTE: {"healed": 8},
    Kind.TRADE: {"healed": 8, "message_end": 2},
    Kind.BOOK: {"healed": 8, "snapshot": 1, "message_end": 2},
    Kind.MARK: {"message_end": 2},
    Kind.DEPTH: {"message_end": 2},
}


def made(kind: Kind, count: int, *, first_seq: int = 1, at_ns: int, seed: int = 1) -> Records:
    """`count` records of ascending sequence and random content that every table accepts, spread over a minute from
    `at_ns`.

    About a tenth of the numbers and texts are absent, every word of every enumeration comes.
    """
    random = np.random.default_rng(seed)
    records = blank(kind, count)
    for name in DTYPES[kind].names or ():
        dtype = records.dtype[name]
        if name == "reserved":
            continue
        if dtype.kind == "f":
            records[name] = np.where(
                random.random(count) < 0.1, np.nan, random.normal(0, 10.0 ** random.integers(-8, 9, count))
            )
        elif dtype.kind == "S":
            texts = [f"{name}-{number}é"[: dtype.itemsize - 2] for number in random.integers(0, 10**6, count)]
            records[name] = [b"" if random.random() < 0.1 else text.encode() for text in texts]
        elif dtype.kind == "u":
            top = {1: 4, 4: 1 << 31, 8: 1 << 62}[dtype.itemsize]
            records[name] = np.where(random.random(count) < 0.1, 0, random.integers(0, top, count))
        else:
            records[name] = at_ns + random.integers(0, DAY_NS, count)
        if (kind, name) in WORDS:
            records[name] = np.arange(count) % (len(WORDS[kind, name]) + 1)
        if name in BOOLEANS:
            records[name] = random.integers(0, 2, count)
    if kind is Kind.TRADE:
        records["tick_direction"] = np.where(np.arange(count) % 5 == 4, 255, np.arange(count) % 5)
    records["seq"] = np.arange(first_seq, first_seq + count)
    records["exch_ns"] = at_ns + np.arange(count) * (60 * 10**9 // max(count, 1))
    records["flags"] = random.integers(0, 16, count)
    records["instrument"] = [f"ETH-27MAR26-{2000 + number % 830}-C".encode() for number in range(count)]
    if kind is Kind.GAP:
        records["instrument"][::3] = b""
    return records


def table_of(kind: Kind, flags: int) -> str:
    option = bool(flags & 4)
    return {
        Kind.QUOTE: "option_quotes" if option else "delta_one_quotes",
        Kind.TRADE: "option_trades" if option else "delta_one_trades",
        Kind.BOOK: "book_changes",
        Kind.GAP: "data_gaps",
        Kind.INSTRUMENT: "instruments",
        Kind.STATUS: "collector_status",
        Kind.BBO: "bbo_quotes",
        Kind.INDEX: "index_values",
        Kind.MARK: "mark_prices",
        Kind.FUNDING: "perpetual_funding",
        Kind.DEPTH: "depth_levels",
    }[kind]


def when(ns: int) -> datetime | None:
    return EPOCH + timedelta(microseconds=ns // 1000) if ns else None


def row_of(kind: Kind, record: np.void, stream: str, epoch: int) -> dict[str, Any]:
    """The row that `record` must become, by column."""
    row: dict[str, Any] = {"ts": when(int(record["exch_ns"])), "stream": stream, "epoch": epoch}
    for name in record.dtype.names or ():
        if name not in ("reserved", "flags"):
            row[name] = _value(kind, name, record[name])
    if kind is Kind.STATUS:
        del row["instrument"]
    row |= {column: bool(int(record["flags"]) & flag) for column, flag in FLAGS.get(kind, {}).items()}
    row |= {column: when(int(record[name])) for column, name in TIMES.get(kind, {}).items()}
    return row


def _value(kind: Kind, name: str, raw: Any) -> Any:
    if (kind, name) in WORDS:
        return WORDS[kind, name].get(int(raw))
    if isinstance(raw, bytes):
        return raw.decode() or None
    if isinstance(raw, np.floating):
        return None if math.isnan(raw) else float(raw)
    if name in BOOLEANS:
        return bool(raw)
    if (name == "tick_direction" and raw == 255) or (name in UNKNOWN_AT_0 and raw == 0):
        return None
    return int(raw)
