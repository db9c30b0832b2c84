"""The simulated venue on the wire: what the real one does, seen by a client that judges nothing."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator import PONG, Client, Closed, Refused, Simulator, refused_status, simulating
from tickbay.sim import capture, rows
from tickbay.sim.ledger import LedgerReader

PERPETUAL = "ETH-PERPETUAL"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """One for all who only ask: a small market, paced, ten times as impatient as the venue."""
    with simulating(tmp_path_factory.mktemp("sim"), "--instruments", "ETH=40", "--rate", "400", "--no-limits") as found:
        yield found


@pytest.fixture
def client(quick: Simulator) -> Iterator[Client]:
    with Client(quick.ws_url) as found:
        yield found


def ticker(name: str = PERPETUAL) -> str:
    return f"ticker.{name}.100ms"


def book(name: str = PERPETUAL) -> str:
    return f"book.{name}.100ms"


def options(simulator: Simulator, count: int) -> list[str]:
    return [
        item["instrument_name"] for item in simulator.call("public/get_instruments", currency="ETH", kind="option")
    ][:count]


# --- requests ---------------------------------------------------------------------------------------------------------


def test_replies_echo_the_id_whatever_it_is_and_carry_the_servers_times(client: Client) -> None:
    client.send(b'{"jsonrpc":"2.0","id":"text-1","method":"public/test","params":{}}')
    reply = client.until_reply("text-1")[1]
    assert reply["usOut"] - reply["usIn"] == reply["usDiff"] >= 0
    assert abs(reply["usIn"] / 1e6 - time.time()) < 60
    client.send(b'{"jsonrpc":"2.0","method":"public/get_time"}')
    assert "id" not in json.loads(client.text()), "a request without an id is answered too"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"not json", 11050),
        (b"[]", -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"id":1,"method":"public/nothing"}', -32601),
        (b'{"id":1,"method":"private/buy"}', 13009),
        (b'{"id":1,"method":"public/subscribe","params":{}}', -32000),
        (b'{"id":1,"method":"public/subscribe","params":{"channels":["' + b"x" * 33_000 + b'"]}}', -32600),
        (b'{"id":1,"method":"public/set_heartbeat","params":{"interval":9}}', -32602),
        (b'{"id":1,"method":"public/get_order_book","params":{"instrument_name":"ETH-NONE"}}', -32602),
        (b'{"id":1,"method":"public/auth","params":{"client_id":"a","client_secret":"b"}}', -32602),
        (
            b'{"id":1,"method":"public/auth","params":'
            b'{"grant_type":"client_credentials","client_id":"a","client_secret":"wrong"}}',
            13004,
        ),
    ],
)
def test_bad_requests_get_the_venues_own_error_code(client: Client, payload: bytes, code: int) -> None:
    client.send(payload)
    assert json.loads(client.text())["error"]["code"] == code
    assert "result" in client.call("public/test"), "and the connection goes on"


def test_raw_channels_need_authentication(client: Client) -> None:
    raw = f"book.{PERPETUAL}.raw"
    assert client.call("public/subscribe", channels=[raw])["error"]["code"] == 13778
    assert client.call("public/auth", grant_type="client_credentials", client_id="a", client_secret="b")["result"]
    assert client.subscribe(raw) == [raw]
    assert json.loads(client.frames(1, raw)[0])["params"]["data"]["type"] == "snapshot"


def test_only_known_channels_are_accepted_in_another_order_and_unknown_ones_vanish(
    quick: Simulator, client: Client
) -> None:
    names = options(quick, 5)
    asked = [ticker(name) for name in names] + ["ticker.ETH-1JAN20-1-C.100ms", "bogus.channel"]
    accepted = client.subscribe(*asked)
    assert sorted(accepted) == sorted(asked[:5])
    assert accepted != asked[:5]
    assert client.subscribe("bogus.channel") == []


# --- subscriptions ----------------------------------------------------------------------------------------------------


def test_the_first_ticker_comes_before_the_reply_and_a_second_time_behind_it(client: Client) -> None:
    before, _ = client.until_reply(client.request("public/subscribe", channels=[ticker()]))
    assert len(before) == 1
    assert client.frames(1, ticker()) == before


def test_a_book_begins_with_a_snapshot_and_its_changes_chain(client: Client) -> None:
    client.subscribe(book())
    frames = [json.loads(frame)["params"]["data"] for frame in client.frames(20, book())]
    assert [frame["type"] for frame in frames] == ["snapshot"] + 19 * ["change"]
    assert all(after["prev_change_id"] == before["change_id"] for before, after in pairwise(frames))


def test_subscribing_again_brings_no_snapshot_but_leaving_and_coming_back_does(client: Client) -> None:
    client.subscribe(book())
    client.frames(3, book())
    assert client.subscribe(book()) == [book()]
    assert all(json.loads(frame)["params"]["data"]["type"] == "change" for frame in client.frames(10, book()))
    assert client.call("public/unsubscribe", channels=[book(), "book.none.100ms"])["result"] == [book()]
    before, _ = client.until_reply(client.request("public/subscribe", channels=[book()]))
    assert not before, "nothing comes of a channel that was left"
    frames = [json.loads(frame)["params"]["data"] for frame in client.frames(10, book())]
    assert [frame["type"] for frame in frames] == ["snapshot"] + 9 * ["change"]
    assert all(after["prev_change_id"] == before["change_id"] for before, after in pairwise(frames))


def test_another_subscription_breaks_no_chain(quick: Simulator, client: Client) -> None:
    client.subscribe(book())
    frames = client.frames(3, book())
    for name in options(quick, 6):
        client.subscribe(ticker(name), book(name))
        frames += client.frames(4, book())
    ids = [json.loads(frame)["params"]["data"] for frame in frames]
    # until_reply() swallowed some: what is left must still never repeat or go back
    assert all(after["change_id"] > before["change_id"] for before, after in pairwise(ids))


def test_one_wildcard_brings_the_trades_of_all_options(client: Client) -> None:
    client.subscribe("trades.option.ETH.100ms")
    names = {
        trade["instrument_name"]
        for frame in client.frames(20, "trades.option.ETH.100ms")
        for trade in json.loads(frame)["params"]["data"]
    }
    assert len(names) > 5


# --- heartbeats and limits --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_unanswered_heartbeat_closes_with_4000_and_an_answered_one_does_not(tmp_path: Path) -> None:
    with simulating(tmp_path, "--instruments", "ETH=2", "--heartbeat-scale", "0.02") as simulator:
        with Client(simulator.ws_url) as silent:
            assert silent.call("public/set_heartbeat", interval=10)["result"] == "ok"
            assert silent.closed() == Closed(4000, "heartbeat close")
        with Client(simulator.ws_url) as polite:
            polite.call("public/set_heartbeat", interval=10)
            for _ in range(5):
                while b"test_request" not in (frame := polite.text()):
                    assert b"heartbeat" in frame
                polite.call("public/test")
        with Client(simulator.ws_url) as idle:
            assert idle.closed() == Closed(0), "without subscriptions and heartbeats it ends without a word"


def test_spent_credits_end_the_session_and_the_33rd_connection_is_refused(tmp_path: Path) -> None:
    with simulating(tmp_path, "--instruments", "ETH=2") as simulator:
        with Client(simulator.ws_url) as greedy:
            codes = []
            for _ in range(40):
                greedy.request("public/subscribe", channels=[])
            while not isinstance(frame := greedy.frame(), Closed):
                codes.append(json.loads(frame).get("error", {}).get("code"))
            assert codes[-1] == 10028 and codes[:-1].count(None) == len(codes) - 1 >= 10
        clients = [Client(simulator.ws_url) for _ in range(32)]
        with pytest.raises(Refused, match="429"):
            Client(simulator.ws_url)
        for each in clients:
            each.socket.close()


# --- REST -------------------------------------------------------------------------------------------------------------


def test_rest_lists_instruments_by_currency_and_kind(quick: Simulator) -> None:
    found = quick.call("public/get_instruments", currency="ETH", kind="option", expired="false")
    assert len(found) == 40 and all(
        item["kind"] == "option" and item["option_type"] in ("call", "put") for item in found
    )
    every = {item["instrument_name"] for item in quick.call("public/get_instruments")}
    assert PERPETUAL in every and len(every) > 40
    assert quick.call("public/get_instrument", instrument_name=PERPETUAL)["kind"] == "future"


def test_rest_summarises_the_chain_with_open_interest(quick: Simulator) -> None:
    found = quick.call("public/get_book_summary_by_currency", currency="ETH", kind="option")
    assert {each["instrument_name"] for each in found} == set(options(quick, 40))
    assert any(each["open_interest"] > 0 for each in found) and all(each["mark_iv"] > 0 for each in found)
    status, body = refused_status(quick, "public/get_book_summary_by_currency", currency="any")
    assert status == 400 and json.loads(body)["error"]["code"] == -32602


def test_rest_gives_the_trades_that_a_client_missed(quick: Simulator, client: Client) -> None:
    channel = f"trades.{PERPETUAL}.100ms"
    client.subscribe(channel)
    live = [trade for frame in client.frames(6, channel) for trade in json.loads(frame)["params"]["data"]]
    first, last = live[0]["trade_seq"], live[-1]["trade_seq"]
    found: list[dict[str, Any]] = []
    asked = {"instrument_name": PERPETUAL, "end_seq": last, "count": 3, "sorting": "asc"}
    while True:
        page = quick.call("public/get_last_trades_by_instrument", start_seq=first + len(found), **asked)
        found += page["trades"]
        if not page["has_more"]:
            break
        assert len(page["trades"]) == 3
    assert [trade["trade_seq"] for trade in found] == list(range(first, last + 1))
    timeless = [{key: value for key, value in trade.items() if "timestamp" not in key} for trade in found]
    assert timeless == [{key: value for key, value in trade.items() if "timestamp" not in key} for trade in live]
    ahead = quick.call("public/get_last_trades_by_instrument", instrument_name=PERPETUAL, start_seq=last + 10**6)
    assert ahead == {"trades": [], "has_more": False}, "what has not happened is not told"


def test_rest_errors_are_http_400_with_the_error_in_the_body(quick: Simulator) -> None:
    assert quick.call("public/status") == {"locked": "false", "locked_indices": []}
    assert quick.call("public/get_time") == pytest.approx(time.time() * 1000, abs=60_000)
    status, body = refused_status(quick, "public/get_order_book", instrument_name="x")
    assert status == 400 and json.loads(body)["error"]["data"]["reason"] == "instrument not found"
    snapshot = quick.call("public/get_order_book", instrument_name=PERPETUAL, depth=5)
    assert len(snapshot["bids"]) == 5 and snapshot["bids"][0][0] < snapshot["asks"][0][0]


# --- pace, ledger, determinism ----------------------------------------------------------------------------------------


def collect(simulator: Simulator, channels: list[str], count: int) -> list[bytes]:
    with Client(simulator.ws_url) as client:
        client.subscribe(*channels)
        simulator.start()
        return client.frames(count)


@pytest.mark.slow
def test_the_same_seed_and_subscriptions_give_the_same_bytes_on_the_wire(tmp_path: Path) -> None:
    runs: list[list[bytes]] = []
    for seed in ("7", "7", "8"):
        folder = tmp_path / f"run-{len(runs)}"
        folder.mkdir()
        arguments = ["--instruments", "ETH=30", "--clock", "virtual", "--flat-out", "--hold", "--seed", seed]
        with simulating(folder, *arguments) as simulator:
            names = options(simulator, 30)
            runs.append(collect(simulator, [f(name) for name in names for f in (ticker, book)], 20_000))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_after_so_many_frames_the_data_stop_and_the_connection_lives(tmp_path: Path) -> None:
    arguments = ["--instruments", "ETH=30", "--flat-out", "--frames", "5000", "--wait-channels", "60"]
    with simulating(tmp_path, *arguments) as simulator, Client(simulator.ws_url) as client:
        names = options(simulator, 30)
        request_id = client.request("public/subscribe", channels=[ticker(name) for name in names])
        first, _ = client.until_reply(request_id)
        assert not simulator.status()["running"], "half of the channels are missing"
        client.subscribe(*(book(name) for name in names))
        client.frames(5000 - len(first))
        assert simulator.wait_until(lambda status: status["done"])["frames"] == 5000
        assert client.until_reply(client.request("public/test"))[0] == []
        simulator.stop()
        assert client.closed().code == 1001


def test_data_end_when_told_and_connections_stay(tmp_path: Path) -> None:
    arguments = ["--instruments", "ETH=10", "--flat-out"]
    with simulating(tmp_path, *arguments) as simulator, Client(simulator.ws_url) as client:
        client.subscribe(book())
        client.frames(100)
        simulator.end_data()
        client.until_silent()
        assert client.until_reply(client.request("public/test"))[0] == []


def test_once_data_end_its_status_says_how_many_frames_each_client_has_read(tmp_path: Path) -> None:
    with simulating(tmp_path, "--instruments", "ETH=10", "--flat-out") as simulator, Client(simulator.ws_url) as client:
        client.subscribe(book())
        client.frames(100)
        assert simulator.status()["connections"][0]["read"] == 0, "nobody was asked"
        simulator.end_data()
        sent = client.until_ping()
        (connection,) = simulator.status()["connections"]
        assert connection["frames"] == int.from_bytes(sent, "big") > 100 and connection["read"] == 0
        client.send(b"not of ours", PONG)
        client.send(sent, PONG)
        simulator.wait_until(lambda status: status["connections"][0]["read"] == connection["frames"])
        client.subscribe(ticker())
        assert client.until_reply(client.request("public/test"))[0] == [], "no channel begins any more"


def read_values(frames: list[bytes]) -> dict[int, rows.Rows]:
    """What a client can tell of the frames, by Python's json."""
    found: dict[int, list[rows.Rows]] = {kind: [] for kind in rows.DTYPES}
    for frame in frames:
        params = json.loads(frame)["params"]
        kind, values = capture.values_of(params["channel"], params["data"])
        found[kind].append(values)
    return {kind: np.concatenate([rows.empty(kind, 0), *values]) for kind, values in found.items()}


