"""The pages in a real browser: the status page of the process `metrics` on 8080, and `tickbay top --web` on 7681."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest
from playwright.sync_api import Browser, Page, expect

from servers.browser import browser
from simulator import ENGINE
from tickbay.gap import Cause, Gap
from tickbay.metrics.server import Server
from tickbay.web.api import web_pages
from watched import CALL, HOSTILE, NAMES, PUT, SILENT, Watched

__all__ = ["browser"]
pytestmark = pytest.mark.slow
PATIENCE_MS = 20_000
CLOSED = "WebSocket is already in CLOSING or CLOSED state"  # textual.js pings once more, after the end


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """An engine whose processes beat."""
    with closing(Watched(tmp_path)) as watched:
        watched.run()
        over = Event()

        def beat() -> None:
            while not over.wait(0.5):
                watched.beat()

        beating = Thread(target=beat)
        beating.start()
        yield watched
        over.set()
        beating.join()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """That has met no error when the test is over."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page, wrong = context.new_page(), list[str]()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda told: wrong.append(f"{told.type}: {told.text}"))
    page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
    yield page
    context.close()
    assert [told for told in wrong if not told.startswith(("log:", "info:", "debug:")) and CLOSED not in told] == []


# -------- the status page


@pytest.fixture
def address(watched: Watched) -> Iterator[str]:
    server = Server("127.0.0.1", 0, web_pages(watched.config), ())
    yield f"http://127.0.0.1:{server.port}/"
    server.close()
    assert server.failure is None


def cells(page: Page, table: str, row: int) -> list[str]:
    return page.locator(f"#{table} tbody tr").nth(row).locator("td").all_inner_texts()


def first_cells(page: Page, table: str) -> list[str]:
    return page.locator(f"#{table} tbody tr td:first-child").all_inner_texts()


def test_the_status_page_shows_everything_live_sorted_and_filtered(watched: Watched, address: str, page: Page) -> None:
    elsewhere: list[str] = []
    page.on("request", lambda request: None if request.url.startswith((address, "data:")) else elsewhere.append("!"))
    page.goto(address)
    expect(page.locator("#verdict")).to_have_text("DEGRADED")
    expect(page.locator("#reasons")).to_contain_text("the supervisor does not run")
    expect(page.locator("#processes")).to_contain_text("feed-1")
    assert first_cells(page, "gaps") == ["open", "healed", "missing"]
    expect(page.locator("#instruments tbody tr")).to_have_count(len(NAMES))
    assert first_cells(page, "instruments") == sorted(NAMES)
    assert cells(page, "instruments", 1)[:5] == [CALL, "0.05", "0.0525", "0.05125", "55.50"]
    assert page.locator("#instruments img").count() == 0, "a name is text"

    watched.quote(CALL, bid=0.0777, ask=0.0888, iv=60)
    watched.gap(Gap(cause=Cause.OVERFLOW, from_ns=time.time_ns() - 10**9, to_ns=time.time_ns(), count=5))
    expect(page.locator("#instruments")).to_contain_text("0.0777")
    expect(page.locator("#gaps")).to_contain_text("overflow")

    page.get_by_role("button", name="Bid").click()
    expect(page.locator("#instruments tbody tr").first).to_contain_text(SILENT)
    page.get_by_role("button", name="Bid").click()
    expect(page.locator("#instruments tbody tr").first).to_contain_text(HOSTILE)
    page.get_by_label("Filter").fill("3000-p")
    expect(page.locator("#instruments tbody tr")).to_have_count(1)
    assert first_cells(page, "instruments") == [PUT]
    page.get_by_label("Filter").fill("")
    page.get_by_label("stale only").check()
    expect(page.locator("#instruments tbody tr")).to_have_count(2)
    page.get_by_label("State").select_option("healed")
    expect(page.locator("#gaps tbody tr")).to_have_count(1)
    assert elsewhere == [], "nothing is fetched from anywhere else"


def test_the_status_page_fits_a_phone_and_says_when_nobody_answers_any_more(watched: Watched, browser: Browser) -> None:
    server = Server("127.0.0.1", 0, web_pages(watched.config), ())
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/")
    expect(page.locator("#instruments tbody tr")).to_have_count(len(NAMES), timeout=PATIENCE_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, "tables scroll by themselves"
    server.close()
    expect(page.locator("#verdict")).to_have_text("NO ANSWER", timeout=PATIENCE_MS)
    assert "does not answer" in page.title()
    context.close()


# -------- the screen


@pytest.fixture
def screen(watched: Watched) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`tickbay top --web` and the whole address."""
    command = [sys.executable, "-m", "tickbay", "top", "--web", "--port", "0", "--config", str(watched.file)]
    env = os.environ | {"PYTHONPATH": str(ENGINE)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as top:
        assert top.stdout is not None
        said = top.stdout.readline()
        try:
            yield top, Path(said.split(" is in ")[1].strip()).read_text().strip()
        finally:
            top.kill()


def children(top: subprocess.Popen[str]) -> list[str]:
    return Path(f"/proc/{top.pid}/task/{top.pid}/children").read_text().split()


def test_the_screen_in_a_browser_takes_keys_and_its_process_ends_with_the_page(
    screen: tuple[subprocess.Popen[str], str], page: Page
) -> None:
    top, address = screen
    page.goto(address)
    assert page.url == address.split("?")[0], "the token is in no history and no referrer"
    expect(page.locator("body.-first-byte")).to_be_attached()
    seen = [page.screenshot()]
    for key in ("3", "?"):
        page.keyboard.press(key)
        ends = time.monotonic() + PATIENCE_MS / 1000
        while (now := page.screenshot()) == seen[-1]:
            assert time.monotonic() < ends, f"{key} changes nothing"
        seen.append(now)
    assert len(children(top)) == 1
    page.keyboard.press("Escape")
    page.wait_for_timeout(500)  # what follows an Escape at once is a key with Alt
    page.keyboard.press("q")
    expect(page.get_by_text("This screen has ended")).to_be_visible()
    page.get_by_role("link", name="Open it again").click()
    expect(page.locator("body.-first-byte")).to_be_attached()
    (child,) = children(top)
    page.goto("about:blank")
    wait_until_gone(child)
    top.send_signal(signal.SIGTERM)
    assert top.wait(20) == 0


def test_a_screen_ends_where_its_server_is_killed(screen: tuple[subprocess.Popen[str], str], page: Page) -> None:
    top, address = screen
    page.goto(address)
    expect(page.locator("body.-first-byte")).to_be_attached()
    (child,) = children(top)
    top.kill()
    expect(page.get_by_text("This screen has ended")).to_be_visible()
    wait_until_gone(child)


def wait_until_gone(pid: str) -> None:
    ends = time.monotonic() + PATIENCE_MS / 1000
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < ends, f"process {pid} still runs"
        time.sleep(0.1)
