"""CHECKER: compares each book's best prices with its ticker's, and has a book that stays different sent anew. One
process, far from the way of a tick: it reads what is durable, like a sink, and once a second the newest tickers.

In: streams `<feed>.book` and `<feed>.quote` of every feed (of a pair, of each leg). Out: the operation `disagreement`
over the feed's control socket: the feed records the gap, gives the book back and takes it again, which brings a
snapshot.

Books are known from a snapshot on. A new life of this process finds the snapshots that the rings still hold, and goes
on from the books that the last life saved (memory.py).

CHECK-1: what disagrees is told until the feed has taken it, and never recorded here: only the feed knows when the book
is whole again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from tickbay import memory
from tickbay.checker.check import Check, Disagreement
from tickbay.checker.comparison import Comparison
from tickbay.control import ask
from tickbay.cursor import Position
from tickbay.errors import ControlDown
from tickbay.events import Event
from tickbay.journal.stream_reader import StreamReader
from tickbay.process import ProcessContext
from tickbay.record import Kind, Records, stream_name
from tickbay.sinks.sink import Hole

TURN_S = 1.0  # an option's ticker speaks about once a second
BEAT_S = 0.25
SAVE_S = 60.0  # how much of the journal a restart reads again, at most
ASK_TIMEOUT_S = 1.0
ROWS_MAX = 1_000_000  # of one stream read in one turn, a tenth of a second: in a flood of ticks we beat, and come after
READ_ROWS = 4096  # at once: 2 MB
NICENESS = 10  # whoever captures, journals and stores goes first
TOLD_MAX = 16  # disagreements told in one turn: where many books differ at once, they are not all taken away at once
NS_PER_S = 1_000_000_000


def run(context: ProcessContext) -> None:
    """Until told to stop."""
    os.nice(NICENESS)
    reader = StreamReader(context.config.run_dir, context.config.data_dir, files=context.files, clock=context.clock)
    checker = Checker(context, reader)
    checker.remember()
    turn_s, save_s = 0.0, context.clock.now_s() + SAVE_S
    while not context.stopping.wait(BEAT_S):
        now_s = context.clock.now_s()
        if now_s >= turn_s:
            turn_s = now_s + (TURN_S if checker.turn() else 0.0)
        if now_s >= save_s:
            save_s = now_s + SAVE_S
            checker.save()
        context.health.beat()
    checker.save()
    reader.close()


class Checker:
    def __init__(self, context: ProcessContext, reader: StreamReader) -> None:
        self._context = context
        self._health = context.health
        self._reader = reader
        self._path = memory.memory_path(context.config.data_dir, context.name)
        self._patience_ns = int(context.config.check.disagree_s * NS_PER_S)
        self._positions: dict[str, Position] = {}
        self._comparisons: dict[str, Comparison] = {}  # by feed
        self._health.counters |= {"compared": 0, "disagreements": 0}

    def turn(self) -> bool:
        """Look at the newest tickers once the books are folded beyond them. False: there is more to fold first."""
        self._reader.refresh()
        told, whole = 0, True
        for feed in self._feeds():
            comparison = self._comparison(feed)
            self._hear(feed, comparison)
            if not self._fold(feed, comparison):
                whole = False
                continue
            for instrument, check, found in comparison.judge():
                if told < TOLD_MAX:
                    told += 1
                    self._tell(feed, instrument, check, found)
        every = self._comparisons.values()
        self._health.counters["compared"] = sum(each.compared for each in every)
        self._health.gauges = {"books": sum(each.books for each in every), "differ": sum(each.differ for each in every)}
        self._health.state = "live"
        return whole

    def _comparison(self, feed: str) -> Comparison:
        return self._comparisons.setdefault(feed, Comparison(self._patience_ns))

    def _feeds(self) -> list[str]:
        names = {stream.rpartition(".")[0] for stream, kind in self._reader.streams().items() if kind is Kind.BOOK}
        return sorted(name for name in names if name.startswith("feed-"))

    def _tell(self, feed: str, instrument: str, check: Check, found: Disagreement) -> None:
        """CHECK-1."""
        request = {
            "op": "disagreement",
            "instrument": instrument,
            "since_ns": found.since_ns,
            "seen_ns": found.seen_ns,
            "detail": found.detail,
        }
        try:
            reply = ask(self._context.config.run_dir / "sockets" / f"{feed}.sock", request, ASK_TIMEOUT_S)
        except ControlDown:
            return  # the feed is being replaced, and its books with it
        if reply["ok"]:
            check.begin_again()
            self._health.counters["disagreements"] += 1
            self._context.events.emit(Event.BOOK_DISAGREES, feed=feed, instrument=instrument, detail=found.detail)

    # ---------------------------------------------------------------- reading

    def _hear(self, feed: str, comparison: Comparison) -> None:
        for quotes in self._read(stream_name(feed, Kind.QUOTE)):
            if quotes is not None:
                comparison.hear(quotes)

    def _fold(self, feed: str, comparison: Comparison) -> bool:
        """Whether all is folded that there is."""
        rows = 0
        for changes in self._read(stream_name(feed, Kind.BOOK)):
            if changes is None:
                comparison.forget()
                continue
            comparison.fold(changes)
            rows += len(changes)
            if rows >= ROWS_MAX:
                return False
        return True

    def _read(self, stream: str) -> Iterator[Records | None]:
        """All that is new; None for what the journal let go of before it was read."""
        if stream not in self._positions:
            begin = self._reader.oldest_in_ring(stream)
            if begin is None:
                return
            self._positions[stream] = begin
        while (part := self._reader.read(stream, self._positions[stream], rows_max=READ_ROWS)) is not None:
            self._positions[stream] = part.end
            yield None if isinstance(part, Hole) else part.records

    # ---------------------------------------------------------------- a life later

    def remember(self) -> None:
        """The books of the last life. OSError: the disk."""
        known = memory.load(self._context.files, self._path)
        if known is None:
            return
        self._positions, said = known
        for feed, books in said.items():
            self._comparison(feed).remember(books)

    def save(self) -> None:
        for comparison in self._comparisons.values():
            comparison.forget_silent()
        said = {feed: comparison.said() for feed, comparison in self._comparisons.items()}
        try:
            memory.save(self._context.files, self._path, self._positions, said)
        except OSError as error:
            self._context.events.emit(Event.CHECK_UNSAVED, error=error)
