"""`tickbay certificate`: its arguments, its page, its files; what it decides is in test_coverage.py."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest

from test_coverage import BEGIN, NAME, PERIOD, certificate, gap, recorded
from tickbay.certificate.certificate import Document
from tickbay.certificate.cli import period_of, summary, write
from tickbay.certificate.evidence import DAY_NS, FOREVER_NS, HOUR_NS, Listing, Period
from tickbay.certificate.page import page, percent_text
from tickbay.errors import ConfigError

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)


class Strict(HTMLParser):
    """Every tag that opens closes, in order; what is loaded from elsewhere is remembered."""

    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def eventful() -> Document:
    """One of everything."""
    evidence = recorded()
    evidence.listings[NAME] = Listing(NAME, "option", "eth_usd", BEGIN + 3600 * 10**9, BEGIN + DAY_NS // 2)
    evidence.gaps = [
        gap("disconnect", 7200, 7300, detail="<b>the venue & closed</b>"),
        gap("maintenance", 9000, 9100, expected=True),
        gap("sequence", 9200, 9201, kind="trade", healed=True, count=3, instrument=NAME),
        gap("expired", 43_200, 43_200, instrument=NAME, expected=True),
        gap("stale", 20_000, None, kind="book", instrument=NAME),
    ]
    evidence.seen["quote", NAME]["feed-1"] -= {PERIOD.begin_ns // PERIOD.step_ns + 500}
    return certificate(evidence, others={"questdb": "does not tell: <down>"})


def test_the_page_is_whole_html_that_loads_nothing_and_runs_nothing() -> None:
    parser = Strict()
    parser.feed(text := page(eventful()))
    assert parser.open == [] and parser.loaded == [] and not {"script", "link", "img", "iframe"} & parser.tags
    assert "url(" not in text and "@import" not in text and "http" not in text
    assert "prefers-color-scheme: dark" in text and "@media print" in text


def test_what_others_wrote_cannot_become_markup() -> None:
    text = page(eventful())
    assert "<b>the venue" not in text and "&lt;b&gt;the venue &amp; closed" in text and "&lt;down&gt;" in text


def test_the_page_says_all_that_the_certificate_says() -> None:
    text = page(found := eventful())
    for said in (found["sha256"], "Below target", "disconnect", "maintenance", "healed", "announced", "silent", NAME):
        assert said in text or said == "silent"
    assert "no ticker for a whole step" in text
    for hour in found["hours"]:
        assert f">{hour['hour']}<" in text
    assert "listed 01:00:00, ended 12:00:00" in text


def test_no_percentage_is_rounded_up_to_a_hundred() -> None:
    assert [percent_text(value) for value in (100.0, 99.9999, 0.0, None)] == ["100 %", "99.999 %", "0.000 %", "-"]


def test_both_files_are_written_whole_and_the_same_again(tmp_path: Path) -> None:
    path = write(tmp_path, found := eventful())
    first = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert sorted(first) == ["x.html", "x.json"] and orjson.loads(first["x.json"]) == found
    write(tmp_path, eventful())
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == first
    assert all(file.stat().st_mode & 0o077 == 0 for file in path.parent.iterdir())


def test_the_summary_ends_with_the_verdict() -> None:
    lines = summary(eventful(), Path("certificates") / "x.html").splitlines()
    assert lines[-1] == "certificate: x: BELOW TARGET"
    assert any("questdb: does not tell" in line for line in lines) and max(map(len, lines)) <= 120
    assert summary(certificate(recorded()), Path("x")).splitlines()[-1] == "certificate: x: CERTIFIED"


@pytest.mark.parametrize(
    ("day", "begin", "end", "title", "hours"),
    [
        ("2026-11-20", "", "", "2026-11-20", 24),
        ("yesterday", "", "", "2026-11-20", 24),
        ("today", "06:00", "", "2026-11-21.060000-000000", 18),
        ("today", "", "12:00:00", "2026-11-21.000000-120000", 12),
        ("today", "11:59:55", "12:00:05", "2026-11-21.115955-120005", 10 / 3600),
    ],
)
def test_a_day_or_a_part_of_it_is_meant(day: str, begin: str, end: str, title: str, hours: float) -> None:
    name, period = period_of(day, begin, end, now=NOW)
    assert name == title and (period.end_ns - period.begin_ns) / HOUR_NS == pytest.approx(hours)


@pytest.mark.parametrize(
    ("day", "begin", "end"),
    [("tomorrow", "", ""), ("2026-02-30", "", ""), ("today", "6h", ""), ("today", "12:00", "11:00"),
     ("today", "00:00:30", "23:00"), ("today", "12:00:01", "12:00:11")],
)  # fmt: skip
def test_what_is_no_period_is_refused_with_what_would_be_one(day: str, begin: str, end: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        period_of(day, begin, end, now=NOW)


def test_hours_are_cut_where_the_period_begins_and_ends() -> None:
    half_past = BEGIN + HOUR_NS // 2
    period = Period(half_past, half_past + 2 * HOUR_NS)
    assert [(end - begin) / HOUR_NS for begin, end in period.hours()] == [0.5, 1, 0.5]
    assert replace(period, end_ns=half_past + HOUR_NS).step_ns < period.step_ns
    assert FOREVER_NS > BEGIN and re.fullmatch(r"[0-9a-f]{64}", eventful()["sha256"])
