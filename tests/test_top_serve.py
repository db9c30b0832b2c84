"""`tickbay top --web`: who is let in, and where the token is told (WEB-1). In a browser: test_browser.py."""

from __future__ import annotations

import http.client
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from patience import wait_for
from simulator import ENGINE
from tickbay.config import Top, load
from tickbay.errors import ConfigError
from watched import Watched
from whole_engine import tickbay

pytestmark = pytest.mark.slow
TOKEN = "canary-token-0815-canary"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@dataclass(frozen=True, slots=True)
class Screen:
    process: subprocess.Popen[str]
    said: str
    port: int

    def ask(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with closing(connection):
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            found = {name.title(): value for name, value in answer.getheaders()}
            return answer.status, found, "" if answer.status == 101 else answer.read().decode(errors="replace")

    def end(self) -> str:
        """All that it said."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout is not None
        more = self.process.stdout.read()
        assert self.process.wait(20) == 0
        return self.said + more


@contextmanager
def screen(watched: Watched, *arguments: str, **env: str) -> Iterator[Screen]:
    command = [
        sys.executable,
        "-m",
        "tickbay",
        "top",
        "--web",
        "--port",
        "0",
        "--config",
        str(watched.file),
        *arguments,
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ENGINE)} | env,
    )
    with process:
        assert process.stdout is not None
        said = process.stdout.readline()
        try:
            yield Screen(process, said, int(urlsplit(said.split()[0]).port or 0))
        finally:
            process.kill()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with closing(Watched(tmp_path_factory.mktemp("top"))) as watched:
        yield watched


@pytest.fixture(scope="module")
def given(watched: Watched) -> Iterator[Screen]:
    """With a token of ours; called tickbay.example."""
    with screen(watched, "--name", "tickbay.example", TICKBAY_TOP_TOKEN=TOKEN) as found:
        yield found


@pytest.fixture(scope="module")
def cookie(given: Screen) -> str:
    status, headers, _ = given.ask(f"/?token={TOKEN}")
    assert (status, headers["Location"]) == (303, "/")
    assert "HttpOnly" in headers["Set-Cookie"] and "SameSite=Strict" in headers["Set-Cookie"]
    assert TOKEN not in headers["Set-Cookie"]
    return headers["Set-Cookie"].split(";")[0]


@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=" + TOKEN[:-1], "/?token=%ff%00", "/focus.js", "/static/js/textual.js"]
)
def test_without_the_token_nothing_is_answered(given: Screen, path: str) -> None:
    """WEB-1"""
    status, _, body = given.ask(path)
    assert (status, body) == (403, "open the address with the token: tickbay top --web printed it, or where it is\n")
    wrong = f"tickbay_top_{given.port}={TOKEN}"
    assert given.ask(path, Cookie=wrong)[0] == 403, "the token is no cookie"


def test_with_the_token_it_is_and_the_browser_is_told_to_trust_nothing_else(given: Screen, cookie: str) -> None:
    status, headers, body = given.ask(Cookie=cookie)
    assert status == 200 and f"ws://127.0.0.1:{given.port}/ws" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer" and not any(name.startswith("Access-") for name in headers)
    assert given.ask("/static/js/textual.js", Cookie=cookie)[0] == 200
    for path in ("/static/", "/static/../server.py", "/static/%2e%2e/server.py"):
        assert given.ask(path, Cookie=cookie)[0] in (403, 404)
    assert given.ask("/download/x", Cookie=cookie)[0] == 404


def test_another_host_s_name_is_refused_also_with_the_token(given: Screen, cookie: str) -> None:
    """HTTP-1"""
    for host in ("evil.example", f"evil.example:{given.port}", ""):
        assert given.ask(f"/?token={TOKEN}", Host=host)[0] == 403
        assert given.ask(Host=host, Cookie=cookie)[0] == 403
    assert given.ask(f"/?token={TOKEN}", Host="tickbay.example")[0] == 303


def test_a_page_of_another_origin_gets_no_screen_also_with_the_cookie(given: Screen, cookie: str) -> None:
    own = f"http://127.0.0.1:{given.port}"
    for origin in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {}):
        assert given.ask("/ws", Cookie=cookie, **UPGRADE, **origin)[0] == 403
    assert given.ask("/ws", Origin=own, **UPGRADE)[0] == 403, "without the cookie"
    assert given.ask("/ws", Cookie=cookie, Origin=own, **UPGRADE)[0] == 101


def test_who_shows_the_screen_holds_no_secret(watched: Watched) -> None:
    with screen(watched, TICKBAY_TOP_TOKEN=TOKEN, DB_PASSWORD="canary-password") as found:
        cookie = found.ask(f"/?token={TOKEN}")[1]["Set-Cookie"].split(";")[0]
        with closing(http.client.HTTPConnection("127.0.0.1", found.port, timeout=20)) as connection:
            own = {"Cookie": cookie, "Origin": f"http://127.0.0.1:{found.port}"}
            connection.request("GET", "/ws", headers=UPGRADE | own)
            assert connection.getresponse().status == 101
            pid = found.process.pid
            child = wait_for(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().split(), "a screen")[0]
            environ = Path(f"/proc/{child}/environ")
            wait_for(lambda: b"TEXTUAL_DRIVER=" in environ.read_bytes(), "it to be more than a copy of its parent")
            held = environ.read_bytes()
            assert not any(secret in held for secret in (b"canary", b"TICKBAY_TOP_TOKEN", b"DB_PASSWORD"))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_only_answers_get_and_head(given: Screen, cookie: str, method: str) -> None:
    status, headers, _ = given.ask(f"/?token={TOKEN}", method, Cookie=cookie)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert given.ask("/", "HEAD", Cookie=cookie)[0] == 200


def test_a_token_of_its_own_is_in_a_private_file_while_it_runs_and_in_no_log(watched: Watched) -> None:
    with screen(watched) as found:
        path = Path(found.said.split(" is in ")[1].strip())
        address = path.read_text().strip()
        token = address.partition("token=")[2]
        assert len(token) == 32 and stat.S_IMODE(path.stat().st_mode) == 0o600
        assert found.ask(f"/?token={token}")[0] == 303
        assert token != TOKEN and token not in found.end()
        assert not path.exists()


def test_it_listens_to_others_only_when_told_and_says_so(watched: Watched) -> None:
    assert Top().host == "127.0.0.1"
    with screen(watched, TICKBAY_TOP_TOKEN=TOKEN, TICKBAY_TOP_HOST="0.0.0.0") as found:
        said = found.end()
    assert said.startswith("http://0.0.0.0:") and "others can reach this, without TLS" in said and TOKEN not in said
    with screen(watched, TICKBAY_TOP_TOKEN=TOKEN) as found:
        said = found.end()
    assert said.startswith("http://127.0.0.1:") and "others" not in said


def test_what_cannot_be_is_one_line(watched: Watched, given: Screen) -> None:
    config = ("--web", "--config", str(watched.file))
    status, out, err = tickbay("top", *config, "--port", str(given.port))
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert f"127.0.0.1:{given.port}: " in err and "free it, or choose another --host or --port" in err
    assert tickbay("top", *config, "--port", "99999")[::2] == (2, "tickbay top: --port 99999: expected 0 to 65535\n")


@pytest.mark.parametrize("token", ["short", "é" * 20])
def test_a_token_that_is_guessed_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="TICKBAY_TOP_TOKEN: at least 16 ASCII characters") as refused:
        load(None, {"TICKBAY_TOP_TOKEN": token})
    assert token not in str(refused.value)
    assert TOKEN not in repr(load(None, {"TICKBAY_TOP_TOKEN": TOKEN}))
