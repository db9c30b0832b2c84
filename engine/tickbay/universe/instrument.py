"""One instrument's reference data, from the venue's own fields, never from its name; and as a record.

In: an element of `public/get_instruments`. Out: an Instrument, or VenueFault for one that could not be recorded. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from tickbay.errors import VenueFault
from tickbay.record import DTYPES, Kind, Records, blank, set_text

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
NUMBERS = ("strike", "contract_size", "tick_size", "min_trade_amount", "maker_commission", "taker_commission")
TRADABLE = frozenset({"open", "locked", "halted", "settlement"})  # states from which trading goes on


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

    @property
    def state(self) -> str:
        return self.texts[TEXTS.index("state")]

    def is_live(self, now_ns: int) -> bool:
        """Can ticks come from it?"""
        expired = 0 < self.expiration_ns <= now_ns
        return not expired and (self.is_active or self.state in TRADABLE)

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
        for name, number in zip(NUMBERS, self.numbers, strict=True):
            record[name] = math.nan if number is None else number
        return record


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
    )


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
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value or len(value.encode()) > DTYPES[Kind.INSTRUMENT][key].itemsize:
        raise VenueFault(f"{said['instrument_name']}: {key} is {str(value)[:40]!r}")
    return value
