"""What is listed: instruments made from a seed and a date, named and described as the venue does.

In: currencies with a number of options each, and the day. Out: `Instrument`s. Pure.
"""

from __future__ import annotations

import dataclasses
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tickbay.errors import ConfigError

DAY_MS = 86_400_000
EXPIRY_HOUR = 8  # UTC, of every option and dated future
# USD, of about the days in which the recorded frames were taken.
INDEX_PRICES = {"BTC": 83_250.78, "ETH": 2_672.32, "SOL": 142.35, "XRP": 0.6213, "AVAX": 21.4, "TRX": 0.2215}
DATED_FUTURES = 6
OPTION_EXPIRIES_MAX = 13
NAME = re.compile(r"[A-Z0-9]+(_[A-Z0-9]+)?-(?P<expiry>\d{1,2}[A-Z]{3}\d{2})(-(?P<strike>\d+(d\d+)?)-(?P<side>[CP]))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One listed instrument."""

    name: str
    number: int  # place in the listing order, from 0; also the venue's instrument_id, from a base
    kind: str  # option, future, spot, option_combo, future_combo
    currency: str  # what get_instruments is asked for: ETH, USDC
    base: str  # ETH
    linear: bool  # priced in USDC instead of the base coin
    creation_ms: int
    expiration_ms: int = 0  # 0: perpetual, spot
    strike: float = 0.0
    call: bool = False
    settlement_period: str = ""
    legs: tuple[tuple[str, int], ...] = ()  # of a combo: instrument and amount

    @property
    def perpetual(self) -> bool:
        return self.kind == "future" and not self.expiration_ms

    @property
    def family(self) -> str:
        """What stands before the first hyphen: ETH, ETH_USDC."""
        return self.name.split("-")[0]

    @property
    def index_name(self) -> str:
        return f"{self.base.lower()}_{'usdc' if self.linear else 'usd'}"

    @property
    def index_price(self) -> float:
        """Where the index starts; a base that we do not know gets a price from its name."""
        return INDEX_PRICES.get(self.base, 1.0 + zlib.crc32(self.base.encode()) % 1000)

    @property
    def tick_size(self) -> float:
        if self.kind in ("option", "option_combo"):
            return 10.0 ** (math.floor(math.log10(self.index_price)) - 3) if self.linear else 0.0001
        return 10.0 ** (math.floor(math.log10(self.index_price)) - 4) * 5

    def record(self) -> dict[str, object]:
        """As public/get_instruments gives it."""
        record: dict[str, object] = {
            "state": "open",
            "price_index": self.index_name,
            "kind": self.kind,
            "instrument_name": self.name,
            "maker_commission": 0.0003,
            "taker_commission": 0.0003,
            "instrument_type": "linear" if self.linear else "reversed",
            "expiration_timestamp": self.expiration_ms or 32_503_708_800_000,
            "instrument_id": 400_000 + self.number,
            "creation_timestamp": self.creation_ms,
            "is_active": True,
            "contract_size": 1.0 if self.kind != "future" else 10,
            "tick_size": self.tick_size,
            "min_trade_amount": 0.1 if self.kind == "option" else 10,
            "block_trade_commission": 0.0003,
            "block_trade_min_trade_amount": 25,
            "block_trade_tick_size": self.tick_size,
            "rfq": False,
            "settlement_currency": "USDC" if self.linear else self.base,
            "base_currency": self.base,
            "quote_currency": "USDC" if self.linear else ("USD" if self.kind == "future" else self.base),
            "counter_currency": "USDC" if self.linear else "USD",
            "tick_size_steps": [],
        }
        if self.settlement_period:
            record["settlement_period"] = self.settlement_period
        if self.kind == "future":
            record |= {"max_leverage": 50, "max_liquidation_commission": 0.0075}
        if self.kind == "option":
            record |= {
                "strike": self.strike,
                "option_type": "call" if self.call else "put",
                "tick_size_steps": [] if self.linear else [{"tick_size": 0.0005, "above_price": 0.005}],
            }
        return record


def parse_market(text: str) -> dict[str, int]:
    """`ETH=830,BTC=100` → options per family. ConfigError where it is not that."""
    market: dict[str, int] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([A-Z0-9]{2,12}(?:_USDC)?)\s*=\s*(\d{1,6})\s*", part)
        if not match:
            raise ConfigError(f"--instruments {text!r}: expected FAMILY=OPTIONS,… such as ETH=830,XRP_USDC=24")
        market[match[1]] = int(match[2])
    return market


def listing(market: dict[str, int], day_ms: int) -> list[Instrument]:
    """Everything listed at `day_ms` (milliseconds since 1970): per family the options asked for and, beside them, one
    perpetual, dated futures, a spot pair and combos."""
    listed: list[Instrument] = []
    for family, options in market.items():
        for item in _family(family, options, day_ms):
            listed.append(dataclasses.replace(item, number=len(listed)))
    return listed


def named(name: str, number: int, now_ms: int) -> Instrument:
    """An instrument from nothing but its name, for captures and for listings at run time. One whose name says that it
    has expired is given a month more: it is being traded now."""
    family = name.split("-")[0]
    base, _, quote = family.partition("_")
    match = NAME.fullmatch(name)
    expiration_ms = 0
    if match:
        expiration_ms = _expiry_ms(datetime.strptime(match["expiry"].title(), "%d%b%y").replace(tzinfo=UTC))
        if expiration_ms <= now_ms:
            expiration_ms = now_ms + 30 * DAY_MS
    if match and match["strike"]:
        kind = "option"
    elif match or name.endswith("-PERPETUAL"):
        kind = "future"
    elif "-" not in name:
        kind = "spot"
    else:
        kind = "future_combo" if name.split("-")[1] == "FS" else "option_combo"
    return Instrument(
        name=name,
        number=number,
        kind=kind,
        currency=quote or base,
        base=base,
        linear=bool(quote),
        creation_ms=now_ms,
        expiration_ms=expiration_ms,
        strike=float(match["strike"].replace("d", ".")) if match and match["strike"] else 0.0,
        call=bool(match and match["side"] == "C"),
        legs=tuple(_legs(name)) if kind.endswith("_combo") else (),
    )


def _legs(name: str) -> Iterator[tuple[str, int]]:
    """Of a combo's name: `ETH-FS-25DEC26_PERP` buys the one and sells the other, the rest buys and sells calls."""
    family, code, *rest = name.split("-")
    if code == "FS":
        for place, leg in enumerate(rest[0].split("_")):
            yield f"{family}-{'PERPETUAL' if leg == 'PERP' else leg}", 1 - 2 * place
    else:
        for place, strike in enumerate(rest[-1].split("_")):
            yield f"{family}-{rest[0]}-{strike.lstrip('0')}-C", 1 - 2 * (place % 2)


def _family(family: str, options: int, day_ms: int) -> Iterator[Instrument]:
    creation_ms = day_ms - 30 * DAY_MS
    expiries = list(_expiries(day_ms))
    names = list(_option_names(family, options, expiries))
    quarter = expiries[-3:]
    names += [f"{family}-PERPETUAL"] + [f"{family}-{_date(expiry)}" for expiry in expiries[-DATED_FUTURES:]]
    names += [f"{family}_USDC"] if "_" not in family else []
    if options and "_" not in family:
        strikes = _strikes(_index(family), 5, 1.0)
        spread = [_strike_text(strike) for strike in strikes]
        names += [
            f"{family}-FS-{_date(quarter[0])}_PERP",
            f"{family}-CS-{_date(quarter[0])}-{spread[1]}_{spread[3]}",
            f"{family}-CCOND-{_date(quarter[1])}-{'_'.join(text.zfill(6) for text in spread[:4])}",
        ]  # 44 and more bytes
    for name in names:
        yield named(name, 0, creation_ms)


def _index(family: str) -> float:
    return named(family, 0, 0).index_price


def _expiries(day_ms: int) -> Iterator[datetime]:
    """Dailies, Fridays, last Fridays of months and of quarters from the day on, ascending, as the venue lists them."""
    today = datetime.fromtimestamp(day_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today + timedelta(days=ahead) for ahead in range(1, 500)]
    fridays = [day for day in days if day.weekday() == 4]
    last_fridays = [day for day in fridays if (day + timedelta(days=7)).month != day.month]
    quarters = [day for day in last_fridays if day.month % 3 == 0]
    chosen = sorted(set(days[:4] + fridays[:4] + last_fridays[:3] + quarters[:5]))
    yield from chosen[-OPTION_EXPIRIES_MAX:] if len(chosen) > OPTION_EXPIRIES_MAX else chosen


def _option_names(family: str, options: int, expiries: Sequence[datetime]) -> Iterator[str]:
    """Calls and puts, spread over the expiries, later ones with wider strikes. Exactly `options` names."""
    per_expiry = [options // 2 // len(expiries)] * len(expiries)
    for extra in range(math.ceil(options / 2) - sum(per_expiry)):
        per_expiry[-1 - extra % len(expiries)] += 1
    left = options
    for place, (expiry, count) in enumerate(zip(expiries, per_expiry, strict=True)):
        for strike in _strikes(_index(family), count, 0.6 + 0.4 * place):
            for side in "CP":
                if left:
                    left -= 1
                    yield f"{family}-{_date(expiry)}-{_strike_text(strike)}-{side}"


def _strikes(index: float, count: int, width: float) -> list[float]:
    """`count` different strikes around the index, on a step that a person would choose."""
    raw = index * 0.02 * width
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(scale * factor for factor in (1.0, 2.5, 5.0, 10.0) if scale * factor >= raw)
    below = min(count // 2, int(index / step) - 1)
    first = int(index / step) - below
    return [round((first + place) * step, 6) for place in range(count)]


def _strike_text(strike: float) -> str:
    """4000, 102.5 as `102d5`: the venue writes the point as a small d."""
    return (str(int(strike)) if strike == int(strike) else str(strike)).replace(".", "d")


def _date(day: datetime) -> str:
    return f"{day.day}{day:%b%y}".upper()


def _expiry_ms(day: datetime) -> int:
    return int(day.replace(hour=EXPIRY_HOUR).timestamp() * 1000)
