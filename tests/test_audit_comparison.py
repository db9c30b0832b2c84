"""The alignment of two sequences of rows, without a database: what is lost, twice, different is counted exactly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tickbay.audit.columns import QUOTE
from tickbay.audit.comparison import LOOK_AHEAD_ROWS, Comparer, Comparison, Window
from tickbay.audit.expected import compared
from tickbay.sim import rows


@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_of_losses_and_doubles_is_counted_exactly(seed: int) -> None:
    """Against rows that are all different, what is wrong is known, so the count must be."""
    chance = np.random.default_rng(seed)
    sent = rows.empty(rows.QUOTE, 3000)
    sent["offset_ms"] = np.arange(3000)
    expected = compared(QUOTE, sent)
    kept = np.sort(chance.choice(3000, 2900, replace=False))
    doubled = np.sort(np.concatenate([kept, chance.choice(kept, int(chance.integers(0, 40)), replace=False)]))
    result = compare(expected, expected[doubled], int(chance.integers(1, 500)))
    assert (result.lost_rows, result.twice, result.stray, result.different) == (100, len(doubled) - 2900, 0, 0)
    assert result.equal == 2900


def compare(expected: rows.Rows, kept: rows.Rows, piece_rows: int, *, late: bool = False) -> Comparison:
    stored = np.zeros(len(kept), [(name, "<i8") for name in ("epoch", "seq", "conn", "recv_ns")] + kept.dtype.descr)
    for name in kept.dtype.names or ():
        stored[name] = kept[name]
    stored["seq"] = np.arange(1, len(kept) + 1)
    numbers = np.arange(len(expected))

    def window(each: rows.Rows, counted: NDArray[np.int64]) -> Window:
        starts = range(0, len(each), piece_rows)
        return Window(iter([(each[at : at + piece_rows], counted[at : at + piece_rows]) for at in starts]))

    comparer = Comparer(QUOTE, window(expected, numbers), window(stored, stored["seq"]))
    if late:
        comparer.begin_late()
    return comparer.compare()


def test_thousands_of_differences_close_together_are_told_apart() -> None:
    sent = rows.empty(rows.QUOTE, 9000)
    sent["instrument"], sent["bid_price"] = b"ETH-1JAN30-9-C", np.arange(9000)
    expected = compared(QUOTE, sent)
    result = compare(expected, expected[np.arange(9000) % 3 != 1], 4000)
    assert (len(result.lost), result.lost_rows, result.equal) == (3000, 3000, 6000)


@pytest.mark.parametrize("spoilt", [0, 3])
def test_stored_rows_that_begin_late_are_found_in_what_was_sent_however_late(spoilt: int) -> None:
    """The journal's oldest segments have gone. Farther apart than LOOK_AHEAD_ROWS nothing was found any more."""
    count, gone = 4 * LOOK_AHEAD_ROWS, 3 * LOOK_AHEAD_ROWS - 7
    sent = rows.empty(rows.QUOTE, count)
    sent["offset_ms"] = np.arange(count) // 3
    sent["bid_price"] = np.arange(count)
    expected = compared(QUOTE, sent)
    kept = expected[gone:].copy()
    kept["bid_price"][:spoilt] += 0.5
    result = compare(expected, kept, 5000, late=True)
    assert [(run.rows, run.before) for run in result.lost] == [(gone, (0, 0, 0))]
    assert (result.equal, result.different, result.stray) == (count - gone - spoilt, spoilt, 0)
