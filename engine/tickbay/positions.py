"""How far each stream is: what its ring's header says, read without disturbing anyone. For the supervisor's stop and
for status.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tickbay.errors import RingFault
from tickbay.record import Kind, parse_stream
from tickbay.ring import Ring


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


def ring_positions(run_dir: Path) -> dict[str, RingPosition]:
    """Of every ring in `run_dir`, by stream. A file that is no whole ring is left out: the journal reports that one."""
    found = {}
    for path in sorted((run_dir / "rings").glob("*.ring")):
        try:
            _, kind = parse_stream(path.stem)
            ring = Ring.attach(path, kind)
        except (ValueError, RingFault):
            continue
        try:
            durable = ring.durable  # before head, so that a busy ring never looks emptier than it is
            found[path.stem] = RingPosition(path.stem, kind, ring.head - 1, durable, ring.capacity, ring.epoch()[0])
        finally:
            ring.close()
    return found
