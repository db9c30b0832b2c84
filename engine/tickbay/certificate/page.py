"""A certificate as a page for a person: one HTML file, without scripts and without anything from elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from typing import Any

from tickbay.certificate.certificate import BELOW, CERTIFIED, UNKNOWN, WHAT, Document

NOTHING = "-"
GAPS_MAX = 500  # in the page; the JSON has all
CLASSES = {CERTIFIED: "certified", BELOW: "below", UNKNOWN: "unknown"}
SENTENCES = {
    CERTIFIED: "Every hour of every instrument is above the target, and nothing is missing that no gap explains.",
    BELOW: "Something was not recorded, or is missing and no gap explains it.",
    UNKNOWN: "This store cannot answer what was asked.",
}
METHOD = """
<p><b>Due</b> is an instrument from its listing to its end, without the pauses that the venue announced. After a listing
the time to the first row, at most a minute, is not due.</p>
<p><b>Covered</b> is a moment of it if, for every kind of records that it has, on one of the feeds that carry it: the
feed beat within 15 s before and after it and was live before; no gap that was not healed lies there; no row is missing
in the sequence of its stream; and the step has a ticker (options, futures and perpetuals send one each second).</p>
<p><b>Proven</b> by the rows themselves: that no captured row is missing in this store (sequences), that tickers
came in every step, and what is stored (checksums). <b>Told</b> by the engine while it ran: heartbeats and gaps.
<b>Inferred</b>: which feed carried an instrument, from where its rows came; for trades of an instrument that had none,
from other instruments of its index. <b>Not known</b>: what the venue itself did not send.</p>
"""


def page(found: Document) -> str:
    """The whole file."""
    title = f"tickbay: what was recorded, {found['day']}"
    parts = [
        _head(found), _figures(found), _day(found), _unexplained(found), _gaps(found), _instruments(found),
        _ends(found), _feeds(found), _stores(found), f"<h2>How to read this</h2>{METHOD}", _foot(found),
    ]  # fmt: skip
    css = resources.files("tickbay.certificate").joinpath("page.css").read_text()
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>\n{css}</style></head>\n<body>\n'
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def percent_text(value: float | None) -> str:
    """Rounded down: 100 % is all of it."""
    if value is None:
        return NOTHING
    return "100 %" if value == 100 else f"{int(value * 1000) / 1000:.3f} %"


def _head(found: Document) -> str:
    verdict = found["verdict"]
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in found["reasons"])
    return (
        f"<h1>What was recorded, {escape(found['day'])}</h1>"
        f'<p class="dim">{_time(found["from"])} to {_time(found["to"])} UTC, from the store {escape(found["store"])}; '
        f"target: more than {found['target_percent']:g} % of each hour</p>"
        f'<div class="verdict {CLASSES[verdict]}">{escape(verdict.capitalize())}</div><p>{SENTENCES[verdict]}</p>'
        + (f"<ul>{reasons}</ul>" if reasons else "")
    )


def _figures(found: Document) -> str:
    summary = found["summary"]
    rows = sum(summary["rows"].values())
    figures = [
        (percent_text(summary["percent"]), "of what was due is covered"),
        (percent_text(summary["worst_hour_percent"]), "the worst hour of an instrument"),
        (f"{summary['instruments_whole']:,} of {summary['instruments']:,}", "instruments without any gap"),
        (f"{rows:,}", "rows: quotes, trades, book changes"),
        (
            f"{summary['gaps']:,}",
            f"gaps: {summary['gaps_healed']:,} healed, {summary['gaps_expected']:,} announced, "
            f"{summary['gaps_open']:,} open",
        ),
        (f"{summary['unexplained']:,}", "times in which something is missing that no gap explains"),
    ]  # fmt: skip
    return (
        '<div class="figures">'
        + "".join(f"<div><b>{a}</b><span>{escape(b)}</span></div>" for a, b in figures)
        + "</div>"
    )


def _day(found: Document) -> str:
    cells = "".join(
        f'<div class="{level(hour["percent"])}" title="{percent_text(hour["percent"])}">{hour["hour"]}<br>'
        f"{_short(hour['percent'])}</div>"
        for hour in found["hours"]
    )
    key = "".join(
        f'<span><i class="{name}"></i>{text}</span>'
        for name, text in (
            ("g", "all"),
            ("m", "above the target"),
            ("l", "below it"),
            ("z", "nothing"),
            ("o", "not due"),
        )
    )
    return (
        f'<h2>Hour by hour, all instruments</h2><div class="scroll"><div class="day">{cells}</div></div>'
        f'<p class="key">{key}</p>'
    )


def level(percent: float | None, target: float = 98.0) -> str:
    if percent is None:
        return "o"
    if percent == 100:
        return "g"
    if percent > target:
        return "m"
    return "l" if percent > 0 else "z"


def _short(percent: float | None) -> str:
    if percent is None:
        return NOTHING
    return "100" if percent == 100 else f"{int(percent * 10) / 10:.1f}"


def _unexplained(found: Document) -> str:
    rows = [
        (
            _time(hole["from"]), _lasted(hole["seconds"]), escape(WHAT[hole["what"]]), escape(hole["feed"] or ""),
            escape(hole["kind"] or "all"), escape(hole["instrument"] or "all"), _count(hole["rows"]),
        )
        for hole in found["unexplained"][:GAPS_MAX]
    ]  # fmt: skip
    if not rows:
        return ""
    heads = ("From (UTC)", "Lasted", "What", "Feed", "Kind", "Instrument", "#Rows")
    return "<h2>Missing, and explained by no gap</h2>" + _table(heads, rows) + _more(len(found["unexplained"]))


def _gaps(found: Document) -> str:
    rows = [
        (
            _time(gap["from"]), _lasted(gap["seconds"]), escape(gap["cause"]), _state(gap), escape(gap["feed"]),
            escape(_kinds(gap)), escape(gap["instrument"] or "all"), _count(gap["count"]),
            escape(gap["detail"]),
        )
        for gap in found["gaps"][:GAPS_MAX]
    ]  # fmt: skip
    if not rows:
        return "<h2>Gaps</h2><p>The ledger has none.</p>"
    heads = ("From (UTC)", "Lasted", "Cause", "State", "Feed", "Kind", "Instrument", "#Rows", "Detail")
    return "<h2>Gaps</h2>" + _table(heads, rows) + _more(len(found["gaps"]))


def _kinds(gap: Document) -> str:
    return gap["kind"] or (f"all but {gap['besides']}" if gap["besides"] else "all")


def _state(gap: Document) -> str:
    if gap["healed"]:
        return "healed"
    return ("announced" if gap["expected"] else "missing") + (", open" if gap["to"] is None else "")


def _instruments(found: Document) -> str:
    def key(item: Document) -> tuple[float, str]:
        return (100.0 if item["percent"] is None else item["percent"]), item["instrument"]

    rows = []
    for item in sorted(found["instruments"], key=key):
        bar = "".join(f'<i class="{level(percent, found["target_percent"])}"></i>' for percent in item["hours"])
        worst = min((percent for percent in item["hours"] if percent is not None), default=None)
        kinds = [
            percent_text(item["kinds"][kind]["percent"]) if kind in item["kinds"] else NOTHING
            for kind in found["summary"]["rows"]
        ]
        count = sum(kind["rows"] for kind in item["kinds"].values())
        life = _life(item, found)
        rows.append(
            (escape(item["instrument"]), percent_text(item["percent"]), percent_text(worst), *kinds, f"{count:,}",
             f'<span class="bar">{bar}</span>', escape(life))
        )  # fmt: skip
    told = [f"#{kind.capitalize()}" for kind in found["summary"]["rows"]]
    heads = ("Instrument", "#Covered", "#Worst hour", *told, "#Rows", "Hours", "Began, ended")
    return f"<h2>{len(rows):,} instruments, the worst first</h2>" + (_table(heads, rows) if rows else "<p>None.</p>")


def _life(item: Document, found: Document) -> str:
    begun = f"listed {_clock(item['listed'])}" if (item["listed"] or "") > found["from"] else ""
    ended = f"ended {_clock(item['ends'])}" if item["ends"] and item["ends"] < found["to"] else ""
    return ", ".join(filter(None, (begun, ended)))


def _ends(found: Document) -> str:
    if not found["ends"]:
        return ""
    rows = [
        (_time(gap["from"]), escape(gap["instrument"] or ""), "expected" if gap["expected"] else "not expected")
        for gap in found["ends"]
    ]
    table = _table(("When (UTC)", "Instrument", "End"), rows)
    return f"<h2>Ends</h2><details><summary>{len(rows):,} instruments ended</summary>{table}</details>"


def _feeds(found: Document) -> str:
    rows = [
        (
            escape(feed["feed"]), percent_text(feed["percent"]), f"{feed['heartbeats']:,}",
            NOTHING if feed["clock_offset_ms"] is None else f"{feed['clock_offset_ms']:+,.1f} ms",
        )
        for feed in found["feeds"]
    ]  # fmt: skip
    heads = ("Feed", "#Capturing, proven", "#Heartbeats", "#Venue's clock less ours")
    return "<h2>Feeds</h2>" + (_table(heads, rows) if rows else "<p>No heartbeat.</p>")


def _stores(found: Document) -> str:
    rows = []
    for store, sequences in found["stores"].items():
        if isinstance(sequences, str):
            rows.append((escape(store), escape(sequences), "", "", "", "", ""))
            continue
        rows += [
            (escape(store), escape(row["stream"]), str(row["epoch"]), f"{row['rows']:,}", f"{row['first']:,}",
             f"{row['last']:,}", f"<code>{row['checksum']}</code>")
            for row in sequences
        ]  # fmt: skip
    heads = ("Store", "Stream", "#Epoch", "#Rows", "#First", "#Last", "Checksum of the rows")
    return "<h2>What is stored where</h2>" + _table(heads, rows)


def _foot(found: Document) -> str:
    return (
        f'<p class="dim">tickbay {escape(found["tickbay"])}; SHA-256 of the certificate '
        f"<code>{found['sha256']}</code></p>"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A head that begins with # is one of numbers. Cells are HTML already."""
    numbers = [head.startswith("#") for head in heads]
    head = "".join(f"<th{_of(number)}>{text.lstrip('#')}</th>" for text, number in zip(heads, numbers, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{_of(number)}>{cell}</td>" for cell, number in zip(row, numbers, strict=True)) + "</tr>\n"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _of(number: bool) -> str:
    return ' class="n"' if number else ""


def _more(count: int) -> str:
    return f"<p>{count - GAPS_MAX:,} more are in the JSON.</p>" if count > GAPS_MAX else ""


def _time(stamp: str) -> str:
    return escape(stamp.replace("T", " ").removesuffix("Z").removesuffix(".000"))


def _clock(stamp: Any) -> str:
    return str(stamp)[11:19]


def _lasted(seconds: float | None) -> str:
    return "lasts" if seconds is None else f"{seconds:,.1f} s"


def _count(value: int | None) -> str:
    return f"{value:,}" if value else ""
