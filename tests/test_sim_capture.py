"""Recorded messages played by the simulator: each channel's frames as they were, and their values in the ledger."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import second_opinion
from simulator import Client, simulating
from tickbay.audit.expected import compared
from tickbay.errors import ConfigError
from tickbay.sim import rows
from tickbay.sim.capture import Capture
from tickbay.sim.ledger import LedgerReader
from tickbay.sim.strip import payload_of

CAPTURES = Path(__file__).parent.parent.parent / "shared" / "captures" / "deribit"
OF_2021 = CAPTURES / "options-ws-2021-07-22.txt"
OF_2026 = CAPTURES / "2026" / "raw_option_stream.jsonl"
# One of each form, by hand: a bare message, and one behind its time of receipt among lines that are no messages.
HANDMADE = (
    '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.ETH-1JAN30-9-C.raw","data":[{'
    '"timestamp":1,"trade_seq":5,"trade_id":"ETH-007","instrument_name":"ETH-1JAN30-9-C","direction":"sell","price":2.7e-4,'
    '"amount":1,"index_price":9.0,"mark_price":0.1,"tick_direction":3,"iv":50.5,"liquidation":"MT",'
    '"combo_trade_id":12}]}}\n'
    "wss://somewhere <-> 1.0\n"
    '1.5: {"jsonrpc":"2.0","id":0,"result":[]}\n'
    '2.5: {"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.ETH-1JAN30-9-C.raw","data":{'
    '"type":"snapshot","timestamp":2,"instrument_name":"ETH-1JAN30-9-C","change_id":7,"bids":[],"asks":[]}}}\n'
)


def recorded(path: Path) -> list[dict[str, Any]]:
    """The messages of a capture, read another way than the simulator does."""
    found = [json.loads(line[line.index("{") :]) for line in path.read_text().splitlines() if "{" in line]
    return [message["params"] for message in found if message.get("method") == "subscription"]


def need(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"no {path}: the recorded messages are not part of the project")
    return path


def test_both_forms_of_a_capture_are_read_and_other_lines_passed_over(tmp_path: Path) -> None:
    (tmp_path / "capture").write_text(HANDMADE)
    trade, book = Capture([tmp_path / "capture"], "100ms").messages
    assert (trade.channel, book.channel) == ("trades.ETH-1JAN30-9-C.100ms", "book.ETH-1JAN30-9-C.100ms")
    row = trade.values[0]
    assert (row["trade_prefix"] + b"%d" % row["trade_number"], row["price"], row["liquidation"]) == (
        b"ETH-007",
        0.00027,
        3,
    )
    assert (row["combo_trade_id"], row["direction"], row["match_sub_ns"]) == (b"12", 2, -1)
    assert len(book.values) == 1 and book.values["side"][0] == 0, "an empty snapshot is one row without a level"


def test_a_capture_without_messages_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("nothing\n")
    with pytest.raises(ConfigError, match="no recorded messages"):
        Capture([tmp_path / "empty"], "")


@pytest.mark.parametrize("path", [OF_2021, OF_2026])
def test_the_ledger_of_a_capture_has_the_values_that_the_slow_reference_reads(path: Path) -> None:
    played = Capture([need(path)], "").messages
    read = second_opinion.rows_of(payload_of(message.frame) for message in played)
    numbers = {kind: number for number, kind in rows.KIND_NAMES.items()}
    for kind, seen in read.items():
        values = [compared(kind, message.values) for message in played if message.kind == numbers[kind]]
        assert np.concatenate([seen[:0], *values]).tobytes() == seen.tobytes()
    assert len(read["quote"]) > 50 and len(read["book"]) > 10


@pytest.mark.parametrize(("path", "interval"), [(OF_2021, "100ms"), (OF_2026, ""), (OF_2026, "agg2")])
def test_a_recorded_stream_is_played_frame_by_frame_to_those_who_subscribe(
    path: Path, interval: str, tmp_path: Path
) -> None:
    wanted = recorded(need(path))
    for message in wanted:
        message["channel"] = re.sub(r"\w+$", interval, message["channel"]) if interval else message["channel"]
    names = sorted({message["data"]["instrument_name"] for message in wanted})
    arguments = [
        "--capture",
        str(path),
        "--flat-out",
        "--hold",
        *(["--capture-interval", interval] if interval else []),
    ]
    with simulating(tmp_path, *arguments) as simulator, Client(simulator.ws_url) as client:
        assert sorted(item["instrument_name"] for item in simulator.call("public/get_instruments")) == names
        channels = sorted({message["channel"] for message in wanted})
        assert sorted(client.subscribe(*channels)) == channels
        simulator.wait_until(lambda status: status["connections"][0]["channels"] == len(channels))
        simulator.start()
        assert [json.loads(frame)["params"] for frame in client.frames(len(wanted))] == wanted
        simulator.stop()
    assert LedgerReader(tmp_path / "ledger").count(1)[0] == len(wanted)


def test_only_subscribed_channels_of_a_capture_are_played_and_later_ones_from_their_beginning(tmp_path: Path) -> None:
    wanted = recorded(need(OF_2026))
    ticker = [message for message in wanted if message["channel"].startswith("ticker")]
    book = [message for message in wanted if message["channel"].startswith("book")]
    with (
        simulating(tmp_path, "--capture", str(OF_2026), "--rate", "5000") as simulator,
        Client(simulator.ws_url) as client,
    ):
        client.subscribe(ticker[0]["channel"])
        assert [json.loads(frame)["params"] for frame in client.frames(len(ticker))] == ticker
        client.subscribe(book[0]["channel"])
        assert [json.loads(frame)["params"] for frame in client.frames(len(book))] == book