def assert_ledger_tells(folder: Path, connection: int, frames: list[bytes]) -> None:
    """The ledger has exactly these frames for a connection, in this order."""
    seen = read_values(frames)
    pieces = list(LedgerReader(folder).slices(connection))
    assert sum(piece.messages for piece in pieces) == len(frames)
    for kind, dtype in rows.DTYPES.items():
        sent = np.concatenate([rows.empty(kind, 0), *(piece.rows[kind] for piece in pieces)])
        assert len(sent) == len(seen[kind])
        for name in dtype.names or ():
            if not name.endswith("step"):
                np.testing.assert_array_equal(sent[name], seen[kind][name], name)


@pytest.mark.slow
@pytest.mark.parametrize("pace", [["--flat-out"], ["--rate", "3000"]])
def test_the_ledger_has_what_each_connection_received_in_order(tmp_path: Path, pace: list[str]) -> None:
    """Two connections, one of which leaves channels and comes back while data flow."""
    arguments = ["--instruments", "ETH=30", *pace]
    with (
        simulating(tmp_path, *arguments) as simulator,
        Client(simulator.ws_url) as first,
        Client(simulator.ws_url) as second,
    ):
        names = options(simulator, 30)
        received: list[list[bytes]] = [[], []]
        mine = [f(name) for name in names[:15] for f in (ticker, book)]
        for client, channels, frames in (
            (first, mine, received[0]),
            (second, [*(book(name) for name in names[15:]), "trades.option.ETH.100ms"], received[1]),
        ):
            frames += client.until_reply(client.request("public/subscribe", channels=channels))[0]
        for method in ("public/unsubscribe", "public/subscribe", "public/subscribe"):
            received[0] += first.until_reply(first.request(method, channels=mine[:7]))[0]
            received[0] += first.frames(50)
        simulator.end_data()
        for client, frames in ((first, received[0]), (second, received[1])):
            frames += client.until_silent()
        assert sum(map(len, received)) == simulator.status()["frames"] > 1000
        for number, frames in enumerate(received, 1):
            assert_ledger_tells(tmp_path / "ledger", number, frames)


