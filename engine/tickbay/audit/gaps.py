"""The holes that the database knows of: data_gaps, asked whether it covers what is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tickbay.audit.comparison import Lost
from tickbay.audit.database import Database

FOREVER_NS = 1 << 62
# Faults of the simulator that must leave a gap, and the causes that may name it; a cut connection has many ways to be
# noticed.
CUT = ("disconnect", "stale", "maintenance", "restart")
CAUSES = {
    "drop": ("sequence", *CUT),
    "malformed": ("undecodable",),
    "truncated": ("undecodable",),
    "kill": CUT,
    "close": CUT,
    "too_slow": CUT,
    "half_open": CUT,
    "oversized": (*CUT, "undecodable"),
}
CLOCK_SLACK_NS = 2_000_000_000  # between the simulator's note of a fault and the feed's of its consequence


@dataclass(frozen=True, slots=True)
class Gap:
    feed: str
    kind: str  # empty: all
    instrument: bytes  # empty: all
    cause: str
    from_ns: int
    to_ns: int
    first_missing: int
    last_missing: int


def recorded(database: Database) -> list[Gap]:
    """All gaps. One that is written when found and again when over is there twice: then the later row has both ends."""
    found: dict[tuple[object, ...], Gap] = {}
    for stream, kind, instrument, cause, from_ns, to_ns, first, last in database.gaps():
        gap = Gap(stream.rpartition(".")[0], kind, instrument.encode(), cause, from_ns, to_ns, first, last)
        part = first if cause.startswith("journal_") else 0  # these are over when found: each row is one of its own
        found[gap.feed, kind, instrument, cause, from_ns, part] = gap
    restarts = sorted((gap.to_ns, gap.feed) for gap in found.values() if gap.cause == "restart" and gap.to_ns)
    return [gap if gap.to_ns else replace(gap, to_ns=_end(gap, restarts)) for gap in found.values()]


def _end(gap: Gap, restarts: list[tuple[int, str]]) -> int:
    """A gap whose feed died within it ends where that feed's next restart does; else it lasts."""
    return next((to_ns for to_ns, feed in restarts if feed == gap.feed and to_ns > gap.from_ns), FOREVER_NS)


def covers(gaps: list[Gap], feed: str, kind: str, lost: Lost, life: tuple[int, int]) -> bool:
    """Whether every instrument of a lost run was known to be missing when it was lost: between the rows around it,
    or, where there are none, within the connection's `life` (from, to)."""
    begin = lost.before[2] or life[0] - CLOCK_SLACK_NS
    end = lost.after[2] or life[1] + CLOCK_SLACK_NS
    near = [
        gap
        for gap in gaps
        if gap.feed in (feed, "journal") and gap.kind in ("", kind) and gap.from_ns <= end and gap.to_ns >= begin
    ]
    return all(any(gap.instrument in (b"", name) for gap in near) for name in lost.instruments)


def covers_sequence(gaps: list[Gap], stream: str, first: int, last: int) -> bool:
    """Whether the journal said that it lost these of a stream, in one gap or in several together."""
    feed, _, kind = stream.rpartition(".")
    told = sorted(
        (gap.first_missing, gap.last_missing)
        for gap in gaps
        if gap.cause in ("journal_torn", "journal_quota") and gap.feed in (feed, "journal") and gap.kind in ("", kind)
    )
    for begin, end in told:
        if begin <= first <= end:
            first = end + 1
    return first > last


def names_fault(gaps: list[Gap], feed: str, action: str, instrument: bytes, at_ns: int) -> bool:
    """Whether a planted fault became a gap of the feed that it was planted on."""
    return any(
        gap.feed == feed
        and gap.cause in CAUSES[action]
        and gap.instrument in (b"", instrument)
        and gap.from_ns <= at_ns + CLOCK_SLACK_NS
        and gap.to_ns >= at_ns - CLOCK_SLACK_NS
        for gap in gaps
    )
