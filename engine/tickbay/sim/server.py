"""The simulated venue on its ports: accepts connections, drives the clock, carries out what is asked for at a time.

Runs in the process of `tickbay sim`. Binds loopback unless told otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from picows import WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener, ws_create_server

from tickbay.errors import ConfigError
from tickbay.sim import changes
from tickbay.sim.changes import Changes
from tickbay.sim.connection import Connection
from tickbay.sim.faults import CONNECTION_ACTIONS, Fault
from tickbay.sim.rest import Rest
from tickbay.sim.rpc import Methods
from tickbay.sim.venue import Settings, Venue

TICK_S = 0.01
FLUSH_S = 0.25  # the ledger can be read by others so soon after
CONNECTIONS_MAX = 32  # of one address; ours all come from one


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where to listen; port 0 is a free one."""

    host: str = "127.0.0.1"
    port: int = 8700
    rest_port: int = 8701
    tls: tuple[Path, Path] | None = None  # certificate, key


# Faults that change the venue itself.
CHANGES = (*changes.ACTIONS, "clock", "forget", "gone", "full")


class Server:
    """start(), run() until stop()."""

    def __init__(self, settings: Settings, listen: Listen) -> None:
        self.venue = Venue(settings)
        self._listen = listen
        self._methods = Methods(self.venue)
        self._rest = Rest(self.venue, self._methods, self.status, self.fault)
        self._connections: dict[int, Connection] = {}
        self._changes = Changes(self.venue, lambda: list(self._connections.values()))
        self._accepted = 0
        self._full = False
        self._stopping = asyncio.Event()
        self.ws_url = self.rest_url = ""

    async def start(self) -> None:
        """Listen. ConfigError where a port is taken or a certificate cannot be read."""
        context = _tls(self._listen.tls)
        try:
            server = await ws_create_server(
                self._accept, self._listen.host, self._listen.port, ssl=context, max_frame_size=1 << 20
            )
        except OSError as error:
            raise ConfigError(
                f"--port {self._listen.port}: {os.strerror(error.errno or 0)}; give another one"
            ) from error
        self._server = server
        port = server.sockets[0].getsockname()[1]
        rest_port = await self._rest.start(self._listen.host, self._listen.rest_port, context)
        secure = "s" if context else ""
        self.ws_url = f"ws{secure}://{self._listen.host}:{port}/ws/api/v2"
        self.rest_url = f"http{secure}://{self._listen.host}:{rest_port}/api/v2"

    async def run(self) -> None:
        """Drive the venue until stop(); then close every connection properly."""
        before_s = flushed_s = time.monotonic()
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), TICK_S)
            now_s = time.monotonic()
            self._tick(now_s, now_s - before_s)
            before_s = now_s
            if now_s - flushed_s >= FLUSH_S:
                flushed_s = now_s
                self.venue.ledger.flush()
        for connection in list(self._connections.values()):
            connection.close(1001, "the simulator is stopping")
        await asyncio.sleep(TICK_S)  # lets the close frames out
        await self._rest.stop()
        self._server.close()
        self.venue.ledger.close()

    def stop(self) -> None:
        self._stopping.set()

    def fault(self, fault: Fault) -> None:
        """Ask for misbehaviour now or later."""
        self.venue.faults.append(fault)
        self._misbehave()

    def status(self) -> dict[str, object]:
        """What has been sent, and once the data are stopped what was read of it; after it the ledger is readable up to
        here."""
        self.venue.ledger.flush()
        connections = [
            {
                "connection": each.number,
                "channels": each.player.channels,
                "announcements": each.player.announcements,
                "frames": each.player.frames_sent,
                "read": each.frames_read,
            }
            for each in self._connections.values()
        ]
        return {
            "ok": True,
            "pid": os.getpid(),
            "ws_url": self.ws_url,
            "rest_url": self.rest_url,
            "running": self.venue.running,
            "done": self.venue.frames_left <= 0,
            "frames": self.venue.frames_sent,
            "connections": connections,
            "accepted": self._accepted,
            "faults": len(self.venue.faults),
            "maintenance": self.venue.maintenance,
        }

    def _accept(self, _request: WSUpgradeRequest) -> Connection | WSUpgradeResponseWithListener:
        if self._full or (self.venue.settings.limits and len(self._connections) >= CONNECTIONS_MAX):
            refusal = WSUpgradeResponse.create_error_response(HTTPStatus.TOO_MANY_REQUESTS, b"too many connections")
            return WSUpgradeResponseWithListener(refusal, None)
        self._accepted += 1
        connection = Connection(self.venue, self._methods, self._accepted, self._ended)
        self._connections[self._accepted] = connection
        return connection

    def _ended(self, connection: Connection) -> None:
        self._connections.pop(connection.number, None)
        self._set_speed()

    def _tick(self, now_s: float, passed_s: float) -> None:
        waited_for = self.venue.settings.wait_channels
        if (
            not self.venue.running
            and not self.venue.stopped
            and waited_for
            and sum(each.player.channels for each in self._connections.values()) >= waited_for
        ):
            self.venue.start()
        if self.venue.running:
            self._set_speed()
            self.venue.advance(passed_s)
        for connection in list(self._connections.values()):
            connection.check(now_s)
            connection.player.pump()
            if self.venue.stopped:
                connection.ask_read()
        self._changes.tick(now_s)
        if self.venue.faults:
            self._misbehave()

    def _set_speed(self) -> None:
        """How much faster than recorded the venue must live to send as many frames as asked."""
        frames = sum(each.player.tape_frames for each in self._connections.values())
        if self.venue.settings.rate and frames:
            self.venue.speed = self.venue.settings.rate / (frames / (self.venue.pace.cycle_us / 1e6))

    def _misbehave(self) -> None:
        """Whatever is due and is not about a frame, a subscription or a REST request: those are looked up where they
        happen."""
        for fault in list(self.venue.faults):
            if fault.action in CONNECTION_ACTIONS:
                due = [
                    each
                    for each in self._connections.values()
                    if fault.due(each.number, self.venue.seconds(), each.player.frames_sent)
                ]
                if due:
                    due[0].player.misbehave(fault)
            elif fault.action in CHANGES and self.venue.seconds() >= fault.at:
                self.venue.used(fault)
                self._change(fault)

    def _change(self, fault: Fault) -> None:
        if fault.action in changes.ACTIONS:
            self._changes.make(fault)
            return
        self.venue.ledger.event(fault.action, **({"instrument": fault.name} if fault.name else {"state": fault.state}))
        if fault.action == "forget":
            self.venue.recent_s = fault.seconds
            return
        if fault.action == "full":
            self._full = fault.state == "on"
            return
        if fault.action == "gone":
            self.venue.gone.append(fault.name)
            return
        if fault.action == "clock":
            self.venue.clock_ahead_us, self.venue.reply_delay_s = round(fault.seconds * 1e6), fault.delay
            return


def _tls(files: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    if not files:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(*files)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"--tls {files[0]} {files[1]}: {error.strerror or error}") from error
    return context


def write_ports(server: Server, path: Path) -> None:
    """For whoever started us with port 0: our addresses, whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({"ws_url": server.ws_url, "rest_url": server.rest_url, "pid": os.getpid()}) + "\n")
    unfinished.rename(path)
