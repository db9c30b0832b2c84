"""How far each stream is, by its ring, and how far each sink is behind it: read without disturbing anyone, so also
when no process lives. For the supervisor's stop and for status.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tickbay.cursor import START, Position
from tickbay.errors import RingFault
from tickbay.health import read_report
from tickbay.legs import merger_of
from tickbay.record import Kind, parse_stream
from tickbay.ring import Lapped, Ring

ATTEMPTS = 3  # to read a record that is just being overwritten


@dataclass(frozen=True, slots=True)
class RingPosition:
    """Sequences of one ring at one moment. Records up to `last` were published, up to `durable` are on disk."""

    stream: str
    kind: Kind
    last: int
    durable: int
    capacity: int  # slots
    epoch: int

    @property
    def undurable(self) -> int:
        """Records that the journal has not synced yet."""
        return max(self.last - self.durable, 0)

    @property
    def fill(self) -> float:
        """How full the ring is as its producer sees it: 1 means that it must wait for the journal."""
        return self.undurable / self.capacity


@dataclass(frozen=True, slots=True)
class SinkLag:
    """What a sink has not committed of what was published."""

    rows: int
    # Since our clock received the oldest such record; the least that it can be where the ring no longer has that
    # record.
    seconds: float


def ring_positions(run_dir: Path) -> dict[str, RingPosition]:
    """Of every ring in `run_dir`, by stream. A file that is no whole ring is left out: the journal reports that one."""
    found = {}
    for stream, ring in open_rings(run_dir):
        with closing(ring):
            durable = ring.durable  # before head, so that a busy ring never looks emptier than it is
            found[stream] = RingPosition(stream, ring.kind, ring.head - 1, durable, ring.capacity, ring.epoch()[0])
    return found


def sink_lag(run_dir: Path, cursor: Mapping[str, Position], now_ns: int) -> SinkLag:
    """How far the sink with this cursor is behind the rings of `run_dir`, and behind what the journal has said of
    streams that have none any more: how old that is nobody tells here."""
    report = read_report(run_dir, "journal")
    ends = {stream: told["durable"] for stream, told in (report.streams if report is not None else {}).items()}
    rows, oldest_ns = 0, now_ns
    for stream, ring in open_rings(run_dir):
        with closing(ring):
            ends.pop(stream, None)
            if merger_of(stream):
                continue
            committed, last = cursor.get(stream, START).seq, ring.head - 1
            if last <= committed:
                continue
            rows += last - committed
            oldest_ns = min(oldest_ns, _received_ns(ring, committed + 1, now_ns))
    rows += sum(max(0, last - cursor.get(stream, START).seq) for stream, last in ends.items() if not merger_of(stream))
    return SinkLag(rows, (now_ns - oldest_ns) / 1e9)


def _received_ns(ring: Ring, seq: int, now_ns: int) -> int:
    """When the record `seq` came, or the oldest after it that the ring still has."""
    for _ in range(ATTEMPTS):
        try:
            records = ring.read(max(seq, ring.oldest), most=1)
        except Lapped:
            continue  # a full ring under load: its oldest went while we looked
        return int(records["recv_ns"][0]) if len(records) else now_ns
    return now_ns


def open_rings(run_dir: Path, wanted: Kind | None = None) -> Iterator[tuple[str, Ring]]:
    """Every ring in `run_dir`, or those of a kind, by stream; who takes one closes it."""
    for path in sorted((run_dir / "rings").glob("*.ring")):
        try:
            _, kind = parse_stream(path.stem)
            if wanted in (None, kind):
                yield path.stem, Ring.attach(path, kind)
        except (ValueError, RingFault):
            continue
