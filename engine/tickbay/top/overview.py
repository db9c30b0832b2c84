"""The first screen of `tickbay top`: is all well, and if not, where. Pure: a Status to lines of styled text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from tickbay.health import Report
from tickbay.status.snapshot import ProcessStatus, Status
from tickbay.status.status import NOTHING, duration
from tickbay.terminal import printable

STYLES = {"healthy": "bold black on green", "degraded": "bold black on yellow", "down": "bold white on red"}
STATES = {"live": "green", "down": "bold red", "hung": "bold red", "failed": "bold red"}
FEEDS_MAX = 12  # lines; all of them are under Processes


def verdict_line(status: Status) -> Text:
    """The top line, on every screen."""
    text = Text.assemble((f" {status.verdict.upper()} ", STYLES.get(status.verdict, "")), " ")
    if not status.reasons:
        return text.append(f"tickbay {status.version}  ").append(f"{status.time[:19].replace('T', ' ')} UTC", "dim")
    more = f" (and {len(status.reasons) - 1} more)" if len(status.reasons) > 1 else ""
    text.append(f"{status.time[11:19]} UTC", "dim")
    return text.append(f"  {printable(status.reasons[0])}{more}", "bold red" if status.verdict == "down" else "yellow")


def overview(status: Status, reports: dict[str, Report]) -> Text:
    lines: list[Text] = []
    for reason in status.reasons:
        lines.append(Text(f"! {printable(reason)}", "yellow" if status.verdict != "down" else "bold red"))
    if all(process.pid is None for process in status.processes):
        return Text("\n").join(lines)
    totals = status.totals
    lines += [
        Text.assemble(
            (f"{totals.frames_per_s:,.0f}", "bold"), " frames/s   ",
            (f"{totals.rows_per_s:,.0f}", "bold"), " rows/s   ",
            (_count(totals.instruments), "bold"), " instruments   ",
            (_count(totals.gaps), "bold"), " gaps",
        ),
        Text(),
    ]  # fmt: skip
    feeds = [process for process in status.processes if process.role == "feed"]
    lines += _table(
        ("FEED", "STATE", "FRAMES/S", "ROWS/S", "CHANNELS", "SILENT", "RECONNECTS", "RING", "GAPS"),
        [_feed(feed, reports.get(feed.name)) for feed in feeds[:FEEDS_MAX]],
    )
    if len(feeds) > FEEDS_MAX:
        lines.append(Text(f"and {len(feeds) - FEEDS_MAX} more: see Processes", "dim"))
    writers = [process for process in status.processes if process.role == "writer"]
    lines += [
        Text(),
        *_table(("SINK", "STATE", "ROWS/S", "LAG ROWS", "LAG", "P99 TO STORED"), [_sink(w, status) for w in writers]),
    ]
    lines += [Text(), *_journal(status)]
    if status.clock is not None:
        lines.append(Text.assemble(("clock    ", "dim"), status.clock.sentence()))
    return Text("\n").join(lines)


def _feed(feed: ProcessStatus, report: Report | None) -> Sequence[tuple[str, str]]:
    gauges = report.gauges if report is not None and feed.pid is not None else {}
    asked, live = gauges.get("channels_asked"), gauges.get("channels_live")
    reconnects = report.counters.get("reconnects") if report is not None else None
    return (
        (feed.name, ""),
        (feed.state, STATES.get(feed.state, "yellow")),
        (_count(feed.frames_per_s), ""),
        (_count(feed.rows_per_s), ""),
        (NOTHING if asked is None or live is None else f"{live:.0f}/{asked:.0f}", "" if live == asked else "yellow"),
        (duration(gauges.get("silent_s"), fine=True), ""),
        (_count(reconnects), "yellow" if reconnects else ""),
        (
            NOTHING if feed.ring_fill is None else f"{feed.ring_fill:.0%}",
            "yellow" if (feed.ring_fill or 0) > 0.5 else "",
        ),
        (_count(feed.gaps), "yellow" if feed.gaps else ""),
    )


def _sink(writer: ProcessStatus, status: Status) -> Sequence[tuple[str, str]]:
    sink = writer.name.partition("-")[2]
    stored = next((s.p99_ms for s in status.stages if s.stage == "receive_to_commit" and s.subject == sink), None)
    return (
        (sink, ""),
        (writer.state, STATES.get(writer.state, "yellow")),
        (_count(writer.rows_per_s), ""),
        (_count(writer.lag_rows), ""),
        (duration(writer.lag_s, fine=True), ""),
        (NOTHING if stored is None else f"{stored:,.0f} ms", ""),
    )


def _journal(status: Status) -> list[Text]:
    totals = status.totals
    if totals.journal_bytes is None:
        return [Text.assemble(("journal  ", "dim"), "does not run")]
    size = f"{totals.journal_bytes / 1e9:,.2f} GB"
    free = NOTHING if totals.journal_free_bytes is None else f"{totals.journal_free_bytes / 1e9:,.1f} GB"
    holds = "" if totals.hold_hours is None else f", holds {duration(totals.hold_hours * 3600)} of database outage"
    return [Text.assemble(("journal  ", "dim"), f"{size}, {free} free on its disk{holds}")]


def _table(heads: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]]) -> list[Text]:
    """The first two columns flush left, the others right; as wide as what is in them."""
    widths = [
        max(len(head), *(len(row[at][0]) for row in rows), 0) if rows else len(head) for at, head in enumerate(heads)
    ]
    lines = [
        Text(
            "  ".join(_fit(head, width, at) for at, (head, width) in enumerate(zip(heads, widths, strict=True))), "dim"
        )
    ]
    for row in rows:
        parts: list[tuple[str, str]] = []
        for at, ((text, style), width) in enumerate(zip(row, widths, strict=True)):
            parts += [(_fit(text, width, at), style), ("  ", "")]
        lines.append(Text.assemble(*parts))
    return lines


def _fit(text: str, width: int, at: int) -> str:
    return f"{text:<{width}}" if at < 2 else f"{text:>{width}}"


def _count(value: float | None) -> str:
    return NOTHING if value is None else f"{round(value):,}"
