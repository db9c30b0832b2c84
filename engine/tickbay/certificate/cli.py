"""`tickbay certificate DAY`: arguments in, two files and a summary out.

Exit status: 0 certified · 1 below the target, or something missing that no gap explains · 2 it cannot be judged yet.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from tickbay import config as configuration
from tickbay import memory
from tickbay.certificate.certificate import EXIT, Document, document, stamp
from tickbay.certificate.coverage import judge
from tickbay.certificate.database import opened
from tickbay.certificate.evidence import DAY_NS, LONG_NS, SHORT_STEP_NS, STEP_NS, Evidence, Period
from tickbay.certificate.journalled import Journalled
from tickbay.certificate.page import page, percent_text
from tickbay.config import SINKS, Config
from tickbay.cursor import read_cursor
from tickbay.errors import ConfigError, TickbayError
from tickbay.files import Files
from tickbay.identity import write_atomically
from tickbay.status.positions import sink_lag

STORES = (*SINKS, "journal")
TARGET_PERCENT = 98.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("day", metavar="DAY", help="2026-11-20, in UTC; or yesterday, or today")
    parser.add_argument("--from", dest="begin", metavar="TIME", default="", help="HH:MM or HH:MM:SS: only from then on")
    parser.add_argument("--to", dest="end", metavar="TIME", default="", help="HH:MM or HH:MM:SS: only before then")
    parser.add_argument("--store", choices=STORES, help="whose rows are judged (default: the first enabled database)")
    parser.add_argument(
        "--target", type=float, default=TARGET_PERCENT, metavar="PERCENT", help="of each hour (default 98)"
    )
    parser.add_argument("--json", action="store_true", help="print the certificate instead of a summary")
    parser.epilog = (
        "Writes data_dir/certificates/DAY.json and DAY.html. Exit status 0: certified; 1: below the target, or"
        " records are missing that no gap explains; 2: it cannot be judged yet."
    )
    configuration.add_argument(parser)


def main(arguments: Namespace) -> int:
    """Returns the exit status."""
    try:
        config = configuration.load(configuration.find(arguments.config, os.environ), os.environ)
        title, period = period_of(arguments.day, arguments.begin, arguments.end, now=datetime.now(UTC))
        if not 0 <= arguments.target < 100:
            raise ConfigError("--target: expected 0 to less than 100")
        store = arguments.store or (config.sinks or ("journal",))[0]
        found = certify(config, title, period, store=store, target_percent=arguments.target, progress=show)
    except (TickbayError, OSError) as error:
        print(f"tickbay certificate: {_reason(error)}", file=sys.stderr)
        return 2
    path = write(config.data_dir, found)
    print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() if arguments.json else summary(found, path))
    return EXIT[found["verdict"]]


def period_of(day: str, begin: str, end: str, *, now: datetime) -> tuple[str, Period]:
    """(what to call it, the period). ConfigError where they make none."""
    midnight = _day(day, now)
    begin_ns = int(midnight.timestamp()) * 10**9 + _time_ns(begin, 0)
    end_ns = int(midnight.timestamp()) * 10**9 + _time_ns(end, DAY_NS)
    step_ns = STEP_NS if end_ns - begin_ns >= LONG_NS else SHORT_STEP_NS
    if not begin_ns < end_ns or begin_ns % step_ns or end_ns % step_ns:
        raise ConfigError(f"--from and --to: expected a time and a later one, in whole steps of {step_ns // 10**9} s")
    title = f"{midnight:%Y-%m-%d}"
    if begin or end:
        title += f".{stamp(begin_ns)[11:19].replace(':', '')}-{stamp(end_ns)[11:19].replace(':', '')}"
    return title, Period(begin_ns, end_ns)


def _day(text: str, now: datetime) -> datetime:
    named = {"today": 0, "yesterday": 1}
    if text in named:
        return (now - timedelta(days=named[text])).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"{text!r} is no day: expected 2026-11-20, yesterday or today") from None


def _time_ns(text: str, default_ns: int) -> int:
    if not text:
        return default_ns
    for form in ("%H:%M:%S", "%H:%M"):
        try:
            found = datetime.strptime(text, form)
        except ValueError:
            continue
        return (found.hour * 3600 + found.minute * 60 + found.second) * 10**9
    raise ConfigError(f"{text!r} is no time: expected HH:MM or HH:MM:SS")


def certify(
    config: Config,
    title: str,
    period: Period,
    *,
    store: str,
    target_percent: float = TARGET_PERCENT,
    progress: Callable[[float], None] = lambda _: None,
) -> Document:
    """Make the certificate. SinkDown, SinkParked, JournalFault or OSError where the store does not answer."""
    doubts = _doubts(config, period, store)
    evidence = _evidence(config, period, store, progress)
    others: dict[str, Evidence | str] = {}
    for other in (*config.sinks, "journal"):
        if other != store:
            others[other] = _counts(config, period, other)
    return document(
        evidence,
        judge(evidence),
        title=title,
        store=store,
        target_percent=target_percent,
        others=others,
        doubts=doubts,
    )


def _evidence(config: Config, period: Period, store: str, progress: Callable[[float], None]) -> Evidence:
    if store == "journal":
        return Journalled(config.data_dir / "journal").evidence(period, progress=progress)
    with opened(store, config) as database:
        return database.evidence(period, progress=progress)


def _counts(config: Config, period: Period, store: str) -> Evidence | str:
    try:
        if store == "journal":
            return Journalled(config.data_dir / "journal").counts(period)
        with opened(store, config) as database:
            return database.counts(period)
    except (TickbayError, OSError) as error:
        return f"does not tell: {_reason(error)}"


def _reason(error: Exception) -> str:
    """In one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename} cannot be read: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _doubts(config: Config, period: Period, store: str) -> list[str]:
    """Why what the store holds need not be all: the period is not over, the store is not past it, or nobody has looked
    yet for trades of which no gap tells."""
    now_ns = time.time_ns()
    settled_ns = period.end_ns + period.step_ns  # then the last heartbeats and gaps have come
    if now_ns < settled_ns:
        return [f"it is not over yet: ask again after {stamp(settled_ns)}"]
    cursor = config.data_dir / "cursors" / f"{store}.cursor"
    if store != "journal" and cursor.exists():
        lag = sink_lag(config.run_dir, read_cursor(cursor, Files()), now_ns)
        if lag.rows and now_ns - int(lag.seconds * 1e9) < period.end_ns:
            return [f"{store} is {lag.rows:,} rows behind and not past the end yet: ask again when it is"]
    looked_ns = _looked_ns(config)
    if looked_ns == 0:
        return ["the healer has not looked for missing trades yet: see `tickbay status`, and ask again when it has"]
    if looked_ns is not None and looked_ns < period.end_ns:
        return [f"the healer has looked for missing trades up to {stamp(looked_ns)}: ask again when it is past the end"]
    return []


