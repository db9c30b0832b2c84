"""Reference data: from fields, never from names; absent is absent; what cannot be recorded is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from listing_case import made
from rest_server import EXPIRY_MS, option
from tickbay.errors import VenueFault
from tickbay.universe.instrument import InstrumentKind, read_instrument


def test_reference_data_comes_from_fields_and_not_from_the_name() -> None:
    item = made("BTC-1JAN30-9-P")  # every part of this name contradicts the fields
    record = item.record(now_ns=5, conn=6)[0]
    assert (record["strike"], record["option_type"], record["base_currency"]) == (2500.0, b"call", b"ETH")
    assert record["expiration_ns"] == EXPIRY_MS * 10**6
    assert (record["instrument"], record["exch_ns"], record["conn"], record["kind"]) == (b"BTC-1JAN30-9-P", 5, 6, 1)


def test_absent_reference_data_is_absent_in_the_record() -> None:
    said = {"instrument_name": "ETH-PERPETUAL", "kind": "future", "settlement_period": "perpetual"}
    item = read_instrument(said)
    record = item.record(now_ns=1, conn=1)[0]
    assert item.kind is InstrumentKind.PERPETUAL
    assert np.isnan(record["strike"]) and np.isnan(record["tick_size"])
    assert record["option_type"] == b"" and record["expiration_ns"] == 0


def test_an_expiry_in_the_year_3000_is_none() -> None:
    item = made("ETH-PERPETUAL", kind="future", expiration_timestamp=32_503_708_800_000)
    assert item.expiration_ns == 0 and item.kind is InstrumentKind.PERPETUAL


@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        option("E" * 49),
        option("A.B"),
        option('A"B'),
        option("A B"),
        option("Ä"),
        option("A\0B"),
        option("ETH-1", kind="warrant"),
        option("ETH-1", strike="2500"),
        option("ETH-1", strike=float("inf")),
        option("ETH-1", expiration_timestamp=-1),
        option("ETH-1", expiration_timestamp=1 << 63),
        option("ETH-1", price_index="x" * 33),
    ],
)
def test_an_instrument_that_cannot_be_recorded_is_refused_whole(said: Any) -> None:
    with pytest.raises(VenueFault):
        read_instrument(said)
