"""A real feed process between real rings and a venue: the simulator, or a server that says what a test wants."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import picows
import uvloop

from patience import PATIENCE_S
from simulator import Simulator
from tickbay import ring
from tickbay.config import Config
from tickbay.control import ask
from tickbay.errors import ControlDown
from tickbay.gap import Cause
from tickbay.health import Report, read_report
from tickbay.identity import boot_id
from tickbay.record import Kind, Records, feed_kinds, stream_name
from tickbay.universe.assignment import Assignment, assignment_path, write_assignment

SLOTS = 1 << 14
KINDS = feed_kinds(Config().tick_kinds)
TRADES = "trades.option.ETH.100ms"
INSTRUMENT = "ETH-1JAN27-3000-C"
TICKER = f"ticker.{INSTRUMENT}.100ms"
BOOK = f"book.{INSTRUMENT}.100ms"

VENUE = {
    "silent_s": 30,
    "stale_s": 30,
    "ticker_stale_s": 30,
    "backoff_min_s": 0.1,
    "backoff_max_s": 1,
    "connect_timeout_s": 5,
}


class FeedCase:
    """Rings as the journal makes them, one feed process, and what it recorded."""

    def __init__(self, run_dir: Path, data_dir: Path, *, slots: int = SLOTS) -> None:
        self.run_dir = run_dir
        self.data_dir = data_dir
        self.config = data_dir / "tickbay.toml"
        self.assignment_version = 0
        self.durable = True  # the journal keeps up
        self.process: subprocess.Popen[bytes] | None = None
        (data_dir / "universe").mkdir(parents=True)
        (run_dir / "rings").mkdir(mode=0o700)
        self.rings: dict[Kind, ring.Ring] = {}
        self._kept: dict[Kind, list[Records]] = {kind: [] for kind in KINDS}
        for kind in KINDS:
            path = run_dir / "rings" / f"{stream_name('feed-1', kind)}.ring"
            stream = stream_name("feed-1", kind)
            ring.create(path, kind, slots, stream=stream, boot_id=boot_id(), epoch=1, first_seq=1)
            self.rings[kind] = ring.Ring.attach(path, kind)

    # ---------------------------------------------------------------- the feed

    def configure(self, ws_url: str, **venue: object) -> None:
        settings = VENUE | {"ws_url": ws_url} | venue
        lines = [f"data_dir = {json.dumps(str(self.data_dir))}", f"run_dir = {json.dumps(str(self.run_dir))}"]
        lines += ["[feeds]", "count = 1", "[venue]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        lines += ["[ring]", "full_wait_ms = 20"]
        self.config.write_text("\n".join(lines) + "\n")

    def assign(self, *channels: str, expires_ns: int = 0) -> None:
        """Write another assignment, and tell the feed if it runs."""
        self.assignment_version += 1
        write_assignment(
            assignment_path(self.data_dir),
            Assignment(
                version=self.assignment_version,
                feeds={"feed-1": tuple(channels)},
                expires_ns=dict.fromkeys(channels, expires_ns) if expires_ns else {},
            ),
        )
        if self.process is not None:
            assert self.ask("assign") == {"ok": True, "channels": len(channels)}

    def start(self) -> None:
        command = [sys.executable, "-m", "tickbay", "process", "feed-1", "--config", str(self.config)]
        log = (self.data_dir / "feed.log").open("wb")
        self.process = subprocess.Popen(command, stderr=log, env=os.environ | {"LOG_LEVEL": "debug"})
        log.close()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(10)
        self.process = None
        return status

    def ask(self, op: str, **more: object) -> dict[str, Any]:
        return ask(self.run_dir / "sockets" / "feed-1.sock", {"op": op, **more}, 5)

    def health(self) -> Report:
        report = read_report(self.run_dir, "feed-1")
        assert report is not None
        return report

    def events(self) -> list[dict[str, Any]]:
        """What it logged since the last call of start()."""
        return [json.loads(line) for line in (self.data_dir / "feed.log").read_bytes().splitlines()]

    # ---------------------------------------------------------------- what it recorded

    def records(self, kind: Kind) -> Records:
        """Everything of this kind so far; as the journal would, it makes room for more."""
        own = self.rings[kind]
        kept = self._kept[kind]
        done = sum(map(len, kept))
        while len(more := own.read(done + 1)):
            kept.append(more)
            done += len(more)
        if self.durable:
            own.set_durable(done)
        return np.concatenate(kept) if kept else np.empty(0, own.dtype)

    def gaps(self, cause: Cause | None = None) -> Records:
        gaps = self.records(Kind.GAP)
        return gaps if cause is None else gaps[gaps["cause"] == cause]

    def until(self, what: Callable[[], object], why: str) -> None:
        """Wait until it is true, draining the rings; fails with the feed's log."""
        ends = time.monotonic() + PATIENCE_S
        while not what():
            for kind in KINDS:
                self.records(kind)
            died = self.process is not None and self.process.poll() is not None
            if died or time.monotonic() > ends:
                log = (self.data_dir / "feed.log").read_text()[-4000:]
                raise AssertionError(f"waited in vain: {why}; the feed {'died' if died else 'lives'}; its log:\n{log}")
            time.sleep(0.02)

    def until_live(self, channels: int) -> None:
        def live() -> bool:
            try:
                status = self.ask("status")
            except ControlDown:
                return False  # not yet
            return bool(status["state"] == "live" and status["channels_live"] == channels)

        self.until(live, f"{channels} channels live")

    def until_gaps(self, cause: Cause, records: int) -> None:
        self.until(lambda: len(self.gaps(cause)) == records, f"{records} records of a gap, {cause.name}")

    def until_lost(self, beginning: str) -> None:
        """Until the feed says so of its connection."""

        def said() -> bool:
            return any(e["event"] == "session_lost" and e["reason"].startswith(beginning) for e in self.events())

        self.until(said, beginning)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for own in self.rings.values():
            own.close()


