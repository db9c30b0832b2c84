"""The ledger in the form of columns.py: which rows must be stored of what was sent on a connection."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tickbay.audit.columns import (
    BBO,
    BOOK,
    COLUMNS,
    DEPTH,
    DTYPES,
    FUNDING,
    INDEX,
    MARK,
    QUOTE,
    REALS,
    TRADE,
    Rows,
    one_nan,
)
from tickbay.sim import rows
from tickbay.sim.ledger import LedgerReader

NUMBERS = {name: number for number, name in rows.KIND_NAMES.items()}
DIRECTIONS = np.array([b"", b"buy", b"sell"], "S33")
LIQUIDATIONS = np.array([b"", b"maker", b"taker", b"both"], "S33")
SIDES = np.array([b"", b"bid", b"ask"], "S33")
MEASURES = np.array([b"", b"price", b"volatility", b"delivery"], "S33")
DELIVERY = 3
ACTIONS = np.array([b"", b"new", b"change", b"delete"], "S33")


def expected_rows(ledger: LedgerReader, connection: int, kind: str) -> Iterator[tuple[Rows, NDArray[np.int64]]]:
    """All rows of one kind of a connection in the order of sending, each with the number of its message."""
    number = NUMBERS[kind]
    for piece in ledger.slices(connection, (number,)):
        if len(piece.rows[number]):
            yield compared(kind, piece.rows[number]), piece.message[number]


def compared(kind: str, sent: Rows) -> Rows:
    """A ledger's rows (rows.DTYPES with true times and ids) as the database should have them."""
    result = np.zeros(len(sent), DTYPES[kind])
    result["exch_ns"] = sent["offset_ms"] * 1_000_000
    result["instrument"] = sent["instrument"]
    for name in set(REALS[kind]) & set(sent.dtype.names or ()):
        result[name] = sent[name]
    _FILLERS[kind](result, sent)
    assert set(result.dtype.names or ()) == {"option", *COLUMNS[kind]}
    return one_nan(result)


def _quote(result: Rows, sent: Rows) -> None:
    for name in ("option", "underlying_index", "state"):
        result[name] = sent[name]


def _trade(result: Rows, sent: Rows) -> None:
    texts = ("block_trade_id", "block_rfq_id", "combo_id", "combo_trade_id")
    for name in ("option", "trade_seq", "match_id", "block_trade_leg_count", "tick_direction", *texts):
        result[name] = sent[name]
    result["message_end"] = sent["last"]
    timed = sent["match_sub_ns"] >= 0
    result["match_ns"] = np.where(timed, sent["offset_ms"] * 1_000_000 + sent["match_sub_ns"], 0)
    result["direction"] = DIRECTIONS[sent["direction"]]
    result["liquidation"] = LIQUIDATIONS[sent["liquidation"]]
    numbers = np.where(sent["trade_number"] < 0, b"", sent["trade_number"].astype("S20"))
    result["trade_id"] = np.char.add(sent["trade_prefix"], numbers)


def _book(result: Rows, sent: Rows) -> None:
    for name in ("change_id", "prev_change_id", "snapshot"):
        result[name] = sent[name]
    result["message_end"] = sent["last"]
    result["side"] = SIDES[sent["side"]]
    result["action"] = ACTIONS[sent["action"]]


def _numbers(_result: Rows, _sent: Rows) -> None:
    """Its numbers are all that it has."""


def _index(result: Rows, sent: Rows) -> None:
    result["measure"] = MEASURES[sent["measure"]]
    result["is_estimated"] = sent["is_estimated"]
    result["exch_ns"][sent["measure"] == DELIVERY] = 0  # see INSTEAD


def _mark(result: Rows, sent: Rows) -> None:
    result["message_end"], result["price_index"] = sent["last"], sent["price_index"]
    result["mark_iv"] = sent["iv"] * 100


def _depth(result: Rows, sent: Rows) -> None:
    for name in ("change_id", "levels_max", "level"):
        result[name] = sent[name]
    result["message_end"] = sent["last"]
    result["side"] = SIDES[sent["side"]]


_FILLERS = {
    QUOTE: _quote,
    TRADE: _trade,
    BOOK: _book,
    BBO: _numbers,
    INDEX: _index,
    MARK: _mark,
    FUNDING: _numbers,
    DEPTH: _depth,
}
