"""Rows that were fetched afterwards: each at most once, none that was captured too, and each as it was sent, or would
have been.

In: the database and the ledger, which also has what was left out on purpose (fault `drop`). Trades only: nothing else
can be fetched. What happened while nobody was connected is in no ledger: it is counted as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tickbay.audit.columns import DTYPES, TRADE, Rows
from tickbay.audit.comparison import described
from tickbay.audit.database import Database
from tickbay.audit.expected import compared
from tickbay.sim.ledger import LedgerReader

Name = tuple[bytes, int]  # instrument and trade_seq: what a trade is called for ever


@dataclass(slots=True)
class Healed:
    rows: int = 0
    equal: int = 0
    twice: int = 0
    different: int = 0
    unsent: int = 0  # in no ledger
    lines: list[str] = field(default_factory=list)


def judge(database: Database, ledger: LedgerReader) -> Healed:
    result = Healed()
    wanted: dict[Name, np.void] = {}
    for piece in database.healed_rows(TRADE):
        result.rows += len(piece)
        for name, row in _named(_plain(piece)):
            if name in wanted:
                result.twice += 1
                result.lines.append(f"healed twice: {described(TRADE, row)}")
            wanted[name] = row
    for instrument, number in database.captured_too():
        result.twice += 1
        result.lines.append(f"captured and healed: {instrument} trade {number}")
    for sent in ledger.trades():
        _compare(result, wanted, compared(TRADE, sent))
    result.unsent = len(wanted)
    return result


def _compare(result: Healed, wanted: dict[Name, np.void], sent: Rows) -> None:
    """Takes what is found out of `wanted`."""
    names = {name for name, _ in wanted}
    for name, row in _named(_plain(sent[np.isin(sent["instrument"], list(names))])):
        found = wanted.pop(name, None)
        if found is None:
            continue
        if found.tobytes() == row.tobytes():
            result.equal += 1
        else:
            result.different += 1
            result.lines.append(f"healed otherwise: {described(TRADE, found)}, sent {described(TRADE, row)}")


def _plain(found: Rows) -> Rows:
    """Without what only live messages have: their end, and where they are stored."""
    plain = found[list(DTYPES[TRADE].names or ())].astype(DTYPES[TRADE])
    plain["message_end"] = False
    return plain


def _named(found: Rows) -> Iterator[tuple[Name, np.void]]:
    for row in found:
        yield (row["instrument"], int(row["trade_seq"])), row
