"""One instrument's reference data, from the venue's own fields, never from its name; and as a record.

In: an element of `public/get_instruments`, or what `instrument.creation` announces. Out: an Instrument, or VenueFault
for one that could not be recorded. Pure.

Every field that the venue sends is kept: those of TEXTS and NUMBERS in columns of their own, all others, also such as
do not exist yet, as JSON in `more`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import orjson

from tickbay.errors import VenueFault
from tickbay.record import DTYPES, Kind, Records, blank, set_text
from tickbay.venues import deribit_announcements as venue
from tickbay.venues.announcement import Phase

# Perpetuals and spot pairs carry an expiry in the year 3000, which no timestamp of ours could hold.
NEVER_MS = 32_503_680_000_000
NAME_BYTES_MAX = DTYPES[Kind.INSTRUMENT]["instrument"].itemsize
TEXTS = (
    "option_type",
    "instrument_type",
    "state",
    "settlement_period",
    "base_currency",
    "quote_currency",
    "counter_currency",
    "settlement_currency",
    "price_index",
)
NUMBERS = (
    "strike",
    "contract_size",
    "tick_size",
    "min_trade_amount",
    "maker_commission",
    "taker_commission",
    "block_trade_commission",
    "block_trade_min_trade_amount",
    "block_trade_tick_size",
    "max_leverage",
    "max_liquidation_commission",
)
OF_THEIR_OWN = frozenset(
    {
        *TEXTS,
        *NUMBERS,
        *("instrument_name", "kind", "instrument_id", "creation_timestamp", "expiration_timestamp", "is_active"),
        *("tick_size_steps", "legs"),
    }
)
MORE_NAMES_MAX = 8  # of fields that were left out
ENDED = "ended"  # our word for the state of an instrument that the venue lists no more, without a word of its own


class InstrumentKind(IntEnum):
    """enum instrument_kind of native/record.h."""

    OPTION = 1
    FUTURE = 2
    PERPETUAL = 3
    SPOT = 4
    OPTION_COMBO = 5
    FUTURE_COMBO = 6


@dataclass(frozen=True, slots=True)
class Instrument:
    """One version of what the venue says of an instrument. Absent numbers are None, absent texts empty."""

    name: str
    kind: InstrumentKind
    instrument_id: int
    creation_ns: int
    expiration_ns: int  # 0: none
    is_active: bool
    numbers: tuple[float | None, ...]  # in the order of NUMBERS
    texts: tuple[str, ...]  # in the order of TEXTS
    tick_size_steps: str = ""  # JSON, as sent
    legs: str = ""  # JSON: instrument → amount, below 0 sold
    more: str = ""  # JSON: all other fields, as sent
    ended_ns: int = field(default=0, compare=False)  # our clock: when we learnt that it had ended; 0: it has not

    @property
    def state(self) -> str:
        return self.texts[TEXTS.index("state")]

    @property
    def price_index(self) -> str:
        return self.texts[TEXTS.index("price_index")]

    @property
    def phase(self) -> Phase:
        return phase_of(self.state)

    @property
    def is_combo(self) -> bool:
        return self.kind in (InstrumentKind.OPTION_COMBO, InstrumentKind.FUTURE_COMBO)

    @property
    def end_ns(self) -> int:
        """When nothing more comes from it; 0: not known."""
        return min(filter(None, (self.ended_ns, self.expiration_ns)), default=0)

    def has_ended(self, now_ns: int) -> bool:
        return 0 < self.end_ns <= now_ns or self.phase is Phase.ENDED

    def is_live(self, now_ns: int) -> bool:
        """Can ticks come from it?"""
        return not self.has_ended(now_ns) and (self.is_active or self.phase in (Phase.TRADING, Phase.PAUSED))

    def lingers(self, now_ns: int, linger_ns: int) -> bool:
        """Has it ended so lately that a last message (the delivery price) may still be under way?"""
        return 0 < self.end_ns <= now_ns < self.end_ns + linger_ns

    def in_state(self, state: str, now_ns: int) -> Instrument:
        """The version that the venue announces by a word. A word that does not end it does not revive it either."""
        check_text(self.name, "state", state)
        texts = tuple(state if key == "state" else text for key, text in zip(TEXTS, self.texts, strict=True))
        match phase_of(state):
            case Phase.ENDED:
                return replace(self, texts=texts, is_active=False, ended_ns=self.ended_ns or now_ns)
            case Phase.TRADING:
                return replace(self, texts=texts, is_active=True, ended_ns=0)
            case Phase.PAUSED:
                return replace(self, texts=texts, ended_ns=0)
            case Phase.IDLE:
                return replace(self, texts=texts, is_active=False, ended_ns=0)
        return replace(self, texts=texts)

    def record(self, *, now_ns: int, conn: int) -> Records:
        """An array of one record, ready for Ring.append()."""
        record = blank(Kind.INSTRUMENT)
        record["exch_ns"] = record["recv_ns"] = now_ns
        record["conn"] = conn
        record["instrument_id"] = self.instrument_id
        record["creation_ns"], record["expiration_ns"] = self.creation_ns, self.expiration_ns
        record["kind"], record["is_active"] = self.kind, self.is_active
        set_text(record, "instrument", self.name)
        for name, text in zip(TEXTS, self.texts, strict=True):
            set_text(record, name, text)
        for name in ("tick_size_steps", "legs", "more"):
            set_text(record, name, getattr(self, name))
        for name, number in zip(NUMBERS, self.numbers, strict=True):
            record[name] = math.nan if number is None else number
        return record


def phase_of(state: str) -> Phase:
    return Phase.ENDED if state == ENDED else venue.phase(state)


def read_instrument(said: Any) -> Instrument:
    """What the venue says of one instrument. VenueFault names what cannot be recorded."""
    if not isinstance(said, dict):
        raise VenueFault("an instrument that is no object")
    name = check_name(said.get("instrument_name"))
    expiration_ms = _integer(said, "expiration_timestamp")
    return Instrument(
        name=name,
        kind=_kind(said),
        instrument_id=_integer(said, "instrument_id"),
        creation_ns=_integer(said, "creation_timestamp") * 1_000_000,
        expiration_ns=expiration_ms * 1_000_000 if expiration_ms < NEVER_MS else 0,
        is_active=said.get("is_active", True) is True,
        numbers=tuple(_number(said, key) for key in NUMBERS),
        texts=tuple(_text(said, key) for key in TEXTS),
        tick_size_steps=_json("tick_size_steps", said.get("tick_size_steps")),
        legs=read_legs(name, said.get("legs")),
        more=_more(said),
    )


def read_legs(combo: str, said: Any) -> str:
    """The legs of a combo, `[{"instrument_name": …, "amount": …}]`, as JSON of each one's amount; empty where there are
    none, or too many. VenueFault for what is no list of legs.
    """
    legs: dict[str, float] = {}
    for leg in said if isinstance(said, list) else ():
        match leg:
            case {"instrument_name": str(name), "amount": int() | float() as amount}:
                legs[name] = amount
            case _:
                raise VenueFault(f"{combo}: a leg is {str(leg)[:40]!r}")
    return _json("legs", legs)


def check_name(name: Any) -> str:
    """A name that fits a record and, between the dots of a channel, cannot be taken for anything else."""
    if not isinstance(name, str) or not name:
        raise VenueFault("an instrument without a name")
    if len(name.encode()) > NAME_BYTES_MAX:
        raise VenueFault(f"the name {name[:60]!r} is longer than the {NAME_BYTES_MAX} bytes of a record")
    if not name.isascii() or not name.isprintable() or any(mark in name for mark in ' ."\\'):
        raise VenueFault(f"the name {name!r} is not one that a channel can hold")
    return name


def _kind(said: Mapping[str, Any]) -> InstrumentKind:
    kind = str(said.get("kind")).upper()
    if kind not in InstrumentKind.__members__:
        raise VenueFault(f"{said['instrument_name']} is of a kind that we do not know: {kind[:40]!r}")
    if kind == "FUTURE" and said.get("settlement_period") == "perpetual":
        return InstrumentKind.PERPETUAL
    if kind == "FUTURE" and _integer(said, "expiration_timestamp") >= NEVER_MS:
        return InstrumentKind.PERPETUAL
    return InstrumentKind[kind]


def _integer(said: Mapping[str, Any], key: str) -> int:
    """0 where it is absent."""
    value = said.get(key)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise VenueFault(f"{said['instrument_name']}: {key} is {str(value)[:40]!r}")
    return value


def _number(said: Mapping[str, Any], key: str) -> float | None:
    value = said.get(key)
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise VenueFault(f"{said['instrument_name']}: {key} is {str(value)[:40]!r}")
    return float(value)


def _text(said: Mapping[str, Any], key: str) -> str:
    value = said.get(key)
    return "" if value is None else check_text(said["instrument_name"], key, value)


def check_text(name: str, key: str, value: Any) -> str:
    """A text that fits its field. VenueFault otherwise."""
    if not isinstance(value, str) or "\0" in value or len(value.encode()) > DTYPES[Kind.INSTRUMENT][key].itemsize:
        raise VenueFault(f"{name}: {key} is {str(value)[:40]!r}")
    return value


def _json(key: str, value: Any) -> str:
    """Canonical, so that equal content is an equal version; empty for nothing, and for what does not fit."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() if value else ""
    return text if len(text.encode()) <= DTYPES[Kind.INSTRUMENT][key].itemsize else ""


def _more(said: Mapping[str, Any]) -> str:
    """What has no field of its own. A venue may add what it likes: where it is more than fits, the longest values go,
    and are named.
    """
    more = {key: value for key, value in said.items() if key not in OF_THEIR_OWN}
    left_out: list[str] = []
    while True:
        names = {"left_out": sorted(left_out)[:MORE_NAMES_MAX]} if left_out else {}
        if (text := _json("more", more | names)) or not more:
            return text
        longest = max(more, key=lambda key: len(orjson.dumps(more[key])))
        left_out.append(longest[:20])
        del more[longest]
