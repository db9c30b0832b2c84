"""What changes at the simulated venue is announced, and is so in REST; what waits for a lock is not lost."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from simulator import Client, simulating

pytestmark = pytest.mark.slow

MARKET = ("--instruments", "ETH=8,XRP_USDC=4", "--rate", "300", "--no-limits")


def data_of(frames: list[bytes]) -> list[Any]:
    return [json.loads(frame)["params"]["data"] for frame in frames]


def test_a_listing_is_announced_with_its_record_and_a_missed_one_is_only_in_rest(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET) as simulator, Client(simulator.ws_url) as client:
        created = "instrument.creation.option.USDC"
        client.subscribe(created, "instrument.state.any.any")
        day = simulator.call("public/get_instruments", currency="USDC", kind="option")[0]["instrument_name"].split("-")[
            1
        ]
        simulator.fault(f"list name=XRP_USDC-{day}-0d777-P announced=0")
        simulator.fault(f"list name=XRP_USDC-{day}-0d735-C")
        (record,) = data_of(client.frames(1, created))
        assert (record["instrument_name"], record["strike"]) == (f"XRP_USDC-{day}-0d735-C", 0.735)
        listed = simulator.call("public/get_instruments", currency="USDC", kind="option")
        assert record in listed and len(listed) == 6
        (state,) = data_of(client.frames(1, "instrument.state.any.any"))
        assert (state["instrument_name"], state["state"]) == (record["instrument_name"], "open")


def test_a_locked_index_is_silent_and_afterwards_sends_what_waited(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET) as simulator, Client(simulator.ws_url) as client:
        names = {
            currency: simulator.call("public/get_instruments", currency=currency, kind="option")[0]["instrument_name"]
            for currency in ("ETH", "USDC")
        }
        locked, other = f"book.{names['ETH']}.100ms", f"book.{names['USDC']}.100ms"
        client.subscribe(locked, other, "platform_state")
        client.frames(2, locked)
        simulator.fault("lock name=eth_usd state=on")
        assert data_of(client.frames(1, "platform_state")) == [{"price_index": "eth_usd", "locked": True}]
        assert simulator.call("public/status") == {"locked": "partial", "locked_indices": ["eth_usd"]}
        last = client.frames(1, "book.")[-1]
        for frame in client.frames(10, "book."):
            assert locked.encode() not in frame, (last, frame)
        simulator.fault("lock name=eth_usd state=off")
        changes = data_of(client.frames(20, locked))
        chain = [(change["prev_change_id"], change["change_id"]) for change in changes]
        assert all(before[1] == after[0] for before, after in pairwise(chain)), chain
        assert simulator.call("public/status")["locked_indices"] == []


def test_settlement_pauses_refuses_and_delivers(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET) as simulator, Client(simulator.ws_url) as client:
        names = [
            item["instrument_name"] for item in simulator.call("public/get_instruments", currency="ETH", kind="option")
        ]
        ticker, state = f"ticker.{names[0]}.100ms", "instrument.state.option.ETH"
        client.subscribe(ticker, state)
        client.frames(1, ticker)
        simulator.fault(f"settle name={names[0]} seconds=1")
        assert {each["state"] for each in data_of(client.frames(8, state))} == {"settlement"}
        assert client.call("public/subscribe", channels=[f"book.{names[0]}.100ms"])["error"]["code"] == 10041
        states = data_of(client.frames(8, state))
        assert [each["state"] for each in states] == ["open"] * 7 + ["delivered"]
        expired = simulator.call("public/get_instruments", currency="ETH", kind="option", expired="true")
        assert [(item["instrument_name"], item["state"], item["is_active"]) for item in expired] == [
            (names[0], "delivered", False)
        ]


def test_combos_have_legs_and_currencies_are_told(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET) as simulator:
        combos = {combo["id"]: combo["legs"] for combo in simulator.call("public/get_combos", currency="ETH")}
        (spread,) = (legs for name, legs in combos.items() if "-FS-" in name)
        assert [(leg["instrument_name"].split("-")[1] == "PERPETUAL", leg["amount"]) for leg in spread] == [
            (False, 1),
            (True, -1),
        ]
        assert {"currency": "USDC"} in simulator.call("public/get_currencies")