def test_it_speaks_tls_with_a_given_certificate(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    context = ssl.create_default_context(cafile=certificate)
    arguments = ["--instruments", "ETH=10", "--flat-out", "--tls", str(certificate), str(key)]
    with simulating(tmp_path, *arguments) as simulator:
        assert simulator.ws_url.startswith("wss://")
        with Client(simulator.ws_url, context) as client:
            client.subscribe(ticker(), book())
            assert len(client.frames(5000)) == 5000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--instruments", "ETH"], "ETH=830"),
        (["--fault", "explode"], "explode"),
        (["--fault", "drop count=x"], "count"),
        (["--fault", "list"], "name"),
        (["--capture", "/nowhere"], "/nowhere"),
        (["--rate", "5", "--flat-out"], "exclude"),
        (["--tls", "/nowhere", "/nowhere"], "/nowhere"),
    ],
)
def test_arguments_that_cannot_be_served_are_refused_in_one_line(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    with pytest.raises(AssertionError) as caught, simulating(tmp_path, *arguments):
        pass
    assert said in str(caught.value) and "Traceback" not in str(caught.value)


def test_a_taken_port_and_a_used_ledger_are_named(quick: Simulator, tmp_path: Path) -> None:
    port = quick.ws_url.split(":")[2].split("/")[0]
    with pytest.raises(AssertionError, match="in use"), simulating(tmp_path, "--instruments", "ETH=1", "--port", port):
        pass
    with pytest.raises(AssertionError, match="another run"), simulating(tmp_path, "--instruments", "ETH=1"):
        pass


def test_the_control_endpoint_refuses_what_it_does_not_understand(quick: Simulator) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        quick.fault("explode")
    assert caught.value.code == 400 and b"explode" in caught.value.read()
