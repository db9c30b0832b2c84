"""`tickbay status`: what every process does, whether all is well, and how long a database could stay away.

In: `run/health/*.json`, pid files, the rings' headers, `data/cursors/*`. Out: a table for a person or, with --json,
the fields of Status below, which docs/api.md explains. It asks nobody, so it also works when the supervisor, or
everything, is dead; it says so.

Exit status: 0 healthy · 1 degraded: recording, but something needs attention · 2 down: nothing is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tickbay import __version__
from tickbay.config import Config
from tickbay.cursor import Position, read_cursor
from tickbay.files import Files
from tickbay.health import Report, read_reports
from tickbay.legs import merger_of, merger_of_leg
from tickbay.record import COUNTERS, parse_stream
from tickbay.status.pairs import LegStatus, legs_of
from tickbay.status.positions import RingPosition, SinkLag, ring_positions, sink_lag
from tickbay.status.times import ClockStatus, StageStatus, clock_of, stages_of
from tickbay.supervisor.child import process_names

FRESH_S = 2.0  # a report that is older, twice the longest pause between two, does not tell of now
IDLE = ("starting", "waiting", "failed", "stopped", "hung")  # states in which a feed or the journal records nothing
SCHEMA = 1  # of the JSON; grows when a field changes its meaning or goes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process. A figure that its role does not have is null."""

    name: str
    role: str  # supervisor, journal, universe, feed, merger, writer, healer, checker, metrics
    state: str  # live; starting, waiting, degraded, stopping; hung (no heartbeat), down (no such process)
    detail: str  # why, where it is not live
    pid: int | None
    uptime_s: float | None
    heartbeat_s: float | None  # age of its last heartbeat
    restarts: int | None  # since the engine was started
    frames_per_s: float | None  # over about the last ten seconds, as are all rates
    rows_per_s: float | None  # records published, journalled or stored
    ring_fill: float | None  # of its fullest ring, 0 to 1: what the journal has not synced
    lag_rows: int | None  # writer: not committed yet; others: not on disk yet
    lag_s: float | None  # writer: age of the oldest record that is not committed
    gaps: int | None  # found since it started
    last_error: str
    last_error_s: float | None  # age


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """One stream; positions are sequence numbers."""

    stream: str
    last: int  # published
    durable: int  # on disk
    fill: float  # of its ring, 0 to 1
    committed: Mapping[str, int]  # by sink


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """With pairs: of what their mergers made, each record and each hole once; frames came over both legs."""

    frames_per_s: float
    rows_per_s: float  # ticks published by the feeds, or by the mergers
    instruments: int | None
    gaps: int
    records: int  # published since the rings' streams began
    journal_bytes: int | None
    journal_free_bytes: int | None  # on its disk
    hold_hours: float | None  # of outage that the journal can still hold at the present rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What `tickbay status --json` prints."""

    schema: int = SCHEMA
    version: str = __version__
    time: str  # RFC 3339, UTC
    verdict: str  # healthy, degraded, down
    reasons: tuple[str, ...]  # why not healthy, the gravest first
    supervised: bool  # is there a supervisor that replaces what dies?
    processes: tuple[ProcessStatus, ...]
    streams: tuple[StreamStatus, ...]
    stages: tuple[StageStatus, ...]
    legs: tuple[LegStatus, ...]  # of pairs, with feeds.redundancy = 2
    clock: ClockStatus | None  # null: no venue has answered yet
    totals: Totals = field()


def collect(config: Config) -> Status:
    """Look at everything now."""
    now_ns = time.time_ns()
    reports = read_reports(config.run_dir)
    rings = ring_positions(config.run_dir)
    cursors = _cursors(config)
    supervisor = reports.get("supervisor")
    children = supervisor.children if supervisor is not None else {}
    wanted = ["supervisor", *process_names(config)]
    extra = [name for name, report in reports.items() if name not in wanted and report.identity.alive()]
    processes = tuple(
        _process(name, reports.get(name), children.get(name, {}), rings, config, now_ns, cursors)
        for name in [*wanted, *extra]
    )
    living = {name: report for name, report in reports.items() if report.identity.alive()}
    clock = clock_of(living)
    verdict, reasons = judge(processes, clock.complaint(config.venue.clock_off_ms) if clock else "")
    return Status(
        time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        verdict=verdict,
        reasons=reasons,
        supervised=processes[0].pid is not None,
        processes=processes,
        streams=tuple(
            StreamStatus(
                stream=stream,
                last=position.last,
                durable=position.durable,
                fill=round(position.fill, 4),
                committed={sink: cursor[stream].seq if stream in cursor else 0 for sink, cursor in cursors.items()},
            )
            for stream, position in rings.items()
        ),
        stages=stages_of(living),
        legs=legs_of(living),
        clock=clock,
        totals=_totals(processes, reports, rings),
    )


def _cursors(config: Config) -> dict[str, dict[str, Position]]:
    """Of each sink that has a cursor file."""
    files = Files()
    paths = sorted((config.data_dir / "cursors").glob("*.cursor"))
    return {path.stem: read_cursor(path, files) for path in paths}


