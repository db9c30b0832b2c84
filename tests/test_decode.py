"""The decoder in C against the slow reference, field by field: our frames, recorded ones, random ones. R9."""

from __future__ import annotations

import copy
import json
import math
import os
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import frames
import reference
from tickbay import _native
from tickbay.record import DTYPES, TICKS, Kind, Records

RECV_NS, CONN = 1_790_755_218_600_000_001, 1_790_755_000
R9_FRAMES = int(os.environ.get("TICKBAY_DECODE_FRAMES", "100000"))
RECORDS_MAX = 70_000

MESSAGES = {kind.value: kind.name for kind in TICKS} | {
    _native.MESSAGE_REPLY: "REPLY",
    _native.MESSAGE_ERROR: "ERROR",
    _native.MESSAGE_HEARTBEAT: "HEARTBEAT",
    _native.MESSAGE_TEST_REQUEST: "TEST_REQUEST",
    _native.MESSAGE_UNKNOWN: "UNKNOWN",
}
# What a field holds that the frame has no value for, where that is not NaN, 0 or empty text.
ABSENT = {"tick_direction": 255}

needs_captures = pytest.mark.skipif(not frames.CAPTURES.is_dir(), reason="../shared/captures is not there")


def decoded(frame: bytes) -> tuple[str, Records] | None:
    """What the decoder in C makes of a frame: its message and records; None where it refuses it."""
    result, message, records, _ = _native.decode_deribit(frame, RECV_NS, CONN, RECORDS_MAX)
    if result != _native.DECODE_OK:
        assert result in (_native.DECODE_MORE, _native.DECODE_BAD)
        return None
    kind = Kind(message) if message in TICKS else Kind.QUOTE
    return MESSAGES[message], np.frombuffer(records, DTYPES[kind])


def referred(frame: bytes) -> reference.Decoded | None:
    try:
        return reference.decode(frame, RECV_NS, CONN)
    except reference.Refused:
        return None


def same(name: str, got: Any, wanted: object) -> bool:
    if wanted is None:
        wanted = ABSENT.get(name, math.nan if isinstance(got, float) else type(got)())
    if isinstance(wanted, str):
        wanted = wanted.encode()
    if isinstance(wanted, float):  # the very double: -0.0 is not 0.0, and NaN is NaN
        return isinstance(got, float) and (got.hex() == wanted.hex() or (math.isnan(got) and math.isnan(wanted)))
    return type(got) is type(wanted) and bool(got == wanted)


def check(frame: bytes) -> None:
    """Both refuse the frame, or both make the same of it."""
    mine, wanted = decoded(frame), referred(frame)
    if mine is None or wanted is None:
        assert (mine is None) == (wanted is None), (mine, wanted, frame)
        return
    message, records = mine
    assert (message, len(records)) == (wanted.message, len(wanted.rows)), frame
    for record, row in zip(records, wanted.rows, strict=True):
        names = set(records.dtype.names or ()) - {"seq"}
        assert set(row) <= names, frame
        for name in names:
            assert same(name, record[name].item(), row.get(name)), (name, record[name], row.get(name), frame)


def check_shortest(frame: str) -> None:
    """The shortest representation of every double stored is a number of the text: equal as decimals, not as doubles.
    Two are something else: the group that a channel's name has, and the volatility that is sent as a fraction."""
    spelled: set[Decimal] = set()

    def note(text: str) -> None:
        spelled.add(Decimal(text))

    json.loads(frame, parse_float=note, parse_int=note)
    result = decoded(frame.encode())
    assert result is not None
    message, records = result
    for name in records.dtype.names or ():
        if records.dtype[name].kind == "f" and name != "price_group":
            percent = 100 if (message, name) == ("MARK", "mark_iv") else 1
            for value in (records[name] / percent).tolist():
                assert math.isnan(value) or Decimal(repr(value)) in spelled, (name, value, frame)


