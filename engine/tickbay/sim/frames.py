"""Values → the JSON that the venue would send, in its key order and its spelling of numbers.

In: rows of one message. Out: text in which each time is the placeholder STAMP and each id has its final width, so
that their digits can be patched in place. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from tickbay.sim import rows
from tickbay.sim.instruments import Instrument
from tickbay.sim.rows import Rows

STAMP = "1000000000000"  # milliseconds: 13 digits from 2001 to 2286


def spell(value: float) -> str:
    """A number as the venue's Erlang spells it: the shortest digits that give the double back, with an exponent where
    that is shorter (8.55e4, 2.7e-4, but 83950.0), always with a point."""
    text = repr(value)
    if text[-4:-2] != "00" and text[:4] not in ("0.00", "-0.0") and "e" not in text:
        return text
    sign, digits, exponent = _decimal(text)
    if not digits:
        return sign + "0.0"
    scientific = f"{sign}{digits[0]}.{digits[1:] or '0'}e{exponent - 1}"
    plain = _plain(sign, digits, exponent)
    return scientific if len(scientific) < len(plain) else plain


def _decimal(text: str) -> tuple[str, str, int]:
    """repr() of a double → sign, digits without zeros at either end, and e in 0.DIGITS * 10^e."""
    sign = "-" if text[0] == "-" else ""
    mantissa, _, power = text.removeprefix("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    stripped = digits.lstrip("0")
    return sign, stripped.rstrip("0"), len(whole) - (len(digits) - len(stripped)) + int(power or 0)


def _plain(sign: str, digits: str, exponent: int) -> str:
    if exponent <= 0:
        return f"{sign}0.{'0' * -exponent}{digits}"
    return f"{sign}{digits[:exponent].ljust(exponent, '0')}.{digits[exponent:] or '0'}"


def number(value: float) -> str:
    """A number, or null where it is absent."""
    return "null" if math.isnan(value) else spell(value)


def best(value: float) -> str:
    """A number of the best bid or ask: the venue spells an empty side as zero."""
    return "0.0" if math.isnan(value) else spell(value)


def notification(channel: str, data: str) -> str:
    return f'{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{channel}","data":{data}}}}}'


def ticker(instrument: Instrument, quote: np.void) -> str:
    """One ticker. Its keys are those of the instrument's kind."""
    value = dict(zip(rows.DTYPES[rows.QUOTE].names or (), quote.tolist(), strict=True))
    return "{" + ",".join(_ticker_parts(instrument, value)) + "}"


def _ticker_parts(instrument: Instrument, value: dict[str, float | bytes]) -> Iterable[str]:
    def of(name: str) -> float:
        return float(value[name])

    option = instrument.kind == "option"
    yield f'"timestamp":{STAMP},"state":"{_text(value["state"])}"'
    stats = [f'"{name}":{number(of(name))}' for name in ("high", "low", "price_change", "volume", "volume_usd")]
    stats += [] if math.isnan(of("volume_notional")) else [f'"volume_notional":{spell(of("volume_notional"))}']
    yield f'"stats":{{{",".join(stats)}}}'
    if option:
        yield (
            '"greeks":{'
            + ",".join(f'"{name}":{spell(of(name))}' for name in ("delta", "gamma", "vega", "theta", "rho"))
            + "}"
        )
    yield f'"index_price":{spell(of("index_price"))},"instrument_name":"{instrument.name}"'
    yield f'"last_price":{number(of("last_price"))}'
    if not math.isnan(of("settlement_price")):
        yield f'"settlement_price":{spell(of("settlement_price"))}'
    yield f'"min_price":{spell(of("min_price"))},"max_price":{spell(of("max_price"))}'
    if not math.isnan(of("open_interest")):  # of futures it is counted in whole dollars
        yield f'"open_interest":{spell(of("open_interest")) if option else int(of("open_interest"))}'
    yield f'"mark_price":{spell(of("mark_price"))}'
    if option:
        yield f'"interest_rate":{spell(of("interest_rate"))}'
    if instrument.perpetual:
        yield f'"interest_value":{spell(of("interest_value"))},"current_funding":{spell(of("current_funding"))}'
    if not math.isnan(of("delivery_price")):
        yield f'"delivery_price":{spell(of("delivery_price"))}'
    yield f'"estimated_delivery_price":{spell(of("estimated_delivery_price"))}'
    if instrument.perpetual:
        yield f'"funding_8h":{spell(of("funding_8h"))}'
    if instrument.kind.endswith("_combo"):
        yield '"combo_state":"active"'
    yield f'"best_ask_price":{best(of("ask_price"))},"best_bid_price":{best(of("bid_price"))}'
    if option:
        yield f'"mark_iv":{spell(of("mark_iv"))},"bid_iv":{best(of("bid_iv"))},"ask_iv":{best(of("ask_iv"))}'
        yield f'"underlying_price":{spell(of("underlying_price"))}'
        yield f'"underlying_index":"{_text(value["underlying_index"])}"'
    yield f'"best_ask_amount":{best(of("ask_amount"))},"best_bid_amount":{best(of("bid_amount"))}'


