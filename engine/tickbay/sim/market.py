"""The values of one instrument: one cycle of quotes, book changes and trades, made from a seed and its name.

In: an Instrument, a Pace (how long a cycle is) and a seed. Out: a Script. Pure; the same arguments give the same values
on any machine (random.Random promises its sequence, numpy's generators do not).

The cycle closes: the last book change leads back to the first book, so chained ids go on for ever. What a channel
sends is shaped by what was recorded: an option's ticker comes every 1.007 s and whenever the best price changes, then
with the Greeks of the last one; a change of a book mostly has one level, sometimes a few (MOVES); times of one channel
go backwards now and then.
"""

from __future__ import annotations

import math
import random
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tickbay.sim import rows
from tickbay.sim.instruments import Instrument
from tickbay.sim.rows import Rows

TICKER_PERIOD_US = 1_007_000  # recorded: an idle option's ticker
SLOT_US = 100_000  # a .100ms channel sends an instrument at most once in a slot
# About so many tickers of all instruments together make up one cycle: more cost memory, fewer could be learnt by
# heart by the branch predictors of what reads them.
TICKERS_PER_CYCLE = 16_384
TICKS_MIN, TICKS_MAX = 8, 256
MOVES = (34, 11, 1, 1)  # recorded: so many of 47 changes of an option's book had 1, 2, 3, 4 levels
LAG_MS_MAX = 250  # how far a frame's time lies before its sending; its jitter makes times go backwards
CHANGE_ID_BASE = 118_850_000_000  # 12 digits, patched in place
TRADE_SEQ_BASE = 10_000_000  # 8 digits
TRADE_NUMBER_BASE = 200_000_000_000  # 12 digits
MATCH_ID_BASE = 225_046 * 10**12
YEAR_MS = 365.0 * 86_400_000

Levels = dict[int, float]  # price in ticks → amount


