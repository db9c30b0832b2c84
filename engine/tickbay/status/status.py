"""`tickbay status`: a Status (snapshot.py) as a table for a person, at most WIDTH columns wide, or as JSON.

Exit status: 0 healthy · 1 degraded: recording, but something needs attention · 2 down: nothing is recorded.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import textwrap
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

import orjson

from tickbay import config as configuration
from tickbay.status.snapshot import ProcessStatus, Status, collect
from tickbay.status.times import STAGES, StageStatus
from tickbay.terminal import printable

EXIT = {"healthy": 0, "degraded": 1, "down": 2}
WATCH_S = 1.0

WIDTH = 120
GREEN, YELLOW, RED, DIM, BOLD, PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"
COLOURS = {"live": GREEN, "healthy": GREEN, "down": RED, "hung": RED, "failed": RED}  # all else: yellow
NOTHING = "-"
ERRORS_MAX = 5
REASON_LINES_MAX = 3

# heading, width, and the text of a process; negative widths are flush left
COLUMNS: tuple[tuple[str, int, Callable[[ProcessStatus], str]], ...] = (
    ("PROCESS", -17, lambda process: process.name),
    ("STATE", -9, lambda process: process.state),
    ("PID", 7, lambda process: _count(process.pid, separator="")),
    ("UP", 6, lambda process: duration(process.uptime_s)),
    ("RESTARTS", 8, lambda process: _count(process.restarts)),
    ("FRAMES/S", 9, lambda process: _count(process.frames_per_s)),
    ("ROWS/S", 9, lambda process: _count(process.rows_per_s)),
    ("RING", 5, lambda process: _share(process.ring_fill)),
    ("LAG ROWS", 11, lambda process: _count(process.lag_rows)),
    ("LAG", 6, lambda process: duration(process.lag_s, fine=True)),
    ("GAPS", 9, lambda process: _count(process.gaps)),
)


def render(status: Status, *, colours: bool) -> str:
    """The whole page, without a newline at its end."""

    def paint(text: str, colour: str) -> str:
        return f"{colour}{text}{PLAIN}" if colours else text

    verdict = paint(status.verdict.upper(), BOLD + COLOURS.get(status.verdict, YELLOW))
    lines = [f"tickbay {status.version}  {verdict}  {status.time[:19].replace('T', ' ')} UTC"]
    for reason in status.reasons:
        lines += [paint(line, COLOURS.get(status.verdict, YELLOW)) for line in _wrapped(f"  ! {reason}")]
    lines += ["", paint(" ".join(_cell(heading, width) for heading, width, _ in COLUMNS), DIM)]
    for process in status.processes:
        cells = [_cell(text(process), width) for _, width, text in COLUMNS]
        cells[1] = paint(cells[1], COLOURS.get(process.state, YELLOW))
        lines.append(" ".join(cells).rstrip())
    lines += [_totals(status), "", *_journal(status), *_times(status), *_legs(status)]
    lines += [paint(line, DIM) for line in _errors(status)]
    return "\n".join(lines)


def _totals(status: Status) -> str:
    totals = status.totals
    shown = {"PROCESS": "total", "FRAMES/S": _count(totals.frames_per_s), "ROWS/S": _count(totals.rows_per_s)}
    shown["GAPS"] = _count(totals.gaps)
    return " ".join(_cell(shown.get(heading, ""), width) for heading, width, _ in COLUMNS).rstrip()


def _journal(status: Status) -> list[str]:
    totals = status.totals
    instruments = f"{totals.instruments:,} instruments, " if totals.instruments is not None else ""
    lines = [f"{instruments}{totals.records:,} records published"]
    if totals.hold_hours is not None:
        size, free = _bytes(totals.journal_bytes), _bytes(totals.journal_free_bytes)
        holds = f"holds {_hours(totals.hold_hours)} of database outage at this rate"
        lines.append(f"journal {size}, {free} free on its disk: {holds}")
    return lines


def _times(status: Status) -> list[str]:
    """How long ticks take on their way, and what the clock is worth that says so."""
    lines = [f"clock: {status.clock.sentence()}"] if status.clock is not None else []
    slowest: dict[tuple[str, str], StageStatus] = {}  # of all feeds one line, of the sinks one each
    for stage in sorted(status.stages, key=lambda stage: stage.p99_ms or 0.0):
        if stage.p99_ms is not None:
            slowest[stage.stage, "" if stage.subject.startswith(("feed-", "pair-")) else stage.subject] = stage
    if slowest:
        lines += ["", f"{'last minute, in milliseconds':<44}{'P50':>10}{'P99':>12}{'RECORDS':>14}"]
    for (name, _), stage in sorted(slowest.items(), key=lambda item: STAGES.index(item[0][0])):
        shown = f"{name.replace('_to_', ' → ')}, {stage.subject}"
        lines.append(f"  {shown:<42}{stage.p50_ms:>10,.1f}{stage.p99_ms:>12,.1f}{stage.records:>14,}")
    return lines


def _legs(status: Status) -> list[str]:
    """The two feeds of each pair beside each other."""
    if not status.legs:
        return []
    lines = ["", f"{'legs':<17}{'RECORDS':>16}{'FIRST':>10}{'MISSED':>10}{'LATE P50':>12}{'P99, in ms':>12}"]
    for leg in status.legs:
        late = f"{leg.late_p50_ms:>12,.1f}{leg.late_p99_ms:>12,.1f}"
        lines.append(f"  {leg.feed:<15}{leg.records:>16,}{_share(leg.first_share):>10}{leg.missed:>10,}{late}")
    return lines


def _errors(status: Status) -> list[str]:
    """The newest last error of each process, the newest first."""
    failed = sorted(
        (process for process in status.processes if process.last_error_s is not None),
        key=lambda process: process.last_error_s or 0.0,
    )
    lines = [f"  {duration(process.last_error_s):>6} ago  {process.name}: {process.last_error}" for process in failed]
    return ["", "last errors", *(_cut(line) for line in lines[:ERRORS_MAX])] if lines else []


def _cell(text: str, width: int) -> str:
    return f"{text:<{-width}}" if width < 0 else f"{text:>{width}}"


def _wrapped(reason: str) -> list[str]:
    """In a few lines: what is at the end of a database's complaint is often what it complains of."""
    wrapper = textwrap.TextWrapper(WIDTH, subsequent_indent="    ", max_lines=REASON_LINES_MAX, placeholder=" …")
    return wrapper.wrap(printable(reason))


