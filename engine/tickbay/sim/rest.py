"""The venue over HTTP, as the real one has it, and /sim/… : what a test or an operator tells the simulator while it
runs.

GET  /api/v2/public/METHOD?…     a JSON-RPC reply; an error is HTTP 400 with a JSON-RPC error in it
GET  /history/api/v2/public/…    the same of the host that keeps old trades
GET  /sim/status                 what was sent so far; the ledger is flushed
POST /sim/start                  let the data flow (after --hold)
POST /sim/stop                   no more data; connections stay. From then on the status has what each client has read
POST /sim/fault                  a fault: {"action": "drop", "channel": "book.ETH-*"} or the line of text (faults.py)
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable

import orjson
from aiohttp import web

from tickbay.errors import ConfigError
from tickbay.sim import faults
from tickbay.sim.connection import Credits
from tickbay.sim.refusal import RpcError
from tickbay.sim.rpc import Methods, envelope
from tickbay.sim.venue import Venue

TIMEOUT_S = 3600.0  # an answer that never comes
INSTRUMENTS_CREDITS = (500_000, 10_000, 10_000)  # pool, cost, refill a second, of get_instruments
OTHER_CREDITS = (50_000, 500, 10_000)
REQUEST_BYTES_MAX = 64 * 1024


class Rest:
    """`status` tells what was sent; `fault` takes what is asked for."""

    def __init__(
        self,
        venue: Venue,
        methods: Methods,
        status: Callable[[], dict[str, object]],
        fault: Callable[[faults.Fault], None],
    ) -> None:
        self._venue, self._methods, self._tell, self._ask = venue, methods, status, fault
        now_s = time.monotonic()
        self._credits = {True: Credits(*INSTRUMENTS_CREDITS, now_s), False: Credits(*OTHER_CREDITS, now_s)}
        application = web.Application(client_max_size=REQUEST_BYTES_MAX)
        application.router.add_get("/api/v2/{method:.+}", self._call)
        application.router.add_get("/history/api/v2/{method:.+}", self._call_history)
        application.router.add_get("/sim/status", self._status)
        application.router.add_post("/sim/start", self._start)
        application.router.add_post("/sim/stop", self._stop)
        application.router.add_post("/sim/fault", self._fault)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        """The port that it listens on. ConfigError where it is taken."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, ssl_context=context, shutdown_timeout=0.1).start()
        except OSError as error:
            raise ConfigError(f"--rest-port {port}: {os.strerror(error.errno or 0)}; give another one") from error
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _call(self, request: web.Request) -> web.Response:
        received_us = time.time_ns() // 1000
        method = request.match_info["method"]
        for fault in self._venue.faults:
            if fault.action == "rest" and self._venue.seconds() >= fault.at:
                return await self._misbehave(fault)
        try:
            credits = self._credits[method == "public/get_instruments"]
            if self._venue.settings.limits and not credits.take(time.monotonic()):
                raise RpcError(10028, "too_many_requests")
            if self._venue.maintenance:
                raise RpcError(11051, "system_maintenance")
            return _json(envelope(None, {"result": self._methods.call(method, request.query)}, received_us))
        except RpcError as error:
            return _json(envelope(None, {"error": error.body()}, received_us), 429 if error.code == 10028 else 400)

    async def _call_history(self, request: web.Request) -> web.Response:
        """The host that has every trade."""
        return await self._call(request.clone(rel_url=request.rel_url.update_query(historical="true")))

    async def _misbehave(self, fault: faults.Fault) -> web.Response:
        self._venue.ledger.event("rest", status=fault.status)
        self._venue.used(fault)
        if fault.status == "timeout":
            await asyncio.sleep(TIMEOUT_S)
        return web.Response(
            status=int(fault.status) if fault.status.isdigit() else 504,
            text="<html>simulated failure</html>",
            content_type="text/html",
        )

    async def _status(self, _request: web.Request) -> web.Response:
        return _json(self._tell())

    async def _start(self, _request: web.Request) -> web.Response:
        self._venue.start()
        return _json({"ok": True})

    async def _stop(self, _request: web.Request) -> web.Response:
        self._venue.stop()
        return _json({"ok": True})

    async def _fault(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            fault = faults.build(orjson.loads(body)) if body.lstrip().startswith(b"{") else faults.parse(body.decode())
        except (ConfigError, ValueError) as error:
            return _json({"ok": False, "error": str(error)}, 400)
        self._ask(fault)
        return _json({"ok": True})


def _json(content: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
