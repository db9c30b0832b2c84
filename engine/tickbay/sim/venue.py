"""What all connections of the simulated venue share: instruments, channels, the clock, the misbehaviour asked for.

In: Settings. Out: strips, snapshots and first tickers for connections; the position in time up to which frames are
due. No I/O but the ledger's.

Time is a position (loop, key): cycle number and place in the cycle. Paced, it moves with the clock and is one for all.
Flat out, each connection has its own; a channel that returns on another one continues behind where it was (`ahead`).
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tickbay.sim import courses, frames, rows, strip
from tickbay.sim.capture import Capture
from tickbay.sim.faults import Fault
from tickbay.sim.instruments import DAY_MS, Instrument, listing, named
from tickbay.sim.ledger import Ledger, moved_one
from tickbay.sim.logins import TOKEN_S, Logins
from tickbay.sim.market import Pace, Script, index_path, pair_of, script
from tickbay.sim.strip import Strip
from tickbay.sim.tape import Tape

INTERVALS = ("raw", "100ms", "agg2")
OPTION_LIKE_KINDS = ("option", "future", "spot", "option_combo", "future_combo")
VIRTUAL_ORIGIN_MS = 1_795_219_200_000  # 2026-11-21 00:00 UTC: where a virtual clock begins, and the day of its listing
RECORDED_RATE = 100.0  # frames a second of a capture where no rate is given
NO_LIMIT = 1 << 62
RECORDED_BURST = 1000.0  # frames
PRINTED_MAX = 1_000_000  # trade messages whose times are remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `tickbay sim` was asked for."""

    market: dict[str, int]
    seed: int = 1
    rate: float = 0.0  # data frames a second of all connections together; 0: as recorded
    flat_out: bool = False
    frames: int = 0  # then no more data; 0: for ever
    virtual_clock: bool = False
    market_clock: bool = False  # a virtual clock that begins now
    hold: bool = False  # no data until told to start …
    wait_channels: int = 0  # … or until so many channels are subscribed
    settle_s: float = 0.1  # a new subscription's data begin when no other one came for so long
    heartbeat_scale: float = 1.0  # of all of the venue's waiting times
    slow_s: float = 30.0  # a client that takes nothing for so long is closed
    limits: bool = True  # connections per address and credits
    ledger: Path | None = None
    captures: tuple[Path, ...] = ()
    capture_interval: str = ""  # replaces the interval in recorded channel names
    faults: tuple[Fault, ...] = ()
    token_s: float = TOKEN_S  # how long a login lasts


