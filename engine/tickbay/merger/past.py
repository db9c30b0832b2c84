"""What an earlier life of this merger left: its state file, and the pair's own streams.

In: `data/merger/<merger>.state`, the pair's rings and the journal. Out: a merge that knows what was published, the
legs' holes, and from where each leg's stream is to be read. Read once, when a merger starts, before it writes anything.
"""

from __future__ import annotations

from pathlib import Path

from tickbay._native import Merge, MergeBreak
from tickbay.config import Config
from tickbay.cursor import START, CursorFile, Position
from tickbay.events import Event
from tickbay.feed.producer import Producer
from tickbay.gap import Gap
from tickbay.journal.stream_reader import StreamReader
from tickbay.merger.checkpoint import Checkpoint, load
from tickbay.merger.cover import Cover
from tickbay.merger.leg_stream import LegStream
from tickbay.process import ProcessContext
from tickbay.record import Flag, Kind, Records, stream_name
from tickbay.ring import Ring

# Read back of the pair's own streams: what a leg may still bring a copy of. More than comes between two checkpoints.
WINDOW_ROWS = 1 << 17
GAPS_BACK = 4096
ROWS_MAX = 16_384


class Past:
    """What an earlier life left: state file, the pair's own streams."""

    def __init__(self, context: ProcessContext, pair: str, producer: Producer) -> None:
        config = context.config
        self.path = config.data_dir / "merger" / f"{context.name}.state"
        self.reader = StreamReader(config.run_dir, config.data_dir, files=context.files)
        self.merge = Merge()
        self._files = context.files
        checkpoint = load(self.path, self._files)
        if checkpoint is None and self._files.exists(self.path):
            context.events.emit(Event.MERGER_STATE_LOST, file=self.path.name)
        self.checkpoint = checkpoint or Checkpoint(read=self._cursor_of(config, context.name))
        self.merge.restore(self.checkpoint.chains)
        self.breaks: list[MergeBreak] = []  # between what was published: told, unless that life ended just before
        gaps: list[Gap] = []
        for kind, ring in producer.rings.items():
            for records in self._tail(stream_name(pair, kind), ring, GAPS_BACK if kind is Kind.GAP else WINDOW_ROWS):
                if kind is Kind.GAP:
                    gaps += map(Gap.of_record, records)
                elif kind is not Kind.STATUS:
                    self.breaks += self.merge.published(kind, records)
            context.health.beat()
        self.cover = Cover.of_state(dict(self.checkpoint.cover) or {"holes": [[], []]}, gaps)

    def _cursor_of(self, config: Config, name: str) -> dict[str, Position]:
        cursor = CursorFile(config.data_dir / "cursors" / f"{name}.cursor", self._files)
        cursor.close()
        return cursor.positions

    def _tail(self, stream: str, ring: Ring, rows: int) -> list[Records]:
        """What was published: since the checkpoint, and `rows` before it."""
        at = self.checkpoint.published.get(stream, Position(ring.epoch()[0], ring.head - 1))
        own = LegStream(self.reader, stream, ring, Position(at.epoch, max(0, at.seq - rows)))
        found: list[Records] = []
        while len(records := own.read(ROWS_MAX)):
            found.append(records)
        if found and ring.kind is Kind.BOOK:
            # The journal may have been torn within a message: that one comes again, whole.
            found[-1] = found[-1][: _end_of_messages(found[-1])]
        return [records for records in found if len(records)]

    def source(self, feed: str, rings: Path, kind: Kind) -> LegStream:
        """A stream of a leg, from where it needs to be read."""
        stream = stream_name(feed, kind)
        ring = Ring.attach(rings / f"{stream}.ring", kind)
        return LegStream(self.reader, stream, ring, self.checkpoint.read.get(stream, START))


def _end_of_messages(books: Records) -> int:
    for end in range(len(books), 0, -1):
        if books["flags"][end - 1] & Flag.LAST:
            return end
    return 0
