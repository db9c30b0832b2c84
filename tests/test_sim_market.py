"""What the simulated venue says, without any socket: names, values, spelling, chains."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import second_opinion
from tickbay.audit.expected import expected_rows
from tickbay.errors import ConfigError
from tickbay.sim import capture, ledger, rows
from tickbay.sim.frames import spell
from tickbay.sim.instruments import NAME, listing, named, parse_market
from tickbay.sim.market import Script
from tickbay.sim.strip import Strip, payload_of
from tickbay.sim.tape import Tape
from tickbay.sim.venue import Channel, Settings, Venue

DAY_MS = 1_795_219_200_000
CLOCK_MS = 1_795_300_000_000
# numbers → as recorded frames of 2026 spell them
SPELLED = {
    "8.55e4": 85500.0, "83950.0": 83950.0, "2.7e-4": 0.00027, "0.0065": 0.0065, "10.0": 10.0, "2.2e3": 2200.0,
    "-4.467407940520975e-5": -4.467407940520975e-05, "3.0e6": 3e6, "1.0002e6": 1000200.0, "2201640.0": 2201640.0,
    "0.0": 0.0, "3.1e-5": 3.1e-5, "145764791.0": 145764791.0, "2.0e-5": 2e-5,
}  # fmt: skip


def venue(
    market: str = "ETH=300,XRP_USDC=10", *, virtual: bool = True, seed: int = 1, folder: Path | None = None
) -> Venue:
    return Venue(Settings(market=parse_market(market), seed=seed, virtual_clock=virtual, ledger=folder))


@pytest.fixture(scope="module")
def market() -> Venue:
    """One for all who only read what it sends: it makes each channel's frames once."""
    return venue()


def channel(of: Venue, name: str) -> Channel:
    found = of.channel(name)
    assert found
    return found


def all_strips(of: Venue) -> list[tuple[Strip, int]]:
    """Channels of every kind, of options, futures, spot and combos."""
    chosen = [*list(of.instruments)[:6], *[item.name for item in of.instruments.values() if item.kind != "option"]]
    names = [f"{kind}.{name}.100ms" for name in chosen for kind in ("ticker", "book", "trades")]
    return [(of.strip(channel(of, name)), 0) for name in [*names, "trades.option.ETH.100ms"]]


