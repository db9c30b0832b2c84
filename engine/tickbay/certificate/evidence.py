"""What a store holds of a period, in one form for all stores. Times are nanoseconds since 1970, by our clock.

Evidence is plain data: the databases fill it by SQL, the journal from its records, a test by hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tickbay.certificate.spans import Span
from tickbay.record import TICKS

HOUR_NS = 3600 * 10**9
DAY_NS = 24 * HOUR_NS
FOREVER_NS = 1 << 62
LONG_NS = 2 * HOUR_NS
# What is looked at for silence: a minute; in a short period less.
STEP_NS, SHORT_STEP_NS = 60 * 10**9, 5 * 10**9
TICK_KINDS = tuple(kind.name.lower() for kind in TICKS)


@dataclass(frozen=True, slots=True)
class Period:
    """What is certified: from `begin_ns` until before `end_ns`, both on a step's border."""

    begin_ns: int
    end_ns: int

    @property
    def step_ns(self) -> int:
        return STEP_NS if self.end_ns - self.begin_ns >= LONG_NS else SHORT_STEP_NS

    @property
    def span(self) -> Span:
        return self.begin_ns, self.end_ns

    def hours(self) -> list[Span]:
        """Its hours, cut where it begins and ends."""
        first = self.begin_ns // HOUR_NS * HOUR_NS
        return [
            (max(begin, self.begin_ns), min(begin + HOUR_NS, self.end_ns))
            for begin in range(first, self.end_ns, HOUR_NS)
        ]


@dataclass(frozen=True, slots=True, order=True)
class Heartbeat:
    """One row of collector_status."""

    feed: str
    at_ns: int
    epoch: int
    live: bool
    frames: int  # since its process started
    clock_offset_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGap:
    """One hole that the ledger knows. Empty texts: all instruments, all kinds (`besides`: but this one, of which
    nothing is missing any more)."""

    feed: str
    instrument: str
    kind: str
    cause: str
    from_ns: int
    to_ns: int  # FOREVER_NS while it lasts
    expected: bool
    healed: bool
    first_missing: int
    last_missing: int
    count: int
    detail: str
    besides: str = ""

    def concerns(self, instrument: str, kind: str) -> bool:
        return self.instrument in ("", instrument) and self.kind in ("", kind) and self.besides != kind


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRecord(KnownGap):
    """A gap as one of its records tells it; recv_ns and seq order them."""

    stream: str
    recv_ns: int
    seq: int


@dataclass(frozen=True, slots=True)
class Listing:
    """An instrument's life: from its listing (0: not known) to its end (FOREVER_NS: none known)."""

    instrument: str
    kind: str
    index: str  # whose currency's trades come over one channel
    from_ns: int
    to_ns: int


@dataclass(slots=True)
class Sequence:
    """The rows of one stream and epoch within the period, by step: step → (rows, first, last)."""

    stream: str
    epoch: int
    before: int = 0  # the last sequence number before the period; 0: not known
    steps: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    checksum: int = 0  # the sum over all rows, below 2^64 (audit/checksum.py)
    quarantined: int = 0

    def add(self, step: int, rows: int, first: int, last: int) -> None:
        """Some of the rows of a step."""
        known, known_first, known_last = self.steps.get(step, (0, first, last))
        self.steps[step] = known + rows, min(first, known_first), max(last, known_last)

    def add_checksum(self, checksum: int) -> None:
        self.checksum = (self.checksum + checksum) % (1 << 64)

    @property
    def rows(self) -> int:
        return sum(rows for rows, _, _ in self.steps.values())


@dataclass(slots=True)
class Evidence:
    """All of it."""

    period: Period
    heartbeats: list[Heartbeat] = field(default_factory=list)
    gaps: list[KnownGap] = field(default_factory=list)
    listings: dict[str, Listing] = field(default_factory=dict)
    sequences: dict[tuple[str, int], Sequence] = field(default_factory=dict)
    # (kind, instrument) → feed → step numbers (recv_ns // step_ns) in which it has rows
    seen: dict[tuple[str, str], dict[str, set[int]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    rows: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))  # (kind, instrument) → rows

    def sequence(self, stream: str, epoch: int) -> Sequence:
        return self.sequences.setdefault((stream, epoch), Sequence(stream, epoch))


def folded(records: Iterable[GapRecord]) -> list[KnownGap]:
    """Each gap once, as told last: it is told when it opens, when it ends and when it is healed."""
    newest: dict[tuple[object, ...], GapRecord] = {}
    for record in sorted(
        records, key=lambda record: (record.healed, record.to_ns < FOREVER_NS, record.recv_ns, record.seq)
    ):
        newest[record.feed, record.instrument, record.cause, record.kind, record.from_ns, record.first_missing] = record
    gaps = [
        KnownGap(**{name: getattr(record, name) for name in KnownGap.__dataclass_fields__})
        for record in newest.values()
    ]
    healed = {(gap.feed, gap.instrument, gap.cause, gap.from_ns) for gap in gaps if gap.healed and gap.kind == "trade"}
    # Of a gap of all kinds only the trades can be healed, and a row of kind trade says so: the others still lack.
    told = [
        replace(gap, besides="trade")
        if not gap.kind and (gap.feed, gap.instrument, gap.cause, gap.from_ns) in healed
        else gap
        for gap in gaps
    ]
    return sorted(told, key=lambda gap: (gap.from_ns, gap.feed, gap.cause, gap.instrument, gap.kind, gap.first_missing))
