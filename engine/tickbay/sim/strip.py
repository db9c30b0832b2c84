"""The frames of one channel of one cycle, ready to be sent, and where in them the digits lie that each cycle changes.

In: a channel and the Scripts behind it. Out: a Strip. A Strip is made once and shared by every connection that
subscribes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickbay.sim import frames, rows
from tickbay.sim.market import Script, pair_of
from tickbay.sim.rows import Rows

Integers = NDArray[np.int64]

WIDE, NARROW = 12, 8  # digits patched: change ids, trade numbers and all but the first digit of a time; trade_seq
# In the order of the text: a stamp after its leading 1, and the last 12 or 8 digits of each id.
STAMP_PLACE = re.compile(rb'"(?:starbase_)?timestamp":1(?=\d{12})')
BOOK_PLACE = re.compile(rb'"(?:prev_)?change_id":(?=\d{12})')
SEQ_PLACE = re.compile(rb'"trade_seq":(?=\d{8})')
NUMBER_PLACE = re.compile(rb'"trade_id":"(?:[A-Z0-9]+-)?(?=\d{12}")|"starbase_match_id":\d{6}(?=\d{12})')

StoreRows = Callable[[int, Rows], int]  # kind, rows → place of the first one in the ledger


@dataclass(frozen=True, slots=True)
class Patches:
    """Numbers to be written into frames: value(loop) = base + step * loop, as decimal digits of one width."""

    place: Integers  # byte
    frame: Integers
    base: Integers
    step: Integers


@dataclass(frozen=True, slots=True)
class Strip:
    """Frames 0 … n-1 of one channel; frame i is payload[start[i]:start[i + 1]], WebSocket header included."""

    channel: str
    kind: int
    payload: bytes
    start: Integers
    key: Integers  # when it is due in the cycle; unique among all frames of all channels
    first_row: Integers  # in the ledger
    row_count: Integers
    stamps: Patches  # step 0: to base comes the clock
    wide: Patches
    narrow: Patches

    def __len__(self) -> int:
        return len(self.key)


def due_key(at_us: int, instrument_number: int, channel_rank: int) -> int:
    """Order of frames in the cycle: by time; the rest makes it unique."""
    return at_us << 24 | instrument_number << 4 | channel_rank


def websocket_frame(payload: bytes) -> bytes:
    """A whole, unmasked text frame, as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def ping(payload: bytes) -> bytes:
    """A whole ping of at most 125 bytes."""
    return bytes((0x89, len(payload))) + payload