def payloads(rendered: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(rendered):
        head = {126: 4, 127: 10}.get(rendered[place + 1], 2)
        size = rendered[place + 1] if head == 2 else int.from_bytes(rendered[place + 2 : place + head], "big")
        yield rendered[place + head : place + head + size]
        place += head + size


def messages(rendered: bytes) -> list[dict[str, Any]]:
    return [json.loads(payload)["params"] for payload in payloads(rendered)]


@pytest.mark.parametrize(("text", "value"), SPELLED.items())
def test_numbers_are_spelled_as_in_recorded_frames(text: str, value: float) -> None:
    assert spell(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_spelled_number_gives_the_same_double_back(value: float) -> None:
    assert json.loads(spell(value)) == value
    assert math.copysign(1, json.loads(spell(value))) == math.copysign(1, value)


def test_as_many_options_are_listed_as_asked_each_with_a_name_of_its_own() -> None:
    listed = listing(parse_market("ETH=830,BTC=7,XRP_USDC=24"), DAY_MS)
    assert len({item.name for item in listed}) == len(listed)
    assert [item.number for item in listed] == list(range(len(listed)))
    options = [item for item in listed if item.kind == "option"]
    assert [sum(item.family == family for item in options) for family in ("ETH", "BTC", "XRP_USDC")] == [830, 7, 24]
    for item in options:
        match = NAME.fullmatch(item.name)
        assert match and float(match["strike"].replace("d", ".")) == item.strike
        assert item.expiration_ms > DAY_MS and item.expiration_ms % 86_400_000 == 8 * 3_600_000
    assert len({item.expiration_ms for item in options}) >= 10


def test_odd_names_are_listed_too() -> None:
    names = [item.name for item in listing(parse_market("ETH=40,XRP_USDC=24"), DAY_MS)]
    assert any("d" in name for name in names), "fractional strikes"
    assert {"ETH-PERPETUAL", "ETH_USDC", "XRP_USDC-PERPETUAL"} <= set(names)
    assert 44 <= max(len(name) for name in names) <= 48


def test_an_expired_name_that_is_played_is_given_a_future() -> None:
    item = named("ETH-30JUL21-2800-C", 0, DAY_MS)
    assert (item.kind, item.strike, item.call) == ("option", 2800.0, True)
    assert item.expiration_ms > DAY_MS


@pytest.mark.parametrize("text", ["", "ETH", "ETH=x", "ETH=1,,BTC=2", "eth=1", "ETH=-1"])
def test_a_market_that_is_not_understood_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="ETH=830"):
        parse_market(text)


@pytest.mark.parametrize("virtual", [True, False])
def test_every_frame_of_any_cycle_reads_as_the_values_in_the_ledger(tmp_path: Path, virtual: bool) -> None:
    """The ledger's honesty: values → JSON with patched digits → Python's json → the same values, times and ids."""
    of = venue(virtual=virtual, folder=tmp_path)
    tape = Tape(1, all_strips(of), of.cycle_ms)
    of.ledger.add_tape(tape)
    rendered = []
    for loop in (0, 1, 12_345):
        rendered.append(tape.render(0, len(tape), loop, CLOCK_MS))
        of.ledger.add(1, ledger.RUN, 1, 0, len(tape), loop, CLOCK_MS)
    of.ledger.close()
    read: dict[int, list[rows.Rows]] = {rows.QUOTE: [], rows.TRADE: [], rows.BOOK: []}
    for message in messages(b"".join(rendered)):
        kind, values = capture.values_of(message["channel"], message["data"])
        read[kind].append(values)
    reader = ledger.LedgerReader(tmp_path)
    pieces = list(reader.slices(1))
    assert reader.count(1)[0] == sum(piece.messages for piece in pieces) == 3 * len(tape)
    for kind, values_of_kind in read.items():
        sent, seen = np.concatenate([piece.rows[kind] for piece in pieces]), np.concatenate(values_of_kind)
        assert len(sent) == len(seen) > 0
        for name in sent.dtype.names or ():
            if not name.endswith("step") and name != "match_id":
                np.testing.assert_array_equal(sent[name], seen[name], name)


def test_every_frame_reads_to_the_slow_reference_as_the_audit_expects_it(tmp_path: Path) -> None:
    of = venue(folder=tmp_path)
    tape = Tape(1, all_strips(of), of.cycle_ms)
    of.ledger.add_tape(tape)
    of.ledger.add(1, ledger.RUN, 1, 0, len(tape), 77, CLOCK_MS)
    of.ledger.close()
    read = second_opinion.rows_of(payloads(tape.render(0, len(tape), 77, CLOCK_MS)))
    for kind, seen in read.items():
        sent = np.concatenate([found for found, _ in expected_rows(ledger.LedgerReader(tmp_path), 1, kind)])
        assert sent.tobytes() == seen.tobytes()
        assert len(seen) > 50


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    first, again, other = (Tape(1, all_strips(venue(seed=seed)), 1).render(0, 500, 3, CLOCK_MS) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_what_an_instrument_sends_does_not_depend_on_what_else_is_subscribed(market: Venue) -> None:
    of, name = market, "ticker.ETH-PERPETUAL.100ms"
    every = Tape(1, all_strips(of), of.cycle_ms)
    alone = Tape(2, [(of.strip(channel(of, name)), 0)], of.cycle_ms)
    among = [payload for payload in payloads(every.render(0, len(every), 5, CLOCK_MS)) if name.encode() in payload]
    assert among == list(payloads(alone.render(0, len(alone), 5, CLOCK_MS)))


def play_book(book: dict[str, dict[float, float]], data: dict[str, Any]) -> None:
    for side in ("bids", "asks"):
        for action, price, amount in data[side]:
            assert (price in book[side]) == (action in ("change", "delete")), "new levels are new, others are there"
            if action == "delete":
                assert amount == 0
                del book[side][price]
            else:
                book[side][price] = amount


@pytest.mark.parametrize("family", ["ETH-PERPETUAL", "ETH-"])
def test_books_chain_over_cycles_and_changes_lead_from_snapshot_to_snapshot(family: str) -> None:
    of = venue()
    name = next(name for name in of.instruments if name.startswith(family))
    found = channel(of, f"book.{name}.100ms")
    tape = Tape(1, [(of.strip(found), 0)], of.cycle_ms)
    frames = [message["data"] for loop in range(3) for message in messages(tape.render(0, len(tape), loop, CLOCK_MS))]
    assert all(after["prev_change_id"] == before["change_id"] for before, after in pairwise(frames))
    book: dict[str, dict[float, float]] = {}
    for place in range(0, 2 * len(tape) + 3):
        loop, frame = divmod(place, len(tape))
        first = of.first_message(found, loop, int(tape.key[frame]), CLOCK_MS)
        assert first
        snapshot = json.loads(payload_of(first.frame))["params"]["data"]
        assert snapshot["type"] == "snapshot" and "prev_change_id" not in snapshot
        assert frames[place]["prev_change_id"] == snapshot["change_id"], "the next change follows the snapshot"
        whole = {side: {price: amount for _, price, amount in snapshot[side]} for side in ("bids", "asks")}
        assert not book or book == whole
        book = whole
        play_book(book, frames[place])


def test_change_ids_are_one_counter_and_never_follow_by_one(market: Venue) -> None:
    of = market
    tape = Tape(1, [each for each in all_strips(of) if each[0].kind == rows.BOOK], of.cycle_ms)
    ids: list[int] = []
    for loop in range(3):
        frames = [message["data"] for message in messages(tape.render(0, len(tape), loop, CLOCK_MS))]
        ids += [frame["change_id"] for frame in frames]
        assert all(frame["change_id"] > frame["prev_change_id"] + 1 for frame in frames)
    assert len(set(ids)) == len(ids)


def test_trade_sequences_grow_by_one_and_trade_ids_are_never_used_twice(market: Venue) -> None:
    of = market
    wildcard = [(of.strip(channel(of, "trades.option.ETH.100ms")), 0)]
    tape = Tape(1, wildcard, of.cycle_ms)
    last: dict[str, int] = {}
    ids: set[str] = set()
    mixed = 0
    for loop in range(4):
        for message in messages(tape.render(0, len(tape), loop, CLOCK_MS)):
            mixed += len({trade["instrument_name"] for trade in message["data"]}) > 1
            for trade in message["data"]:
                name = trade["instrument_name"]
                assert trade["trade_seq"] == last.get(name, trade["trade_seq"] - 1) + 1
                last[name] = trade["trade_seq"]
                assert trade["trade_id"] not in ids
                ids.add(trade["trade_id"])
    assert mixed, "some messages carry trades of several instruments"


def test_a_change_of_an_options_book_has_as_many_levels_as_were_recorded() -> None:
    """Of 47 recorded changes 34 had one level, 11 two, 2 more; none leaps, wherever in the cycle."""
    of = venue("ETH=120")
    options = [name for name, item in of.instruments.items() if item.kind == "option"]
    counts = np.concatenate([of.strip(channel(of, f"book.{name}.100ms")).row_count for name in options])
    shares = np.bincount(counts, minlength=5) / len(counts)
    assert shares[1] > 0.7 and 0.1 < shares[2] < 0.3 and 0 < shares[3:].sum() < 0.05 and counts.max() <= 4


def test_a_ticker_shows_the_top_of_the_book_and_repeats_the_greeks_at_a_change_of_it() -> None:
    of = venue("ETH=200")
    sides = {"bid": ("bids", max), "ask": ("asks", min)}
    empty = 0
    for item in [item for item in of.instruments.values() if item.kind == "option"]:
        script: Script = of.script(item)
        for place, when in enumerate(script.quote_at_us):
            changes = sum(at <= when for at in script.change_at_us)
            book = script.books[changes % len(script.books)]
            for side, (name, best) in sides.items():
                prices = {"bids": book.bids, "asks": book.asks}[name]
                value = script.quotes[place][f"{side}_price"]
                empty += not prices
                assert np.isnan(value) if not prices else value == round(best(prices) * item.tick_size, 8)
    assert empty, "some sides of some books are empty"


def test_an_empty_side_is_spelled_as_zeros_and_absent_statistics_as_null(market: Venue) -> None:
    of = market
    names = [f"ticker.{name}.100ms" for name in of.instruments]
    tape = Tape(1, [(of.strip(channel(of, name)), 0) for name in names], of.cycle_ms)
    tickers = [message["data"] for message in messages(tape.render(0, len(tape), 0, CLOCK_MS))]
    empty = [each for each in tickers if each["best_bid_amount"] == 0.0]
    assert empty and all(each["best_bid_price"] == 0.0 and each.get("bid_iv", 0.0) == 0.0 for each in empty)
    assert any(each["stats"]["high"] is None and each["stats"]["volume"] == 0.0 for each in tickers)
    assert any(each["stats"]["volume"] is None for each in tickers)
    assert any(each["last_price"] is None for each in tickers)
    assert any("settlement_price" not in each for each in tickers)
    assert any(isinstance(each["open_interest"], int) for each in tickers if "open_interest" in each)


def test_times_of_a_channel_go_backwards_now_and_then() -> None:
    of = venue(virtual=False)
    tape = Tape(1, [(of.strip(channel(of, "ticker.ETH-PERPETUAL.100ms")), 0)], 0)
    times = [message["data"]["timestamp"] for message in messages(tape.render(0, len(tape), 0, CLOCK_MS))]
    assert any(after < before for before, after in pairwise(times))
    assert max(times) <= CLOCK_MS


def test_a_channel_that_returns_never_repeats_what_it_sent() -> None:
    of, chance = venue(), random.Random(5)
    reached = (0, 0)
    for _ in range(200):
        loop, key = chance.randrange(5), chance.randrange(100)
        begin = (loop + of.ahead("x", loop, key), key)
        assert begin >= reached
        reached = (begin[0] + chance.randrange(2), chance.randrange(100))
        of.leave("x", *reached)
        reached = max(reached, begin)
        of.leave("x", *reached)
