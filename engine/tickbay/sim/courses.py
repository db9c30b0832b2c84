"""The channels beside tickers, trades and books: best bids and offers, windows of books, funding, indices and marks.
One cycle of each is a Course, made of the same values (market.py) that the instruments' own channels have.

In: the name of a channel, the Scripts and index paths behind it. Out: a Course. Pure.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tickbay.sim import frames, rows
from tickbay.sim.instruments import Instrument
from tickbay.sim.market import LAG_MS_MAX, TICKER_PERIOD_US, Pace, Script, price_of
from tickbay.sim.rows import Rows
from tickbay.sim.strip import StoreRows, Strip, StripMaker

DVOL = ("btc_usd", "eth_usd")  # indices that have a volatility index
OWN_NUMBERS = 0x80000  # in the order of frames, beside the instruments' own channels
INDEX_NUMBERS = 0xF0000
DEPTHS = ("1", "10", "20")
INTERVALS = ("raw", "100ms", "agg2")
PRICE, VOLATILITY, DELIVERY = 1, 2, 3
MEASURES = {
    "deribit_price_index": PRICE,
    "deribit_volatility_index": VOLATILITY,
    "estimated_expiration_price": DELIVERY,
}


@dataclass(frozen=True, slots=True)
class Course:
    """Message m is rows first[m] : first[m + 1] and is due at `at_us[m]`."""

    kind: int
    values: Rows
    first: Sequence[int]
    at_us: Sequence[int]

    def text(self, message: Rows) -> str:
        """Its data, as the venue spells it."""
        return frames.OTHERS[self.kind](message)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a name of one of these channels stands for."""

    kind: int
    number: int  # in the order of frames, with `rank`: unique among all of them
    rank: int
    instruments: tuple[Instrument, ...]


def subject(name: str, instruments: Mapping[str, Instrument]) -> Subject | None:
    """None where the venue has no such channel now."""
    match name.split("."):
        case ["quote", instrument] if item := instruments.get(instrument):
            return Subject(rows.BBO, OWN_NUMBERS + item.number, 0, (item,))
        case ["book", instrument, group, depth, interval] if (
            (item := instruments.get(instrument)) and depth in DEPTHS and interval in INTERVALS[1:] and _is_group(group)
        ):
            rank = 1 + 3 * INTERVALS.index(interval) + DEPTHS.index(depth)
            return Subject(rows.DEPTH, OWN_NUMBERS + item.number, rank, (item,))
        case ["perpetual", instrument, interval] if (item := instruments.get(instrument)) and interval in INTERVALS:
            if not item.perpetual:
                return None
            return Subject(rows.FUNDING, OWN_NUMBERS + item.number, 10 + INTERVALS.index(interval), (item,))
        case ["markprice", "options", index]:
            return _of_index(rows.MARK, 0, index, [item for item in instruments.values() if item.kind == "option"])
        case [word, index] if (measure := MEASURES.get(word)) and (measure != VOLATILITY or index in DVOL):
            return _of_index(rows.INDEX, measure, index, list(instruments.values()))
    return None


def _is_group(group: str) -> bool:
    return group == "none" or (group.isdigit() and int(group) > 0)


def _of_index(kind: int, rank: int, index: str, items: Sequence[Instrument]) -> Subject | None:
    chosen = tuple(item for item in items if item.index_name == index)
    number = INDEX_NUMBERS + sum(index.encode()) % 4096
    return Subject(kind, number, rank, chosen) if chosen else None


def course(
    name: str, about: Subject, script: Callable[[Instrument], Script], index: Sequence[float], pace: Pace, seed: int
) -> Course:
    """One cycle. `index` is index_path() of the instruments' index."""
    chance = random.Random(f"{seed}/{name}")
    parts = name.split(".")
    if about.kind == rows.INDEX:
        made = _index(parts[1], MEASURES[parts[0]], index)
    elif about.kind == rows.MARK:
        made = _marks(parts[2], [script(item) for item in about.instruments], pace)
    elif about.kind == rows.BBO:
        made = _bbo(script(about.instruments[0]))
    elif about.kind == rows.FUNDING:
        made = _funding(script(about.instruments[0]))
    else:
        made = _windows(script(about.instruments[0]), parts[2], int(parts[3]))
    for message, (first, last) in enumerate(pairwise(made.first)):
        sent_ms = made.at_us[message] // 1000 if pace.virtual else 0
        made.values["offset_ms"][first:last] = sent_ms - chance.randrange(LAG_MS_MAX)
    return made


