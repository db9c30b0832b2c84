"""A real HTTP server with the venue's two listing calls, for test_universe.py: what it lists and how it fails is set
by the test.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

EXPIRY_MS = 4_000_000_000_000  # 2096


def option(name: str, **fields: Any) -> dict[str, Any]:
    """An instrument as the venue lists it. The fields are set so that nothing could be read from the name."""
    return {
        "instrument_name": name,
        "kind": "option",
        "instrument_id": 7,
        "creation_timestamp": 1_700_000_000_000,
        "expiration_timestamp": EXPIRY_MS,
        "is_active": True,
        "state": "open",
        "strike": 2500.0,
        "option_type": "call",
        "contract_size": 1.0,
        "tick_size": 0.0001,
        "min_trade_amount": 1,
        "maker_commission": 0.0003,
        "taker_commission": 0.0003,
        "instrument_type": "reversed",
        "settlement_period": "week",
        "base_currency": "ETH",
        "quote_currency": "ETH",
        "counter_currency": "USD",
        "settlement_currency": "ETH",
        "price_index": "eth_usd",
    } | fields


class RestServer:
    """Serves in a thread of its own, on a free port of this machine, until the `with` block ends."""

    def __init__(self, *, tls: tuple[Path, Path] | None = None) -> None:
        """`tls`: certificate and key."""
        self.listed: dict[tuple[str, str], list[Any]] = {}
        self.expired: dict[str, Any] = {}  # by name: given to who asks for expired ones
        self.combos: list[Any] = []  # as get_combos has them
        self.currencies: list[str] = []
        self.locked: list[str] = []  # price indices
        self.open_interest: dict[str, float] = {}
        self.fault = ""  # one of _broken()
        self.calls: list[str] = []
        self.url = ""
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> RestServer:
        self._thread.start()
        assert self._started.wait(30)
        return self

    def __exit__(self, *error: object) -> None:
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        application = web.Application()
        application.router.add_get("/api/v2/public/{method}", self._answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if self._tls else None
        if context is not None and self._tls is not None:
            context.load_cert_chain(*self._tls)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{runner.addresses[0][1]}/api/v2"
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        self.calls.append(method)
        if self.fault:
            return await self._broken(request)
        others = {
            "status": {"locked": "partial" if self.locked else "false", "locked_indices": self.locked},
            "get_combos": self.combos,
            "get_currencies": [{"currency": currency} for currency in self.currencies],
        }
        if method in others:
            return web.json_response({"jsonrpc": "2.0", "result": others[method]})
        market = (request.query["currency"], request.query["kind"])
        if method == "get_instruments" and request.query.get("expired") == "true":
            return web.json_response({"jsonrpc": "2.0", "result": list(self.expired.values())})
        if method == "get_instruments":
            return web.json_response({"jsonrpc": "2.0", "result": self.listed.get(market, [])})
        names = [item["instrument_name"] for item in self.listed.get(market, [])]
        rows = [{"instrument_name": name, "open_interest": self.open_interest.get(name, 0)} for name in names]
        return web.json_response({"jsonrpc": "2.0", "result": rows})

    async def _broken(self, request: web.Request) -> web.StreamResponse:
        match self.fault:
            case "500":
                return web.Response(status=500, text="<html>down</html>")
            case "refuse":
                return _error(-32602, "Invalid params")
            case "hasty":
                return _error(10028, "too_many_requests")
            case "maintenance":
                return _error(11051, "system_maintenance")
            case "garbage":
                return web.Response(text="[1, 2")
            case "list":
                return web.Response(text="[1, 2]")
            case "moved":
                return web.Response(status=302, headers={"Location": str(request.url)})
            case "huge":
                return web.Response(body=b" " * (4 << 20))
            case "bomb":  # a few kilobytes that become many megabytes
                return web.Response(body=gzip.compress(b" " * (16 << 20)), headers={"Content-Encoding": "gzip"})
            case "cut":
                assert request.transport is not None
                request.transport.abort()
            case "hang":
                await asyncio.sleep(5)
        return web.Response()


def _error(code: int, message: str) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "error": {"code": code, "message": message}}, status=400)
