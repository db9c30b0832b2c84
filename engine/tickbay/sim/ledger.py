"""What was sent: written by the simulator, read by the audit. Values, not text, so it owes nothing to any decoder.

A directory holds

    ledger.json            what made it: seed, clock, layouts
    rows.<kind>.bin        rows (rows.DTYPES), appended once each and then only referred to
    tape-<number>.bin      the frames of one cycle of one connection (tape.FRAME), also referring to rows
    connection-<n>.bin     ENTRY after ENTRY: what was handed to the socket, in order
    events.jsonl           connections opened and ended, and every misbehaviour

A million frames that were played from a tape are as many entries as there were slices.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tickbay.errors import ConfigError
from tickbay.sim import rows
from tickbay.sim.rows import Rows
from tickbay.sim.tape import FRAME, Tape

FORMAT = 1
# What happened to the messages of an entry.
RUN = 1  # `count` frames of tape `source` from frame `first` on were sent
MESSAGE = 2  # one message was sent: `count` rows of kind `source` from row `first` on
DROPPED = 3  # one message was left out on purpose
MALFORMED = 4  # one message was sent so that nobody can read it
ENTRY = np.dtype(
    [
        ("what", "u1"),
        ("source", "<u4"),
        ("first", "<i8"),
        ("count", "<i8"),
        ("loop", "<i8"),
        ("clock_ms", "<i8"),
        ("sent_ns", "<i8"),
    ]
)
ENTRIES_BUFFERED = 4096
READ_ROWS = 50_000  # rows expanded at once when reading


class Ledger:
    """The writing side. Without a directory it only counts rows, so that the simulator need not know."""

    def __init__(self, directory: Path | None, about: dict[str, object]) -> None:
        self._directory = directory
        self._stored = dict.fromkeys(rows.DTYPES, 0)
        self._files: dict[str, BinaryIO] = {}
        self._entries: dict[int, list[tuple[int, ...]]] = {}
        if directory:
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                if (directory / "ledger.json").exists():
                    raise ConfigError(f"--ledger {directory}: a ledger of another run lies there; give a new directory")
                text = json.dumps({"format": FORMAT, **about}, indent=1)
                (directory / "ledger.json").write_text(text + "\n")
            except OSError as error:
                raise ConfigError(f"--ledger {directory}: {error.strerror}") from error

    def store(self, kind: int, values: Rows) -> int:
        """Append rows; returns the place of the first."""
        first = self._stored[kind]
        self._stored[kind] += len(values)
        self._write(f"rows.{rows.KIND_NAMES[kind]}.bin", values.tobytes())
        return first

    def add_tape(self, tape: Tape) -> None:
        self._write(f"tape-{tape.number}.bin", tape.frames.tobytes())

    def add(self, connection: int, what: int, source: int, first: int, count: int, loop: int, clock_ms: int) -> None:
        """Call it right after the bytes went to the socket."""
        if self._directory:
            entries = self._entries.setdefault(connection, [])
            entries.append((what, source, first, count, loop, clock_ms, time.time_ns()))
            if len(entries) >= ENTRIES_BUFFERED:
                self._flush_entries(connection)

    def event(self, name: str, **fields: object) -> None:
        self._write("events.jsonl", json.dumps({"event": name, "at_ns": time.time_ns(), **fields}).encode() + b"\n")

    def flush(self) -> None:
        """Everything so far can be read by others."""
        for connection in list(self._entries):
            self._flush_entries(connection)
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        self.flush()
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _flush_entries(self, connection: int) -> None:
        entries = self._entries.pop(connection)
        self._write(f"connection-{connection}.bin", np.array(entries, ENTRY).tobytes())

    def _write(self, name: str, data: bytes) -> None:
        if not self._directory:
            return
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = (self._directory / name).open("ab")
        file.write(data)


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive messages of one connection: per kind the rows, and of each row the number of its message in the
    connection."""

    messages: int
    rows: dict[int, Rows]  # rows.DTYPES and the true times and ids
    message: dict[int, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a connection ended; `how` is empty while it is open."""

    how: str
    at_ns: int
    bytes_unsent: int  # handed over, but still in our own buffer


class LedgerReader:
    """The reading side. ConfigError where there is no ledger that we can read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            self.about: dict[str, Any] = json.loads((directory / "ledger.json").read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{directory}: no ledger of `tickbay sim` ({error})") from error
        if self.about.get("format") != FORMAT:
            raise ConfigError(
                f"{directory}: a ledger of format {self.about.get('format')}; this is for format {FORMAT}"
            )
        self._cycle_ms = int(self.about["cycle_ms"])
        self._rows = {kind: self._load(f"rows.{name}.bin", rows.DTYPES[kind]) for kind, name in rows.KIND_NAMES.items()}
        self._tapes: dict[int, NDArray[np.void]] = {}

    def _load(self, name: str, dtype: np.dtype[Any]) -> NDArray[np.void]:
        path = self.directory / name
        if not path.exists() or path.stat().st_size < dtype.itemsize:
            return np.zeros(0, dtype)
        mapped = np.memmap(path, dtype, "r", shape=(path.stat().st_size // dtype.itemsize,))
        return np.asarray(mapped)  # a plain array over it: slicing a memmap takes a hundred times as long

    def connections(self) -> list[int]:
        """Numbers of the connections to which any message was sent, in the order in which they were opened."""
        return sorted(int(path.stem.partition("-")[2]) for path in self.directory.glob("connection-*.bin"))

    def events(self) -> list[dict[str, Any]]:
        path = self.directory / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def ended(self, connection: int) -> Ended:
        for event in self.events():
            if event["event"] == "closed" and event["connection"] == connection:
                return Ended(event["how"], event["at_ns"], event["bytes_unsent"])
        return Ended("", 0, 0)

    def entries(self, connection: int) -> NDArray[np.void]:
        return self._load(f"connection-{connection}.bin", ENTRY)

    def count(self, connection: int) -> tuple[int, int]:
        """Messages sent that can be read, and rows that must come of them."""
        messages = row_count = 0
        for entry in self.entries(connection):
            if entry["what"] == RUN:
                frames = self._tape(int(entry["source"]))[entry["first"] : entry["first"] + entry["count"]]
                messages, row_count = messages + len(frames), row_count + int(frames["row_count"].sum())
            elif entry["what"] == MESSAGE:
                messages, row_count = messages + 1, row_count + int(entry["count"])
        return messages, row_count

    def sent_before(self, connection: int, at_ns: int) -> int:
        """How many messages that can be read were sent before a moment."""
        entries = self.entries(connection)
        entries = entries[entries["sent_ns"] < at_ns]
        return int(entries["count"][entries["what"] == RUN].sum()) + int((entries["what"] == MESSAGE).sum())

    def slices(self, connection: int, kinds: Collection[int] = tuple(rows.DTYPES)) -> Iterator[Slice]:
        """Everything sent on a connection that can be read, in order; the rows of these kinds."""
        pending: list[tuple[NDArray[np.void], NDArray[np.int64], NDArray[np.int64]]] = []
        waiting = messages = 0
        for entry in self.entries(connection):
            if entry["what"] not in (RUN, MESSAGE):
                continue
            frames = self._frames(entry)
            loop = frames["ahead"] + entry["loop"]
            pending.append((frames, loop, np.full(len(frames), entry["clock_ms"])))
            waiting += len(frames)
            if waiting >= READ_ROWS:
                yield self._expand(pending, messages, kinds)
                messages, waiting, pending = messages + waiting, 0, []
        if pending:
            yield self._expand(pending, messages, kinds)

    def trades(self) -> Iterator[Rows]:
        """Every trade of every connection, sent, spoilt or left out, with its true time and ids."""
        for connection in self.connections():
            for piece in self.slices(connection, (rows.TRADE,)):
                yield piece.rows[rows.TRADE]
        yield from self.left_out()

    def left_out(self) -> Iterator[Rows]:
        """Trades that were not sent, or so that nobody could read them, a message each."""
        for connection in self.connections():
            for entry in self.entries(connection):
                if entry["what"] in (DROPPED, MALFORMED) and entry["source"] == rows.TRADE:
                    first, count = int(entry["first"]), int(entry["count"])
                    values = self._rows[rows.TRADE][first : first + count]
                    loop, clock_ms = int(entry["loop"]), int(entry["clock_ms"])
                    yield moved_one(rows.TRADE, values, loop, clock_ms, self._cycle_ms)

    def _tape(self, number: int) -> NDArray[np.void]:
        if number not in self._tapes:
            self._tapes[number] = self._load(f"tape-{number}.bin", FRAME)
        return self._tapes[number]

    def _frames(self, entry: np.void) -> NDArray[np.void]:
        if entry["what"] == RUN:
            frames: NDArray[np.void] = self._tape(int(entry["source"]))[
                entry["first"] : entry["first"] + entry["count"]
            ]
            return frames
        frame = np.zeros(1, FRAME)
        frame["kind"], frame["first_row"], frame["row_count"] = entry["source"], entry["first"], entry["count"]
        return frame

    def _expand(
        self,
        pending: list[tuple[NDArray[np.void], NDArray[np.int64], NDArray[np.int64]]],
        first_message: int,
        kinds: Collection[int],
    ) -> Slice:
        frames = np.concatenate([each for each, _, _ in pending])
        loop = np.concatenate([each for _, each, _ in pending])
        clock_ms = np.concatenate([each for _, _, each in pending])
        number = first_message + np.arange(len(frames))
        found: dict[int, Rows] = {}
        message: dict[int, NDArray[np.int64]] = {}
        for kind in kinds:
            mine = frames["kind"] == kind
            count = frames["row_count"][mine].astype(np.int64)
            inside = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            place = np.repeat(frames["first_row"][mine], count) + inside
            found[kind] = moved(
                kind,
                self._rows[kind][place],
                np.repeat(loop[mine], count),
                np.repeat(clock_ms[mine], count),
                self._cycle_ms,
            )
            message[kind] = np.repeat(number[mine], count)
        return Slice(len(frames), found, message)


def moved(kind: int, values: Rows, loop: NDArray[np.int64], clock_ms: NDArray[np.int64], cycle_ms: int) -> Rows:
    """Rows as they were in cycle `loop`: `offset_ms` becomes the time in milliseconds since 1970, ids the true ones."""
    result = np.array(values)
    result["offset_ms"] += clock_ms + loop * cycle_ms
    if kind == rows.TRADE:
        for name in ("trade_seq", "trade_number", "match_id"):
            result[name] += result[f"{name}_step"] * loop
    elif kind == rows.DEPTH:
        result["change_id"] += result["step"] * loop
    elif kind == rows.BOOK:
        result["change_id"] += result["step"] * loop
        result["prev_change_id"] += np.where(result["snapshot"] == 1, 0, result["step"] * loop)
    return result


def moved_one(kind: int, values: Rows, loop: int, clock_ms: int, cycle_ms: int) -> Rows:
    """moved() for rows of one message."""
    return moved(kind, values, np.full(len(values), loop), np.full(len(values), clock_ms), cycle_ms)
