"""The streams as the healer reads them: which trades were captured, which gaps recorded, and what it wrote itself.

In: rings and journal, up to what is durable. Out: calls of the plan. `positions` is how far each stream was read. Run
by healer.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tickbay.cursor import START, Position
from tickbay.gap import Gap
from tickbay.healer.plan import Plan
from tickbay.healer.spans import Range
from tickbay.journal.stream_reader import StreamReader
from tickbay.legs import merger_of
from tickbay.record import Kind, Records, stream_name
from tickbay.sinks.sink import Hole

OWN = {kind: stream_name("healer", kind) for kind in (Kind.TRADE, Kind.GAP)}


class Intake:
    """`markets_of` says whose trades a feed brings."""

    def __init__(self, reader: StreamReader, plan: Plan, markets_of: Callable[[str], Sequence[str]]) -> None:
        self.positions: dict[str, Position] = {}
        self.holes = 0  # met: records that the journal deleted before they were read here
        self._reader = reader
        self._plan = plan
        self._markets_of = markets_of

    def restart(self, positions: Mapping[str, Position]) -> None:
        """Go on from there."""
        self.positions = dict(positions)

    def read_own(self, mono_ns: int) -> None:
        """HEAL-1: what an earlier life published comes first, whatever became of it otherwise."""
        for stream in OWN.values():
            self._take(stream, mono_ns)

    def read(self, mono_ns: int) -> None:
        """All that is new. Trades before gaps: a gap's trades are then known."""
        for wanted in (Kind.TRADE, Kind.GAP):
            for stream, kind in sorted(self._reader.streams().items()):
                if kind is wanted and _is_captured(stream):
                    self._take(stream, mono_ns)

    def mark_own(self) -> None:
        """What we published is known without being read."""
        for stream in OWN.values():
            while (part := self._reader.read(stream, self.positions.get(stream, START))) is not None:
                self.positions[stream] = part.end

    def unsettled(self) -> dict[str, set[int]]:
        """Trades that came so lately that they are not durable: instrument → numbers. They may yet be lost, so they are
        not known; but they may as well not, so they must not be published."""
        found: dict[str, set[int]] = {}
        for stream, kind in self._reader.streams().items():
            if kind is Kind.TRADE and _is_captured(stream):
                for record in self._reader.published(stream, self.positions.get(stream, START)):
                    found.setdefault(record["instrument"].decode(), set()).add(int(record["trade_seq"]))
        return found

    def _take(self, stream: str, mono_ns: int) -> None:
        while (part := self._reader.read(stream, self.positions.get(stream, START))) is not None:
            self.positions[stream] = part.end
            if isinstance(part, Hole):
                self.holes += 1
                self._plan.forget(part.to_ns)
            elif part.kind is Kind.TRADE:
                self._take_trades(part.records, mono_ns, own=stream in OWN.values())
            else:
                self._take_gaps(part.records, mono_ns, own=stream in OWN.values())

    def _take_trades(self, records: Records, mono_ns: int, *, own: bool) -> None:
        for instrument, ranges, mine in by_instrument(records):
            if own:
                self._plan.fetched(instrument, ranges, int(mine["exch_ns"].max()))
            else:
                times = mine["recv_ns"]
                self._plan.captured(
                    instrument, ranges, from_ns=int(times.min()), to_ns=int(times.max()), mono_ns=mono_ns
                )

    def _take_gaps(self, records: Records, mono_ns: int, *, own: bool) -> None:
        for record in records:
            gap = Gap.of_record(record)
            if not own:
                self._plan.gap(gap, self._markets_of, mono_ns)
            elif gap.to_ns == 0:
                self._plan.reopened(gap, int(record["recv_ns"]), mono_ns)
            else:
                self._plan.closed(gap)


def by_instrument(records: Records) -> Iterator[tuple[str, list[Range], Records]]:
    """Trades by instrument: their numbers as ranges, and the records."""
    order = np.argsort(records["instrument"], kind="stable")
    names, first = np.unique(records["instrument"][order], return_index=True)
    pieces = np.split(records[order], first[1:]) if len(records) else []
    for name, mine in zip(names.tolist(), pieces, strict=True):
        yield name.decode(), ranges_of(np.unique(mine["trade_seq"]).tolist()), mine


def ranges_of(numbers: Sequence[int]) -> list[Range]:
    """Ascending numbers as ranges."""
    ranges: list[Range] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def _is_captured(stream: str) -> bool:
    """Not our own; and of a pair what its two legs brought together, not what one of them lacks."""
    return stream not in OWN.values() and not merger_of(stream)