@dataclass(frozen=True, slots=True)
class Channel:
    """A subscription that is understood. `instruments`: those it is about now, in listing order."""

    name: str
    kind: int  # rows.QUOTE …; 0: no data of an instrument (platform_state)
    rank: int
    instruments: tuple[Instrument, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One data message outside a tape: what goes to the socket, and what the ledger has of it."""

    frame: bytes
    kind: int
    first_row: int
    row_count: int
    loop: int
    clock_ms: int


class Venue:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.capture = Capture(settings.captures, settings.capture_interval) if settings.captures else None
        fixed = settings.virtual_clock and not settings.market_clock
        self._origin_ms = VIRTUAL_ORIGIN_MS if fixed else time.time_ns() // 1_000_000
        if self.capture:
            listed = [named(name, number, self._origin_ms) for number, name in enumerate(self.capture.names)]
        else:
            listed = listing(settings.market, self._origin_ms // DAY_MS * DAY_MS)
        self.instruments = {item.name: item for item in listed}
        self.pace = Pace.of(len(listed), virtual=settings.virtual_clock)
        self.cycle_ms = self.pace.cycle_ms if settings.virtual_clock else 0
        self.ledger = Ledger(
            settings.ledger,
            {
                "seed": settings.seed,
                "market": settings.market,
                "cycle_ms": self.cycle_ms,
                "captures": [str(path) for path in settings.captures],
            },
        )
        self.faults = list(settings.faults)
        self.logins = Logins(settings.token_s)
        self.maintenance = False
        self.settling = False  # subscriptions are answered 10041
        self.locked: set[str] = set()  # price indices, as platform_state has them
        # price index of which nothing is sent now (locked, or being settled) → the position since which
        self._still: dict[str, tuple[int, int]] = {}
        self.states: dict[str, str] = {}  # instrument → its state, where that is not open
        self.expired: dict[str, Instrument] = {}
        self._last_trades: dict[str, int] = {}  # instrument that ends → how many trades it will ever have had
        self.clock_ahead_us = 0  # in replies; frames keep this machine's time
        self.reply_delay_s = 0.0
        self.running = not settings.hold and not settings.wait_channels
        self._stopped_ms = 0  # clock_ms() when the data ended
        self.started_s = time.monotonic()
        self.frames_sent = 0  # data frames of all connections
        self.loop, self.key = 0, 0
        self.speed = 1.0
        self._progress_us = 0.0
        self._recorded_allowance = 0.0
        self._next_number = len(listed)
        self._tapes = 0
        self._index: dict[str, list[float]] = {}
        self._scripts: dict[str, Script] = {}
        self._strips: dict[str, Strip] = {}
        self._courses: dict[str, courses.Course] = {}
        self._snapshot_rows: dict[str, int] = {}
        self._reached: dict[str, tuple[int, int]] = {}
        self.recent_s = 0.0  # how far back the host of recent trades goes; 0: to the beginning
        self.gone: list[str] = []  # patterns of instruments whose trades nobody has any more
        # (cycle, place in it, number of its instrument) → clock of a trade message
        self._printed: dict[tuple[int, int, int], int] = {}

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        return self._stopped_ms > 0

    @property
    def frames_left(self) -> int:
        """Data frames that may still be sent, of all connections."""
        return 0 if self.stopped else (self.settings.frames or NO_LIMIT) - self.frames_sent

    def start(self) -> None:
        """Let the data flow."""
        if not self.running:
            self.running, self.started_s = True, time.monotonic()

    def stop(self) -> None:
        """No more data, and nothing happens any more; connections stay, with their heartbeats."""
        self._stopped_ms = self._stopped_ms or self.clock_ms()

    def advance(self, passed_s: float) -> None:
        """Paced: let venue time pass. One day of venue time at most, so that a clock step does no harm."""
        if self.capture:
            self._recorded_allowance = min(
                RECORDED_BURST, self._recorded_allowance + passed_s * (self.settings.rate or RECORDED_RATE)
            )
            return
        if self.stopped:  # else REST would have trades that nobody was sent
            return
        self._progress_us += min(passed_s * self.speed, 86_400.0) * 1e6
        self.loop, self.key = self.due(0.0)

    def due(self, late_s: float) -> tuple[int, int]:
        """Paced: the position up to which a connection that is so late is due."""
        progress_us = max(0, int(self._progress_us - late_s * self.speed * 1e6))
        loop, in_cycle_us = divmod(progress_us, self.pace.cycle_us)
        return loop, strip.due_key(in_cycle_us, 0, 0)

    def take_recorded(self) -> bool:
        """A capture: whether one more recorded frame may be sent now."""
        if not self.settings.flat_out:
            if self._recorded_allowance < 1.0:
                return False
            self._recorded_allowance -= 1.0
        return True

    def seconds(self) -> float:
        """Since the data began."""
        return time.monotonic() - self.started_s if self.running else 0.0

    def clock_ms(self) -> int:
        """What the times in the next frame count from."""
        return self._origin_ms if self.settings.virtual_clock else time.time_ns() // 1_000_000

    def reached(self, loop: int, key: int) -> None:
        """Flat out: a connection has got so far; the farthest one is the venue's time."""
        if self.settings.flat_out:
            self.loop, self.key = max((self.loop, self.key), (loop, key))

    def events_so_far(self, at_us: Sequence[int]) -> int:
        """How many of events at these places in each cycle have happened until now."""
        return _events_until(at_us, self.loop, self.key)

    def trades_so_far(self, item: Instrument) -> int:
        """A capture has no trades but those in it."""
        if item.name in self._last_trades:
            return self._last_trades[item.name]
        found = self.script(item)
        position = self._still.get(item.index_name, (self.loop, self.key))
        messages = 0 if self.capture else _events_until(found.trade_at_us, *position)
        loops, message = divmod(messages, max(1, len(found.trade_at_us)))
        return loops * len(found.trades) + found.trade_first[message]

    def printed_ms(self, item: Instrument, loop: int, at_us: int) -> int:
        """What clock_ms() was when a trade message of the past was sent, or would have been; the same at each call."""
        if self.settings.virtual_clock or self.settings.flat_out:
            return self.clock_ms()
        for number in self._printers(item):
            if (printed := self._printed.get((loop, at_us, number))) is not None:
                return printed
        age_us = self._progress_us - loop * self.pace.cycle_us - at_us
        now_ms = self._stopped_ms or self.clock_ms()
        return self._printed.setdefault((loop, at_us, item.number), now_ms - int(age_us / 1000 / self.speed))

    def _printers(self, item: Instrument) -> Sequence[int]:
        """In whose name a trade of this instrument may have been sent: its own, or that of the other of its pair."""
        pair = pair_of(item.name)
        others = (f"{pair}{side}" for side in ("-C", "-P"))
        return [item.number, *(other.number for name in others if (other := self.known(name)) is not None)]

    def print_trades(self, tape: Tape, first: int, end: int, cycle: int, clock_ms: int) -> None:
        """Frames of a tape were sent, or left out, at a time: what REST will say of the trades among them."""
        if self.settings.virtual_clock or self.settings.flat_out:
            return
        begin, finish = np.searchsorted(tape.trades, (first, end))
        for frame in tape.trades[begin:finish].tolist():
            key, loop = int(tape.key[frame]), cycle + int(tape.frames["ahead"][frame])
            self._printed.setdefault((loop, key >> 24, key >> 4 & 0xFFFFF), clock_ms)
        while len(self._printed) > PRINTED_MAX:
            del self._printed[next(iter(self._printed))]

    def used(self, fault: Fault) -> None:
        """A fault has happened once."""
        fault.count -= 1
        if fault.count <= 0:
            self.faults.remove(fault)

    def next_tape(self) -> int:
        self._tapes += 1
        return self._tapes

    # --- channels -----------------------------------------------------------------------------------------------------

    def channel(self, name: str) -> Channel | None:
        """What a channel's name stands for; None where the venue has no such channel (now)."""
        parts = name.split(".")
        if name in ("platform_state", "platform_state.public_methods_state") or (
            parts[0] == "instrument" and len(parts) == 4
        ):
            return Channel(name, 0, 0, ())
        if (about := courses.subject(name, self.instruments)) is not None:
            return Channel(name, about.kind, about.rank, about.instruments)
        if parts[-1] not in INTERVALS:
            return None
        interval = INTERVALS.index(parts[-1])
        if parts[0] == "trades" and len(parts) == 4 and parts[1] in OPTION_LIKE_KINDS:
            chosen = tuple(
                item
                for item in self.instruments.values()
                if item.kind == parts[1] and parts[2] in ("any", item.currency)
            )
            return Channel(name, rows.TRADE, (12 if parts[2] == "any" else 9) + interval, chosen) if chosen else None
        item = self.instruments.get(parts[1]) if len(parts) == 3 else None
        kinds = {"ticker": rows.QUOTE, "trades": rows.TRADE, "book": rows.BOOK}
        if item is None or parts[0] not in kinds:
            return None
        return Channel(name, kinds[parts[0]], 3 * (kinds[parts[0]] - 1) + interval, (item,))

    def script(self, item: Instrument) -> Script:
        found = self._scripts.get(item.name)
        if found is None:
            found = self._scripts[item.name] = script(
                item, self.pace, self.settings.seed, self.index(item), now_ms=self._origin_ms
            )
        return found

    def index(self, item: Instrument) -> Sequence[float]:
        if item.index_name not in self._index:
            self._index[item.index_name] = index_path(self.settings.seed, item.index_name, item.index_price, self.pace)
        return self._index[item.index_name]

    def strip(self, channel: Channel) -> Strip:
        """The channel's frames of one cycle, made at the first call."""
        found = self._strips.get(channel.name)
        if found is None:
            scripts = [] if channel.kind in frames.OTHERS else [self.script(item) for item in channel.instruments]
            if channel.kind == rows.QUOTE:
                found = strip.ticker_strip(channel.name, channel.rank, scripts[0], self.ledger.store)
            elif channel.kind in frames.OTHERS:
                found = self._course_strip(channel)
            elif channel.kind == rows.BOOK:
                found = strip.book_strip(channel.name, channel.rank, scripts[0], self.ledger.store)
                self._snapshot_rows[channel.name] = self.ledger.store(rows.BOOK, scripts[0].snapshots)
            else:
                found = strip.trades_strip(channel.name, channel.rank, scripts, self.ledger.store)
            self._strips[channel.name] = found
        return found

    def _course_strip(self, channel: Channel) -> Strip:
        about = courses.subject(channel.name, self.instruments)
        assert about is not None, "only channels that the venue has are played"
        index = self.index(about.instruments[0])
        made = courses.course(channel.name, about, self.script, index, self.pace, self.settings.seed)
        self._courses[channel.name] = made
        return courses.course_strip(channel.name, about, made, self.ledger.store)

    def _first_of_course(self, channel: Channel, loop: int, key: int, clock_ms: int) -> Message:
        """The message before (loop, key), once more."""
        strip_, made = self.strip(channel), self._courses[channel.name]
        place = int(np.searchsorted(strip_.key, key))
        place, loop = (place - 1, loop) if place else (len(strip_) - 1, loop - 1)
        first = int(strip_.first_row[place])
        begin = first - int(strip_.first_row[0])
        values = made.values[begin : begin + int(strip_.row_count[place])]
        values = moved_one(channel.kind, values, loop, clock_ms, self.cycle_ms)
        data = made.text(values).replace(frames.STAMP, str(values["offset_ms"][0]))
        frame = strip.websocket_frame(frames.notification(channel.name, data).encode())
        return Message(frame, channel.kind, first, len(values), loop, clock_ms)

    def first_message(self, channel: Channel, loop: int, key: int, clock_ms: int) -> Message | None:
        """What a subscription begins with at (loop, key): the book as it is, or the last ticker. Trades begin with
        nothing."""
        if channel.kind in frames.OTHERS:
            return self._first_of_course(channel, loop, key, clock_ms)
        if channel.kind not in (rows.QUOTE, rows.BOOK):
            return None
        script_ = self.script(channel.instruments[0])
        strip_ = self.strip(channel)
        place = int(np.searchsorted(strip_.key, key))  # messages of this cycle that were before it
        if channel.kind == rows.QUOTE:
            place, loop = (place - 1, loop) if place else (len(script_.quotes) - 1, loop - 1)
            values, first_row = script_.quotes[place : place + 1], int(strip_.first_row[place])
            values = moved_one(rows.QUOTE, values, loop, clock_ms, self.cycle_ms)
            data = frames.ticker(script_.instrument, values[0])
        else:
            if place == len(script_.books):  # the last change led back to the first book
                place, loop = 0, loop + 1
            begin, end = script_.snapshot_first[place : place + 2]
            first_row = self._snapshot_rows[channel.name] + begin
            values = moved_one(rows.BOOK, script_.snapshots[begin:end], loop, clock_ms, self.cycle_ms)
            data = frames.book(script_.instrument, values)
        text = frames.notification(channel.name, data.replace(frames.STAMP, str(values["offset_ms"][0])))
        return Message(strip.websocket_frame(text.encode()), channel.kind, first_row, len(values), loop, clock_ms)

    def ahead(self, channel: str, loop: int, key: int) -> int:
        """How many cycles a channel is ahead that begins at (loop, key), so that it repeats nothing that it sent.

        None by the market's clock: every connection is told the same of the same time, also one that is late.
        """
        if self.settings.market_clock:
            return 0
        reached_loop, reached_key = self._reached.get(channel, (loop, 0))
        return max(0, reached_loop - loop + (1 if key < reached_key else 0))

    def leave(self, channel: str, loop: int, key: int) -> None:
        """A connection stops sending a channel at (loop, key), its own cycles counted."""
        self._reached[channel] = max(self._reached.get(channel, (loop, key)), (loop, key))

    # --- listing ------------------------------------------------------------------------------------------------------

    def list_instrument(self, name: str) -> Instrument | None:
        """List a new instrument; None where it is listed already."""
        if name in self.instruments or self._next_number >= self.pace.id_stride:
            return None
        item = named(name, self._next_number, time.time_ns() // 1_000_000)
        self._next_number += 1
        self.instruments[name] = item
        self._forget_wildcards()
        return item

    def expire(self, name: str) -> Instrument | None:
        """Deliver an instrument; None where there is none of that name."""
        item = self.instruments.get(name)
        if item is not None:
            self.end_trading(item)
            self.expired[name] = self.instruments.pop(name)
            self.states[name] = "delivered"
        self._forget_wildcards()
        return item

    def end_trading(self, item: Instrument) -> None:
        """It trades no more: what was not sent of it until now never happens."""
        self._last_trades.setdefault(item.name, self.trades_so_far(item))

    def known(self, name: str) -> Instrument | None:
        """An instrument of now or of the past."""
        return self.instruments.get(name) or self.expired.get(name)

    def record(self, item: Instrument) -> dict[str, object]:
        """As REST has it now."""
        state = self.states.get(item.name, "open")
        return item.record() | {"state": state, "is_active": item.name in self.instruments and state != "inactive"}

    def hold(self, index: str) -> None:
        """Nothing is sent or traded of what settles in it until release()."""
        self._still.setdefault(index, (self.loop, self.key))

    def release(self, index: str) -> None:
        self._still.pop(index, None)

    def stands_still(self, channel: Channel) -> bool:
        """Is nothing sent of it now? A channel of several indices goes on while one of them does."""
        return bool(channel.instruments) and all(item.index_name in self._still for item in channel.instruments)

    def last_ticker(self, item: Instrument, channel: str, loop: int, clock_ms: int) -> Message:
        """What is sent of an instrument when it is delivered: state closed, with a delivery price."""
        values = self.script(item).quotes[:1].copy()
        values["state"], values["delivery_price"], values["offset_ms"] = b"closed", values["index_price"], 0
        data = frames.ticker(item, values[0]).replace(frames.STAMP, str(clock_ms + loop * self.cycle_ms))
        frame = strip.websocket_frame(frames.notification(channel, data).encode())
        return Message(frame, rows.QUOTE, self.ledger.store(rows.QUOTE, values), 1, loop, clock_ms)

    def _forget_wildcards(self) -> None:
        for name in [name for name in self._strips if name.count(".") == 3 or name.startswith("markprice.")]:
            del self._strips[name]


def _events_until(at_us: Sequence[int], loop: int, key: int) -> int:
    """How many of events at these places in each cycle have happened before a position."""
    return loop * len(at_us) + bisect_left(at_us, key >> 24)
