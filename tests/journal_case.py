"""A journal in its directories, a producer of records that can be told apart, and a reading of all that is on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tickbay.clock import Clock
from tickbay.config import Config, Feeds, Ring, Timescale
from tickbay.config import Journal as Settings
from tickbay.cursor import START, CursorFile, Position
from tickbay.events import Event, Events
from tickbay.files import Files
from tickbay.health import Health
from tickbay.journal.journal import Journal, open_journal
from tickbay.journal.journal_reader import JournalReader
from tickbay.journal.ring_set import OWN_GAPS
from tickbay.process import make_directories
from tickbay.record import Kind, Records, blank, parse_stream
from tickbay.sinks.sink import Chunk, Hole

SLOTS = Ring(quote=1024, trade=512, book=2048, gap=512, instrument=512, status=512)
QUOTE, TRADE, BOOK = "feed-1.quote", "feed-1.trade", "feed-1.book"


# A producer that has ended: no process with this pid began so early.
DEAD = (os.getpid(), 1)

RECV_NS = 7  # from one record to the next


class HeardEvents(Events):
    """Events that are remembered instead of written."""

    def __init__(self) -> None:
        super().__init__("journal")
        self.heard: list[tuple[Event, dict[str, object]]] = []

    def emit(self, event: Event, **fields: object) -> None:
        assert set(fields) <= set(event.value.fields.split()), event
        self.heard.append((event, fields))

    def names(self) -> list[str]:
        return [event.name for event, _ in self.heard]

    def of(self, event: Event) -> list[dict[str, object]]:
        return [fields for heard, fields in self.heard if heard is event]


class JournalCase(Clock):
    def __init__(
        self,
        run_dir: Path,
        data_dir: Path,
        *,
        feeds: int = 1,
        sinks: bool = True,
        ring: Ring = SLOTS,
        segment_mb: int = 1,
        quota_gb: float = 1.0,
        retain_hours: float = 24.0,
        free_floor_gb: float = 0.0,
    ) -> None:
        self.config = Config(
            data_dir=data_dir,
            run_dir=run_dir,
            feeds=Feeds(count=feeds),
            ring=ring,
            timescale=Timescale(enabled=sinks),
            journal=Settings(
                segment_mb=segment_mb, quota_gb=quota_gb, retain_hours=retain_hours, free_floor_gb=free_floor_gb
            ),
        )
        make_directories(self.config)
        self.directory = data_dir / "journal"
        self.events = HeardEvents()
        self.health = Health(run_dir, "journal", "journal")
        self.now_ns = 1_800_000_000 * 10**9
        self.produced: dict[str, int] = {}

    def unix_ns(self) -> int:
        """As a Clock: every look at it takes a millisecond."""
        self.now_ns += 1_000_000
        return self.now_ns

    def open(self, files: Files | None = None) -> Journal:
        journal = open_journal(self.config, files or Files(), self.events, self.health, clock=self)
        for stream, source in journal.rings.sources.items():
            if stream != OWN_GAPS:
                source.ring.produce(*DEAD)
        return journal

    def records(self, stream: str, count: int) -> Records:
        """The next `count` records of a stream: numbered from 1 for as long as the case lasts."""
        first = self.produced.get(stream, 0) + 1
        self.produced[stream] = first + count - 1
        return numbered(stream, first, count)

    def produce(self, journal: Journal, stream: str, count: int) -> None:
        journal.rings.sources[stream].ring.append(self.records(stream, count))

    def fill_segments(self, journal: Journal, count: int) -> None:
        """Produce and commit until there are `count` complete segments."""
        while len(journal.segments.sealed) < count:
            self.produce(journal, QUOTE, 500)
            assert journal.commit()

    def numbers(self, stream: str) -> list[int]:
        """The numbers of all stored records, after checking that their sequence has no hole and no repetition."""
        stored = self.stored(stream)
        assert [seq for _, seq, _ in stored] == list(range(1, len(stored) + 1))
        return [number for _, _, number in stored]

    def save_cursor(self, positions: dict[str, Position], sink: str = "timescale") -> None:
        cursor = CursorFile(self.config.data_dir / "cursors" / f"{sink}.cursor", Files())
        cursor.save(positions)
        cursor.close()

    def lose_power(self) -> None:
        """What a new boot finds: no rings."""
        for path in (self.config.run_dir / "rings").iterdir():
            path.unlink()

    def stored(self, stream: str) -> list[tuple[int, int, int]]:
        """(epoch, seq, number) of every record on disk."""
        return [
            (chunk.epoch, seq, number)
            for chunk in self.chunks(stream)
            for seq, number in zip(chunk.records["seq"].tolist(), chunk.records["exch_ns"].tolist(), strict=True)
        ]

    def chunks(self, stream: str, after: Position = START) -> Iterator[Chunk]:
        reader = JournalReader(Files(), self.directory)
        try:
            while (found := reader.read(stream, after, None, rows_max=1000, bytes_max=1 << 20)) is not None:
                assert isinstance(found, Chunk), found
                yield found
                after = found.end
        finally:
            reader.close()

    def holes(self, stream: str, after: Position = START) -> list[Hole]:
        reader = JournalReader(Files(), self.directory)
        holes = []
        while (found := reader.read(stream, after, None, rows_max=1000, bytes_max=1 << 20)) is not None:
            if isinstance(found, Hole):
                holes.append(found)
            after = found.end
        reader.close()
        return holes

    def gaps(self) -> list[dict[str, object]]:
        """What the journal itself says that it lost, of what is durable."""
        return [
            {
                name: record[name].item()
                for name in ("cause", "kind", "first_missing", "last_missing", "count", "detail")
            }
            for chunk in self.chunks("journal.gap")
            for record in chunk.records
        ]


def numbered(stream: str, first: int, count: int) -> Records:
    """Records with their number in several places, so that a torn one would show."""
    _, kind = parse_stream(stream)
    records = blank(kind, count)
    numbers = np.arange(first, first + count)
    records["exch_ns"] = numbers
    records["recv_ns"] = numbers * RECV_NS
    records["instrument"] = [f"I-{number}" for number in numbers]
    if kind is Kind.QUOTE:
        records["volume_notional"] = numbers
    return records


def received_ns(number: int) -> int:
    """When the record of a number was received."""
    return number * RECV_NS


def whole(records: Records) -> bool:
    """Whether each record is as numbered() made it."""
    numbers = records["exch_ns"]
    named = np.array([f"I-{number}".encode() for number in numbers])
    return bool((records["recv_ns"] == numbers * RECV_NS).all() and (records["instrument"] == named).all())


def segment_files(directory: Path) -> list[str]:
    return sorted(name for name in Files().names(directory) if name.endswith(".seg"))
