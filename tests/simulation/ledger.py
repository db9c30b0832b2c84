"""What was published and what is durable, told by the rings; and what must be true of journal and databases at any
moment (each check quotes the invariant that it holds).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simulation.disk import Disk, Inode
from tickbay.config import Config
from tickbay.cursor import START, Position, newest
from tickbay.journal.segment import segment_number, walk
from tickbay.record import parse_stream
from tickbay.ring import Ring

NUMBERED = ("feed-1.book", "feed-1.trade")  # streams of which every record has its own number


class Broken(AssertionError):
    """An invariant does not hold. Its text begins with the invariant's id."""


@dataclass
class Stream:
    numbers: list[int] = field(default_factory=list)  # of sequence 1, 2, …
    received_ns: list[int] = field(default_factory=list)  # the same ones
    durable: int = 0
    ring: Ring | None = None


Told = tuple[int, int, int, int]  # of a hole: first and last missing, from and to which time


@dataclass
class Stored:
    """What one database has, as a reader of its tables sees it."""

    rows: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)  # stream → seq → (epoch, number)
    quarantined: dict[str, set[int]] = field(default_factory=dict)
    holes: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # known ones

    # Those that its own writer met, each row by its key.
    met: dict[str, dict[tuple[int, ...], Told]] = field(default_factory=dict)

    def has(self, stream: str) -> set[int]:
        return self.rows.get(stream, {}).keys() | self.quarantined.get(stream, set())

    def explains(self, stream: str, seq: int) -> bool:
        return any(first <= seq <= last for first, last in self.holes.get(stream, ()))


