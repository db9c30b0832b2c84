"""What is on web.port: a page for a person, and what it shows as JSON (docs/api.md). It reads, and changes nothing.

In: a request that passed metrics/answer.py (GET and HEAD, known hosts). Out: values as `tickbay status` knows them, the
newest quotes and the known gaps. Whoever reaches the port may read all of it: there is no secret in it, and nobody is
told the addresses of databases.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson

from tickbay.config import Config
from tickbay.gap import Cause
from tickbay.health import read_reports
from tickbay.metrics.answer import Answer, BadQuery, Page, Request
from tickbay.metrics.usage import usage
from tickbay.status.snapshot import Status, collect
from tickbay.watch.folded_gaps import FoldedGap, FoldedGaps
from tickbay.watch.quoted import ORDERS, Quoted
from tickbay.watch.quotes import LastQuotes
from tickbay.web.page import page_answers

LIMIT, LIMIT_MAX = 100, 1000  # entries of one answer
TEXT_MAX = 64  # of a filter: an instrument's name has at most 48
OFFSET_MAX = 1_000_000
STATES = ("open", "missing", "announced", "healed")
HEADERS = {
    "Content-Type": "application/json",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


def web_pages(config: Config) -> dict[str, Page]:
    """By path. They are called one at a time (server.py), and the quotes rely on it."""
    quotes, folded = LastQuotes(config), FoldedGaps(config.run_dir)

    def health(request: Request) -> Answer:
        _only(request)
        return _json(health_value(collect(config)))

    def processes(request: Request) -> Answer:
        _only(request)
        return _json(processes_value(config))

    def instruments(request: Request) -> Answer:
        _only(request, "filter", "sort", "descending", "stale", "limit", "offset")
        quotes.refresh()
        return _json(instruments_value(Quoted(quotes.records), request))

    def gaps(request: Request) -> Answer:
        _only(request, "state", "cause", "instrument", "limit", "offset")
        folded.refresh()
        return _json(gaps_value(folded.newest(), request))

    found: dict[str, Page] = {
        "/api/health": health,
        "/api/processes": processes,
        "/api/instruments": instruments,
        "/api/gaps": gaps,
    }
    return {**page_answers(), **found}


def health_value(status: Status) -> dict[str, Any]:
    """`tickbay status --json` without its processes and streams, which have answers of their own."""
    kept = ("schema", "version", "time", "verdict", "reasons", "supervised", "clock", "stages", "legs", "totals")
    return {name: getattr(status, name) for name in kept}


def processes_value(config: Config) -> dict[str, Any]:
    status, reports = collect(config), read_reports(config.run_dir)
    found = []
    for process in status.processes:
        value = dataclasses.asdict(process)
        report = reports.get(process.name)
        used = usage(report.identity) if report is not None and process.pid is not None else None
        value["memory_bytes"] = used.memory_bytes if used else None
        value["cpu_s"] = used.cpu_s if used else None
        value["reconnects"] = report.counters.get("reconnects") if report is not None else None
        value["gauges"] = {name: report.gauges[name] for name in GAUGES if name in report.gauges} if report else {}
        found.append(value)
    return {"time": status.time, "processes": found, "streams": status.streams}


# What feeds and sinks tell beside the columns that all have; a name that a process does not tell is not there.
GAUGES = ("channels_asked", "channels_live", "silent_s", "clock_offset_ms")


def instruments_value(quoted: Quoted, request: Request) -> dict[str, Any]:
    limit, offset = _number(request, "limit", LIMIT, LIMIT_MAX), _number(request, "offset", 0, OFFSET_MAX)
    order = request.query.get("sort", "instrument")
    if order not in ORDERS:
        raise BadQuery(f"sort: one of {', '.join(ORDERS)}")
    wanted = quoted.chosen(
        text=_text(request, "filter"),
        stale=_flag(request, "stale"),
        order=order,
        descending=_flag(request, "descending"),
    )
    return {
        "time": _time(quoted.now_ns),
        "total": len(quoted.records),
        "stale": quoted.stale_count,
        "matching": len(wanted),
        "instruments": [quoted.value(int(row)) for row in wanted[offset : offset + limit]],
    }


def gaps_value(gaps: list[FoldedGap], request: Request) -> dict[str, Any]:
    limit, offset = _number(request, "limit", LIMIT, LIMIT_MAX), _number(request, "offset", 0, OFFSET_MAX)
    state, cause, name = (_text(request, key) for key in ("state", "cause", "instrument"))
    causes = [known.name.lower() for known in Cause]
    if state and state not in STATES:
        raise BadQuery(f"state: one of {', '.join(STATES)}")
    if cause and cause not in causes:
        raise BadQuery(f"cause: one of {', '.join(causes)}")
    wanted = [
        folded
        for folded in gaps
        if state in ("", folded.state)
        and cause in ("", folded.gap.cause.name.lower())
        and (not name or folded.gap.instrument in ("", name))
    ]
    counts = {known: sum(folded.state == known for folded in gaps) for known in STATES}
    shown = [gap_value(folded) for folded in wanted[offset : offset + limit]]
    return {"total": len(gaps), "states": counts, "matching": len(wanted), "gaps": shown}


def gap_value(folded: FoldedGap) -> dict[str, Any]:
    gap = folded.gap
    return {
        "state": folded.state,
        "cause": gap.cause.name.lower(),
        "feed": folded.feed,
        "kind": gap.kind.name.lower() if gap.kind else None,
        "instrument": gap.instrument or None,
        "from": _time(gap.from_ns) if gap.from_ns else None,
        "to": _time(gap.to_ns) if gap.to_ns else None,
        "seconds": folded.seconds,
        "first_missing": gap.first_missing or None,
        "last_missing": gap.last_missing or None,
        "count": gap.count or None,
        "expected": gap.expected,
        "healed": gap.healed,
        "detail": gap.detail,
    }


def _json(value: dict[str, Any]) -> Answer:
    return Answer(HTTPStatus.OK, orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), HEADERS)


def _time(at_ns: int) -> str:
    stamp = datetime.fromtimestamp(at_ns // 1_000_000 / 1000, UTC)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _only(request: Request, *known: str) -> None:
    for key in request.query:
        if key not in known:
            raise BadQuery(f"a field that does not exist; there is {', '.join(known) or 'none'}")


def _text(request: Request, key: str) -> str:
    value = request.query.get(key, "")
    if len(value) > TEXT_MAX:
        raise BadQuery(f"{key}: at most {TEXT_MAX} characters")
    return value


def _flag(request: Request, key: str) -> bool:
    value = request.query.get(key, "false")
    if value not in ("true", "false"):
        raise BadQuery(f"{key}: true or false")
    return value == "true"


def _number(request: Request, key: str, usual: int, most: int) -> int:
    value = request.query.get(key, str(usual))
    if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value) <= most):
        raise BadQuery(f"{key}: a whole number up to {most}")
    return int(value)