@dataclass(frozen=True, slots=True)
class Pace:
    """The length of the cycle, common to all instruments, and how far apart ids lie."""

    ticks: int  # idle tickers of one instrument in one cycle
    id_stride: int  # instruments that there can be at most
    virtual: bool  # times count from the beginning of the cycle; else from the sending of the frame

    @classmethod
    def of(cls, instruments: int, *, virtual: bool) -> Pace:
        ticks = max(TICKS_MIN, min(TICKS_MAX, TICKERS_PER_CYCLE // max(1, instruments) // 8 * 8))
        return cls(ticks, instruments + 4096, virtual)

    @property
    def cycle_us(self) -> int:
        return self.ticks * TICKER_PERIOD_US

    @property
    def cycle_ms(self) -> int:
        return self.cycle_us // 1000


@dataclass(frozen=True, slots=True)
class Book:
    """Both sides between two changes."""

    bids: Levels
    asks: Levels


@dataclass(frozen=True, slots=True)
class Script:
    """One cycle. Message m of a kind consists of `first[m] : first[m + 1]` of that kind's rows and is due at
    `at_us[m]`."""

    instrument: Instrument
    quotes: Rows
    quote_at_us: list[int]
    changes: Rows
    change_first: list[int]
    change_at_us: list[int]
    books: list[Book]  # books[k]: before change k
    snapshots: Rows  # of every books[k], one after another
    snapshot_first: list[int]
    trades: Rows
    trade_first: list[int]
    trade_at_us: list[int]


def index_path(seed: int, index_name: str, start: float, pace: Pace) -> list[float]:
    """The index at each idle tick of the cycle: a random walk that comes back to where it began."""
    chance = random.Random(f"{seed}/{index_name}")
    steps = [chance.gauss(0.0, 2e-4) for _ in range(pace.ticks)]
    drift = sum(steps) / pace.ticks
    path, level = [], 0.0
    for step in steps:
        level += step - drift
        path.append(round(start * math.exp(level), 2 if start > 10 else 4))
    return path


def script(instrument: Instrument, pace: Pace, seed: int, index: Sequence[float], *, now_ms: int) -> Script:
    """One cycle of one instrument. `index` is index_path() of its index; `now_ms` gives the time to expiry."""
    chance = random.Random(f"{seed}/{instrument.name}")
    quotes = _idle_quotes(instrument, pace, chance, index, now_ms)
    phase_us = chance.randrange(TICKER_PERIOD_US)
    change_at_us = _slots(chance, pace, pace.ticks // 2)
    books = _books(instrument, chance, float(quotes["mark_price"][0]), len(change_at_us))
    changes, change_first = _changes(instrument, pace, chance, books, change_at_us)
    snapshots, snapshot_first = _snapshots(instrument, pace, changes, change_first, books)
    at = sorted(
        [(phase_us + tick * TICKER_PERIOD_US, tick) for tick in range(pace.ticks)]
        + [
            (when, (when - phase_us) // TICKER_PERIOD_US % pace.ticks)
            for change, when in enumerate(change_at_us)
            if _top(books[change]) != _top(books[(change + 1) % len(books)])
        ]
    )
    quotes = quotes[[tick for _, tick in at]]
    quote_at_us = [when for when, _ in at]
    for place in range(1, len(quote_at_us)):  # no two at the same moment
        quote_at_us[place] = max(quote_at_us[place], quote_at_us[place - 1] + 1)
    _quote_best(instrument, quotes, quote_at_us, books, change_at_us)
    trades, trade_first, trade_at_us = _trades(instrument, pace, seed, chance, quotes, quote_at_us)
    for kind_rows, firsts, times in (
        (quotes, range(len(quotes) + 1), quote_at_us),
        (changes, change_first, change_at_us),
        (trades, trade_first, trade_at_us),
    ):
        for message, (first, last) in enumerate(pairwise(firsts)):
            sent_ms = times[message] // 1000 if pace.virtual else 0
            kind_rows["offset_ms"][first:last] = sent_ms - chance.randrange(LAG_MS_MAX)
    for place, (first, last) in enumerate(pairwise(snapshot_first)):  # a book is as old as the change that led to it
        leading = int(changes["offset_ms"][change_first[place] - 1])
        snapshots["offset_ms"][first:last] = leading - (pace.cycle_ms if pace.virtual and not place else 0)
    return Script(
        instrument,
        quotes,
        quote_at_us,
        changes,
        change_first,
        change_at_us,
        books,
        snapshots,
        snapshot_first,
        trades,
        trade_first,
        trade_at_us,
    )


def _slots(chance: random.Random, pace: Pace, count: int) -> list[int]:
    return sorted(slot * SLOT_US for slot in chance.sample(range(pace.cycle_us // SLOT_US), count))


# --- quotes -----------------------------------------------------------------------------------------------------------


def _idle_quotes(
    instrument: Instrument, pace: Pace, chance: random.Random, index: Sequence[float], now_ms: int
) -> Rows:
    quotes = rows.empty(rows.QUOTE, pace.ticks)
    quotes["instrument"] = instrument.name.encode()
    quotes["state"] = b"open"
    quotes["index_price"] = quotes["estimated_delivery_price"] = index
    spot = np.array(index)
    if instrument.kind == "option":
        _option_quotes(quotes, instrument, chance, spot, now_ms)
    elif instrument.kind == "option_combo":
        _priced(quotes, np.full(pace.ticks, round(chance.uniform(0.01, 0.2), 4)), 4)
    else:
        basis = 1.0 + max(0, instrument.expiration_ms - now_ms) / YEAR_MS * 0.05 + chance.gauss(0.0, 1e-4)
        _priced(quotes, spot * basis, 2 if spot[0] > 10 else 4)
        quotes["open_interest"] = chance.randrange(1_000_000, 400_000_000)
    if instrument.perpetual:
        quotes["current_funding"] = [chance.choice((0.0, round(chance.gauss(0, 1e-4), 8))) for _ in index]
        quotes["funding_8h"] = [round(chance.gauss(0, 5e-5), 8) for _ in index]
        quotes["interest_value"] = round(chance.gauss(0, 0.01), 17)
    _statistics(quotes, instrument, chance)
    return quotes


def _priced(quotes: Rows, mark: NDArray[np.float64], digits: int) -> None:
    quotes["mark_price"] = np.round(mark, digits)
    quotes["last_price"] = np.round(mark[0], digits)
    quotes["settlement_price"] = np.round(mark[0] * 1.001, digits)
    quotes["min_price"] = np.round(mark * 0.985, digits)
    quotes["max_price"] = np.round(mark * 1.015, digits)


def _option_quotes(
    quotes: Rows, instrument: Instrument, chance: random.Random, spot: NDArray[np.float64], now_ms: int
) -> None:
    years = max(1e-4, (instrument.expiration_ms - now_ms) / YEAR_MS)
    forward = spot * (1.0 + 0.05 * years)
    smile = 0.55 + 0.25 * (math.log(instrument.strike / spot[0]) / math.sqrt(years + 0.05)) ** 2 * 0.2
    sigma = np.array([max(0.05, min(4.0, smile + chance.gauss(0.0, 0.002))) for _ in spot])
    spread = sigma * math.sqrt(years)
    d1 = np.log(forward / instrument.strike) / spread + spread / 2
    below, above = _normal(d1), _normal(d1 - spread)
    sign = 1.0 if instrument.call else -1.0
    value = np.maximum(
        0.0,
        forward * (below - (0.0 if instrument.call else 1.0))
        - instrument.strike * (above - (0.0 if instrument.call else 1.0)),
    )
    density = np.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    price = value if instrument.linear else value / forward
    digits = 4 if instrument.linear else 6
    quotes["mark_price"] = np.round(np.maximum(price, 10.0**-digits), digits)
    quotes["underlying_price"] = np.round(forward, 4)
    expiry = instrument.name.split("-")[1]
    quotes["underlying_index"] = chance.choice(
        (f"{instrument.family}-{expiry}", f"SYN.{instrument.family}-{expiry}", "index_price")
    ).encode()
    quotes["option"] = 1
    quotes["mark_iv"] = np.round(sigma * 100, 2)
    quotes["delta"] = np.round(below - (0.0 if instrument.call else 1.0), 5)
    quotes["gamma"] = np.round(density / (forward * spread), 5 if spot[0] > 10 else 2)
    quotes["vega"] = np.round(forward * density * math.sqrt(years) / 100, 5)
    quotes["theta"] = np.round(-forward * density * sigma / (2 * math.sqrt(years)) / 365, 5)
    quotes["rho"] = np.round(
        sign * instrument.strike * years * np.abs(above - (0.0 if instrument.call else 1.0)) / 100, 5
    )
    quotes["interest_rate"] = 0.0
    quotes["open_interest"] = chance.choice(
        (0.0, round(chance.expovariate(1 / 900.0), 1), float(chance.randrange(1, 30) * 500))
    )
    quotes["min_price"] = np.round(np.maximum(price * 0.6, 10.0**-4), 4)
    quotes["max_price"] = np.round(price * 1.4 + 0.02, 4)
    if chance.random() < 0.9:
        quotes["settlement_price"] = round(float(price[0]) * 1.02, 8)  # absent on the first day of an instrument
    if chance.random() < 0.8:
        quotes["last_price"] = round(round(float(price[0]) / instrument.tick_size) * instrument.tick_size, 8)


def _normal(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The standard normal distribution function."""
    return np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in x.tolist()])


def _statistics(quotes: Rows, instrument: Instrument, chance: random.Random) -> None:
    """The last 24 hours. Without a trade in them three of the five are null, in older recordings all."""
    traded = instrument.kind != "option" or chance.random() < 0.7
    quotes["volume"] = round(chance.expovariate(1 / 500.0), 8 if instrument.kind == "future" else 1) if traded else 0.0
    quotes["volume_usd"] = round(float(quotes["volume"][0]) * instrument.index_price * 0.05, 2)
    if traded:
        mark = float(quotes["mark_price"][0])
        quotes["high"], quotes["low"] = round(mark * 1.1, 4), round(mark * 0.9, 4)
        quotes["price_change"] = round(chance.gauss(0, 20), 4)
    elif chance.random() < 0.2:
        quotes["volume"] = np.nan
    if instrument.kind == "future":
        quotes["volume_notional"] = quotes["volume_usd"]


def _quote_best(
    instrument: Instrument, quotes: Rows, at_us: list[int], books: list[Book], change_at_us: list[int]
) -> None:
    """Fill in the best prices that the book has at each ticker's time; an empty side stays absent."""
    for place, when in enumerate(at_us):
        book = books[bisect_right(change_at_us, when) % len(books)]
        row = quotes[place]
        for side, best in (("bid", max(book.bids, default=None)), ("ask", min(book.asks, default=None))):
            if best is None:
                continue
            row[f"{side}_price"] = price_of(instrument, best)
            row[f"{side}_amount"] = (book.bids if side == "bid" else book.asks)[best]
            if instrument.kind == "option":
                distance = (row[f"{side}_price"] - row["mark_price"]) / max(1e-6, float(row["mark_price"]))
                row[f"{side}_iv"] = round(max(0.0, min(999.0, float(row["mark_iv"]) * (1 + distance / 2))), 2)


# --- books ------------------------------------------------------------------------------------------------------------


def price_of(instrument: Instrument, ticks: int) -> float:
    return round(ticks * instrument.tick_size, 8)


def _top(book: Book) -> tuple[object, ...]:
    bid, ask = max(book.bids, default=0), min(book.asks, default=0)
    return bid, book.bids.get(bid), ask, book.asks.get(ask)


def _amount(instrument: Instrument, chance: random.Random) -> float:
    if instrument.kind in ("option", "option_combo"):
        return round(chance.choice((chance.uniform(0.1, 50), float(chance.randrange(1, 5000)))), 1)
    return float(chance.choice((10, 100, 1000, 50_000)) * chance.randrange(1, 200))


def _books(instrument: Instrument, chance: random.Random, mark: float, count: int) -> list[Book]:
    """As many as there are changes. The second half goes back over the first, so no change is a leap: not the last one
    either, which leads to the first book again."""
    assert count % 2 == 0
    depth = 4 if instrument.kind in ("option", "option_combo") else 20
    middle = max(1, round(mark / instrument.tick_size))
    spread = max(1, middle // 60)
    bids = {middle - spread - step: _amount(instrument, chance) for step in range(chance.randint(0, depth))}
    asks = {
        middle + spread + step: _amount(instrument, chance)
        for step in range(chance.randint(0 if depth == 4 else 5, depth))
    }
    books = [Book({price: amount for price, amount in bids.items() if price > 0}, asks)]
    while len(books) < count // 2 + 1:
        last = books[-1]
        book = Book(dict(last.bids), dict(last.asks))
        moves = chance.choices(range(1, 1 + len(MOVES)), MOVES)[0] if depth == 4 else chance.randint(1, 6)
        for _ in range(moves):
            _move(instrument, chance, book, middle, 2 * depth)
        books.append(book)
    return books + books[-2:0:-1]


def _move(instrument: Instrument, chance: random.Random, book: Book, middle: int, depth_max: int) -> None:
    """One thing happens to a book: a level appears, goes or changes its amount. It never crosses the middle."""
    bidding = chance.random() < 0.5
    side = book.bids if bidding else book.asks
    what = chance.random()
    if side and what < 0.55:
        side[chance.choice(list(side))] = _amount(instrument, chance)
    elif side and (what < 0.75 or len(side) >= depth_max):
        del side[max(side) if bidding else min(side)]
    else:
        distance = chance.randint(1, max(2, middle // 30))
        price = middle - distance if bidding else middle + distance
        if price > 0:
            side[price] = _amount(instrument, chance)


def _change_id(instrument: Instrument, pace: Pace, jitter: Sequence[int], change: int) -> int:
    """The id of change `change`, -1 for the one before the cycle. All instruments share one counter, so none is ever
    used twice and no two of one instrument follow each other by 1."""
    step = 4 * pace.id_stride
    return CHANGE_ID_BASE + (change + 1) * step + 4 * instrument.number + jitter[change % len(jitter)]


def _changes(
    instrument: Instrument, pace: Pace, chance: random.Random, books: list[Book], at_us: list[int]
) -> tuple[Rows, list[int]]:
    jitter = [chance.randrange(4) for _ in at_us]
    levels: list[tuple[int, int, int, float, int, int]] = []
    first = [0]
    for change in range(len(books)):
        before, after = books[change], books[(change + 1) % len(books)]
        ids = _change_id(instrument, pace, jitter, change), _change_id(instrument, pace, jitter, change - 1)
        message = [
            (*ids, price, amount, rows.BID, action) for price, amount, action in _difference(before.bids, after.bids)
        ]
        message += [
            (*ids, price, amount, rows.ASK, action) for price, amount, action in _difference(before.asks, after.asks)
        ]
        levels += message or [(*ids, 0, 0.0, 0, 0)]  # nothing changed: the message has no levels
        first.append(len(levels))
    return _book_rows(instrument, pace, levels, first, snapshot=False), first


def _snapshots(
    instrument: Instrument, pace: Pace, changes: Rows, change_first: list[int], books: list[Book]
) -> tuple[Rows, list[int]]:
    """Each book as a whole, with the id of the change that led to it."""
    levels: list[tuple[int, int, int, float, int, int]] = []
    first = [0]
    for place, book in enumerate(books):
        ids = int(changes["prev_change_id"][change_first[place]]), 0
        message = [(*ids, price, book.bids[price], rows.BID, rows.NEW) for price in sorted(book.bids, reverse=True)]
        message += [(*ids, price, book.asks[price], rows.ASK, rows.NEW) for price in sorted(book.asks)]
        levels += message or [(*ids, 0, 0.0, 0, 0)]
        first.append(len(levels))
    return _book_rows(instrument, pace, levels, first, snapshot=True), first


def _difference(before: Levels, after: Levels) -> list[tuple[int, float, int]]:
    gone = [(price, 0.0, rows.DELETE) for price in before if price not in after]
    other = [
        (price, amount, rows.CHANGE if price in before else rows.NEW)
        for price, amount in after.items()
        if before.get(price) != amount
    ]
    return gone + other


def _book_rows(
    instrument: Instrument,
    pace: Pace,
    levels: list[tuple[int, int, int, float, int, int]],
    first: list[int],
    *,
    snapshot: bool,
) -> Rows:
    result = rows.empty(rows.BOOK, len(levels))
    change_id, previous_id, ticks, amount, side, action = zip(*levels, strict=True)
    result["instrument"] = instrument.name.encode()
    result["change_id"], result["prev_change_id"] = change_id, previous_id
    result["side"], result["action"] = side, action
    result["price"] = [
        price_of(instrument, price) if which else math.nan for price, which in zip(ticks, side, strict=True)
    ]
    result["amount"] = [each if which else math.nan for each, which in zip(amount, side, strict=True)]
    result["snapshot"] = snapshot
    result["last"][np.array(first[1:]) - 1] = 1
    result["step"] = 4 * pace.id_stride * (pace.ticks // 2)
    return result


# --- trades -----------------------------------------------------------------------------------------------------------


def pair_of(name: str) -> str:
    """What a call and a put of one strike have in common: they trade at the same moments."""
    return name[:-2] if name[-2:] in ("-C", "-P") else name


def _trades(
    instrument: Instrument, pace: Pace, seed: int, chance: random.Random, quotes: Rows, quote_at_us: list[int]
) -> tuple[Rows, list[int], list[int]]:
    pair = random.Random(f"{seed}/{pair_of(instrument.name)}")
    messages = pace.ticks // 16 or zlib.crc32(pair_of(instrument.name).encode()) % 2
    at_us = _slots(pair, pace, messages)
    sizes = [chance.randint(1, 3) for _ in at_us]
    first = [sum(sizes[:message]) for message in range(messages + 1)]
    trades = rows.empty(rows.TRADE, first[-1])
    trades["instrument"] = instrument.name.encode()
    trades["option"] = instrument.kind == "option"
    trades["last"][np.array(first[1:], np.intp) - 1] = 1
    order = np.arange(first[-1])
    trades["trade_seq"] = TRADE_SEQ_BASE + chance.randrange(1_000_000) + order
    trades["trade_seq_step"] = first[-1]
    trades["trade_prefix"] = f"{instrument.base}-".encode() if instrument.base != "BTC" else b""  # as the venue does
    trades["trade_number"] = TRADE_NUMBER_BASE + order * pace.id_stride + instrument.number
    trades["trade_number_step"] = trades["match_id_step"] = first[-1] * pace.id_stride
    trades["match_id"] = MATCH_ID_BASE + trades["trade_number"] - TRADE_NUMBER_BASE
    trades["match_sub_ns"] = [chance.randrange(1_000_000) for _ in order]
    for message, when in enumerate(at_us):
        quote = quotes[bisect_right(quote_at_us, when) - 1]
        for row in trades[first[message] : first[message + 1]]:
            _trade(row, quote, instrument, chance)
    return trades, first, at_us


def _trade(row: np.void, quote: np.void, instrument: Instrument, chance: random.Random) -> None:
    direction = chance.choice((rows.BUY, rows.SELL))
    best = float(quote["ask_price" if direction == rows.BUY else "bid_price"])
    row["direction"] = direction
    row["price"] = float(quote["mark_price"]) if math.isnan(best) else best
    row["amount"] = _amount(instrument, chance)
    row["mark_price"], row["index_price"], row["iv"] = quote["mark_price"], quote["index_price"], quote["mark_iv"]
    row["tick_direction"] = chance.randrange(4)
    if instrument.kind == "future":
        row["contracts"] = round(float(row["amount"]) / 10, 1)
        row["liquidation"] = chance.choice((0, 0, 0, 0, 0, 1, 2, 3))
    elif chance.random() < 0.5:
        row["contracts"] = row["amount"]
    special = chance.random()
    if special < 0.05:
        row["block_trade_id"], row["block_trade_leg_count"] = (
            b"BLOCK-%d" % chance.randrange(10**6),
            chance.randint(1, 4),
        )
        row["block_rfq_id"] = b"%d" % chance.randrange(1, 10**6) if special < 0.02 else b""
    elif special < 0.1 and instrument.kind == "option":
        row["combo_id"] = f"{instrument.family}-CS-{instrument.name.split('-')[1]}-1000_2000".encode()
        row["combo_trade_id"] = b"%d" % chance.randrange(10**9)
