"""`tickbay gaps` against a real PostgreSQL: what the sink stored is what a person sees."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest

from servers.postgres import fresh_database
from tickbay.config import Timescale
from tickbay.embedded import EmbeddedServer
from tickbay.gap import Cause, Gap
from tickbay.gaps import StoredGap, render
from tickbay.record import Kind
from tickbay.sinks.sink import Chunk
from tickbay.sinks.timescale import TimescaleSink
from tickbay.status.status import WIDTH

NOW_NS = time.time_ns() // 1000 * 1000
S = 10**9


@pytest.fixture
def stored(postgres_server: EmbeddedServer) -> Timescale:
    """A database with an ended, an open, an announced and an old gap."""
    ended = Gap(cause=Cause.DISCONNECT, from_ns=NOW_NS - 100 * S, detail="code 1006")
    refused = Gap(cause=Cause.REFUSED, from_ns=NOW_NS - 50 * S, kind=Kind.BOOK, instrument="ETH-A")
    planned = Gap(cause=Cause.MAINTENANCE, from_ns=NOW_NS - 20 * S, to_ns=NOW_NS - 10 * S, expected=True, count=1234)
    old = Gap(cause=Cause.RESTART, from_ns=NOW_NS - 90_000 * S, to_ns=NOW_NS - 89_000 * S)
    over = Gap(cause=ended.cause, from_ns=ended.from_ns, to_ns=NOW_NS - 98 * S, detail="code 1006")
    records = np.concatenate([gap.record(recv_ns=NOW_NS, conn=1) for gap in (old, ended, refused, over, planned)])
    records["seq"] = range(1, len(records) + 1)
    settings = fresh_database(postgres_server)
    with closing(TimescaleSink(settings)) as sink:
        sink.open(["feed-1.gap"])
        sink.commit([Chunk("feed-1.gap", Kind.GAP, 1, records)])
    return settings


def ask(settings: Timescale, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "t.toml").write_text(
        f'[timescale]\nport = {settings.port}\nuser = "{settings.user}"\ndbname = "{settings.dbname}"\n'
    )
    command = [sys.executable, "-m", "tickbay", "gaps", "--config", str(tmp_path / "t.toml"), *options]
    env = os.environ | {"DB_PASSWORD": settings.password}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


@pytest.mark.slow
def test_holes_are_listed_once_each_the_newest_first(stored: Timescale, tmp_path: Path) -> None:
    done = ask(stored, tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    found = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert [gap["cause"] for gap in found] == ["maintenance", "refused", "disconnect"]
    maintenance, refused, disconnect = found
    assert (maintenance["expected"], maintenance["count"]) == (True, 1234)
    assert (refused["to_ts"], refused["kind"], refused["instrument"]) == (None, "book", "ETH-A")
    lasted = datetime.fromisoformat(disconnect["to_ts"]) - datetime.fromisoformat(disconnect["ts"])
    assert lasted == timedelta(seconds=2), "the record of its end replaces that of its beginning"

    assert len(ask(stored, tmp_path, "--json", "--hours", "48").stdout.splitlines()) == 4
    assert len(ask(stored, tmp_path, "--json", "--limit", "1").stdout.splitlines()) == 1
    only = [orjson.loads(line)["cause"] for line in ask(stored, tmp_path, "--json", "--open").stdout.splitlines()]
    assert only == ["refused"]
    assert "disconnect" in ask(stored, tmp_path, "--cause", "disconnect").stdout
    concerned = ask(stored, tmp_path, "--json", "--instrument", "ETH-B").stdout
    assert [orjson.loads(line)["instrument"] for line in concerned.splitlines()] == [None, None]


@pytest.mark.slow
def test_a_person_sees_a_table(stored: Timescale, tmp_path: Path) -> None:
    lines = ask(stored, tmp_path).stdout.splitlines()
    assert lines[0].split()[:3] == ["FROM", "(UTC)", "LASTED"]
    assert lines[1].split()[2:7] == ["10.0s", "feed-1", "maintenance", "*", "all"]
    assert lines[2].split()[2:] == ["open", "feed-1", "refused", "book", "-", "ETH-A"]
    assert lines[3].split()[2:] == ["2.0s", "feed-1", "disconnect", "all", "-", "all", "code", "1006"]
    assert lines[4] == "* announced by the venue"


@pytest.mark.slow
def test_a_database_that_cannot_be_asked_is_one_line(stored: Timescale, tmp_path: Path) -> None:
    wrong = dataclasses.replace(stored, dbname="nowhere")
    done = ask(wrong, tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "nowhere" in done.stderr
    assert stored.password not in done.stderr
    unknown = ask(stored, tmp_path, "--cause", "disconect")
    assert unknown.returncode == 2 and "did you mean disconnect?" in unknown.stderr


def test_no_gap_is_said_and_long_ones_fit_the_page() -> None:
    assert render([], hours=24, limit=50) == "no known gap touched the last 24 hours"
    assert render([], hours=1, limit=50, narrowed=True) == "no such gap touched the last hour"
    gap = StoredGap(
        ts=datetime(2026, 1, 1, tzinfo=UTC), to_ts=None, feed="feed-30", cause="journal_quota", kind="instrument",
        instrument="I" * 48, first_missing=None, last_missing=None, count=123_456_789, expected=True, healed=True,
        detail="d\x1b[2J" * 20,
    )  # fmt: skip
    page = render([gap], hours=24, limit=1)
    assert max(map(len, page.splitlines())) <= WIDTH and "\x1b" not in page
    assert "only the newest 1 are shown" in page
