"""The journal in the form of columns.py: its records as they lie on the disk, compared with the ledger like a database.

In: a journal. Out: arrays, all of what it held when it was first asked. It has no list of columns but record.h's, whose
words are spelled here once more (see __init__.py). OSError: the disk; JournalFault: records of another version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from tickbay.audit.columns import COLUMNS, HEALED, INDEX, KINDS, QUOTE, STORED_DTYPES, TRADE, Rows, one_nan
from tickbay.audit.database import GapRow, Seam, Sequence
from tickbay.audit.journalled import Journalled
from tickbay.cursor import START, Position
from tickbay.gap import Gap
from tickbay.journal.journal_reader import JournalReader
from tickbay.legs import merger_of
from tickbay.record import Flag, Kind, Records
from tickbay.sinks.sink import Chunk

PIECE_ROWS = 20_000  # at once: some 20 MB
NO_WORD = b"?"  # of a number that the enumeration does not have: it equals nothing that was sent
WORDS = {
    "direction": (b"", b"buy", b"sell"),
    "liquidation": (b"", b"maker", b"taker", b"both"),
    "side": (b"", b"bid", b"ask"),
    "action": (b"", b"new", b"change", b"delete"),
    "measure": (b"", b"price", b"volatility", b"delivery"),
}
DELIVERY = 3
FLAGS = {"message_end": Flag.LAST, "snapshot": Flag.SNAPSHOT}
Run = tuple[int, int]  # first and last sequence


@dataclass(slots=True)
class Survey:
    """What one reading of the whole journal tells."""

    runs: dict[tuple[str, int], list[Run]] = field(default_factory=dict)  # (stream, epoch) → without a hole each
    ends: dict[str, Position] = field(default_factory=dict)
    begun: dict[tuple[str, int], Position] = field(default_factory=dict)  # (stream, conn) → its first record
    healed: set[str] = field(default_factory=set)  # streams that have what was fetched afterwards
    gaps: list[GapRow] = field(default_factory=list)


class JournalDatabase:
    """See Database."""

    def __init__(self, reader: JournalReader) -> None:
        self._journal = Journalled(reader)
        self._kinds = {
            stream: kind.name.lower() for stream, kind in self._journal.streams().items() if not merger_of(stream)
        }
        began = self._journal.began().values()
        self._seam = Seam(min(began, default=0), max(began, default=0))
        self._survey = self._surveyed()

    def _surveyed(self) -> Survey:
        survey = Survey()
        for stream, kind in self._kinds.items():
            if kind not in KINDS and kind != Kind.GAP.name.lower():
                continue
            for chunk in self._journal.parts(stream, rows=PIECE_ROWS):
                survey.ends[stream] = chunk.end
                if kind in KINDS:
                    _add_ticks(survey, chunk)
                else:
                    survey.gaps += [_gap_row(stream, Gap.of_record(record)) for record in chunk.records]
        return survey

    def seam(self) -> Seam:
        return self._seam

    def streams(self) -> list[Sequence]:
        found = []
        for (stream, epoch), runs in sorted(self._survey.runs.items()):
            rows = sum(last - first + 1 for first, last in runs)
            found.append(Sequence(stream, epoch, rows, rows, runs[0][0], runs[-1][1]))
        return found

    def holes(self, sequence: Sequence) -> list[tuple[int, int]]:
        runs = self._survey.runs[sequence.stream, sequence.epoch]
        return [(before[1] + 1, after[0] - 1) for before, after in pairwise(runs)]

    def quarantined(self) -> dict[str, set[tuple[int, int]]]:
        """None: what a database refuses, the journal has."""
        return {}

    def first_rows(self, kind: str, count: int) -> dict[tuple[str, int], set[tuple[str, bytes, int]]]:
        found: dict[tuple[str, int], set[tuple[str, bytes, int]]] = {}
        for (stream, conn), (epoch, first) in self._survey.begun.items():
            if self._kinds[stream] != kind:
                continue
            chunk = self._journal.again(stream, epoch, first, first + count - 1)
            records = _captured(kind, chunk.records) if chunk is not None else np.empty(0, STORED_DTYPES[kind])
            records = records[records["conn"] == conn]
            marks = found.setdefault((stream.rpartition(".")[0], conn), set())
            marks.update((kind, name, at_ns) for name, at_ns in records[["instrument", "exch_ns"]].tolist())
        return found

    def stored_rows(self, stream: str, kind: str) -> Iterator[Rows]:
        for chunk in self._chunks(stream):
            yield stored_form(kind, chunk.epoch, _captured(kind, chunk.records))

    def healed_rows(self, kind: str) -> Iterator[Rows]:
        for stream in sorted(self._survey.healed):
            if self._kinds[stream] == kind:
                for chunk in self._chunks(stream):
                    fetched = (chunk.records["flags"] & Flag.HEALED) != 0
                    yield stored_form(kind, chunk.epoch, chunk.records[fetched])

    def captured_too(self) -> list[tuple[str, int]]:
        fetched = {(row["instrument"], int(row["trade_seq"])) for rows in self.healed_rows(TRADE) for row in rows}
        if not fetched:
            return []
        numbers = [number for _, number in fetched]
        found = set()
        for stream in (stream for stream, kind in self._kinds.items() if kind == TRADE):
            for rows in self.stored_rows(stream, TRADE):
                near = rows[np.isin(rows["trade_seq"], numbers)]
                found |= fetched & {(row["instrument"], int(row["trade_seq"])) for row in near}
        return sorted((instrument.decode(), number) for instrument, number in found)

    def gaps(self) -> list[GapRow]:
        return self._survey.gaps

    def _chunks(self, stream: str) -> Iterator[Chunk]:
        """What there was of it when it was surveyed."""
        return self._journal.parts(stream, self._survey.ends.get(stream, START), rows=PIECE_ROWS)


def _add_ticks(survey: Survey, chunk: Chunk) -> None:
    sequences = chunk.records["seq"].astype(np.int64)
    runs = survey.runs.setdefault((chunk.stream, chunk.epoch), [])
    for part in np.split(sequences, np.flatnonzero(np.diff(sequences) != 1) + 1):
        first, last = int(part[0]), int(part[-1])
        if runs and runs[-1][1] + 1 == first:
            first = runs.pop()[0]
        runs.append((first, last))
    for conn, place in zip(*np.unique(chunk.records["conn"], return_index=True), strict=True):
        survey.begun.setdefault((chunk.stream, int(conn)), Position(chunk.epoch, int(sequences[place])))
    if (chunk.records["flags"] & Flag.HEALED).any():
        survey.healed.add(chunk.stream)


def _captured(kind: str, records: Records) -> Records:
    """Without what was fetched afterwards."""
    return records[(records["flags"] & Flag.HEALED) == 0] if kind in HEALED else records


def _gap_row(stream: str, gap: Gap) -> GapRow:
    kind = gap.kind.name.lower() if gap.kind else ""
    ends = gap.from_ns, gap.to_ns, gap.first_missing, gap.last_missing
    return GapRow(stream, kind, gap.instrument, gap.cause.name.lower(), *ends)


def stored_form(kind: str, epoch: int, records: Records) -> Rows:
    """Records of one kind and epoch as STORED_DTYPES."""
    result = np.zeros(len(records), STORED_DTYPES[kind])
    result["epoch"] = epoch
    for name in ("seq", "conn", "recv_ns"):
        result[name] = records[name]
    if kind in (QUOTE, TRADE):
        result["option"] = (records["flags"] & Flag.OPTION) != 0
    for name in COLUMNS[kind]:
        if name in FLAGS:
            result[name] = (records["flags"] & FLAGS[name]) != 0
        elif name in WORDS:
            words = np.array([*WORDS[name], NO_WORD])
            result[name] = words[np.minimum(records[name], len(words) - 1)]
        else:
            result[name] = records[name]
    if kind == INDEX:  # see columns.INSTEAD
        result["exch_ns"] -= np.where(records["measure"] == DELIVERY, records["recv_ns"], 0)
    return one_nan(result)
