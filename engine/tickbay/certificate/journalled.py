"""Evidence from the journal itself: what was made durable, whatever became of the databases. It holds only as much of
the past as `journal.retain_hours` and the sinks leave in it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tickbay.audit.checksum import checksums
from tickbay.certificate.database import TICKS, Version, listings_of
from tickbay.certificate.evidence import FOREVER_NS, Evidence, GapRecord, Heartbeat, Period, folded
from tickbay.cursor import START
from tickbay.files import Files
from tickbay.gap import Gap
from tickbay.journal.journal_reader import JournalReader
from tickbay.legs import merger_of
from tickbay.record import FeedState, Kind, Records
from tickbay.sinks.columns import INSTRUMENT_WORDS
from tickbay.sinks.sink import Chunk

ROWS_MAX, BYTES_MAX = 100_000, 64 << 20  # read at once
TICK_KINDS = {table.kind for table in TICKS}


class Journalled:
    """The journal in `directory`; read while it is written, changed by nothing here."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._gaps: list[GapRecord] = []
        self._versions: list[Version] = []

    def evidence(self, period: Period, *, progress: Callable[[float], None] = lambda _: None) -> Evidence:
        """JournalFault and OSError where it cannot be read."""
        found = Evidence(period)
        reader = JournalReader(Files(), self._directory)
        try:
            reader.refresh()
            streams = sorted(reader.streams().items())
            for number, (stream, kind) in enumerate(streams):
                if merger_of(stream):
                    continue  # of one leg: what the two have together is in the pair's
                after = START
                while (part := reader.read(stream, after, None, rows_max=ROWS_MAX, bytes_max=BYTES_MAX)) is not None:
                    after = part.end
                    if isinstance(part, Chunk):
                        self._take(found, stream, kind, part)
                progress((number + 1) / len(streams))
        finally:
            reader.close()
        found.gaps = folded(gap for gap in self._gaps if gap.from_ns < period.end_ns)
        found.listings = listings_of(sorted(self._versions, key=lambda version: (version.instrument, version.recv_ns)))
        return found

    def counts(self, period: Period) -> Evidence:
        """See Database.counts()."""
        return self.evidence(period)

    def _take(self, found: Evidence, stream: str, kind: Kind, chunk: Chunk) -> None:
        records, period = chunk.records, found.period
        if kind is Kind.GAP:
            self._gaps += [_gap_record(stream, record) for record in records]
        elif kind is Kind.INSTRUMENT:
            self._versions += [_version(record) for record in records[records["recv_ns"] < period.end_ns]]
        elif kind is Kind.STATUS:
            feed = stream.rpartition(".")[0]
            found.heartbeats += [
                Heartbeat(
                    feed, int(record["recv_ns"]), chunk.epoch, record["state"] == FeedState.LIVE, int(record["frames"]),
                    int(record["clock_offset_ns"]) or None,
                )
                for record in records
            ]  # fmt: skip
        elif kind in TICK_KINDS:
            self._count(found, stream, kind, chunk)

    def _count(self, found: Evidence, stream: str, kind: Kind, chunk: Chunk) -> None:
        records, period = chunk.records, found.period
        within = (records["recv_ns"] >= period.begin_ns) & (records["recv_ns"] < period.end_ns)
        sequence = found.sequence(stream, chunk.epoch)
        before = records["seq"][records["recv_ns"] < period.begin_ns]
        if len(before):
            sequence.before = max(sequence.before, int(before[-1]))
        records = records[within]
        if not len(records):
            return
        for table in TICKS:
            ours = records[records["flags"] & table.mask == table.value] if table.kind is kind else records[:0]
            if len(ours):
                total = checksums(table, ours, stream, chunk.epoch)
                sequence.add_checksum(sum(total.tolist()))
        self._see(found, stream, kind.name.lower(), records, sequence.add)

    def _see(
        self, found: Evidence, stream: str, kind: str, records: Records, add: Callable[[int, int, int, int], None]
    ) -> None:
        feed = stream.rpartition(".")[0]
        steps = records["recv_ns"] // found.period.step_ns
        for step in np.unique(steps).tolist():
            own = records[steps == step]
            add(step, len(own), int(own["seq"].min()), int(own["seq"].max()))
            names, counts = np.unique(own["instrument"], return_counts=True)
            for name, count in zip(names.tolist(), counts.tolist(), strict=True):
                found.seen[kind, name.decode()][feed].add(step)
                found.rows[kind, name.decode()] += count


def _gap_record(stream: str, record: np.void) -> GapRecord:
    gap = Gap.of_record(record)
    return GapRecord(
        stream=stream,
        feed=gap.feed or stream.rpartition(".")[0],
        instrument=gap.instrument,
        kind=gap.kind.name.lower() if gap.kind else "",
        cause=gap.cause.name.lower(),
        from_ns=gap.from_ns,
        to_ns=gap.to_ns or FOREVER_NS,
        expected=gap.expected,
        healed=gap.healed,
        first_missing=gap.first_missing,
        last_missing=gap.last_missing,
        count=gap.count,
        detail=gap.detail,
        recv_ns=int(record["recv_ns"]),
        seq=int(record["seq"]),
    )


def _version(record: np.void) -> Version:
    return Version(
        bytes(record["instrument"]).decode(),
        INSTRUMENT_WORDS[record["kind"]],
        bytes(record["price_index"]).decode(),
        int(record["creation_ns"]),
        int(record["expiration_ns"]),
        int(record["recv_ns"]),
        bool(record["is_active"]),
        bytes(record["state"]).decode(),
    )