@pytest.mark.parametrize("frame", frames.own(), ids=lambda frame: frame.name)
def test_our_own_frames_are_decoded_as_the_reference_reads_them(frame: frames.Frame) -> None:
    check(frame.text.encode())
    wanted = referred(frame.text.encode())
    assert wanted is not None
    assert (wanted.message, len(wanted.rows)) == (frame.message, frame.records)
    check_shortest(frame.text)


@needs_captures
def test_recorded_frames_of_2021_are_decoded_as_the_reference_reads_them() -> None:
    counts: dict[str, int] = {}
    for _, text in frames.recorded_2021():
        check(text.encode())
        check_shortest(text)
        wanted = referred(text.encode())
        assert wanted is not None
        counts[wanted.message] = counts.get(wanted.message, 0) + 1
    assert counts == {"REPLY": 1, "QUOTE": 89, "BOOK": 46}


@needs_captures
def test_recorded_frames_of_2026_are_decoded_as_the_reference_reads_them() -> None:
    counts: dict[str, int] = {}
    for text in frames.recorded_2026():
        check(text.encode())
        check_shortest(text)
        wanted = referred(text.encode())
        assert wanted is not None
        counts[wanted.message] = counts.get(wanted.message, 0) + 1
    assert counts == {"QUOTE": 59, "BOOK": 16, "TRADE": 1, "ERROR": 1, "REPLY": 3, "TEST_REQUEST": 1}


def test_an_empty_side_is_absent_and_a_price_of_zero_is_not() -> None:
    named = {frame.name: frame.text.encode() for frame in frames.own()}
    _, (empty,) = decoded(named["option ticker without bids"]) or ("", [])
    assert all(math.isnan(empty[name]) for name in ("bid_price", "bid_amount", "bid_iv"))
    assert (empty["ask_price"], empty["ask_amount"], empty["ask_iv"]) == (0.0001, 300.0, 224.8)
    _, (combo,) = decoded(named["combo ticker with a price of zero"]) or ("", [])
    assert (combo["bid_price"], combo["bid_amount"]) == (0.0, 20000.0)
    assert (combo["ask_price"], combo["ask_amount"]) == (-0.5, 0.0)


# ---------------------------------------------------------------- random frames

NAMES = ("ETH-25DEC26-4000-C", "BTC-PERPETUAL", "XRP_USDC-30JUN24-0d625-C", "€-Ω", "N" * 48, "", "N" * 49)
WORDS = ("open", "new", "change", "delete", "snapshot", "buy", "sell", "M", "T", "MT", 'a"b\\c/\n', "é", "\0")
NUMBERS = ("0", "0.0", "-0.0", "1e400", "1e-400", "-1", "1.0", "5.00", "9" * 64, "9" * 65, "0." + "3" * 60)
FAULTS = ("", '"', ",", "}", "]", "0", "\\", " ", "\x1f", "é")


class Spelled(float):
    """A number with the spelling that it shall have in the frame."""

    text: str

    def __new__(cls, text: str) -> Spelled:
        self = super().__new__(cls, 0.0)
        self.text = text
        return self

    def __repr__(self) -> str:
        return self.text