def _process(
    name: str,
    report: Report | None,
    child: Mapping[str, object],
    rings: Mapping[str, RingPosition],
    config: Config,
    now_ns: int,
    cursors: Mapping[str, Mapping[str, Position]],
) -> ProcessStatus:
    role = name.partition("-")[0]
    alive = report is not None and report.identity.alive()
    rates = report.rates if report is not None and alive else {}
    source = name.replace("merger-", "pair-")
    own = [position for stream, position in rings.items() if role == "journal" or parse_stream(stream)[0] == source]
    fill = max((position.fill for position in own), default=None)
    lag_rows = sum(position.undurable for position in own) if own else None
    lag_s = None
    if role == "writer" and rings:
        lag = _writer_lag(report if alive else None, config, cursors.get(name.partition("-")[2], {}), now_ns)
        lag_rows, lag_s = lag.rows, round(lag.seconds, 3)
    return ProcessStatus(
        name=name,
        role=role,
        state=_state(report, alive, config),
        detail=report.detail if report is not None and alive else "",
        pid=report.identity.pid if report is not None and alive else None,
        uptime_s=round((now_ns - report.started_ns) / 1e9, 1) if report is not None and alive else None,
        heartbeat_s=round(report.age_s(), 2) if report is not None else None,
        restarts=_integer(child.get("restarts")),
        frames_per_s=round(rates["frames"], 1) if "frames" in rates else None,
        rows_per_s=_rows_per_s(role, rates),
        ring_fill=None if fill is None else round(fill, 4),
        lag_rows=lag_rows,
        lag_s=lag_s,
        gaps=report.counters.get("gaps") if report is not None else None,
        last_error=report.last_error if report is not None else "",
        last_error_s=round((now_ns - report.last_error_ns) / 1e9, 1) if report and report.last_error_ns else None,
    )


def _writer_lag(report: Report | None, config: Config, cursor: Mapping[str, Position], now_ns: int) -> SinkLag:
    """What the writer says, while it knows; else by its cursor file, which is up to a second behind. It knows nothing,
    and says 0, until the database has told it how far it is.
    """
    knows = report is not None and report.streams and {"lag_rows", "lag_s"} <= report.gauges.keys()
    if report is not None and knows and report.age_s() < FRESH_S:
        return SinkLag(int(report.gauges["lag_rows"]), report.gauges["lag_s"])
    return sink_lag(config.run_dir, cursor, now_ns)


def _state(report: Report | None, alive: bool, config: Config) -> str:
    if report is None or not alive:
        return "down"
    return "hung" if report.age_s() > config.supervisor.heartbeat_timeout_s else report.state


def _rows_per_s(role: str, rates: Mapping[str, float]) -> float | None:
    """Each role counts what it does under its own names."""
    names = {
        "feed": tuple(COUNTERS.values()),
        "journal": ("records",),
        "merger": ("records",),
        "writer": ("rows",),
        "universe": ("records",),
        "healer": ("rows",),
    }
    found = [rates[name] for name in names.get(role, ()) if name in rates]
    return round(sum(found), 1) if found else None


def _totals(
    processes: tuple[ProcessStatus, ...], reports: Mapping[str, Report], rings: Mapping[str, RingPosition]
) -> Totals:
    told = [process for process in processes if not merger_of_leg(process.name)]
    living = {process.name for process in processes if process.pid is not None}
    journal = reports["journal"].gauges if "journal" in living else {}
    universe = reports["universe"].gauges if "universe" in living else {}
    return Totals(
        frames_per_s=round(sum(process.frames_per_s or 0.0 for process in processes if process.role == "feed"), 1),
        rows_per_s=round(sum(process.rows_per_s or 0.0 for process in told if process.role in ("feed", "merger")), 1),
        instruments=_integer(universe.get("instruments")),
        gaps=sum(process.gaps or 0 for process in told),
        records=sum(position.last for stream, position in rings.items() if not merger_of(stream)),
        journal_bytes=_integer(journal.get("journal_bytes")),
        journal_free_bytes=_integer(journal.get("free_bytes")),
        hold_hours=journal.get("hold_hours"),
    )


def _integer(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def judge(processes: tuple[ProcessStatus, ...], complaint: str = "") -> tuple[str, tuple[str, ...]]:
    """(verdict, reasons), with the `complaint` among them. Recording is what feeds and journal do; where all feeds are
    idle, or the journal is, nothing is recorded."""
    down = [process for process in processes if process.pid is None]
    ill = [process for process in processes if process.pid is not None and process.state != "live"]
    living = {process.role for process in processes if process.pid is not None and process.state != "hung"}
    recording = {process.role for process in processes if process.pid is not None and process.state not in IDLE}
    reasons = []
    if not living:
        return "down", ("nothing runs: start it with tickbay up",)
    if "supervisor" not in living:
        reasons.append(
            "the supervisor does not run: nobody replaces what dies; start it with tickbay up, it takes over"
        )
    reasons += [f"{process.name} is down" for process in down if process.role != "supervisor"]
    reasons += [f"{process.name} is {process.state}{_because(process)}" for process in ill]
    if complaint:
        reasons.append(complaint)
    if not {"feed", "journal"} <= recording:
        return "down", tuple(reasons)
    return ("degraded" if reasons else "healthy"), tuple(reasons)


def _because(process: ProcessStatus) -> str:
    if process.state == "hung":
        return f": no heartbeat for {process.heartbeat_s:g} s"
    return f": {process.detail}" if process.detail else ""
