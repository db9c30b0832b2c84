"""The slow oracle: a Deribit frame to rows, written from the protocol with the json module and float() alone.

It shares nothing with the decoder in C but the names of the fields (native/record.h) and the bounds (native/decode.h).
A row is a dict of the fields that the frame has a value for; the record has NaN, 0 or empty text in the others.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping

FRAME_MAX = 8 << 20
DEPTH_MAX = 64
NUMBER_MAX = 64
RECORDS_MAX = 65536
CHANNEL_MAX = 128
TIME_MAX_NS = 2**63 - 1

SNAPSHOT, LAST, OPTION = 1, 2, 4  # enum record_flag

Row = dict[str, object]


class Refused(Exception):
    """The bytes are not a message of this venue, or no whole one."""


class Number(str):
    """A number as it is spelled."""

    __slots__ = ()


class Members(list[tuple[str, object]]):
    """The members of an object, in order, repeated ones too."""


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    message: str
    rows: list[Row]


def decode(frame: bytes, recv_ns: int, conn: int) -> Decoded:
    """The message and its rows; raises Refused."""
    if len(frame) > FRAME_MAX:
        raise Refused("too long")
    top = _parse(frame)
    if not isinstance(top, Members):
        raise Refused("not an object")
    known = _known(top, {"method", "params", "result", "error"})
    method = known.get("method")
    if method is None:
        return Decoded("ERROR" if "error" in known else "REPLY" if "result" in known else "UNKNOWN", [])
    if method not in ("subscription", "heartbeat") or isinstance(method, Number):
        return Decoded("UNKNOWN", [])
    params = _known(known.get("params"), {"channel", "data", "type"})
    if method == "heartbeat":
        words = {"heartbeat": "HEARTBEAT", "test_request": "TEST_REQUEST"}
        kind = params.get("type")
        return Decoded(words.get(kind, "UNKNOWN") if isinstance(kind, str) else "UNKNOWN", [])
    message = _message(_string(params.get("channel")))
    if message == "UNKNOWN":
        return Decoded(message, [])
    if message in _ROWS:
        rows = _ROWS[message](params.get("data"))
    else:
        rows = _CHANNEL_ROWS[message](params.get("data"), _string(params.get("channel")), recv_ns)
    for row in rows:
        row["recv_ns"], row["conn"] = recv_ns, conn
    return Decoded(message, rows)


def _parse(frame: bytes) -> object:
    try:
        parsed = json.loads(
            frame.decode("utf-8"),
            parse_int=_number,
            parse_float=_number,
            parse_constant=_constant,
            object_pairs_hook=Members,
        )
    except (ValueError, RecursionError) as error:
        raise Refused(str(error)) from error
    _check(parsed, 0)
    return parsed


def _number(spelling: str) -> Number:
    if len(spelling) > NUMBER_MAX:
        raise Refused("number too wide")
    return Number(spelling)


def _constant(word: str) -> object:
    raise Refused(word)  # NaN and Infinity are Python's, not JSON's


def _check(value: object, depth: int) -> None:
    """Bounded depth, and every string valid Unicode."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Refused("half a surrogate pair") from error
    elif isinstance(value, list):
        if depth == DEPTH_MAX:
            raise Refused("too deep")
        for item in value:
            for part in item if isinstance(value, Members) else (item,):
                _check(part, depth + 1)


def _known(members: object, names: set[str]) -> dict[str, object]:
    """The members of these names that are not null; one that comes twice is refused."""
    if not isinstance(members, Members):
        raise Refused("not an object")
    seen: dict[str, object] = {}
    for name, value in members:
        if name in names:
            if name in seen:
                raise Refused(f"{name} twice")
            seen[name] = value
    return {name: value for name, value in seen.items() if value is not None}


def _message(channel: str) -> str:
    if len(channel.encode()) > CHANNEL_MAX:
        return "UNKNOWN"
    if channel.startswith("ticker."):
        return "QUOTE"
    if channel.startswith("trades."):
        return "TRADE"
    if channel.startswith("book.") and channel.count(".") == 2:
        return "BOOK"
    return next((message for message, pattern in _CHANNELS.items() if pattern.fullmatch(channel)), "UNKNOWN")