class Generator:
    """Frames of every kind with random members, orders, spellings and faults; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seeds = [frame.text for frame in frames.own()]

    def frame(self) -> bytes:
        message = json.loads(self.random.choice(self.seeds), parse_float=Spelled, parse_int=Spelled)
        for _ in range(self.random.choice((0, 1, 1, 2, 3))):
            self.change(message)
        text = self.spell(self.shuffled(message) if self.random.random() < 0.5 else message, repeats=0.02)
        if self.random.random() < 0.05:
            at = self.random.randrange(len(text))
            text = text[:at] + self.random.choice(FAULTS) + text[at + 1 :]
        return text.encode("utf-8", "surrogatepass")

    def number(self) -> Spelled:
        choose = self.random
        if choose.random() < 0.1:
            return Spelled(choose.choice(NUMBERS))
        digits = "".join(choose.choices("0123456789", k=choose.randint(1, 12)))
        text = str(int(digits))
        if choose.random() < 0.7:
            text += "." + "".join(choose.choices("0123456789", k=choose.randint(1, 10)))
        if choose.random() < 0.2:
            text += choose.choice("eE") + choose.choice(("", "-", "+")) + str(choose.randint(0, 30))
        return Spelled(choose.choice(("", "", "-")) + text)

    def value(self) -> object:
        choose = self.random
        return choose.choice(
            (
                self.number(),
                self.number(),
                choose.choice(NAMES),
                choose.choice(WORDS),
                None,
                choose.choice((True, False)),
                {"a": [self.number(), {}], "b": {"c": []}},
                [["new", self.number(), self.number()]],
                [],
                {},
            )
        )

    def places(self, value: Any) -> Iterator[tuple[Any, Any]]:
        """Every (container, key) inside of a value."""
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in list(items):
            yield value, key
            yield from self.places(inner)

    def change(self, message: dict[str, Any]) -> None:
        """Another value, a member more or less, or a level or trade more."""
        choose = self.random
        places = list(self.places(message))
        if not places:
            return
        container, key = choose.choice(places)
        what = choose.random()
        if what < 0.55 and isinstance(container[key], float):
            container[key] = self.number()
        elif what < 0.7:
            container[key] = self.value()
        elif what < 0.8:
            del container[key]
        elif isinstance(container, dict):
            other, name = choose.choice(places)
            value = self.value() if choose.random() < 0.5 else copy.deepcopy(other[name])
            container[name if isinstance(name, str) else "unknown"] = value
        else:
            container.insert(choose.randrange(len(container) + 1), copy.deepcopy(choose.choice(container)))

    def shuffled(self, value: Any) -> Any:
        """The same with the members of every object in another order."""
        if isinstance(value, dict):
            names = list(value)
            self.random.shuffle(names)
            return {name: self.shuffled(value[name]) for name in names}
        return [self.shuffled(item) for item in value] if isinstance(value, list) else value

    def spell(self, value: Any, *, repeats: float = 0.0, inner: bool = False) -> str:
        """The text of a value, with space here and there, and a member that comes twice in `repeats` of the objects."""
        choose = self.random
        space = choose.choice(("", "", "", "", " ", "\n\t")) if inner else ""
        if isinstance(value, dict):
            members = [
                f"{self.spell(name, inner=True)}:{self.spell(item, repeats=repeats, inner=True)}"
                for name, item in value.items()
            ]
            if members and choose.random() < repeats:
                members.append(choose.choice(members))
            text = "{" + ",".join(members) + "}"
        elif isinstance(value, list):
            text = "[" + ",".join(self.spell(item, repeats=repeats, inner=True) for item in value) + "]"
        elif isinstance(value, Spelled):
            text = value.text
        else:
            text = json.dumps(value, ensure_ascii=choose.random() < 0.5)
            if isinstance(value, str) and value and choose.random() < 0.05:
                text = '"' + "".join(f"\\u{ord(letter):04x}" for letter in value) + '"'
        return space + text + space


@pytest.mark.parametrize("count", [3000, pytest.param(R9_FRAMES, marks=pytest.mark.slow)])
def test_random_frames_are_decoded_as_the_reference_reads_them(count: int) -> None:
    generator = Generator(seed=count)
    taken = 0
    for _ in range(count):
        frame = generator.frame()
        check(frame)
        taken += decoded(frame) is not None
    assert count // 4 < taken < count * 9 // 10  # neither only refusals nor only what is right


def test_the_order_of_keys_does_not_change_what_is_decoded() -> None:
    generator = Generator(seed=7)
    for frame in frames.own():
        if frame.message not in ("QUOTE", "TRADE") or "\\" in frame.text:
            continue
        wanted = decoded(frame.text.encode())
        for _ in range(20):
            message = json.loads(frame.text, parse_float=Spelled, parse_int=Spelled)
            other = decoded(generator.spell(generator.shuffled(message)).encode())
            assert wanted is not None
            assert other is not None
            assert other[0] == wanted[0]
            assert other[1].tobytes() == wanted[1].tobytes()
