"""What the audit across the stores found: as a table for a person, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tickbay.audit.across import Across, Found, Side
from tickbay.audit.checksum import MINUTE_NS
from tickbay.audit.store import Key, Tally

LINES_MAX = 40  # of the table; all are in the JSON
COUNT, SUM = 12, 8  # columns; digits of a checksum that a person compares
WIDTH = 26  # of a stream's name


def lines(across: Across, retain_hours: float) -> Iterator[str]:
    """The whole page."""
    extent = across.extent
    if not extent.records:
        yield "the journal holds no records: the databases are judged by their sequences alone"
        return
    yield (
        f"journal: {extent.records:,} records of {extent.streams} streams, {_at(extent.from_ns)} to {_at(extent.to_ns)}"
        f" UTC; older records are deleted (journal.retain_hours = {retain_hours:g})"
    )
    yield from _table(across)
    for side in across.sides:
        yield _verdict(side)


def _table(across: Across) -> Iterator[str]:
    """A line for each minute of a stream that differs somewhere."""
    keys = sorted({key for side in across.sides for key in side.differing})
    if not keys:
        return
    names = [side.store.name for side in across.sides]
    head = "".join(f"  {name:>{COUNT + SUM + 1}}" for name in ("journal", *names))
    yield f"\n{'STREAM':<{WIDTH}} {'MINUTE (UTC)':<16}{head.upper()}"
    for key in keys[:LINES_MAX]:
        cells = _cell(next((side.due[key] for side in across.sides if key in side.due), None))
        cells += "".join(_cell(side.stored.get(key)) for side in across.sides)
        yield f"{key.stream:<{WIDTH}} {_minute(key)}{cells}"
        for side in across.sides:
            if (found := side.found.get(key)) is not None:
                yield f"{'':<{WIDTH}} {side.store.name}: {_told(found)}"
    if len(keys) > LINES_MAX:
        yield f"… and {len(keys) - LINES_MAX:,} more minutes: --json has all"
    yield ""


def _cell(tally: Tally | None) -> str:
    count, total = (f"{tally.rows:,}", tally.checksum[:SUM]) if tally is not None else ("0", "-" * SUM)
    return f"  {count:>{COUNT}} {total}"


def _told(found: Found) -> str:
    parts = [f"{getattr(found, what):,} {what}" for what in ("lost", "twice", "different") if getattr(found, what)]
    samples = ", ".join(map(str, found.samples))
    return f"{', '.join(parts)}: seq {samples}{', …' if _count(found) > len(found.samples) else ''}"


def _count(found: Found) -> int:
    return found.lost + found.twice + found.different


def _verdict(side: Side) -> str:
    due = sum(tally.rows for tally in side.due.values())
    parts = [f"{side.total(what):,} {what}" for what in ("lost", "twice", "different")]
    more = [f"{side.behind:,} still to come"] if side.behind else []
    more += [f"{len(side.held.quarantined):,} in quarantine"] if side.held.quarantined else []
    more += [f"{side.healed:,} rows stored by this audit"] if side.healed else []
    minutes = len(side.due.keys() | side.stored.keys())
    end = f"DIFFERENT in {len(side.differing):,} of them" if side.differing else "OK"
    return f"{side.store.name}: {due:,} rows in {minutes:,} minutes of streams; {', '.join(parts + more)}: {end}"


def document(across: Across, retain_hours: float) -> dict[str, Any]:
    """All of it. Times are nanoseconds since 1970 and minutes their beginning; a checksum is 16 hexadecimal digits."""
    extent = across.extent
    return {
        "good": across.good and not across.absent,
        "journal": {
            "records": extent.records,
            "streams": extent.streams,
            "from_ns": extent.from_ns,
            "to_ns": extent.to_ns,
            "retain_hours": retain_hours,
        },
        "stores": {side.store.name: _side(side) for side in across.sides},
        "absent": across.absent,
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "rows": sum(tally.rows for tally in side.due.values()),
        "minutes": len(side.due.keys() | side.stored.keys()),
        "behind": side.behind,
        "quarantined": len(side.held.quarantined),
        "healed": side.healed,
        "differences": [_difference(side, key) for key in side.differing],
    }


def _difference(side: Side, key: Key) -> dict[str, Any]:
    found = side.found.get(key, Found())
    return {
        "stream": key.stream,
        "epoch": key.epoch,
        "minute_ns": key.minute * MINUTE_NS,
        "journal": _tally(side.due.get(key)),
        "stored": _tally(side.stored.get(key)),
        "lost": found.lost,
        "twice": found.twice,
        "different": found.different,
        "sequences": found.samples,
    }


def _tally(tally: Tally | None) -> dict[str, Any]:
    return {"rows": tally.rows, "checksum": tally.checksum} if tally is not None else {"rows": 0, "checksum": None}


def _at(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _minute(key: Key) -> str:
    return _at(key.minute * MINUTE_NS)[:16]