_CHANNELS = {
    "BBO": re.compile(r"quote\.([^.]+)", re.DOTALL),
    "INDEX": re.compile(
        r"(deribit_price_index|deribit_volatility_index|estimated_expiration_price)\.([^.]+)", re.DOTALL
    ),
    "MARK": re.compile(r"markprice\.options\.([^.]+)", re.DOTALL),
    "FUNDING": re.compile(r"perpetual\.([^.]+)\.[^.]*", re.DOTALL),
    "DEPTH": re.compile(
        r"book\.[^.]+\.(none|(?=[0-9]*[1-9])[0-9]{1,9})"
        r"\.(0{0,8}[1-9]|0{0,7}[1-9][0-9]|0{0,6}(?:1[0-9]{2}|2[0-4][0-9]|25[0-5]))\.[^.]*",  # 1 to 255
        re.DOTALL,
    ),
}


# ---------------------------------------------------------------- values


def _string(value: object) -> str:
    if not isinstance(value, str) or isinstance(value, Number):
        raise Refused("not a string")
    return value


def _double(value: object) -> float:
    if not isinstance(value, Number):
        raise Refused("not a number")
    double = float(value)
    if math.isinf(double):
        raise Refused("overflow")
    return double


def _integer(largest: int, factor: int = 1) -> Callable[[object], int]:
    def integer(value: object) -> int:
        if not isinstance(value, Number) or not re.fullmatch(r"[0-9]+(\.0+)?", value):
            raise Refused("not an integer")
        number = int(value.partition(".")[0])
        if number > largest:
            raise Refused("out of bounds")
        return number * factor

    return integer


def _text(width: int) -> Callable[[object], str]:
    def text(value: object) -> str:
        string = _string(value)
        if len(string.encode()) > width or "\0" in string:
            raise Refused("does not fit")
        return string

    return text


def _identifier(width: int) -> Callable[[object], str]:
    """Text, or a number as it is spelled."""

    def identifier(value: object) -> str:
        return _text(width)(str(value) if isinstance(value, Number) else value)

    return identifier


def _word(*words: str) -> Callable[[object], int]:
    def word(value: object) -> int:
        if _string(value) not in words:
            raise Refused("unknown word")
        return words.index(_string(value)) + 1

    return word


