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


def test_every_field_that_the_venue_sends_is_kept_also_those_that_do_not_exist_yet() -> None:
    steps = [{"tick_size": 0.0005, "above_price": 0.005}]
    item = made(
        "A", tick_size_steps=steps, max_leverage=50, block_trade_tick_size=0.5, rfq=False, newborn={"b": 1, "a": [2]}
    )
    record = item.record(now_ns=1, conn=1)[0]
    assert record["tick_size_steps"] == b'[{"above_price":0.005,"tick_size":0.0005}]'
    assert (record["max_leverage"], record["block_trade_tick_size"]) == (50, 0.5)
    assert record["more"] == b'{"newborn":{"a":[2],"b":1},"rfq":false}'
    assert (
        made(
            "A",
            newborn={"a": [2], "b": 1},
            tick_size_steps=steps,
            max_leverage=50,
            rfq=False,
            block_trade_tick_size=0.5,
        )
        == item
    )


def test_what_is_too_long_for_what_else_is_said_is_left_out_by_name_and_the_instrument_is_recorded() -> None:
    item = made("A", short=1, long="x" * 600, longer="y" * 700)
    assert item.more == '{"left_out":["long","longer"],"short":1}'
    assert len(made("A", **{f"key_{number}": "z" * 100 for number in range(50)}).more) <= 512


def test_legs_are_kept_with_their_amounts() -> None:
    legs = [{"instrument_name": "B", "amount": 1}, {"instrument_name": "A", "amount": -2}]
    assert made("C", kind="option_combo", legs=legs).legs == '{"A":-2,"B":1}'
    assert made("C").legs == ""
    with pytest.raises(VenueFault):
        made("C", legs=[{"instrument_name": "B"}])


def test_a_fractional_strike_and_a_linear_instrument_come_from_fields() -> None:
    item = made("X", strike=0.625, instrument_type="linear", settlement_currency="USDC", price_index="xrp_usdc")
    record = item.record(now_ns=1, conn=1)[0]
    assert (record["strike"], record["instrument_type"], record["settlement_currency"]) == (0.625, b"linear", b"USDC")