class Ledger:
    def __init__(self, config: Config, disk: Disk) -> None:
        self._rings = config.run_dir / "rings"
        self._sinks = config.sinks
        self._segment_bytes = config.journal.segment_bytes
        self._quota_bytes = config.journal.quota_bytes
        self._disk = disk
        disk.removing = self.removing
        self.streams: dict[str, Stream] = {}
        self.lost = 0  # records that a power cut took, and may
        self.watching = False
        self._cursors: dict[str, tuple[tuple[int, int], dict[str, Position]]] = {}  # as parsed last
        self.dropped: set[str] = set()  # streams of which the quota took what a sink had not
        # Of those, the ones of which the journal then had nothing at all when the power went: begun anew, in an epoch
        # of their own, which nobody here tells apart.
        self.forgotten: set[str] = set()

    def watched(self) -> list[tuple[str, Stream]]:
        return [(name, stream) for name, stream in self.streams.items() if name not in self.forgotten]

    # -------- told by the world

    def published(self, stream: str, count: int, first_number: int, received_ns: int) -> None:
        self.streams[stream].numbers.extend(range(first_number, first_number + count))
        self.streams[stream].received_ns.extend([received_ns] * count)

    def rings_opened(self) -> None:
        """The journal has put its rings in order."""
        for path in self._rings.glob("*.ring"):
            ring = Ring.attach(path, parse_stream(path.stem)[1])
            stream = self.streams.setdefault(path.stem, Stream())
            last = ring.head - 1
            if last < stream.durable and path.stem in self.dropped and path.stem not in NUMBERED:
                self.forgotten.add(path.stem)
            elif last < stream.durable:
                raise Broken(f"JRNL-1: {path.stem} ends at {last}, {stream.durable} was durable")
            self.lost += max(0, len(stream.numbers) - last)
            del stream.numbers[last:], stream.received_ns[last:]
            stream.ring = ring
        self.watching = True
        self.look()

    def power_lost(self) -> None:
        self.watching = False
        for stream in self.streams.values():
            stream.ring = None

    def look(self) -> None:
        """Before every call of the journal to the disk."""
        if not self.watching:
            return
        moved = False
        for name, stream in self.watched():
            durable = stream.ring.durable if stream.ring is not None else stream.durable
            if durable != stream.durable:
                if durable < stream.durable:
                    raise Broken(f"JRNL-2: {name}: durable went back from {stream.durable} to {durable}")
                stream.durable, moved = durable, True
        if moved:
            self._check_synced()

    def _check_synced(self) -> None:
        journal = self._disk.directories["journal"]
        segment = max((name for name in journal.names if name.endswith(".seg")), default="")
        inode = journal.names.get(segment)
        if inode is not None and (inode.dirty or inode.lost or journal.synced.get(segment) is not inode):
            raise Broken(f"JRNL-2: durable moved before {segment} was synced")

    def committed(self, sink: str, ends: Mapping[str, Position]) -> None:
        """A database is about to make rows and cursors visible."""
        self.look()
        for name, end in ends.items():
            if name not in self.forgotten and end.seq > self.streams[name].durable:
                raise Broken(f"JRNL-2: {sink} has {name} up to {end.seq}, durable is {self.streams[name].durable}")

    def removing(self, name: str, inode: Inode) -> None:
        """A segment goes: because every sink is past it, or because there is no room for another one."""
        number = segment_number(name)
        if number is None:
            return
        files = self._disk.directories["journal"].names
        used = sum(len(each.live) for file, each in files.items() if file.endswith((".seg", ".spare")))
        if used + self._segment_bytes > self._quota_bytes:
            return
        lasts = {batch.stream: batch.last for batch in walk(inode.live, number).batches}
        for sink in self._sinks:
            cursor = self.cursor_of(sink)
            for stream, last in lasts.items():
                if cursor.get(stream, START) < last:
                    raise Broken(f"JRNL-3: {name} goes, {sink} has not taken {stream} {last.seq} of it")

    # -------- looked at

    def check_rows(self, sink: str, stored: Stored) -> None:
        """Every row is the record of its sequence."""
        for name in NUMBERED:
            numbers = self.streams[name].numbers if name in self.streams else []
            for seq, (_, number) in stored.rows.get(name, {}).items():
                if seq > len(numbers) or numbers[seq - 1] != number:
                    raise Broken(f"SINK-1: {sink} has number {number} at {name} {seq}, which was another record")

    def check_whole(self, sink: str, stored: Stored, begun: Mapping[str, int], *, stopped: bool) -> None:
        """At the end: all that was durable is there, or known to be missing. `begun`: where the cursor file first had
        each stream."""
        self.check_rows(sink, stored)
        for name, stream in self.watched():
            if (
                stopped and name not in NUMBERED
            ):  # what the journal wrote when the writers had ended comes at the next start
                continue
            rows, quarantined = stored.rows.get(name, {}), stored.quarantined.get(name, set())
            if twice := rows.keys() & quarantined:
                raise Broken(f"SINK-4: {sink} has {name} {min(twice)} as a row and in quarantine")
            self._check_told(sink, name, stored)
            # As for the audit: a database need not have what the journal let go of before it had begun.
            first = max(min(rows, default=stream.durable + 1), begun.get(name, 0)) if name in self.dropped else 1
            for seq in range(first, stream.durable + 1):
                if seq not in rows and seq not in quarantined and not stored.explains(name, seq):
                    raise Broken(f"JRNL-3: {sink} lacks {name} {seq} of {stream.durable}, and no gap says so")
            if beyond := [seq for seq in rows if seq > stream.durable]:
                raise Broken(f"JRNL-2: {sink} has {name} {max(beyond)}, durable is {stream.durable}")

    def _check_told(self, sink: str, name: str, stored: Stored) -> None:
        """GAP-1 the other way round: what a writer has told as missing is, and is told once."""
        # QuestDB may have what it was sent in the second before a kill, with the cursor before that; its imitation
        # looks at what the cursor had seen.
        has, end = stored.has(name) if sink == "timescale" else set(), 0
        received_ns = self.streams[name].received_ns if name in NUMBERED else []
        for first, last, from_ns, to_ns in sorted(stored.met.get(name, {}).values()):
            if first <= end:
                raise Broken(f"SINK-2: {sink} tells twice that it lacks {name} {first}")
            if received_ns and not from_ns <= received_ns[first - 1] <= received_ns[last - 1] <= to_ns:
                raise Broken(f"GAP-1: {sink} lacks {name} {first} to {last} for longer than it tells")
            if there := [seq for seq in range(first, last + 1) if seq in has]:
                raise Broken(f"GAP-1: {sink} tells that it lacks {name} {there[0]}, which it has")
            end = last

    def cursor_of(self, sink: str) -> dict[str, Position]:
        """What the cursor file says, also when its writer does not live."""
        inode = self._disk.directories["cursors"].names.get(f"{sink}.cursor")
        if inode is None:
            return {}
        version = inode.number, inode.version
        known, cursor = self._cursors.get(sink, ((0, 0), {}))
        if known != version:
            cursor = newest(inode.live)[1]
            self._cursors[sink] = (version, cursor)
        return cursor

    def check_cursor(self, sink: str, taken: Mapping[str, int], checked: dict[str, int]) -> None:
        """SINK-1, SINK-2: a cursor file is never ahead of what the sink keeps. `checked`: how far that was seen."""
        for name, position in self.cursor_of(sink).items():
            if position.seq > max(taken.get(name, 0), checked.get(name, 0)) and name not in self.dropped:
                raise Broken(f"SINK-2: the cursor of {sink} is at {name} {position.seq}, it has {taken.get(name, 0)}")
            checked[name] = max(position.seq, checked.get(name, 0))

    @property
    def drained(self) -> bool:
        """Whether all that was published is durable."""
        return all(
            stream.ring is not None and stream.ring.durable == stream.ring.head - 1 for stream in self.streams.values()
        )

    def behind(self, cursor: Mapping[str, Position]) -> list[str]:
        """Streams that a sink has not taken to the end."""
        return [
            name for name, stream in self.watched() if stream.durable and cursor.get(name, START).seq < stream.durable
        ]
