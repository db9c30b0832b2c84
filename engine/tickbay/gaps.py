"""`tickbay gaps`: the known gaps in what was captured, newest first, from the table data_gaps of TimescaleDB, or of
QuestDB where that is the only sink.

A gap that lasted was written when it was found and again when it ended (gap.py): here it is one line, with its end
if that is known. Listed is what touched the last hours, however long ago it began: what lasts is always among it.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from psycopg.rows import class_row

from tickbay import config as configuration
from tickbay.errors import ConfigError
from tickbay.gap import Cause
from tickbay.sinks.connection import connect, conninfo_of, translated
from tickbay.sinks.questdb_server import QuestdbServer
from tickbay.status.status import NOTHING, WIDTH, duration
from tickbay.tables import nearest
from tickbay.terminal import printable

LIMIT = 50
QUERY = """
SELECT from_ts AS ts, to_ts, coalesce(feed, split_part(stream, '.', 1)) AS feed, cause, kind, instrument,
       first_missing, last_missing, count, expected, healed, detail
FROM gaps
WHERE (to_ts IS NULL OR to_ts >= %(since)s)
  AND (%(cause)s::text IS NULL OR cause = %(cause)s)
  AND (%(instrument)s::text IS NULL OR instrument = %(instrument)s OR instrument IS NULL)
  AND (NOT %(open)s OR to_ts IS NULL)
  AND (NOT %(unhealed)s OR NOT healed)
ORDER BY from_ts DESC NULLS LAST, feed, instrument
LIMIT %(limit)s
"""
# All that was told, in the order in which the later counts: QuestDB has no view that folds it. What was told long ago
# may last still, so nothing is left out before it is folded.
TOLD = """
SELECT from_ns, to_ns, feed, cause, kind, instrument, first_missing, last_missing, count, expected, healed, detail
FROM data_gaps
ORDER BY healed, to_ns IS NOT NULL, recv_ns, epoch, seq
"""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGap:
    """One gap; what is not known is null."""

    ts: datetime | None  # since when; null: nobody knows
    to_ts: datetime | None  # until when; null: it lasts, or its feed died within it
    feed: str  # whose gap it is
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
    parser.add_argument(
        "--hours", type=float, metavar="N", default=24.0, help="what touched the last N hours (default 24)"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", default=LIMIT, help=f"at most N, the newest (default {LIMIT})"
    )
    parser.add_argument("--cause", help="only those of this cause: " + ", ".join(cause.name.lower() for cause in Cause))
    parser.add_argument("--instrument", help="only those that concern this one")
    parser.add_argument("--open", action="store_true", help="only those without an end")
    parser.add_argument("--unhealed", action="store_true", help="only those of which something is still missing")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    configuration.add_argument(parser)


def main(arguments: Namespace) -> int:
    """Print the gaps; returns the exit status. SinkDown or SinkParked where the database does not answer."""
    causes = [cause.name.lower() for cause in Cause]
    if arguments.cause is not None and arguments.cause not in causes:
        raise ConfigError(f"no cause is called {arguments.cause!r}{nearest(arguments.cause, causes)}")
    if not 0 < arguments.hours < 1e6 or not 0 < arguments.limit < 1 << 31:
        raise ConfigError("--hours and --limit: expected more than 0, and less than a million hours")
    config = configuration.load(configuration.find(arguments.config, os.environ), os.environ)
    since = datetime.now(UTC) - timedelta(hours=arguments.hours)
    if config.questdb.enabled and not config.timescale.enabled:
        with closing(QuestdbServer(config.questdb)) as server:
            gaps = chosen(folded(server.query(TOLD)), since, arguments)
    else:
        gaps = fetch(conninfo_of(config.timescale), since, arguments)
    if arguments.json:
        for gap in gaps:
            print(orjson.dumps(gap, option=orjson.OPT_UTC_Z).decode())
    else:
        narrowed = arguments.cause or arguments.instrument or arguments.open or arguments.unhealed
        print(render(gaps, hours=arguments.hours, limit=arguments.limit, narrowed=bool(narrowed)))
    return 0


def fetch(conninfo: str, since: datetime, arguments: Namespace) -> list[StoredGap]:
    wanted = {name: getattr(arguments, name) for name in ("cause", "instrument", "open", "unhealed", "limit")}
    with connect(conninfo, name="gaps") as connection, translated():
        cursor = connection.cursor(row_factory=class_row(StoredGap))
        return cursor.execute(QUERY, wanted | {"since": since}).fetchall()


def folded(told: Iterable[list[Any]]) -> list[StoredGap]:
    """Rows of TOLD as the view gaps of the other database has them: each gap once, as it was told last."""
    newest: dict[tuple[Any, ...], StoredGap] = {}
    for from_ns, to_ns, feed, cause, kind, instrument, first, last, count, expected, healed, detail in told:
        newest[feed, instrument, cause, kind, from_ns, first] = StoredGap(
            ts=_time(from_ns), to_ts=_time(to_ns), feed=feed, cause=cause, kind=kind, instrument=instrument,
            first_missing=first, last_missing=last, count=count, expected=expected, healed=healed, detail=detail,
        )  # fmt: skip
    return list(newest.values())


def _time(ns: int | None) -> datetime | None:
    return None if ns is None else EPOCH + timedelta(microseconds=ns // 1000)


def chosen(gaps: list[StoredGap], since: datetime, arguments: Namespace) -> list[StoredGap]:
    """Those that were asked for, as QUERY has them."""
    wanted = [
        gap
        for gap in gaps
        if (gap.to_ts is None or gap.to_ts >= since)
        and arguments.cause in (None, gap.cause)
        and (arguments.instrument is None or gap.instrument in (None, arguments.instrument))
        and (not arguments.open or gap.to_ts is None)
        and (not arguments.unhealed or not gap.healed)
    ]
    wanted.sort(key=lambda gap: (gap.feed, gap.instrument is None, gap.instrument))
    wanted.sort(key=lambda gap: gap.ts or EPOCH, reverse=True)
    return wanted[: arguments.limit]


def render(gaps: list[StoredGap], *, hours: float, limit: int, narrowed: bool = False) -> str:
    """A table at most WIDTH columns wide; `narrowed`: not every gap was asked for."""
    if not gaps:
        which, span = "such" if narrowed else "known", "hour" if hours == 1 else f"{hours:g} hours"
        return f"no {which} gap touched the last {span}"
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
        lines.append(printable(line)[:WIDTH].rstrip())
    if any(gap.expected for gap in gaps):
        lines.append("* announced by the venue")
    if len(gaps) == limit:
        lines.append(f"only the newest {limit} are shown: see --limit")
    return "\n".join(lines)


def _line(when: str, lasted: str, feed: str, cause: str, kind: str, missing: str, instrument: str, detail: str) -> str:
    return f"{when:<18} {lasted:>7}  {feed:<9} {cause:<14} {kind:<10} {missing:>8}  {instrument:<24} {detail}"