def options_of(simulator: Simulator) -> list[str]:
    """Names of the options listed."""
    return sorted(
        row["instrument_name"] for row in simulator.call("public/get_instruments", currency="ETH", kind="option")
    )


def channels_of(simulator: Simulator) -> list[str]:
    """Tickers and books of all options, and their trades."""
    names = options_of(simulator)
    return [*(f"{kind}.{name}.100ms" for name in names for kind in ("ticker", "book")), TRADES]


def begin(case: FeedCase, simulator: Simulator, **venue: object) -> list[str]:
    """A feed with every channel of the simulator live."""
    channels = channels_of(simulator)
    case.configure(simulator.ws_url, **venue)
    case.assign(*channels)
    case.start()
    case.until_live(len(channels))
    return channels


def text(records: np.ndarray[Any, Any], name: str) -> list[str]:
    return [value.decode() for value in records[name].tolist()]


def ended(case: FeedCase, cause: Cause) -> bool:
    """Was there a hole of that cause, and has every one of them ended?"""
    gaps = case.gaps(cause)
    return len(gaps) > 0 and set(gaps["from_ns"].tolist()) == set(gaps["from_ns"][gaps["to_ns"] > 0].tolist())


class Script(picows.WSListener):
    """The venue's side of one connection: answers requests unless a test's `answer` does, and keeps them all."""

    def __init__(self, venue: ScriptedVenue) -> None:
        super().__init__()
        self.venue = venue

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.venue.connections.append(transport)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type != picows.WSMsgType.TEXT:
            return
        request = json.loads(frame.get_payload_as_bytes())
        self.venue.requests.append(request)
        for answer in self.venue.answer(request):
            transport.send(picows.WSMsgType.TEXT, answer if isinstance(answer, bytes) else json.dumps(answer).encode())