def _looked_ns(config: Config) -> int | None:
    """Up to when the healer of this engine has asked the venue who traded; 0: it never did, None: it is not to."""
    if not config.heal.enabled or not any("trades" in rule.channels for rule in config.select):
        return None
    known = memory.load(Files(), memory.memory_path(config.data_dir, "healer"))
    return int(known[1]["checked_ns"]) if known is not None else 0


def write(data_dir: Path, found: Document) -> Path:
    """Both files, each whole or not at all; returns the page's path."""
    folder = data_dir / "certificates"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(folder / f"{found['day']}.json", orjson.dumps(found, option=orjson.OPT_INDENT_2))
    path = folder / f"{found['day']}.html"
    write_atomically(path, page(found).encode())
    return path


def summary(found: Document, path: Path) -> str:
    """For a terminal: the verdict last, where the eye is."""
    figures = found["summary"]
    whole, instruments = figures["instruments_whole"], figures["instruments"]
    lines = [
        f"{found['from'][:19]} to {found['to'][:19]} UTC, from {found['store']}",
        f"  covered             {percent_text(figures['percent'])} of "
        f"{figures['instrument_hours_due']:,.2f} hours of instruments",
        f"  worst hour          {percent_text(figures['worst_hour_percent'])}",
        f"  instruments         {instruments:,}, {whole:,} of them without any gap",
        f"  gaps                {figures['gaps']:,}: {figures['gaps_healed']:,} healed, "
        f"{figures['gaps_expected']:,} announced, {figures['gaps_open']:,} open",
        *(f"    {cause:<18}{count:,}" for cause, count in figures["gaps_by_cause"].items()),
        f"  unexplained         {figures['unexplained']:,}",
    ]
    for store, told in found["stores"].items():
        rows = told if isinstance(told, str) else f"{sum(row['rows'] for row in told):,} rows"
        lines.append(f"  {store:<20}{rows}")
    lines += [f"  ! {reason}" for reason in found["reasons"]]
    lines += [f"  {path}", f"certificate: {found['day']}: {found['verdict'].upper()}"]
    return "\n".join(lines)


def show(share: float) -> None:
    """How far it is, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\x1b[2K\r{f'reading … {share:.0%}' if share < 1 else ''}", end="", file=sys.stderr, flush=True)