def book(instrument: Instrument, message: Rows) -> str:
    """One snapshot, or one change with the id of the one before."""
    snapshot = bool(message["snapshot"][0])
    sides: dict[int, list[str]] = {rows.BID: [], rows.ASK: []}
    for price, amount, side, action in message[["price", "amount", "side", "action"]].tolist():
        if side:
            sides[side].append(f'["{rows.ACTION_NAMES[action]}",{spell(price)},{spell(amount)}]')
    previous = "" if snapshot else f',"prev_change_id":{message["prev_change_id"][0]}'
    return (
        f'{{"timestamp":{STAMP},"type":"{"snapshot" if snapshot else "change"}","change_id":{message["change_id"][0]},'
        f'"instrument_name":"{instrument.name}","bids":[{",".join(sides[rows.BID])}],"asks":[{",".join(sides[rows.ASK])}]{previous}}}'
    )


def trades(message: Rows) -> str:
    """One message of trades, of one instrument or of several."""
    return "[" + ",".join(trade(row) for row in message) + "]"


def trade(row: np.void, *, stamp: str = STAMP) -> str:
    value = dict(zip(row.dtype.names or (), row.tolist(), strict=True))
    text = [
        f'{{"timestamp":{stamp},"price":{spell(value["price"])},"amount":{spell(value["amount"])}',
        f'"direction":"{"buy" if value["direction"] == rows.BUY else "sell"}"',
        f'"index_price":{spell(value["index_price"])}',
        f'"instrument_name":"{_text(value["instrument"])}","trade_seq":{value["trade_seq"]}',
        f'"mark_price":{spell(value["mark_price"])}',
    ]
    if value["tick_direction"] != rows.NO_TICK_DIRECTION:
        text.append(f'"tick_direction":{value["tick_direction"]}')
    if not math.isnan(value["iv"]):
        text.append(f'"iv":{spell(value["iv"])}')
    if value["liquidation"]:
        text.append(f'"liquidation":"{rows.LIQUIDATION_NAMES[value["liquidation"]]}"')
    if value["block_trade_id"]:
        text.append(
            f'"block_trade_id":"{_text(value["block_trade_id"])}","block_trade_leg_count":{value["block_trade_leg_count"]}'
        )
    if value["block_rfq_id"]:
        text.append(f'"block_rfq_id":{_text(value["block_rfq_id"])}')
    if value["combo_id"]:  # its number is sent as a number or as text
        spelled = _text(value["combo_trade_id"])
        quote = "" if int(spelled) % 2 else '"'
        text.append(f'"combo_id":"{_text(value["combo_id"])}","combo_trade_id":{quote}{spelled}{quote}')
    text.append(
        f'"starbase_match_id":{value["match_id"]},"trade_id":"{_text(value["trade_prefix"])}{value["trade_number"]}"'
    )
    if not math.isnan(value["contracts"]):
        text.append(f'"contracts":{spell(value["contracts"])}')
    text.append(f'"starbase_timestamp":{stamp}{value["match_sub_ns"]:06d}}}')
    return ",".join(text)


def bbo(message: Rows) -> str:
    (row,) = message
    sides = (
        f'"best_{name}":{best(float(row[name]))}' for name in ("bid_price", "bid_amount", "ask_price", "ask_amount")
    )
    return f'{{"timestamp":{STAMP},"instrument_name":"{_text(row["instrument"])}",{",".join(sides)}}}'


def index(message: Rows) -> str:
    """A price, a volatility, or an estimated delivery price, which comes without time and name."""
    (row,) = message
    value = number(float(row["value"]))
    if row["measure"] == 3:
        estimated = "true" if row["is_estimated"] else "false"
        return f'{{"seconds":{int(row["remaining_s"])},"price":{value},"is_estimated":{estimated}}}'
    word = "price" if row["measure"] == 1 else "volatility"
    return f'{{"timestamp":{STAMP},"{word}":{value},"index_name":"{_text(row["instrument"])}"}}'


def marks(message: Rows) -> str:
    return f"[{','.join(map(_mark, message))}]"


def _mark(row: np.void) -> str:
    price, iv, name = number(float(row["mark_price"])), number(float(row["iv"])), _text(row["instrument"])
    return f'{{"timestamp":{STAMP},"mark_price":{price},"iv":{iv},"instrument_name":"{name}"}}'


def funding(message: Rows) -> str:
    (row,) = message
    interest, index_price = number(float(row["interest"])), number(float(row["index_price"]))
    return f'{{"timestamp":{STAMP},"interest":{interest},"index_price":{index_price}}}'


def window(message: Rows) -> str:
    """The best levels of a book, without actions."""
    sides: dict[int, list[str]] = {rows.BID: [], rows.ASK: []}
    for price, amount, side in message[["price", "amount", "side"]].tolist():
        if side:
            sides[side].append(f"[{spell(price)},{spell(amount)}]")
    return (
        f'{{"timestamp":{STAMP},"instrument_name":"{_text(message["instrument"][0])}",'
        f'"change_id":{message["change_id"][0]},"bids":[{",".join(sides[rows.BID])}],"asks":[{",".join(sides[rows.ASK])}]}}'
    )


OTHERS: Mapping[int, Callable[[Rows], str]] = {
    rows.BBO: bbo,
    rows.INDEX: index,
    rows.MARK: marks,
    rows.FUNDING: funding,
    rows.DEPTH: window,
}


def _text(value: float | bytes) -> str:
    assert isinstance(value, bytes)
    return value.decode()
