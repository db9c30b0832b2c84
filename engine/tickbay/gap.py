"""A gap: one known hole in what was captured, as a value and as a record.

A hole that lasts is written twice: when it is found, with `to_ns` 0, so that a crash cannot hide it, and when it
ends, with both ends. The two belong together by stream, cause, kind, instrument and from_ns. Where a feed died within
a hole, its next life writes the second record, when everything is captured again. What is over when it is found (a
frame that could not be decoded) is one record with both ends.

GAP-1: from_ns is never later than the true beginning and to_ns never earlier than the true end: a hole is never
understated.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from tickbay.record import Kind, Records, blank, set_text

DETAIL_BYTES_MAX = 64
SINCE_EVER_NS = 1  # it began nobody knows when; 0 would be a row without a time, which databases refuse


class Cause(IntEnum):
    """enum gap_cause of native/record.h, which says what each means."""

    DISCONNECT = 1
    STALE = 2
    SEQUENCE = 3
    REFUSED = 4
    UNDECODABLE = 5
    OVERFLOW = 6
    MAINTENANCE = 7
    RESTART = 8
    JOURNAL_TORN = 9
    JOURNAL_QUOTA = 10
    EXPIRED = 11
    REBALANCE = 12
    DISAGREEMENT = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    cause: Cause
    from_ns: int  # our clock
    to_ns: int = 0  # our clock; 0 while it lasts
    kind: Kind | None = None  # None: all kinds
    instrument: str = ""  # empty: all instruments of the feed
    first_missing: int = 0
    last_missing: int = 0
    count: int = 0
    expected: bool = False
    healed: bool = False  # count records were fetched afterwards, and nothing is missing any more
    feed: str = ""  # whose hole it is; empty: of the process that writes it
    detail: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What the two records of one hole have in common, within a stream."""
        return self.cause, self.kind, self.instrument, self.from_ns

    @classmethod
    def of_record(cls, record: np.void) -> Gap:
        return cls(
            cause=Cause(record["cause"]),
            from_ns=int(record["from_ns"]),
            to_ns=int(record["to_ns"]),
            kind=Kind(record["kind"]) if record["kind"] else None,
            instrument=bytes(record["instrument"]).decode(),
            first_missing=int(record["first_missing"]),
            last_missing=int(record["last_missing"]),
            count=int(record["count"]),
            expected=bool(record["expected"]),
            healed=bool(record["healed"]),
            feed=bytes(record["feed"]).decode("ascii", "replace"),
            detail=bytes(record["detail"]).decode("ascii", "replace"),
        )

    def record(self, *, recv_ns: int, conn: int, writer: str = "") -> Records:
        """An array of one record, ready for Ring.append(). `writer` is the process that writes it."""
        record = blank(Kind.GAP)
        record["exch_ns"] = record["from_ns"] = self.from_ns
        record["recv_ns"] = recv_ns
        record["conn"] = conn
        set_text(record, "instrument", self.instrument)
        record["to_ns"] = self.to_ns
        record["first_missing"] = self.first_missing
        record["last_missing"] = self.last_missing
        record["count"] = self.count
        record["cause"] = self.cause
        record["kind"] = self.kind or 0
        record["expected"], record["healed"] = self.expected, self.healed
        set_text(record, "feed", self.feed or writer)
        record["detail"] = self.detail.encode("ascii", "replace")[:DETAIL_BYTES_MAX]
        return record