def course_strip(channel: str, about: Subject, made: Course, store: StoreRows) -> Strip:
    maker = StripMaker(channel, about.kind, about.rank)
    stored = store(about.kind, made.values)
    for place, (first, last) in enumerate(pairwise(made.first)):
        message = made.values[first:last]
        maker.add(made.at_us[place], about.number, made.text(message), stored + first, message)
    return maker.strip()


def _singles(kind: int, values: Rows, at_us: Sequence[int]) -> Course:
    return Course(kind, values, range(len(values) + 1), at_us)


def _bbo(script: Script) -> Course:
    values = rows.empty(rows.BBO, len(script.quotes))
    values["instrument"] = script.instrument.name.encode()
    for name in ("bid_price", "bid_amount", "ask_price", "ask_amount"):
        values[name] = script.quotes[name]
    return _singles(rows.BBO, values, script.quote_at_us)


def _funding(script: Script) -> Course:
    values = rows.empty(rows.FUNDING, len(script.quotes))
    values["instrument"] = script.instrument.name.encode()
    values["interest"], values["index_price"] = script.quotes["current_funding"], script.quotes["index_price"]
    return _singles(rows.FUNDING, values, script.quote_at_us)


def _index(index: str, measure: int, path: Sequence[float]) -> Course:
    values = rows.empty(rows.INDEX, len(path))
    values["instrument"], values["measure"] = index.encode(), measure
    values["value"] = path if measure != VOLATILITY else [round(40.0 + price % 20.0, 2) for price in path]
    if measure == DELIVERY:
        values["remaining_s"] = 180_000 - np.arange(len(path))
        values["is_estimated"] = np.arange(len(path)) % 2
    return _singles(rows.INDEX, values, [place * TICKER_PERIOD_US for place in range(len(path))])


def _marks(index: str, scripts: Sequence[Script], pace: Pace) -> Course:
    """Once a period the marks of all, as the tickers had them last."""
    at_us = [tick * TICKER_PERIOD_US for tick in range(pace.ticks)]
    values = rows.empty(rows.MARK, len(scripts) * len(at_us))
    values["price_index"] = index.encode()
    for place, script in enumerate(scripts):
        last = [bisect_right(script.quote_at_us, when) - 1 for when in at_us]  # -1: the last one of the cycle before
        mine = values[place :: len(scripts)]
        mine["instrument"] = script.instrument.name.encode()
        mine["mark_price"] = script.quotes["mark_price"][last]
        mine["iv"] = [math.nan if iv < 1 else round(iv / 100, 4) for iv in script.quotes["mark_iv"][last].tolist()]
    values["last"][len(scripts) - 1 :: len(scripts)] = 1
    return Course(rows.MARK, values, range(0, len(values) + 1, len(scripts)), at_us)


def _windows(script: Script, group: str, levels_max: int) -> Course:
    """What is best after each change of the book."""
    found: list[tuple[int, int, float, float, int, int]] = []
    first = [0]
    for place in range(len(script.change_at_us)):
        book = script.books[(place + 1) % len(script.books)]
        change_id = int(script.changes["change_id"][script.change_first[place]])
        step = int(script.changes["step"][script.change_first[place]])
        for side, ticks in ((rows.BID, sorted(book.bids, reverse=True)), (rows.ASK, sorted(book.asks))):
            levels = book.bids if side == rows.BID else book.asks
            for level, tick in enumerate(ticks[:levels_max], 1):
                found.append((side, level, price_of(script.instrument, tick), levels[tick], change_id, step))
        if len(found) == first[-1]:
            found.append((0, 0, math.nan, math.nan, change_id, step))
        first.append(len(found))
    values = rows.empty(rows.DEPTH, len(found))
    values["instrument"] = script.instrument.name.encode()
    names = ("side", "level", "price", "amount", "change_id", "step")
    for name, column in zip(names, zip(*found, strict=True), strict=True):
        values[name] = column
    values["levels_max"] = levels_max
    values["price_group"] = math.nan if group == "none" else float(group)
    values["last"][np.array(first[1:]) - 1] = 1
    return Course(rows.DEPTH, values, first, script.change_at_us)
