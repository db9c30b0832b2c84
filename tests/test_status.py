"""Status: true also when nobody runs, readable at a glance, and an exit status to build on."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import NAMES, Engine, engine_in, report_of, stop
from patience import PATIENCE_S, wait_for
from tickbay.config import load
from tickbay.cursor import CursorFile, Position
from tickbay.files import Files
from tickbay.health import Health
from tickbay.record import TICKS, Kind, blank
from tickbay.ring import Ring, create
from tickbay.status.snapshot import ProcessStatus, Status, collect, judge
from tickbay.status.status import WIDTH, duration, render


@pytest.fixture
def engine(tmp_path: Path, shm_dir: Path) -> Iterator[Engine]:
    with engine_in(tmp_path, shm_dir) as engine:
        yield engine


def ask(engine: Engine, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tickbay", "status", "--config", str(engine.file), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def status_of(engine: Engine) -> Status:
    return collect(load(engine.file, {}))


def process(name: str, state: str = "live", **fields: Any) -> ProcessStatus:
    values: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(ProcessStatus))
    values |= {"name": name, "role": name.partition("-")[0], "state": state, "detail": "", "last_error": ""}
    values["pid"] = None if state == "down" else 1
    return ProcessStatus(**(values | fields))


ALL = tuple(process(name) for name in ("supervisor", "journal", "writer-timescale", "universe", "feed-1", "feed-2"))


def changed(name: str, state: str, **fields: Any) -> tuple[ProcessStatus, ...]:
    return tuple(process(name, state, **fields) if each.name == name else each for each in ALL)


# The verdict


def test_all_live_is_healthy() -> None:
    assert judge(ALL) == ("healthy", ())


@pytest.mark.parametrize(
    ("name", "state", "verdict"),
    [
        ("supervisor", "down", "degraded"),
        ("writer-timescale", "down", "degraded"),
        ("writer-timescale", "waiting", "degraded"),
        ("feed-2", "down", "degraded"),
        ("feed-2", "hung", "degraded"),
        ("feed-2", "starting", "degraded"),
        ("feed-2", "waiting", "degraded"),
        ("universe", "degraded", "degraded"),
        ("journal", "down", "down"),
        ("journal", "hung", "down"),
    ],
)
def test_the_verdict_follows_from_who_is_ill(name: str, state: str, verdict: str) -> None:
    found, reasons = judge(changed(name, state, heartbeat_s=99.0))
    assert found == verdict and len(reasons) == 1 and name.partition("-")[0] in reasons[0]


@pytest.mark.parametrize("state", ["starting", "waiting", "failed", "stopped", "hung"])
@pytest.mark.parametrize("role", ["feed", "journal"])
def test_what_runs_and_records_nothing_is_down(role: str, state: str) -> None:
    """What broke: while every feed waited for an assignment, or the journal for its disk, it was only degraded."""
    idle = tuple(process(each.name, state, heartbeat_s=99.0) if each.role == role else each for each in ALL)
    verdict, reasons = judge(idle)
    assert verdict == "down" and all(f"is {state}" in reason for reason in reasons) and reasons


def test_no_feed_at_all_is_down() -> None:
    assert judge(tuple(each for each in ALL if each.role != "feed"))[0] == "down"


def test_nothing_at_all_is_down_and_says_what_to_do() -> None:
    assert judge(tuple(process(each.name, "down") for each in ALL)) == (
        "down",
        ("nothing runs: start it with tickbay up",),
    )


# The page


def test_the_page_fits_its_width_whatever_it_shows() -> None:
    long = process(
        "writer-timescale", "degraded", detail="x" * 300, last_error="e\x1b[2J" * 100, last_error_s=1e6, pid=4194304,
        uptime_s=1e8, restarts=99999, frames_per_s=123456.0, rows_per_s=1234567.0, ring_fill=1.0, lag_rows=999_999_999,
        lag_s=1e6, gaps=1_234_567,
    )  # fmt: skip
    status = dataclasses.replace(_status(), processes=(long, *ALL), reasons=("r" * 300,), verdict="degraded")
    page = render(status, colours=False)
    assert max(map(len, page.splitlines())) <= WIDTH
    assert "\x1b" not in page
    cells = next(line for line in page.splitlines() if line.startswith("writer-timescale")).split()
    text = "writer-timescale degraded 4194304 1157d 99,999 123,456 1,234,567 100% 999,999,999 11d13h 1,234,567"
    assert cells == text.split()


def test_the_end_of_a_long_reason_is_shown() -> None:
    reason = "writer-timescale is degraded: " + "connection to server at 127.0.0.1 failed: " * 4 + "Connection refused"
    page = render(dataclasses.replace(_status(), reasons=(reason,), verdict="degraded"), colours=False)
    assert "Connection refused" in page and max(map(len, page.splitlines())) <= WIDTH


def test_colours_only_colour() -> None:
    status = _status()
    coloured = render(status, colours=True)
    for code in ("\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == render(status, colours=False)


@given(st.floats(0, 99_999 * 86_400.0))
def test_a_duration_stays_short(seconds: float) -> None:
    assert len(duration(seconds)) <= 6 and len(duration(seconds, fine=True)) <= 6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.4, "59s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (172_800, "2d00h")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def _status() -> Status:
    return collect(load(None, {"TICKBAY_RUN_DIR": "/nonexistent", "TICKBAY_DATA_DIR": "/nonexistent"}))


# The JSON


def conforms(value: object, hint: Any) -> bool:
    """Is a parsed JSON value what the annotation of a dataclass field says?"""
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        hints = typing.get_type_hints(hint)
        return value.keys() == hints.keys() and all(conforms(value[name], hints[name]) for name in hints)
    if isinstance(hint, types.UnionType):
        return any(conforms(value, each) for each in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return isinstance(value, list) and all(conforms(each, typing.get_args(hint)[0]) for each in value)
    if typing.get_origin(hint) is not None:  # Mapping[str, X]
        return isinstance(value, dict) and all(conforms(each, typing.get_args(hint)[1]) for each in value.values())
    return type(value) is hint or (hint is float and type(value) is int)


def test_every_field_of_the_json_is_documented() -> None:
    for cls in (Status, ProcessStatus):
        assert cls.__doc__ and not cls.__doc__.startswith(cls.__name__ + "(")


@pytest.mark.slow
def test_status_through_a_life(engine: Engine) -> None:
    """Down, healthy, degraded without a supervisor, degraded by a hung and by a dead process, down again."""
    nothing = ask(engine)
    assert nothing.returncode == 2 and "nothing runs: start it with tickbay up" in nothing.stdout

    supervisor = engine.up()
    engine.ready()
    wait_for(lambda: all(report_of(engine, name).state == "live" for name in NAMES), "everybody to be live")
    healthy = ask(engine)
    assert healthy.returncode == 0 and "HEALTHY" in healthy.stdout, healthy.stdout
    pids = engine.pids()
    for name in NAMES:
        (line,) = [line for line in healthy.stdout.splitlines() if line.startswith(name)]
        assert line.split()[1:3] == ["live", str(pids[name])]
    answer = ask(engine, "--json")
    value = orjson.loads(answer.stdout)
    assert answer.returncode == 0 and conforms(value, Status), value
    assert value["verdict"] == "healthy" and value["supervised"]

    supervisor.kill()
    supervisor.wait()
    alone = ask(engine)
    assert alone.returncode == 1 and "the supervisor does not run" in alone.stdout
    assert engine.pids() == pids, "looking changes nothing"

    os.kill(pids["feed-1"], signal.SIGSTOP)
    os.kill(pids["universe"], signal.SIGKILL)

    def ill() -> dict[str, str]:
        return {each.name: each.state for each in status_of(engine).processes if each.state != "live"}

    wait_for(lambda: ill() == {"supervisor": "down", "feed-1": "hung", "universe": "down"}, "who is ill")
    os.kill(pids["feed-1"], signal.SIGCONT)

    again = engine.up()
    wait_for(lambda: not ill(), "the next supervisor to put all right")
    assert stop(again) == 0
    assert ask(engine).returncode == 2


def test_positions_are_read_from_rings_and_cursors_when_nobody_lives(engine: Engine) -> None:
    (engine.run_dir / "rings").mkdir()
    (engine.data_dir / "cursors").mkdir()
    path = engine.run_dir / "rings" / "feed-1.quote.ring"
    create(path, Kind.QUOTE, 512, stream="feed-1.quote", boot_id="x", epoch=1, first_seq=1)
    ring = Ring.attach(path, Kind.QUOTE)
    ring.produce(os.getpid(), 1)
    records = blank(Kind.QUOTE, 100)
    records["recv_ns"] = 1_000_000_000 * (1 + records["seq"])
    ring.append(records)
    ring.set_durable(64)
    CursorFile(engine.data_dir / "cursors" / "timescale.cursor", Files()).save({"feed-1.quote": Position(1, 60)})
    (engine.run_dir / "rings" / "feed-2.quote.ring").write_bytes(b"no ring")

    status = status_of(engine)
    (stream,) = status.streams
    assert (stream.stream, stream.last, stream.durable, stream.committed) == (
        "feed-1.quote",
        100,
        64,
        {"timescale": 60},
    )
    assert stream.fill == pytest.approx(36 / 512, abs=1e-4)
    by_name = {each.name: each for each in status.processes}
    assert by_name["writer-timescale"].lag_rows == 40
    assert (by_name["writer-timescale"].lag_s or 0) > 86_400, "as old as the oldest record that is not committed"
    assert by_name["feed-1"].lag_rows == by_name["journal"].lag_rows == 36
    assert by_name["feed-2"].lag_rows is None
    assert status.totals.records == 100
    ring.close()


def test_a_writer_that_never_reached_its_database_is_behind_by_all_that_was_published(engine: Engine) -> None:
    """What broke: it said 0 rows, because it did not know how far the database was."""
    for folder in ("rings", "health"):
        (engine.run_dir / folder).mkdir()
    path = engine.run_dir / "rings" / "feed-1.quote.ring"
    create(path, Kind.QUOTE, 512, stream="feed-1.quote", boot_id="x", epoch=1, first_seq=1)
    ring = Ring.attach(path, Kind.QUOTE)
    ring.produce(os.getpid(), 1)
    ring.append(blank(Kind.QUOTE, 100))
    health = Health(engine.run_dir, "writer-timescale", "writer")
    health.gauges |= {"lag_rows": 0, "lag_s": 0.0}

    def lag_rows() -> int | None:
        health.beat()
        (lag,) = [each.lag_rows for each in status_of(engine).processes if each.role == "writer"]
        return lag

    assert lag_rows() == 100
    health.streams = {"feed-1.quote": {"committed": 93}}
    health.gauges["lag_rows"] = 7
    assert lag_rows() == 7, "a writer that knows is believed"
    ring.close()


def test_rows_a_second_are_of_every_kind_that_a_feed_records(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What broke: of eight kinds three were counted; disks are sized by this."""
    (engine.run_dir / "health").mkdir()
    counted = ("quotes", "trades", "books", "bbos", "indices", "marks", "fundings", "depths")
    monkeypatch.setattr(Health, "rates", lambda _: {"frames": 100.0, **dict.fromkeys(counted, 1.0)})
    Health(engine.run_dir, "feed-1", "feed").beat()
    status = status_of(engine)
    assert status.totals.rows_per_s == len(counted) == len(TICKS)


def test_totals_count_what_two_legs_brought_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What broke: with pairs every row was in the total twice, and every record thrice."""
    for folder in ("rings", "health"):
        (engine.run_dir / folder).mkdir()
    engine.file.write_text(engine.file.read_text().replace("count = 2", "count = 1\nredundancy = 2"))
    monkeypatch.setattr(Health, "rates", lambda _: {"frames": 10.0, "quotes": 7.0, "records": 8.0})
    for source, process in (("feed-1a", "feed-1a"), ("feed-1b", "feed-1b"), ("pair-1", "merger-1")):
        path = engine.run_dir / "rings" / f"{source}.quote.ring"
        create(path, Kind.QUOTE, 512, stream=f"{source}.quote", boot_id="x", epoch=1, first_seq=1)
        ring = Ring.attach(path, Kind.QUOTE)
        ring.produce(os.getpid(), 1)
        ring.append(blank(Kind.QUOTE, 100))
        ring.close()
        health = Health(engine.run_dir, process, process.partition("-")[0])
        health.counters["gaps"] = 3
        health.beat()
    totals = status_of(engine).totals
    assert (totals.rows_per_s, totals.records, totals.gaps) == (8.0, 100, 3)
    assert totals.frames_per_s == 20.0, "messages come over both"