def _cut(line: str) -> str:
    line = printable(line)
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def _count(value: float | None, *, separator: str = ",") -> str:
    return NOTHING if value is None else f"{round(value):{separator}}"


def _share(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.0%}" if value == 0 or value >= 0.01 else "<1%"


def duration(seconds: float | None, *, fine: bool = False) -> str:
    """In at most six characters, up to 273 years. `fine` shows tenths of a second."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{int(seconds * 10) / 10}s" if fine else f"{int(seconds)}s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if minutes < 60:
        return f"{minutes}m{int(seconds) % 60:02d}s"
    if hours < 48:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{days}d{hours % 24:02d}h" if days < 100 else f"{days}d"


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 100 else f"{hours / 24:,.0f} days"


def _bytes(count: float | None) -> str:
    if count is None:
        return NOTHING
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object; docs/api.md explains its fields",
    )
    parser.add_argument("--watch", action="store_true", help=f"show it again every {WATCH_S:g} s until interrupted")
    configuration.add_argument(parser)


def main(arguments: Namespace) -> int:
    """Print the status; returns the exit status."""
    config = configuration.load(configuration.find(arguments.config, os.environ), os.environ)
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    while True:
        status = collect(config)
        if arguments.json:
            print(orjson.dumps(dataclasses.asdict(status)).decode(), flush=True)
        else:
            home = "\x1b[H\x1b[J" if arguments.watch and sys.stdout.isatty() else ""
            print(home + render(status, colours=colours), flush=True)
        if not arguments.watch:
            return EXIT[status.verdict]
        try:
            time.sleep(WATCH_S)
        except KeyboardInterrupt:  # how a person ends it
            return EXIT[status.verdict]
