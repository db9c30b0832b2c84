"""What Deribit says, as values; and what we say to it, as bytes."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbay.errors import VenueFault
from tickbay.record import Kind
from tickbay.venues import deribit
from tickbay.venues.venue import Cadence, Channel, Grant, Refusal, Reply, Trouble

CAPTURES = Path(__file__).parents[2] / "shared" / "captures" / "deribit" / "2026"


STEADY, CHANGES, EVENTS = Cadence.STEADY, Cadence.CHANGES, Cadence.EVENTS


@pytest.mark.parametrize(
    ("name", "kind", "instrument", "cadence"),
    [
        ("ticker.ETH-27NOV26-3000-C.100ms", Kind.QUOTE, "ETH-27NOV26-3000-C", STEADY),
        ("ticker.ETH-PERPETUAL.raw", Kind.QUOTE, "ETH-PERPETUAL", STEADY),
        ("book.MATIC_USDC-9MAR24-1d02-C.100ms", Kind.BOOK, "MATIC_USDC-9MAR24-1d02-C", CHANGES),
        ("book.BTC-CS-25DEC26-70000_75000.agg2", Kind.BOOK, "BTC-CS-25DEC26-70000_75000", CHANGES),
        ("trades.option.ETH.100ms", Kind.TRADE, "", EVENTS),
        ("trades.option_combo.any.raw", Kind.TRADE, "", EVENTS),
        ("trades.BTC_USDC.100ms", Kind.TRADE, "BTC_USDC", EVENTS),
        ("quote.ETH-27NOV26-3000-C", Kind.BBO, "ETH-27NOV26-3000-C", CHANGES),
        ("book.ETH-PERPETUAL.none.10.100ms", Kind.DEPTH, "ETH-PERPETUAL", CHANGES),
        ("book.BTC-PERPETUAL.25.1.agg2", Kind.DEPTH, "BTC-PERPETUAL", CHANGES),
        ("markprice.options.eth_usd", Kind.MARK, "eth_usd", STEADY),
        ("perpetual.ETH-PERPETUAL.100ms", Kind.FUNDING, "ETH-PERPETUAL", CHANGES),
    ],
)
def test_a_channel_says_which_records_of_which_instrument_it_brings(
    name: str, kind: Kind, instrument: str, cadence: Cadence
) -> None:
    assert deribit.channel(name) == Channel(name, kind, instrument, cadence, instrument)


@pytest.mark.parametrize(
    ("name", "cadence", "heard_as"),
    [
        ("deribit_price_index.eth_usd", STEADY, "price.eth_usd"),
        ("deribit_volatility_index.eth_usd", STEADY, "volatility.eth_usd"),
        ("estimated_expiration_price.eth_usd", EVENTS, "delivery.eth_usd"),
    ],
)
def test_what_an_index_says_over_several_channels_is_heard_apart(name: str, cadence: Cadence, heard_as: str) -> None:
    """Else the price, which comes each second, would hide that the volatility has gone silent."""
    assert deribit.channel(name) == Channel(name, Kind.INDEX, "eth_usd", cadence, heard_as)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ticker",
        "ticker..100ms",
        "ticker.ETH-PERPETUAL.10ms",
        "ticker.ETH-PERPETUAL.100ms.x",
        "book.ETH-PERPETUAL.none.50.100ms",
        "book.ETH-PERPETUAL.0.10.100ms",
        "book.ETH-PERPETUAL.none.10",
        "quote.",
        "quote.ETH-PERPETUAL.100ms",
        "markprice.options." + "x" * 33,
        "trades.option..100ms",
        "trades.bond.ETH.100ms",
        "chart.trades.ETH-PERPETUAL.1",
        "ticker." + "X" * 49 + ".100ms",
        "ticker.A B.100ms",
        'ticker.A"B.100ms',
        "ticker.A\\B.100ms",
        "ticker.A\nB.100ms",
        "ticker.É.100ms",
        "ticker.\u202e.100ms",
    ],
)
def test_what_could_not_be_recorded_is_refused(name: str) -> None:
    with pytest.raises(VenueFault):
        deribit.channel(name)


def test_only_unthrottled_channels_have_another_without_login() -> None:
    assert deribit.without_login("book.ETH-PERPETUAL.raw") == "book.ETH-PERPETUAL.100ms"
    assert deribit.without_login("book.ETH-PERPETUAL.agg2") == "book.ETH-PERPETUAL.agg2"
    assert deribit.without_login("trades.rawhide.100ms") == "trades.rawhide.100ms"


def test_requests_are_json_rpc() -> None:
    assert json.loads(deribit.ask_heartbeat(1, 10)) == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "public/set_heartbeat",
        "params": {"interval": 10},
    }
    assert json.loads(deribit.ask_test(2)) == {"jsonrpc": "2.0", "id": 2, "method": "public/test", "params": {}}
    names = ["ticker.A.100ms", "book.B.100ms"]
    for build, method in ((deribit.ask_subscribe, "subscribe"), (deribit.ask_unsubscribe, "unsubscribe")):
        request = json.loads(build(3, names))
        assert (request["method"], request["params"]) == (f"public/{method}", {"channels": names})


@given(st.lists(st.text("ABCdefg0123-_.", min_size=1, max_size=60), max_size=30), st.integers(0, 2**63))
def test_a_request_is_never_longer_than_foreseen(names: list[str], id: int) -> None:
    assert len(deribit.ask_unsubscribe(id, names)) <= deribit.request_bytes(names)


def reply(**fields: object) -> Reply:
    return deribit.read_reply(orjson.dumps({"jsonrpc": "2.0", **fields}))


def test_a_result_is_the_accepted_channels_and_the_venues_clock() -> None:
    got = reply(id=7, result=["a", "b"], usIn=1_000_000, usOut=1_000_500, usDiff=500)
    assert got == Reply(7, frozenset({"a", "b"}), None, 1_000_000_000, 1_000_500_000)
    assert reply(id=8, result="ok") == Reply(8, frozenset(), None, 0, 0)
    assert reply(id=9, result={"version": "1"}).accepted == frozenset()
    assert reply(id="seven", result=[]).id is None, "we ask with numbers"
    assert reply(id=True, result=[]).id is None


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (10028, Trouble.HASTE),
        (11051, Trouble.MAINTENANCE),
        (11056, Trouble.CLOSED),
        (13778, Trouble.RAW),
        (11052, Trouble.REFUSED),
        (13020, Trouble.REFUSED),
        (-32602, Trouble.REFUSED),
        (-32600, Trouble.REFUSED),
        (1, Trouble.REFUSED),
    ],
)
def test_an_error_says_which_branch_to_take(code: int, trouble: Trouble) -> None:
    got = reply(id=1, error={"code": code, "message": "m"})
    assert got.refusal == Refusal(trouble, code, "m")


def test_the_reason_of_an_error_is_kept_and_bounded() -> None:
    got = reply(id=1, error={"code": -32602, "message": "Invalid params", "data": {"reason": "x" * 500, "param": "c"}})
    assert got.refusal is not None
    assert got.refusal.reason.startswith("Invalid params: xxx")
    assert len(got.refusal.reason) == 120


@pytest.mark.parametrize(
    "payload",
    [b"", b"[", b"[]", b"7", b"{}", b'{"id":1}', b'{"id":1,"error":7}', b'{"id":1,"error":{"code":"x"}}', b"\xff"],
)
def test_what_is_no_reply_is_a_fault(payload: bytes) -> None:
    with pytest.raises(VenueFault):
        deribit.read_reply(payload)


@pytest.mark.skipif(not CAPTURES.is_dir(), reason=f"no recorded messages at {CAPTURES}")
def test_recorded_replies_are_read() -> None:
    partial = deribit.read_reply((CAPTURES / "subscribe_partial.json").read_bytes())
    assert (partial.id, partial.accepted) == (5, frozenset({"book.BTC-PERPETUAL.none.10.100ms"}))
    assert (partial.came_ns, partial.went_ns) == (1789344931553548_000, 1789344931553627_000)
    error = deribit.read_reply((CAPTURES / "rpc_unauthorized.json").read_bytes())
    assert error.refusal == Refusal(Trouble.STRANGER, 13009, "unauthorized: invalid_token")
    assert deribit.read_reply((CAPTURES / "string_id_echo.json").read_bytes()).id is None


def test_a_login_gives_a_token_to_renew_it_with_and_shows_it_to_nobody() -> None:
    granted = {"access_token": "canary-a", "refresh_token": "canary-r", "expires_in": 900, "scope": "connection"}
    reply = deribit.read_reply(orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": granted}))
    assert reply.grant == Grant(900.0, "canary-r") and "canary" not in repr(reply)
    assert deribit.read_reply(b'{"id":1,"result":{"expires_in":900}}').grant is None
    request = orjson.loads(deribit.ask_renewal(3, "canary-r"))
    assert request["params"] == {"grant_type": "refresh_token", "refresh_token": "canary-r"}