def payload_of(frame: bytes) -> bytes:
    """What websocket_frame() was given."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


class StripMaker:
    """Collects frames and becomes a Strip."""

    def __init__(self, channel: str, kind: int, rank: int) -> None:
        self._channel, self._kind, self._rank = channel, kind, rank
        self._frames: list[tuple[int, bytes, int, Rows]] = []  # key, frame, first row, rows

    def add(self, at_us: int, instrument_number: int, data: str, first_row: int, message: Rows) -> None:
        frame = websocket_frame(frames.notification(self._channel, data).encode())
        self._frames.append((due_key(at_us, instrument_number, self._rank), frame, first_row, message))

    def strip(self) -> Strip:
        self._frames.sort(key=lambda each: each[0])
        start = np.cumsum([0] + [len(frame) for _, frame, _, _ in self._frames])
        places: dict[str, list[tuple[int, ...]]] = {"stamps": [], "wide": [], "narrow": []}
        for index, (_, frame, _, message) in enumerate(self._frames):
            for name, found in _places(self._kind, frame, message):
                places[name] += [(int(start[index]) + place, index, base, step) for place, base, step in found]
        return Strip(
            self._channel,
            self._kind,
            b"".join(frame for _, frame, _, _ in self._frames),
            start,
            _integers([key for key, _, _, _ in self._frames]),
            _integers([first for _, _, first, _ in self._frames]),
            _integers([len(message) for _, _, _, message in self._frames]),
            *(patches(places[name]) for name in ("stamps", "wide", "narrow")),
        )


def _places(kind: int, frame: bytes, message: Rows) -> Iterable[tuple[str, list[tuple[int, int, int]]]]:
    """Where digits are patched in a frame, and with what: (byte, base, step)."""
    stamps = [match.end() for match in STAMP_PLACE.finditer(frame)]
    per_row = len(stamps) // len(message) if kind == rows.TRADE else 1
    yield "stamps", [(place, int(message["offset_ms"][order // per_row]), 0) for order, place in enumerate(stamps)]
    if kind in (rows.BOOK, rows.DEPTH):
        ids = [match.end() for match in BOOK_PLACE.finditer(frame)]
        yield (
            "wide",
            [
                (place, int(message[name][0]), int(message["step"][0]))
                for place, name in zip(ids, ("change_id", "prev_change_id"), strict=False)
            ],
        )
    elif kind == rows.TRADE:
        numbers = [match.end() for match in NUMBER_PLACE.finditer(frame)]
        assert len(numbers) == 2 * len(message)
        yield (
            "wide",
            [
                (
                    place,
                    int(row["match_id" if order % 2 == 0 else "trade_number"]) % 10**WIDE,
                    int(row["trade_number_step"]),
                )
                for order, place in enumerate(numbers)
                for row in (message[order // 2],)
            ],
        )
        yield (
            "narrow",
            [
                (match.end(), int(row["trade_seq"]), int(row["trade_seq_step"]))
                for match, row in zip(SEQ_PLACE.finditer(frame), message, strict=True)
            ],
        )


def patches(entries: Sequence[tuple[int, ...]]) -> Patches:
    columns: Any = zip(*sorted(entries), strict=True) if entries else ((), (), (), ())
    return Patches(*(_integers(column) for column in columns))


def _integers(values: Iterable[int]) -> Integers:
    return np.array(list(values), np.int64)


def ticker_strip(channel: str, rank: int, script: Script, store: StoreRows) -> Strip:
    maker = StripMaker(channel, rows.QUOTE, rank)
    first = store(rows.QUOTE, script.quotes)
    for place, at_us in enumerate(script.quote_at_us):
        data = frames.ticker(script.instrument, script.quotes[place])
        maker.add(at_us, script.instrument.number, data, first + place, script.quotes[place : place + 1])
    return maker.strip()


def book_strip(channel: str, rank: int, script: Script, store: StoreRows) -> Strip:
    """The changes; a subscription begins with a snapshot, which venue.py makes."""
    maker = StripMaker(channel, rows.BOOK, rank)
    first = store(rows.BOOK, script.changes)
    for change, at_us in enumerate(script.change_at_us):
        begin, end = script.change_first[change : change + 2]
        message = script.changes[begin:end]
        maker.add(at_us, script.instrument.number, frames.book(script.instrument, message), first + begin, message)
    return maker.strip()


def trades_strip(channel: str, rank: int, scripts: Sequence[Script], store: StoreRows) -> Strip:
    """Trades of one instrument, or of all those of a currency and kind: then a call's and a put's of one strike,
    which trade at the same moments, come in one message for one strike in four."""
    maker = StripMaker(channel, rows.TRADE, rank)
    groups: dict[str, list[Script]] = {}
    for script in scripts:
        pair = pair_of(script.instrument.name)
        mixed = len(scripts) > 1 and sum(pair.encode()) % 4 == 0
        groups.setdefault(pair if mixed else script.instrument.name, []).append(script)
    for group in groups.values():
        for message_number, at_us in enumerate(group[0].trade_at_us):
            message = _mark_last(
                np.concatenate(
                    [
                        script.trades[script.trade_first[message_number] : script.trade_first[message_number + 1]]
                        for script in group
                    ]
                )
            )
            maker.add(at_us, group[0].instrument.number, frames.trades(message), store(rows.TRADE, message), message)
    return maker.strip()


def _mark_last(message: Rows) -> Rows:
    message["last"] = 0
    message["last"][-1] = 1
    return message