class ScriptedVenue:
    """A WebSocket server in a thread, for what the simulator cannot do: exact bytes, and errors of our choice."""

    def __init__(self, answer: Callable[[dict[str, Any]], Sequence[Any]] | None = None) -> None:
        self.answer = answer or accept
        self.requests: list[dict[str, Any]] = []
        self.connections: list[picows.WSTransport] = []
        self.loop = uvloop.new_event_loop()
        self.ws_url = ""
        self._ready = threading.Event()
        self._done = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await picows.ws_create_server(lambda _request: Script(self), "127.0.0.1", 0)
        self.ws_url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws/api/v2"
        self._ready.set()
        await self._done.wait()
        server.close()
        for transport in self.connections:
            transport.disconnect()
            await transport.wait_disconnected()
        await server.wait_closed()

    def send(self, *frames: bytes) -> None:
        """On the newest connection, in one go."""

        def write() -> None:
            for frame in frames:
                self.connections[-1].send(picows.WSMsgType.TEXT, frame)

        self.loop.call_soon_threadsafe(write)

    def asked(self, method: str) -> list[list[str]]:
        return [r["params"]["channels"] for r in list(self.requests) if r["method"] == f"public/{method}"]

    @contextmanager
    def running(self) -> Iterator[ScriptedVenue]:
        self._thread.start()
        assert self._ready.wait(5)
        try:
            yield self
        finally:
            self.loop.call_soon_threadsafe(self._done.set)
            self._thread.join(5)
            assert not self._thread.is_alive()


def accept(request: dict[str, Any]) -> list[Any]:
    """What a venue in good order answers."""
    result = request["params"].get("channels", "ok")
    return [{"jsonrpc": "2.0", "id": request["id"], "result": result}]


def refuse(request: dict[str, Any], code: int) -> list[Any]:
    return [{"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": "as the test wants"}}]


def trade_frame(trade_seq: int, instrument: str = "ETH-1JAN27-3000-C") -> bytes:
    trade = {
        "trade_seq": trade_seq,
        "trade_id": f"ETH-{trade_seq}",
        "timestamp": 1_800_000_000_000,
        "tick_direction": 0,
        "price": 0.05,
        "mark_price": 0.05,
        "iv": 60.0,
        "instrument_name": instrument,
        "index_price": 3000.0,
        "direction": "buy",
        "amount": 1.0,
    }
    params = {"channel": "trades.option.ETH.100ms", "data": [trade]}
    return json.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params}).encode()


def book_frame(change_id: int, previous: int = 0) -> bytes:
    """A change of one level; a snapshot where it has none before it."""
    data: dict[str, object] = {
        "timestamp": 1_800_000_000_000,
        "type": "change" if previous else "snapshot",
        "change_id": change_id,
        "instrument_name": INSTRUMENT,
        "bids": [["new", 0.05, 1.0]],
        "asks": [],
    }
    if previous:
        data["prev_change_id"] = previous
    params = {"channel": BOOK, "data": data}
    return json.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params}).encode()


def ticker_frame(instrument: str) -> bytes:
    data = {
        "timestamp": 1_800_000_000_000,
        "state": "open",
        "stats": {"high": None, "low": None, "price_change": None, "volume": 0.0, "volume_usd": 0.0},
        "greeks": {"delta": 0.5, "gamma": 0.1, "vega": 0.1, "theta": -0.1, "rho": 0.1},
        "index_price": 3000.0,
        "instrument_name": instrument,
        "last_price": None,
        "settlement_price": 0.05,
        "min_price": 0.01,
        "max_price": 0.2,
        "open_interest": 1.0,
        "mark_price": 0.05,
        "interest_rate": 0.0,
        "estimated_delivery_price": 3000.0,
        "best_bid_price": 0.04,
        "best_bid_amount": 1.0,
        "best_ask_price": 0.06,
        "best_ask_amount": 1.0,
        "mark_iv": 60.0,
        "bid_iv": 55.0,
        "ask_iv": 65.0,
        "underlying_price": 3000.0,
        "underlying_index": "ETH-1JAN27",
    }
    params = {"channel": f"ticker.{instrument}.100ms", "data": data}
    return json.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params}).encode()
