"""The certificate as one value, ready for JSON: what was covered, every hole, and a verdict. Pure.

The same evidence gives the same certificate, byte for byte: it has no time of its making. `sha256` is over all else, as
JSON with sorted keys and no blanks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from tickbay import __version__
from tickbay.certificate.coverage import Coverage, InstrumentCoverage, share
from tickbay.certificate.evidence import FOREVER_NS, TICK_KINDS, Evidence, KnownGap, Period
from tickbay.certificate.spans import clipped, length
from tickbay.record import USUAL_TICKS

SCHEMA = 1  # grows when a field changes its meaning or goes
CERTIFIED, BELOW, UNKNOWN = "certified", "below target", "cannot tell"
EXIT = {CERTIFIED: 0, BELOW: 1, UNKNOWN: 2}
REASONS_MAX = 20
WHAT = {
    "silent": "no ticker for a whole step, though nothing says why",
    "missing_rows": "rows are missing in the sequence",
    "not_running": "the feed does not prove that it was capturing",
}

Document = dict[str, Any]


def document(
    evidence: Evidence,
    coverage: Coverage,
    *,
    title: str,
    store: str,
    target_percent: float,
    others: Mapping[str, Evidence | str],
    doubts: list[str],
) -> Document:
    """`others`: what other stores hold, or why they do not say; `doubts`: why nothing can be certified at all."""
    instruments = [_instrument(found, evidence.period) for found in coverage.instruments]
    gaps = [gap for gap in evidence.gaps if gap.to_ns > evidence.period.begin_ns]
    sinks = {store: _sequences(evidence)} | {name: _other(found) for name, found in others.items()}
    found: Document = {
        "schema": SCHEMA,
        "tickbay": __version__,
        "day": title,
        "from": stamp(evidence.period.begin_ns),
        "to": stamp(evidence.period.end_ns),
        "step_s": evidence.period.step_ns // 10**9,
        "store": store,
        "target_percent": target_percent,
        "summary": _summary(instruments, coverage, gaps),
        "hours": _hours(evidence.period, coverage),
        "instruments": instruments,
        "gaps": [_gap(gap) for gap in gaps if gap.cause != "expired"],
        "ends": [_gap(gap) for gap in gaps if gap.cause == "expired"],
        "unexplained": [
            {
                "what": hole.what, "feed": hole.feed or None, "instrument": hole.instrument or None,
                "kind": hole.kind or None, "from": stamp(hole.from_ns), "to": stamp(hole.to_ns),
                "seconds": round((hole.to_ns - hole.from_ns) / 1e9, 3), "rows": hole.rows or None,
            }
            for hole in coverage.unexplained
        ],
        "feeds": _feeds(evidence, coverage),
        "stores": sinks,
    }  # fmt: skip
    found["verdict"], found["reasons"] = _verdict(found, sinks, store, target_percent, doubts)
    found["sha256"] = checksum_of(found)
    return found


def checksum_of(found: Document) -> str:
    """Over everything but itself."""
    content = {name: value for name, value in found.items() if name != "sha256"}
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def stamp(ns: int) -> str:
    """RFC 3339, UTC, to the millisecond."""
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ns % 10**9 // 10**6:03d}Z"


def _verdict(
    found: Document, sinks: Mapping[str, Any], store: str, target_percent: float, doubts: list[str]
) -> tuple[str, list[str]]:
    """Certified: every hour of every instrument above the target, and every hole named."""
    if not found["instruments"]:
        doubts = [*doubts, f"nothing was recorded from {found['from']} to {found['to']}, as far as {store} knows"]
    if doubts:
        return UNKNOWN, doubts
    low = [
        (percent, item["instrument"], hour["hour"])
        for item in found["instruments"]
        for hour, percent in zip(found["hours"], item["hours"], strict=True)
        if percent is not None and percent <= target_percent and percent < 100
    ]
    low.sort()
    reasons = [f"{name}, {hour}: {percent:g} %" for percent, name, hour in low[:REASONS_MAX]]
    if len(low) > REASONS_MAX:
        reasons.append(f"and {len(low) - REASONS_MAX:,} more hours of instruments at {target_percent:g} % or below")
    counts: dict[str, int] = {}
    for hole in found["unexplained"]:
        counts[hole["what"]] = counts.get(hole["what"], 0) + 1
    reasons += [f"{count:,} times: {WHAT[what]}" for what, count in sorted(counts.items())]
    for name, told in sinks.items():
        reasons += _differences(name, told, store, sinks[store])
    return (BELOW, reasons) if reasons else (CERTIFIED, [])


def _differences(name: str, told: Any, store: str, own: Any) -> list[str]:
    if name in (store, "journal"):  # the journal lets go of what is old: what it still has is shown, not compared
        return []
    if isinstance(told, str):
        return [f"{name}: {told}"]
    theirs = {(row["stream"], row["epoch"]): (row["rows"], row["checksum"]) for row in told}
    ours = {(row["stream"], row["epoch"]): (row["rows"], row["checksum"]) for row in own}
    different = sorted(key for key in {*theirs, *ours} if theirs.get(key) != ours.get(key))
    return [f"{name} and {store} differ in {stream} (epoch {epoch})" for stream, epoch in different]


def _summary(instruments: list[Document], coverage: Coverage, gaps: list[KnownGap]) -> Document:
    due = sum(length(found.due) for found in coverage.instruments)
    covered = sum(length(found.covered) for found in coverage.instruments)
    real = [gap for gap in gaps if gap.cause != "expired"]
    causes: dict[str, int] = {}
    for gap in real:
        causes[gap.cause] = causes.get(gap.cause, 0) + 1
    return {
        "percent": covered * 1_000_000 // due / 10_000 if due else None,
        "instruments": len(instruments),
        "instruments_whole": sum(item["percent"] == 100 for item in instruments),
        "instrument_hours_due": round(due / 3600e9, 3),
        "worst_hour_percent": min(
            (hour for item in instruments for hour in item["hours"] if hour is not None), default=None
        ),
        "rows": {
            kind: sum(item["kinds"][kind]["rows"] for item in instruments if kind in item["kinds"])
            for kind in TICK_KINDS
            if kind in USUAL_TICKS or any(kind in item["kinds"] for item in instruments)
        },
        "gaps": len(real),
        "gaps_open": sum(not gap.healed and gap.to_ns == FOREVER_NS for gap in real),
        "gaps_healed": sum(gap.healed for gap in real),
        "gaps_expected": sum(gap.expected for gap in real),
        "gaps_by_cause": dict(sorted(causes.items())),
        "ends": sum(gap.cause == "expired" for gap in gaps),
        "unexplained": len(coverage.unexplained),
    }


def _hours(period: Period, coverage: Coverage) -> list[Document]:
    hours = []
    for begin, end in period.hours():
        due = sum(length(clipped(found.due, begin, end)) for found in coverage.instruments)
        covered = sum(length(clipped(found.covered, begin, end)) for found in coverage.instruments)
        percent = covered * 1_000_000 // due / 10_000 if due else None
        hours.append({"hour": stamp(begin)[11:16], "from": stamp(begin), "to": stamp(end), "percent": percent})
    return hours


def _instrument(found: InstrumentCoverage, period: Period) -> Document:
    covered, listing = found.covered, found.listing
    return {
        "instrument": found.instrument,
        "kind": listing.kind if listing else None,
        "listed": stamp(listing.from_ns) if listing and listing.from_ns else None,
        "ends": stamp(listing.to_ns) if listing and listing.to_ns < FOREVER_NS else None,
        "percent": share(covered, found.due, period.span),
        "due_s": round(length(found.due) / 1e9, 3),
        "covered_s": round(length(covered) / 1e9, 3),
        "hours": [share(covered, found.due, hour) for hour in period.hours()],
        "kinds": {
            kind: {"percent": share(own.covered, found.due, period.span), "rows": own.rows, "feeds": own.feeds}
            for kind, own in found.kinds.items()
        },
    }


def _gap(gap: KnownGap) -> Document:
    lasts = gap.to_ns == FOREVER_NS
    return {
        "feed": gap.feed,
        "instrument": gap.instrument or None,
        "kind": gap.kind or None,
        "besides": gap.besides or None,
        "cause": gap.cause,
        "from": stamp(gap.from_ns),
        "to": None if lasts else stamp(gap.to_ns),
        "seconds": None if lasts else round((gap.to_ns - gap.from_ns) / 1e9, 3),
        "expected": gap.expected,
        "healed": gap.healed,
        "count": gap.count or None,
        "detail": gap.detail,
    }


def _feeds(evidence: Evidence, coverage: Coverage) -> list[Document]:
    found = []
    for feed, alive in coverage.alive.items():
        beats = [beat for beat in evidence.heartbeats if beat.feed == feed]
        within = [beat for beat in beats if evidence.period.begin_ns <= beat.at_ns < evidence.period.end_ns]
        offsets = sorted(beat.clock_offset_ns for beat in within if beat.clock_offset_ns is not None)
        found.append(
            {
                "feed": feed,
                "percent": share(alive, [evidence.period.span], evidence.period.span),
                "heartbeats": len(within),
                "clock_offset_ms": round(offsets[len(offsets) // 2] / 1e6, 3) if offsets else None,
            }
        )
    return found


def _sequences(evidence: Evidence) -> list[Document]:
    return [
        {
            "stream": sequence.stream,
            "epoch": sequence.epoch,
            "rows": sequence.rows,
            "first": min(first for _, first, _ in sequence.steps.values()),
            "last": max(last for _, _, last in sequence.steps.values()),
            "quarantined": sequence.quarantined,
            "checksum": f"{sequence.checksum:016x}",
        }
        for _, sequence in sorted(evidence.sequences.items())
        if sequence.steps
    ]


def _other(found: Evidence | str) -> Any:
    return found if isinstance(found, str) else _sequences(found)
