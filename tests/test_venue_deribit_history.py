"""Deribit's questions for past trades, and its answers."""

from __future__ import annotations

import numpy as np
import pytest

from tickbay._native import DECODE_OK, MESSAGE_TRADE, decode_deribit
from tickbay.errors import VenueFault
from tickbay.record import DTYPES, Kind
from tickbay.venues import deribit_history
from tickbay.venues.venue import Printed

TRADE = {
    "trade_seq": 7, "trade_id": "ETH-123", "timestamp": 1795262055325, "tick_direction": 2, "price": 0.0352,
    "mark_price": 0.036574, "iv": 55.41, "instrument_name": "ETH-25DEC26-2500-P", "index_price": 2669.44,
    "direction": "sell", "contracts": 3186.0, "amount": 3186.0, "starbase_match_id": 225046000000004198,
}  # fmt: skip


def test_a_channel_says_whose_trades_it_brings() -> None:
    assert deribit_history.market_of("trades.option.ETH.100ms") == "option.ETH"
    assert deribit_history.market_of("trades.ETH-PERPETUAL.raw") == "ETH-PERPETUAL"
    assert deribit_history.market_of("ticker.ETH-PERPETUAL.raw") == deribit_history.market_of("trades") == ""


def test_trades_are_asked_for_by_number_or_by_a_time_that_is_not_cut_short() -> None:
    asked = deribit_history.ask_trades("ETH-PERPETUAL", 5, 9)
    assert asked.method == "get_last_trades_by_instrument"
    assert (asked.parameters["start_seq"], asked.parameters["end_seq"], asked.parameters["sorting"]) == (
        "5",
        "9",
        "asc",
    )
    asked = deribit_history.ask_window("option.ETH", 1_999_999, 2_000_001)
    assert asked.method == "get_last_trades_by_currency_and_time"
    assert (asked.parameters["start_timestamp"], asked.parameters["end_timestamp"]) == ("1", "3")
    assert (asked.parameters["currency"], asked.parameters["kind"]) == ("ETH", "option")
    asked = deribit_history.ask_window("ETH-PERPETUAL", 0, 1)
    assert asked.method == "get_last_trades_by_instrument_and_time"


def test_a_market_of_every_currency_is_listed_one_currency_at_a_time() -> None:
    """The venue refuses to list `any`, though it has a channel of it."""
    assert deribit_history.ask_parts("option.ETH") is deribit_history.ask_parts("ETH-PERPETUAL") is None
    asked = deribit_history.ask_parts("option.any")
    assert asked is not None and asked.method == "get_currencies"
    told = [{"currency": "BTC", "fee_precision": 4}, {"currency": "ETH"}]
    assert deribit_history.read_parts("option.any", told) == ("option.BTC", "option.ETH")


@pytest.mark.parametrize("answer", [None, [], {}, [{}], ["BTC"], [{"currency": 1}]])
def test_what_is_no_list_of_currencies_is_a_fault_of_the_venue(answer: object) -> None:
    with pytest.raises(VenueFault):
        deribit_history.read_parts("option.any", answer)


def test_an_answer_becomes_a_frame_that_the_decoder_of_live_frames_reads() -> None:
    page = deribit_history.read_trades({"trades": [TRADE, TRADE | {"trade_seq": 8}], "has_more": True})
    assert page.more and page.trades[0] == Printed("ETH-25DEC26-2500-P", 7, 1795262055325 * 10**6)
    result, message, data, _ = decode_deribit(page.frame, 5, 6)
    assert (result, message) == (DECODE_OK, MESSAGE_TRADE)
    records = np.frombuffer(data, DTYPES[Kind.TRADE])
    assert records["trade_seq"].tolist() == [7, 8] and records["price"].tolist() == [0.0352] * 2
    assert int(records["match_id"][0]) == 225046000000004198
    assert not deribit_history.read_trades({"trades": [], "has_more": False}).more


@pytest.mark.parametrize("answer", [None, [], {}, {"trades": [{}]}, {"trades": [TRADE | {"trade_seq": "7"}]}])
def test_what_is_no_answer_is_a_fault_of_the_venue(answer: object) -> None:
    with pytest.raises(VenueFault):
        deribit_history.read_trades(answer)