_time_ms = _integer(TIME_MAX_NS // 1_000_000, 1_000_000)
_u64 = _integer(2**64 - 1)

# Per object: the venue's name → ours, and how its value is read.
Fields = Mapping[str, tuple[str, Callable[[object], object]]]


def _same(names: str) -> dict[str, tuple[str, Callable[[object], object]]]:
    return {name: (name, _double) for name in names.split()}


_HEAD: Fields = {"timestamp": ("exch_ns", _time_ms), "instrument_name": ("instrument", _text(48))}
_GREEKS: Fields = _same("delta gamma vega theta rho")
_STATS: Fields = _same("high low price_change volume volume_usd volume_notional")
_TICKER: Fields = {
    **_HEAD,
    **_same(
        "mark_price index_price underlying_price last_price open_interest mark_iv bid_iv ask_iv settlement_price"
        " delivery_price estimated_delivery_price min_price max_price interest_rate current_funding funding_8h"
        " interest_value"
    ),
    **{f"best_{name}": (name, _double) for name in ("bid_price", "bid_amount", "ask_price", "ask_amount")},
    "underlying_index": ("underlying_index", _text(32)),
    "state": ("state", _text(16)),
}
_TRADE: Fields = {
    **_HEAD,
    **_same("price amount contracts mark_price index_price iv"),
    "trade_seq": ("trade_seq", _u64),
    "starbase_match_id": ("match_id", _u64),
    "starbase_timestamp": ("match_ns", _integer(TIME_MAX_NS)),
    "block_trade_leg_count": ("block_trade_leg_count", _integer(2**32 - 1)),
    "direction": ("direction", _word("buy", "sell")),
    "tick_direction": ("tick_direction", _integer(254)),
    "liquidation": ("liquidation", _word("M", "T", "MT")),
    "trade_id": ("trade_id", _identifier(32)),
    "block_trade_id": ("block_trade_id", _identifier(32)),
    "block_rfq_id": ("block_rfq_id", _identifier(24)),
    "combo_id": ("combo_id", _identifier(48)),
    "combo_trade_id": ("combo_trade_id", _identifier(32)),
}
_BOOK: Fields = {
    **_HEAD,
    "change_id": ("change_id", _u64),
    "prev_change_id": ("prev_change_id", _u64),
    "type": ("type", _word("snapshot", "change")),
}


_TIME: Fields = {"timestamp": ("exch_ns", _time_ms)}
_BBO: Fields = {
    **_HEAD,
    **{f"best_{name}": (name, _double) for name in ("bid_price", "bid_amount", "ask_price", "ask_amount")},
}
_INDEX: Mapping[int, Fields] = {
    1: {**_TIME, "price": ("value", _double)},
    2: {**_TIME, "volatility": ("value", _double)},
    3: {**_TIME, "price": ("value", _double), "seconds": ("remaining_s", _double)},
}
_MARK: Fields = {**_HEAD, "mark_price": ("mark_price", _double), "iv": ("mark_iv", _double)}
_FUNDING: Fields = {**_TIME, **_same("interest index_price")}
_WINDOW: Fields = {**_HEAD, "change_id": ("change_id", _u64)}


def _read(members: object, fields: Fields, nested: tuple[str, ...] = ()) -> tuple[Row, dict[str, object]]:
    """The fields, and what the nested names hold."""
    known = _known(members, {*fields, *nested})
    row: Row = {fields[name][0]: fields[name][1](value) for name, value in known.items() if name in fields}
    return row, {name: known[name] for name in nested if name in known}


def _identified(row: Row, *required: str) -> None:
    if row.get("instrument", "") == "" or any(name not in row for name in ("exch_ns", *required)):
        raise Refused("a record without its identity")


# ---------------------------------------------------------------- messages


def _ticker_rows(data: object) -> list[Row]:
    row, nested = _read(data, _TICKER, ("stats", "greeks"))
    for name, fields in (("stats", _STATS), ("greeks", _GREEKS)):
        inner, _ = _read(nested.get(name, Members()), fields)
        row.update(inner)
    _identified(row)
    for side in ("bid", "ask"):
        price, amount = row.get(f"{side}_price"), row.get(f"{side}_amount", 0.0)
        assert isinstance(amount, float)
        if price is None or (price == 0 and amount <= 0):  # how Deribit spells an empty side
            for name in ("price", "amount", "iv"):
                row.pop(f"{side}_{name}", None)
    row["flags"] = OPTION if "greeks" in nested else 0
    return [row]


def _trade_rows(data: object) -> list[Row]:
    if not isinstance(data, list) or isinstance(data, Members):
        raise Refused("not an array")
    if len(data) > RECORDS_MAX:
        raise Refused("too many")
    rows = []
    for number, item in enumerate(data, 1):
        row, _ = _read(item, _TRADE)
        _identified(row, "trade_seq", "trade_id", "price", "amount", "direction")
        row["flags"] = (OPTION if "iv" in row else 0) | (LAST if number == len(data) else 0)
        rows.append(row)
    return rows


def _book_rows(data: object) -> list[Row]:
    common, sides = _read(data, _BOOK, ("bids", "asks"))
    _identified(common, "type", "change_id")
    kind = common.pop("type")
    if kind == 2:
        _identified(common, "prev_change_id")
    else:
        common["prev_change_id"] = 0
    flags = SNAPSHOT if kind == 1 else 0
    assert isinstance(data, Members)
    order = [name for name, _ in data if name in sides]
    rows = [_level(level, 1 if name == "bids" else 2) for name in order for level in _array(sides[name])]
    if len(rows) > RECORDS_MAX:
        raise Refused("too many")
    rows = [{**common, **row, "flags": flags} for row in rows or [{}]]
    rows[-1]["flags"] = flags | LAST
    return rows


def _bbo_rows(data: object, _channel: str, _recv_ns: int) -> list[Row]:
    row, _ = _read(data, _BBO)
    _identified(row)
    for side in ("bid", "ask"):
        price, amount = row.get(f"{side}_price"), row.get(f"{side}_amount", 0.0)
        assert isinstance(amount, float)
        if price is None or (price == 0 and amount <= 0):
            for name in ("price", "amount"):
                row.pop(f"{side}_{name}", None)
    return [row]


def _index_rows(data: object, channel: str, recv_ns: int) -> list[Row]:
    found = _CHANNELS["INDEX"].fullmatch(channel)
    assert found is not None
    measure = {"deribit_price_index": 1, "deribit_volatility_index": 2, "estimated_expiration_price": 3}[found[1]]
    row, nested = _read(data, _INDEX[measure], ("is_estimated",) if measure == 3 else ())
    if measure == 3:
        row.setdefault("exch_ns", recv_ns)  # it is sent without a time
        if nested.get("is_estimated", False) not in (True, False) or isinstance(nested.get("is_estimated"), Number):
            raise Refused("neither true nor false")
        row["is_estimated"] = int(nested.get("is_estimated") is True)
    row |= {"instrument": _text(32)(found[2]), "measure": measure}
    _identified(row)
    return [row]


def _mark_rows(data: object, channel: str, _recv_ns: int) -> list[Row]:
    found = _CHANNELS["MARK"].fullmatch(channel)
    assert found is not None
    rows = []
    items = _array(data)
    if len(items) > RECORDS_MAX:
        raise Refused("too many")
    for number, item in enumerate(items, 1):
        row, _ = _read(item, _MARK)
        row["price_index"] = _text(32)(found[1])
        _identified(row)
        if isinstance(fraction := row.get("mark_iv"), float):
            row["mark_iv"] = fraction * 100  # percent, as in a ticker
            if math.isinf(fraction * 100):
                raise Refused("overflow")
        row["flags"] = LAST if number == len(items) else 0
        rows.append(row)
    return rows


def _funding_rows(data: object, channel: str, _recv_ns: int) -> list[Row]:
    found = _CHANNELS["FUNDING"].fullmatch(channel)
    assert found is not None
    row, _ = _read(data, _FUNDING)
    row["instrument"] = _text(48)(found[1])
    _identified(row)
    return [row]


def _depth_rows(data: object, channel: str, _recv_ns: int) -> list[Row]:
    found = _CHANNELS["DEPTH"].fullmatch(channel)
    assert found is not None
    common, sides = _read(data, _WINDOW, ("bids", "asks"))
    _identified(common, "change_id")
    common["levels_max"] = int(found[2])
    if found[1] != "none":
        common["price_group"] = float(found[1])
    assert isinstance(data, Members)
    rows: list[Row] = []
    for name in (name for name, _ in data if name in sides):
        for level, item in enumerate(_array(sides[name]), 1):
            parts = _array(item)
            if len(parts) != 2 or level > 255:
                raise Refused("a level has two parts, a side at most 255 levels")
            side = 1 if name == "bids" else 2
            rows.append({"side": side, "level": level, "price": _double(parts[0]), "amount": _double(parts[1])})
    rows = [{**common, **row, "flags": 0} for row in rows or [{}]]
    rows[-1]["flags"] = LAST
    return rows


def _array(value: object) -> list[object]:
    if not isinstance(value, list) or isinstance(value, Members):
        raise Refused("not an array")
    return value


def _level(level: object, side: int) -> Row:
    parts = _array(level)
    if len(parts) != 3:
        raise Refused("a level has three parts")
    action = _word("new", "change", "delete")(parts[0])
    return {"side": side, "action": action, "price": _double(parts[1]), "amount": _double(parts[2])}


_ROWS: Mapping[str, Callable[[object], list[Row]]] = {"QUOTE": _ticker_rows, "TRADE": _trade_rows, "BOOK": _book_rows}
_CHANNEL_ROWS: Mapping[str, Callable[[object, str, int], list[Row]]] = {
    "BBO": _bbo_rows,
    "INDEX": _index_rows,
    "MARK": _mark_rows,
    "FUNDING": _funding_rows,
    "DEPTH": _depth_rows,
}
