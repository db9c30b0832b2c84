"""Every misbehaviour that can be asked for really appears on the wire, and the ledger knows of it."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from simulator import Client, Closed, Refused, Simulator, refused_status, simulating
from tickbay.errors import ConfigError
from tickbay.sim import faults, ledger
from tickbay.sim.ledger import LedgerReader

NAME = "ETH-PERPETUAL"
BOOK, TICKER = f"book.{NAME}.100ms", f"ticker.{NAME}.100ms"
MARKET = ["--instruments", "ETH=20", "--flat-out", "--hold"]


def data(frames: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(frame)["params"]["data"] for frame in frames]


def breaks(changes: list[dict[str, Any]]) -> int:
    return sum(after["prev_change_id"] != before["change_id"] for before, after in pairwise(changes))


def events(folder: Path) -> list[tuple[str, str]]:
    reader = LedgerReader(folder / "ledger")
    return [(event["event"], event.get("channel", event.get("how", ""))) for event in reader.events()]


def entries(folder: Path, what: int, connection: int = 1) -> int:
    return int((LedgerReader(folder / "ledger").entries(connection)["what"] == what).sum())


def subscribed(simulator: Simulator, client: Client, *channels: str) -> None:
    """Subscribe, see the first frames, and let the data begin."""
    client.subscribe(*channels)
    simulator.wait_until(lambda status: sum(each["channels"] for each in status["connections"]) >= len(channels))
    simulator.start()


def test_a_dropped_book_change_breaks_the_chain_once(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET, "--fault", f"drop channel={BOOK} after=50") as simulator:
        with Client(simulator.ws_url) as client:
            subscribed(simulator, client, BOOK, TICKER)
            changes = data(client.frames(100, BOOK))
        assert breaks(changes) == 1
        simulator.stop()
    assert ("drop", BOOK) in events(tmp_path) and entries(tmp_path, ledger.DROPPED) == 1


def test_a_duplicated_frame_comes_twice_in_a_row(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET, "--fault", f"duplicate channel={BOOK} count=3 after=20") as simulator:
        with Client(simulator.ws_url) as client:
            subscribed(simulator, client, BOOK, TICKER)
            frames = client.frames(100, BOOK)
        assert sum(before == after for before, after in pairwise(frames)) == 3


def test_a_reordered_frame_comes_behind_the_next_of_its_channel(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET, "--fault", f"reorder channel={BOOK} after=20") as simulator:
        with Client(simulator.ws_url) as client:
            subscribed(simulator, client, BOOK, TICKER)
            changes = data(client.frames(100, BOOK))
        ids = [change["change_id"] for change in changes]
        swapped = [place for place, (before, after) in enumerate(pairwise(ids)) if after < before]
        assert len(swapped) == 1
        changes[swapped[0]], changes[swapped[0] + 1] = changes[swapped[0] + 1], changes[swapped[0]]
        assert breaks(changes) == 0, "nothing else is out of order, and nothing is missing"


@pytest.mark.parametrize("action", ["malformed", "truncated"])
def test_an_unreadable_frame_is_in_the_ledger_as_such(tmp_path: Path, action: str) -> None:
    with simulating(tmp_path, *MARKET, "--fault", f"{action} channel={BOOK} after=20") as simulator:
        with Client(simulator.ws_url) as client:
            subscribed(simulator, client, BOOK)
            unreadable, changes = [], []
            for frame in client.frames(100):
                try:
                    changes.append(json.loads(frame)["params"]["data"])
                except ValueError:
                    unreadable.append(frame)
        assert len(unreadable) == 1 and breaks(changes) == 1
        assert (b'"asks"' in unreadable[0] or b"\x00" in unreadable[0]) == (action == "malformed")
        simulator.stop()
    assert entries(tmp_path, ledger.MALFORMED) == 1
    reader = LedgerReader(tmp_path / "ledger")
    assert reader.count(1)[0] == sum(piece.messages for piece in reader.slices(1)), "it is not among what can be read"


def test_an_oversized_frame_is_as_large_as_asked(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET) as simulator, Client(simulator.ws_url) as client:
        subscribed(simulator, client, BOOK)
        simulator.fault("oversized bytes=9437184")
        while len(frame := client.text()) < 1 << 20:
            pass
        assert len(frame) == 9437184 and json.loads(frame)["params"]["channel"] == "announcements"
        assert client.frames(10, BOOK)


def test_a_refused_channel_is_left_out_so_many_times(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET, "--fault", f"refuse channel={BOOK} count=2") as simulator:
        with Client(simulator.ws_url) as client:
            answers = [client.subscribe(BOOK, TICKER) for _ in range(3)]
        assert answers == [[TICKER], [TICKER], [TICKER, BOOK]]


@pytest.mark.slow
def test_a_stalled_connection_is_silent_and_then_sends_everything(tmp_path: Path) -> None:
    arguments = ["--instruments", "ETH=20", "--rate", "500"]
    with simulating(tmp_path, *arguments) as simulator, Client(simulator.ws_url) as client:
        client.subscribe(BOOK, TICKER)
        before = client.frames(20, BOOK)
        simulator.fault("stall seconds=1.5")
        before += [frame for frame in client.until_silent() if b'"book.' in frame]
        client.request("public/test")
        changes = data([frame for frame in before if b'"change"' in frame] + client.frames(20, BOOK))
        assert breaks(changes) == 0, "nothing is missing"


def test_a_half_open_connection_neither_answers_nor_ends(tmp_path: Path) -> None:
    with (
        simulating(tmp_path, "--instruments", "ETH=20", "--rate", "500") as simulator,
        Client(simulator.ws_url) as client,
    ):
        client.subscribe(BOOK)
        simulator.fault("half_open connection=1")
        client.until_silent()
        client.request("public/test")
        assert client.until_silent() == []
        assert simulator.status()["connections"], "the other side has not closed it"


def test_a_connection_is_closed_with_the_code_that_was_asked_for(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET, "--fault", "close code=4321 reason=because after=500") as simulator:
        with Client(simulator.ws_url) as client:
            subscribed(simulator, client, BOOK, TICKER)
            assert client.closed() == Closed(4321, "because")
        simulator.stop()
    reader = LedgerReader(tmp_path / "ledger")
    assert reader.ended(1).how == "closed 4321 because"
    assert reader.count(1)[0] == 500, "exactly as many frames as asked were sent before"


def test_a_killed_connection_ends_without_a_close(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET, "--fault", "kill connection=2 after=100") as simulator:
        with Client(simulator.ws_url) as first, Client(simulator.ws_url) as second:
            first.subscribe(BOOK)
            subscribed(simulator, second, TICKER)
            assert second.closed() == Closed(0)
            assert first.frames(1000, BOOK), "the other one goes on"
        simulator.stop()
    assert ("closed", "killed") in events(tmp_path)


def test_a_client_that_does_not_read_is_closed(tmp_path: Path) -> None:
    with simulating(tmp_path, "--instruments", "ETH=20", "--flat-out", "--slow-s", "0.5") as simulator:
        with Client(simulator.ws_url) as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.request("public/subscribe", channels=[BOOK, TICKER])
            simulator.wait_until(lambda status: not status["connections"])
        with Client(simulator.ws_url) as asked:
            asked.subscribe(BOOK)
            simulator.fault("too_slow")
            assert asked.closed().reason == "connection_too_slow"
        simulator.stop()
    assert ("closed", "connection_too_slow") in events(tmp_path)


def test_a_new_instrument_reaches_rest_its_state_channel_and_the_wildcard(tmp_path: Path) -> None:
    name = "ETH-25DEC37-123456-C"
    with (
        simulating(tmp_path, "--instruments", "ETH=20", "--rate", "2000") as simulator,
        Client(simulator.ws_url) as client,
    ):
        client.subscribe("instrument.state.option.ETH", "trades.option.ETH.100ms", TICKER)
        time.sleep(0.3)
        simulator.fault(f"list name={name}")
        state = client.frames(1, "instrument.state")[0]
        assert json.loads(state)["params"]["data"]["instrument_name"] == name
        assert simulator.call("public/get_instrument", instrument_name=name)["strike"] == 123456
        while name.encode() not in client.frames(1, "trades.option.ETH")[0]:
            pass
        assert client.subscribe(f"ticker.{name}.100ms")
        assert client.frames(2, f"ticker.{name}")


def test_an_expired_instrument_ends_with_a_delivery_price_and_is_gone(tmp_path: Path) -> None:
    with (
        simulating(tmp_path, "--instruments", "ETH=20", "--rate", "2000") as simulator,
        Client(simulator.ws_url) as client,
    ):
        name = simulator.call("public/get_instruments", currency="ETH", kind="option")[0]["instrument_name"]
        client.subscribe("instrument.state.any.any", f"ticker.{name}.100ms", f"book.{name}.100ms", TICKER)
        client.frames(3, f"ticker.{name}")
        simulator.fault(f"expire name={name}")
        while (last := data(client.frames(1, f"ticker.{name}"))[0])["state"] == "open":
            pass
        assert last["state"] == "closed" and last["delivery_price"] > 0
        frames = client.frames(200)
        assert not any(f'"instrument_name":"{name}"'.encode() in frame and b"ticker" in frame for frame in frames)
        assert client.subscribe(f"ticker.{name}.100ms") == []
        status, _ = refused_status(simulator, "public/get_instrument", instrument_name=name)
        assert status == 400


def test_maintenance_is_announced_closes_everyone_and_refuses_until_it_is_over(tmp_path: Path) -> None:
    with simulating(tmp_path, "--instruments", "ETH=20", "--rate", "500") as simulator:
        with Client(simulator.ws_url) as client:
            client.subscribe("platform_state", TICKER)
            time.sleep(0.3)
            simulator.fault("maintenance")
            assert data(client.frames(1, "platform_state")) == [{"maintenance": True}]
            assert client.closed() == Closed(1001, "maintenance")
        with Client(simulator.ws_url) as client:
            assert client.call("public/subscribe", channels=[TICKER])["error"]["code"] == 11051
            assert refused_status(simulator, "public/get_instruments")[0] == 400
            simulator.fault("maintenance state=off")
            assert client.subscribe(TICKER) == [TICKER]


def test_a_hollow_change_keeps_the_chain_and_has_no_levels(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET, "--fault", "hollow count=2 after=20") as simulator:
        with Client(simulator.ws_url) as client:
            subscribed(simulator, client, BOOK, TICKER, f"book.{NAME}.none.10.100ms")
            changes = data(client.frames(100, BOOK))
        hollow = [change for change in changes if not change["bids"] and not change["asks"]]
        assert len(hollow) == 2 and breaks(changes) == 0
        simulator.stop()
    assert events(tmp_path).count(("hollow", BOOK)) == 2, "of no other channel"


def test_an_older_frame_has_times_of_the_past(tmp_path: Path) -> None:
    with simulating(tmp_path, *MARKET, "--fault", f"older channel={TICKER} seconds=60 after=20") as simulator:
        with Client(simulator.ws_url) as client:
            subscribed(simulator, client, TICKER)
            times = [ticker["timestamp"] for ticker in data(client.frames(60, TICKER))]
        back = [before - after for before, after in pairwise(times) if before - after > 30_000]
        assert len(back) == 1
        simulator.stop()
    assert ("older", TICKER) in events(tmp_path)


def test_a_hasty_client_is_told_so_and_closed_and_a_full_venue_refuses_the_next_one(tmp_path: Path) -> None:
    with simulating(tmp_path, "--instruments", "ETH=2", "--no-limits") as simulator:
        simulator.fault("hasty")
        with Client(simulator.ws_url) as client:
            assert client.call("public/test")["error"]["code"] == 10028
            assert client.closed() == Closed(1008, "too_many_requests")
        simulator.fault("full")
        with pytest.raises(Refused, match="429"):
            Client(simulator.ws_url)
        simulator.fault("full state=off")
        with Client(simulator.ws_url) as client:
            assert "result" in client.call("public/test")


def test_rest_fails_as_often_and_as_badly_as_asked(tmp_path: Path) -> None:
    with simulating(tmp_path, "--instruments", "ETH=2") as simulator:
        simulator.fault("rest status=503 count=2")
        simulator.fault("rest status=429")
        found = [refused_status(simulator, "public/get_time")[0] for _ in range(3)]
        assert found == [503, 503, 429]
        assert simulator.call("public/get_time")
        simulator.fault("rest status=timeout")
        with socket.create_connection(_address(simulator), timeout=0.5) as hanging:
            hanging.sendall(b"GET /api/v2/public/get_time HTTP/1.1\r\nHost: x\r\n\r\n")
            with pytest.raises(TimeoutError):
                hanging.recv(1)


def _address(simulator: Simulator) -> tuple[str, int]:
    host, port = simulator.rest_url.split("/")[2].split(":")
    return host, int(port)


def test_faults_come_from_a_file_and_as_json_too(tmp_path: Path) -> None:
    script = tmp_path / "faults"
    script.write_text(f"# the chain breaks twice\ndrop channel={BOOK} count=2 after=30\n\n")
    with simulating(tmp_path, *MARKET, "--faults", str(script)) as simulator, Client(simulator.ws_url) as client:
        simulator.fault(json.dumps({"action": "close", "code": 4001, "after": 400}))
        subscribed(simulator, client, BOOK)
        changes = []
        while not isinstance(frame := client.frame(), Closed):
            changes += data([frame])
        assert frame.code == 4001 and breaks([change for change in changes if change["type"] == "change"]) == 1


@pytest.mark.parametrize(
    "line", ["", "explode", "drop x", "drop colour=red", "close code=x", "drop count=-1", "expire", "rest status=x"]
)
def test_a_fault_that_is_not_understood_is_refused(line: str) -> None:
    with pytest.raises(ConfigError):
        faults.parse(line)


def test_every_action_is_explained_to_the_user(tmp_path: Path) -> None:
    with simulating(tmp_path, "--instruments", "ETH=1") as simulator:
        for action in faults.ACTIONS:
            if action not in ("list", "expire", "settle", "state", "lock", "gone"):
                faults.parse(action)
        with pytest.raises(urllib.error.HTTPError):
            simulator.fault("nothing")
