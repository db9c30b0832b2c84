"""Frames to rows by the slow reference, in the form in which the audit compares: a second opinion on the ledger."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

import reference
from tickbay.audit.columns import BOOK, DTYPES, NULL_INTEGER, QUOTE, TRADE, Rows, one_nan

MESSAGES = {"QUOTE": QUOTE, "TRADE": TRADE, "BOOK": BOOK}
WORDS = {
    "direction": ("", "buy", "sell"),
    "liquidation": ("", "maker", "taker", "both"),
    "side": ("", "bid", "ask"),
    "action": ("", "new", "change", "delete"),
}
FLAGS = {"option": reference.OPTION, "snapshot": reference.SNAPSHOT, "message_end": reference.LAST}


def rows_of(frames: Iterable[bytes]) -> dict[str, Rows]:
    """The rows of each kind that must be stored of these frames, in order."""
    found: dict[str, list[reference.Row]] = {kind: [] for kind in MESSAGES.values()}
    for frame in frames:
        decoded = reference.decode(frame, 0, 0)
        found[MESSAGES[decoded.message]] += decoded.rows
    return {kind: _in_columns(kind, rows) for kind, rows in found.items()}


def _in_columns(kind: str, rows: list[reference.Row]) -> Rows:
    result = np.zeros(len(rows), DTYPES[kind])
    for name in result.dtype.names or ():
        result[name] = [_value(kind, name, row) for row in rows]
    return one_nan(result)


def _value(kind: str, name: str, row: reference.Row) -> object:
    value = row.get(name)
    if name in FLAGS:
        flags = row["flags"]
        assert isinstance(flags, int)
        return bool(flags & FLAGS[name])
    if name in WORDS:
        assert value is None or isinstance(value, int)
        return WORDS[name][value or 0].encode()
    match DTYPES[kind][name].kind:
        case "f":
            return np.nan if value is None else value
        case "i":
            return NULL_INTEGER.get(name, 0) if value is None else value
        case _:
            return str(value or "").encode()
