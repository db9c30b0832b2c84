"""`tickbay gaps`: the known holes in what was captured, from the database's table data_gaps, newest first.

A hole that lasted was written when it was found and again when it ended (gap.py): here it is one line, with its end
if that is known.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson
from psycopg.rows import class_row

from tickbay import config as configuration
from tickbay.errors import ConfigError
from tickbay.gap import Cause
from tickbay.sinks.connection import connect, conninfo_of, translated
from tickbay.status.status import NOTHING, WIDTH, duration
from tickbay.tables import nearest

LIMIT = 50
QUERY = """
SELECT from_ts AS ts, to_ts, coalesce(feed, split_part(stream, '.', 1)) AS feed, cause, kind, instrument,
       first_missing, last_missing, count, expected, healed, detail
FROM gaps
WHERE (from_ts >= %(since)s OR from_ts IS NULL)
  AND (%(cause)s::text IS NULL OR cause = %(cause)s)
  AND (%(instrument)s::text IS NULL OR instrument = %(instrument)s OR instrument IS NULL)
  AND (NOT %(open)s OR to_ts IS NULL)
  AND (NOT %(unhealed)s OR NOT healed)
ORDER BY from_ts DESC NULLS LAST, feed, instrument
LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGap:
    """One hole; what is not known is null."""

    ts: datetime | None  # since when; null: nobody knows
    to_ts: datetime | None  # until when; null: it lasts, or its feed died within it
    feed: str  # whose hole it is
    cause: str | None
    kind: str | None  # of the records that are missing; null: all kinds
    instrument: str | None  # null: all of the feed's
    first_missing: int | None
    last_missing: int | None
    count: int | None
    expected: bool
    healed: bool
    detail: str | None


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--hours", type=float, default=24.0, help="how far back (default 24)")
    parser.add_argument("--limit", type=int, default=LIMIT, help=f"at most so many (default {LIMIT})")
    parser.add_argument("--cause", help=", ".join(cause.name.lower() for cause in Cause))
    parser.add_argument("--instrument", help="those that concern this one")
    parser.add_argument("--open", action="store_true", help="only those without an end")
    parser.add_argument("--unhealed", action="store_true", help="only those of which something is still missing")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    configuration.add_argument(parser)


def main(arguments: Namespace) -> int:
    """Print the holes; returns the exit status. SinkDown or SinkParked where the database does not answer."""
    causes = [cause.name.lower() for cause in Cause]
    if arguments.cause is not None and arguments.cause not in causes:
        raise ConfigError(f"no cause is called {arguments.cause!r}{nearest(arguments.cause, causes)}")
    if not 0 < arguments.hours < 1e6 or not 0 < arguments.limit < 1 << 31:
        raise ConfigError("--hours and --limit: expected more than 0, and less than a million hours")
    config = configuration.load(configuration.find(arguments.config, os.environ), os.environ)
    gaps = fetch(conninfo_of(config.timescale), arguments)
    if arguments.json:
        for gap in gaps:
            print(orjson.dumps(gap, option=orjson.OPT_UTC_Z).decode())
    else:
        print(render(gaps, hours=arguments.hours, limit=arguments.limit))
    return 0


def fetch(conninfo: str, arguments: Namespace) -> list[StoredGap]:
    since = datetime.now(UTC) - timedelta(hours=arguments.hours)
    wanted = {name: getattr(arguments, name) for name in ("cause", "instrument", "open", "unhealed", "limit")}
    with connect(conninfo, name="gaps") as connection, translated():
        cursor = connection.cursor(row_factory=class_row(StoredGap))
        return cursor.execute(QUERY, wanted | {"since": since}).fetchall()


def render(gaps: list[StoredGap], *, hours: float, limit: int) -> str:
    """A table at most WIDTH columns wide."""
    if not gaps:
        return f"no known gap in the last {hours:g} hours"
    lines = [_line("FROM (UTC)", "LASTED", "FEED", "CAUSE", "KIND", "MISSING", "INSTRUMENT", "DETAIL")]
    for gap in gaps:
        lasted = "open" if gap.to_ts is None else NOTHING
        if gap.to_ts is not None and gap.ts is not None:
            lasted = duration((gap.to_ts - gap.ts).total_seconds(), fine=True)
        cause = f"{gap.cause}{' *' if gap.expected else ''}{' healed' if gap.healed else ''}"
        when = "unknown" if gap.ts is None else gap.ts.astimezone(UTC).strftime("%m-%d %H:%M:%S.%f")[:-3]
        missing = f"{gap.count:,}" if gap.count else NOTHING
        line = _line(
            when, lasted, gap.feed, cause, gap.kind or "all", missing, gap.instrument or "all", gap.detail or ""
        )
        lines.append("".join(char if char.isprintable() else "\ufffd" for char in line)[:WIDTH].rstrip())
    if any(gap.expected for gap in gaps):
        lines.append("* announced by the venue")
    if len(gaps) == limit:
        lines.append(f"only the newest {limit} are shown: see --limit")
    return "\n".join(lines)


def _line(when: str, lasted: str, feed: str, cause: str, kind: str, missing: str, instrument: str, detail: str) -> str:
    return f"{when:<18} {lasted:>7}  {feed:<9} {cause:<14} {kind:<10} {missing:>8}  {instrument:<24} {detail}"
