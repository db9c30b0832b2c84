"""The table of instruments with the newest quote of each."""

from __future__ import annotations

from collections.abc import Sequence

from tickbay.config import Config
from tickbay.status.snapshot import Status
from tickbay.status.status import NOTHING, duration
from tickbay.top.panel import Panel, fixed, shown, stamp
from tickbay.top.table import Cell, Column
from tickbay.watch.quoted import Quoted
from tickbay.watch.quotes import LastQuotes


class Instruments(Panel):
    name = "Instruments"
    attention = "stale"
    columns = (
        Column("INSTRUMENT", 22, order="instrument"), Column("BID", 9, True, "bid_price"),
        Column("ASK", 9, True, "ask_price"), Column("MARK", 9, True, "mark_price"),
        Column("IV", 6, True, "mark_iv"), Column("DELTA", 7, True, "delta"), Column("AGE", 8, True, "age_s"),
        Column("UNDERLYING", 10, True, "underlying_price"), Column("OPEN INT", 10, True, "open_interest"),
    )  # fmt: skip

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._quotes = LastQuotes(config)
        self._quoted = Quoted(self._quotes.records)
        self._rows: list[int] = []

    def look(self, status: Status) -> None:  # noqa: ARG002 - it reads the rings
        self._quotes.refresh()
        self._quoted = Quoted(self._quotes.records)
        chosen = self._quoted.chosen(text=self.text, stale=self.only, order=self.order, descending=self.descending)
        self._rows = chosen.tolist()

    def __len__(self) -> int:
        return len(self._rows)

    def cells(self, row: int) -> Sequence[Cell]:
        quoted, at = self._quoted, self._rows[row]
        record, stale = quoted.records[at], bool(quoted.stale[at])
        age = duration(float(quoted.ages_s[at]), fine=True) if record["recv_ns"] else "never"
        return (
            Cell(quoted.name(at), "dim" if stale else ""),
            *(
                Cell(price(float(record[name])), "dim" if stale else "")
                for name in ("bid_price", "ask_price", "mark_price")
            ),
            Cell(fixed(float(record["mark_iv"]), 2)),
            Cell(fixed(float(record["delta"]), 3)),
            Cell(f"! {age}" if stale else age, "bad" if stale else ""),
            Cell(fixed(float(record["underlying_price"]), 2)),
            Cell(fixed(float(record["open_interest"]), 0)),
        )

    def detail(self, row: int) -> dict[str, str]:
        found = self._quoted.value(self._rows[row])
        times = {name: found.pop(f"{name}_ns") for name in ("exchange", "received")}
        stamps = {name: stamp(at_ns, whole=True) if at_ns else NOTHING for name, at_ns in times.items()}
        return stamps | {name: shown(value) for name, value in found.items()}

    def summary(self) -> str:
        stale = self._quoted.stale_count
        return f"{len(self._rows):,} of {len(self._quoted.records):,} instruments, {stale:,} stale"


def price(value: float) -> str:
    """In nine characters: dollars with cents, fractions of a coin with six digits, the points one below the other."""
    if value != value:
        return NOTHING
    text = f"{value:,.2f}" if abs(value) >= 100 else f"{value:.6f}"
    return text.rstrip("0").removesuffix(".").ljust(len(text)) if abs(value) < 100 else text
