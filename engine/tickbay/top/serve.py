"""`tickbay top --web`: the same screen in a browser. textual-serve runs one `tickbay top` for each browser and carries
its terminal over a WebSocket; here is who may have it, and a page that needs nothing from elsewhere.

WEB-1: nobody gets a screen without the token, and no page of another origin with it: the token is compared in constant
time and traded for a cookie that scripts cannot read and other sites cannot send; the Host header must be one of ours
(HTTP-1), and a WebSocket's Origin that host. A token that was made here is shown on a terminal, or else in a file of
run_dir that others cannot read: what is no terminal is somebody's log.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from hmac import compare_digest
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

from tickbay.config import Config, is_loopback
from tickbay.errors import ConfigError
from tickbay.metrics.answer import METHODS, is_known

SESSIONS_MAX = 8  # each is a process of some 60 MB
FONT_PX = 14
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; font-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)  # the terminal (xterm.js) makes style elements of its own
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>tickbay top</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/css/xterm.css">
<style>
@font-face {{ font-family: "Roboto Mono"; font-weight: 100 700;
  src: url("/static/fonts/RobotoMono-VariableFont_wght.ttf"); }}
body {{ margin: 0; background: #121212; color: #e0e0e0; font: 16px/1.5 "Roboto Mono", monospace; }}
.textual-terminal {{ width: 100vw; height: 100vh; }}
.closed {{ display: none; position: fixed; inset: 0; z-index: 10; background: #121212e0; text-align: center;
  padding-top: 40vh; }}
body.-closed .closed {{ display: block; }} .closed a {{ color: #7ab7f0; }}
</style>
<script src="/static/js/textual.js"></script><script src="/focus.js"></script></head>
<body>
<div class="closed">This screen has ended; the engine goes on. <a href="/">Open it again</a></div>
<div id="terminal" class="textual-terminal" data-session-websocket-url="{scheme}://{host}/ws"
  data-font-size="{font_px}"></div>
</body></html>
"""

FOCUS = """"use strict"; // Keys go to the terminal without a click, once it is connected.
const waiting = setInterval(() => {
  const terminal = document.querySelector("body.-loaded .xterm-helper-textarea");
  if (terminal) { terminal.focus(); clearInterval(waiting); }
}, 50);
"""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """Lets in who has the token. One for each start."""

    def __init__(self, token: str, names: tuple[str, ...]) -> None:
        self._token, self._names = token, names
        self._cookie = secrets.token_urlsafe(24)

    def refusal(self, request: web.Request) -> str:
        """Why this request is not answered; "" where it is."""
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if not is_known(host, self._names):  # HTTP-1
            return "this host name is not among ours: name it in top.hosts of tickbay.toml, or with --name"
        if origin is not None and urlsplit(origin).netloc != host:
            return "a page of another origin asks"
        if request.path == "/ws" and origin is None:
            return "a WebSocket says where it comes from"
        if not _is(request.cookies.get(_cookie_name(request), ""), self._cookie):  # WEB-1
            return "open the address with the token: tickbay top --web printed it, or where it is"
        return ""

    def opened_by(self, request: web.Request) -> bool:
        """Does it bring the token, and call us by our name?"""
        known = is_known(request.headers.get("Host", ""), self._names)
        return known and request.path == "/" and _is(request.query.get("token", ""), self._token)  # WEB-1

    def enter(self, request: web.Request) -> web.StreamResponse:
        """To the page without the token in its address, with the cookie."""
        response = web.HTTPSeeOther("/")
        response.set_cookie(
            _cookie_name(request), self._cookie, httponly=True, samesite="Strict", path="/", secure=_is_secure(request)
        )
        return response


def _is(given: str, expected: str) -> bool:
    return compare_digest(given.encode(errors="replace"), expected.encode())


def _cookie_name(request: web.Request) -> str:
    """Of its own for each port: cookies know hosts only."""
    return f"tickbay_top_{urlsplit('//' + request.headers.get('Host', '')).port or 0}"


def _is_secure(request: web.Request) -> bool:
    """Did a proxy before us take it over TLS?"""
    return request.headers.get("X-Forwarded-Proto") == "https"


def application(command: Sequence[str], door: Door) -> web.Application:
    """What is served: the page, its parts, and the WebSocket of a screen."""
    server = Server(f"exec {shlex.join(command)}")  # it is run by a shell
    screens = 0

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse
        if request.method not in METHODS:
            response = web.Response(status=405, text="GET and HEAD only\n", headers={"Allow": ", ".join(METHODS)})
        elif door.opened_by(request):
            response = door.enter(request)
        elif sentence := door.refusal(request):
            response = web.Response(status=403, text=f"{sentence}\n")
        else:
            response = await handler(request)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def page(request: web.Request) -> web.Response:
        scheme = "wss" if _is_secure(request) else "ws"
        html = PAGE.format(scheme=scheme, host=escape(request.headers["Host"]), font_px=FONT_PX)
        return web.Response(text=html, content_type="text/html")

    async def focus(_request: web.Request) -> web.Response:
        return web.Response(text=FOCUS, content_type="text/javascript")

    async def screen(request: web.Request) -> web.StreamResponse:
        nonlocal screens
        if screens >= SESSIONS_MAX:
            return web.Response(status=503, text=f"{SESSIONS_MAX} screens are open, and no more\n")
        screens += 1
        try:
            return await server.handle_websocket(request)
        finally:
            screens -= 1

    app = web.Application(middlewares=[guard])
    files = web.static("/static", server.statics_path)
    app.add_routes([web.get("/", page), web.get("/focus.js", focus), web.get("/ws", screen), files])
    return app


def serve(config: Config, command: Sequence[str]) -> None:
    """`command` for each browser, until SIGTERM or Ctrl-C; tells the address to open. ConfigError where the port cannot
    be had.
    """
    asyncio.run(_serve(config, command))


async def _serve(config: Config, command: Sequence[str]) -> None:
    host, stopping, loop = config.top.host, asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    token = config.top.token or secrets.token_urlsafe(24)
    app = application(command, Door(token, config.top.hosts))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, config.top.port).start()
        except OSError as error:
            raise ConfigError(
                f"{host}:{config.top.port}: {error.strerror}: free it, or choose another --host or --port"
            ) from error
        port = runner.addresses[0][1]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/?token="
        with _told(config, address, token, port) as sentence:
            print(sentence, flush=True)
            if not is_loopback(host):
                print("others can reach this, without TLS: use it in a net that you trust", flush=True)
            await stopping.wait()
    finally:
        await runner.cleanup()


@contextmanager
def _told(config: Config, address: str, token: str, port: int) -> Iterator[str]:
    """What to say about where to go. A new token is said to a terminal, or else is in a file until the end."""
    if config.top.token:
        yield f"{address}…, with the token of TICKBAY_TOP_TOKEN"
    elif sys.stdout.isatty():
        yield address + token
    else:
        path = config.run_dir / f"top-{port}.url"
        _write_private(path, f"{address}{token}\n")
        try:
            yield f"{address}…, the whole of it is in {path}"
        finally:
            path.unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # of one that was killed
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}: set TICKBAY_TOP_TOKEN_FILE") from error
    with os.fdopen(fd, "w") as file:
        file.write(text)
