"""A table of newest quotes as a person wants it: filtered, sorted, a row at a time. Pure."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from tickbay.record import Flag, Records
from tickbay.watch.quotes import STALE_S

NUMBERS = (
    "bid_price", "bid_amount", "ask_price", "ask_amount", "mark_price", "last_price", "index_price", "underlying_price",
    "mark_iv", "bid_iv", "ask_iv", "delta", "gamma", "vega", "theta", "rho", "open_interest", "volume",
)  # fmt: skip
ORDERS = ("instrument", "age_s", *NUMBERS)


class Quoted:
    """`records` as LastQuotes has them, at the time `now_ns`."""

    def __init__(self, records: Records, now_ns: int | None = None) -> None:
        self.records = records
        self.now_ns = time.time_ns() if now_ns is None else now_ns
        heard = records["recv_ns"] > 0
        ages_s = np.maximum(self.now_ns - records["recv_ns"], 0) / 1e9
        self.ages_s: npt.NDArray[np.float64] = np.where(heard, ages_s, np.inf)
        self.stale: npt.NDArray[np.bool_] = self.ages_s > STALE_S

    @property
    def stale_count(self) -> int:
        return int(self.stale.sum())

    def chosen(
        self, *, text: str = "", stale: bool = False, order: str = "instrument", descending: bool = False
    ) -> npt.NDArray[np.int64]:
        """The rows whose name has `text` (in any case) and, with `stale`, that are; what is not known comes last."""
        assert order in ORDERS, order
        names = self.records["instrument"]
        kept = self.stale if stale else np.ones(len(names), np.bool_)
        if text:
            found = np.char.find(np.char.upper(names), text.upper().encode(errors="replace"))
            kept = kept & (found >= 0)
        rows = np.flatnonzero(kept)
        rows = rows[np.argsort(names[rows], kind="stable")]
        if order == "instrument":
            return rows[::-1] if descending else rows
        values = self.ages_s[rows] if order == "age_s" else self.records[order][rows]
        return rows[np.argsort(-values if descending else values, kind="stable")]  # NaN sorts last either way

    def name(self, row: int) -> str:
        """As the venue calls it: data, whatever is in it."""
        return bytes(self.records["instrument"][row]).decode(errors="replace")

    def value(self, row: int) -> dict[str, Any]:
        """As JSON has it; a number that is not known is null."""
        record = self.records[row]
        known = {name: float(record[name]) for name in NUMBERS}
        return {
            "instrument": self.name(row),
            "option": bool(record["flags"] & Flag.OPTION),
            "age_s": round(float(self.ages_s[row]), 3) if record["recv_ns"] else None,
            "stale": bool(self.stale[row]),
            "exchange_ns": int(record["exch_ns"]) or None,
            "received_ns": int(record["recv_ns"]) or None,
            **{name: value if np.isfinite(value) else None for name, value in known.items()},
            "state": bytes(record["state"]).decode("ascii", "replace"),
        }
