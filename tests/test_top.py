"""`tickbay top`: what a person sees and does on a terminal of 80 by 24, over a real run_dir."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from textual.pilot import Pilot

from patience import PATIENCE_S
from simulator import ENGINE
from tickbay.config import Config
from tickbay.top.app import Top
from tickbay.top.panel import Panel
from watched import CALL, FEED, HOSTILE, NAMES, NEVER, PUT, SILENT, Watched
from whole_engine import tickbay

pytestmark = pytest.mark.slow

SIZE = (80, 24)
Script = Callable[[Pilot[None]], Awaitable[None]]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with closing(Watched(tmp_path)) as watched:
        watched.run()
        yield watched


def play(config: Config, script: Script, size: tuple[int, int] = SIZE) -> None:
    async def run() -> None:
        app = Top(config)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await script(pilot)

    asyncio.run(run())


def lines(pilot: Pilot[None]) -> list[str]:
    """What is on the terminal, line by line."""
    return ["".join(segment.text for segment in strip) for strip in pilot.app.screen._compositor.render_strips()]


def text(pilot: Pilot[None]) -> str:
    return "\n".join(lines(pilot))


async def see(pilot: Pilot[None], *keys: str) -> str:
    """What is there after the keys."""
    await pilot.press(*keys)
    await pilot.pause()
    return text(pilot)


async def wait_for(pilot: Pilot[None], words: str) -> None:
    """The next refreshes show it."""
    ends = time.monotonic() + PATIENCE_S
    while words not in text(pilot):
        assert time.monotonic() < ends, text(pilot)
        await pilot.pause(0.1)


def names(screen: str) -> list[str]:
    """The instruments that are seen, from above."""
    return re.findall(r"^(ETH-\S+|<img\S+)", screen, re.M)


def test_every_view_says_what_there_is_and_fits_80_columns(watched: Watched) -> None:
    async def script(pilot: Pilot[None]) -> None:
        overview = await see(pilot, "1")
        assert "DEGRADED" in overview and "supervisor does not run" in overview
        assert re.search(rf"{FEED} +live .* 12/12 ", overview) and "SINK" in overview
        processes = await see(pilot, "2")
        assert re.search(r"^journal +live +\d+ ", processes, re.M) and re.search(r"^writer-\S+ +down ", processes, re.M)
        instruments = await see(pilot, "3")
        assert re.search(rf"^{CALL} +0\.05 +0\.0525 +0\.05125 +55\.50 +0\.500 +\d\.\ds", instruments, re.M)
        assert re.search(rf"^{SILENT} .* ! 1m4\ds", instruments, re.M) and re.search(r"! never", instruments)
        assert "5 of 5 instruments, 2 stale" in instruments
        gaps = await see(pilot, "4")
        assert [line.split()[0] for line in gaps.splitlines()[4:7]] == ["open", "healed", "missing"]
        assert "1 open, 1 missing, 1 healed, 0 announced" in gaps
        logs = await see(pilot, "5")
        assert re.search(r"^12:00:01 warning journal +disk_slow +seconds=1.5", logs, re.M)
        assert all(len(line) == SIZE[0] for line in lines(pilot)) and len(lines(pilot)) == SIZE[1]

    play(watched.config, script)


def test_where_no_engine_runs_one_line_says_so_and_it_wakes_up_with_the_engine(tmp_path: Path) -> None:
    config = Config(run_dir=tmp_path / "run", data_dir=tmp_path / "data")

    async def script(pilot: Pilot[None]) -> None:
        shown = [line.strip() for line in (await see(pilot, "1")).splitlines()[3:-1] if line.strip()]
        assert shown == ["! nothing runs: start it with tickbay up"]
        for key in "2345":
            assert "DOWN" in await see(pilot, key)
        assert "none" in text(pilot)
        with closing(Watched(tmp_path)) as watched:
            watched.run()
            await wait_for(pilot, "disk_slow")
            assert "DEGRADED" in text(pilot)

    play(config, script)


def test_it_is_live_and_pausing_stops_the_screen_only(watched: Watched) -> None:
    async def script(pilot: Pilot[None]) -> None:
        await see(pilot, "3")
        watched.quote(CALL, bid=0.0777, ask=0.0888, iv=60)
        await wait_for(pilot, "0.0777")
        assert "PAUSED" in await see(pilot, "p")
        watched.quote(CALL, bid=0.0999, ask=0.1, iv=60)
        await pilot.pause(1.2)
        assert "0.0777" in text(pilot)
        assert "0.0999" in await see(pilot, "p")

    play(watched.config, script)


def test_the_help_lies_over_a_screen_that_goes_on_and_closes_by_any_of_its_keys(watched: Watched) -> None:
    async def script(pilot: Pilot[None]) -> None:
        for key in ("escape", "question_mark", "q", "enter"):
            shown = await see(pilot, "question_mark")
            assert "filter by text" in shown and all(line in shown for line in ("PgUp PgDn", "quit", "pause"))
            if key == "escape":
                await pilot.pause(1.2)
            assert "filter by text" not in await see(pilot, key)

    play(watched.config, script)


def test_a_filter_sorting_and_only_trouble_change_what_is_seen(watched: Watched) -> None:
    async def script(pilot: Pilot[None]) -> None:
        assert names(await see(pilot, "3")) == sorted(NAMES)
        assert names(await see(pilot, "r")) == sorted(NAMES, reverse=True)
        assert names(await see(pilot, "s")) == [HOSTILE, PUT, CALL, SILENT, NEVER], "the highest bid first"
        assert names(await see(pilot, "r")) == [SILENT, CALL, PUT, HOSTILE, NEVER]
        assert names(await see(pilot, "slash", *"3000-c", "enter")) == [CALL]
        assert "filter: 3000-c" in text(pilot)
        assert names(await see(pilot, "escape")) == [SILENT, CALL, PUT, HOSTILE, NEVER]
        watched.quote_others()  # on a busy machine ten seconds have passed
        await wait_for(pilot, "5 of 5 instruments, 2 stale")
        assert sorted(names(await see(pilot, "o"))) == [SILENT, NEVER]
        assert "only stale" in text(pilot)
        watched.event("info", FEED, "feed_lagged")
        assert re.findall("feed_l[a-z]+|disk_slow", await see(pilot, "5")) == ["feed_lagged", "disk_slow", "feed_live"]
        assert re.findall("feed_l[a-z]+|disk_slow", await see(pilot, "r")) == ["feed_live", "disk_slow", "feed_lagged"]
        assert "disk_slow" in await see(pilot, "o") and "feed_live" not in text(pilot)
        assert "healed " not in "\n".join((await see(pilot, "4", "o")).splitlines()[4:-2])
        await pilot.click("#gaps", offset=(30, 0))
        assert "LASTED▼" in text(pilot), "a heading sorts when it is clicked"

    play(watched.config, script)


@pytest.mark.parametrize("view", "2345")
def test_enter_shows_all_of_a_line_and_every_order_has_all_lines(watched: Watched, view: str) -> None:
    async def script(pilot: Pilot[None]) -> None:
        await see(pilot, view)
        panel = list(pilot.app._panels.values())[int(view) - 2]  # type: ignore[attr-defined] # it is a Top
        assert isinstance(panel, Panel)
        count = len(panel)
        for _ in range(1 + sum(bool(column.order) for column in panel.columns)):
            await see(pilot, "s")
            assert len(panel) == count > 1
        await pilot.press("down", "end", "home", "pagedown", "right", "left")
        shown = await see(pilot, "home", "enter")
        assert "Esc: close" in shown and all(name in shown for name in list(panel.detail(0))[:5])

    play(watched.config, script)


def test_a_narrow_terminal_and_a_name_that_would_move_the_cursor_break_nothing(watched: Watched) -> None:
    watched.event("error", "feed-1", "evil\x1b[2J\x07 gone", text="first\nsecond")

    async def script(pilot: Pilot[None]) -> None:
        for key in "12345":
            await see(pilot, key)
            assert not any(ord(char) < 32 for line in lines(pilot) for char in line)
        assert "evil" in text(pilot)

    play(watched.config, script, (40, 10))


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_on_a_real_terminal_it_shows_itself_and_ends_by_q_or_ctrl_c_leaving_the_terminal_as_it_was(
    watched: Watched, key: bytes
) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (SIZE[1], SIZE[0]))
    before = termios.tcgetattr(theirs)
    with start(watched, theirs, "top") as top:
        shown, ends, pressed = b"", time.monotonic() + PATIENCE_S, False
        while top.poll() is None:
            if time.monotonic() > ends:
                top.kill()
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 65_536)
            if not pressed and b"Overview" in shown and b"feed-1" in shown:
                os.write(ours, key)
                pressed = True
    assert top.returncode == 0 and b"Traceback" not in shown
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("command", [("top",), ("status", "--watch")])
def test_who_watches_ends_with_the_terminal_also_without_a_signal(watched: Watched, command: Sequence[str]) -> None:
    ours, theirs = pty.openpty()
    with start(watched, theirs, *command) as watching:
        os.close(theirs)
        shown, ends = b"", time.monotonic() + PATIENCE_S
        while FEED.encode() not in shown and time.monotonic() < ends:
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 65_536)
        os.close(ours)
        try:
            watching.wait(PATIENCE_S)
        finally:
            watching.kill()
    assert FEED.encode() in shown


def start(watched: Watched, terminal: int, *command: str) -> subprocess.Popen[bytes]:
    """tickbay `command` on a terminal that does not control it: it gets no SIGHUP."""
    return subprocess.Popen(
        [sys.executable, "-m", "tickbay", *command, "--config", str(watched.file)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"PYTHONPATH": str(ENGINE), "TERM": "xterm-256color"},
        start_new_session=True,
    )


def test_without_a_terminal_it_says_what_to_do(watched: Watched) -> None:
    status, out, err = tickbay("top", "--config", str(watched.file))
    assert (status, out) == (2, "")
    assert err == "tickbay top: this is no terminal: see tickbay status, or tickbay top --web\n"
