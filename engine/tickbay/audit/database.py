"""What the audit by the ledger asks of what it compares: a database, whichever it is, or the journal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from tickbay.audit.columns import Rows


class Sequence(NamedTuple):
    """One stream and epoch in the database, with what lies in quarantine."""

    stream: str
    epoch: int
    rows: int
    distinct: int
    first: int
    last: int


class GapRow(NamedTuple):
    """A row of data_gaps; NULL is empty, or 0."""

    stream: str
    kind: str
    instrument: str
    cause: str
    from_ns: int
    to_ns: int
    first_missing: int
    last_missing: int


class Seam(NamedTuple):
    """Where what was deleted ends and what is held begins, by recv_ns: before `from_ns` nothing is held, since `to_ns`
    all that was received, and of what lies between each stream from some moment on. Both 0: nothing was deleted."""

    from_ns: int
    to_ns: int


class Database(Protocol):
    """All answers are of one moment, or of a database that nobody writes to."""

    def seam(self) -> Seam:
        """What was deleted because it was old is not lost."""

    def streams(self) -> list[Sequence]:
        """Every stream of market data by epoch, with its quarantined rows counted as there."""

    def holes(self, sequence: Sequence) -> list[tuple[int, int]]:
        """Sequence numbers of a stream and epoch that are neither stored nor quarantined: (first, last) of each run."""

    def quarantined(self) -> dict[str, set[tuple[int, int]]]:
        """(epoch, seq) of the quarantined rows of each stream."""

    def first_rows(self, kind: str, count: int) -> dict[tuple[str, int], set[tuple[str, bytes, int]]]:
        """(kind, instrument, exch_ns) of the first rows of each (feed, connection epoch): what it can be recognised
        by."""

    def stored_rows(self, stream: str, kind: str) -> Iterator[Rows]:
        """Everything captured live (not healed later) of a stream, in order, in pieces (columns.STORED_DTYPES)."""

    def healed_rows(self, kind: str) -> Iterator[Rows]:
        """Everything fetched afterwards, of all streams, in pieces."""

    def captured_too(self) -> list[tuple[str, int]]:
        """(instrument, trade_seq) of healed trades of which there is a live row as well."""

    def gaps(self) -> list[GapRow]:
        """All rows of data_gaps by stream, epoch and seq."""
