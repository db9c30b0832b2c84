"""One client of the simulated venue: its requests, its heartbeats, its allowance.

In: WebSocket frames (picows), and the ticks of the server's timer. Out: replies and heartbeats; what was subscribed
goes to the Player.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from tickbay.sim.faults import Fault
from tickbay.sim.link import Link
from tickbay.sim.player import Player
from tickbay.sim.refusal import RpcError, invalid
from tickbay.sim.rpc import Methods, Params, envelope
from tickbay.sim.strip import ping, websocket_frame
from tickbay.sim.venue import Venue

REQUEST_BYTES_MAX = 32 * 1024
HEARTBEAT_MIN_S = 10
IDLE_S = 60.5  # a connection without subscriptions and heartbeats ends after so long
REPEATED_TICKERS = 3  # of one subscribe call
CREDITS = {
    "subscribe": (30_000, 3_000, 10_000),
    "other": (50_000, 500, 10_000),
}  # pool, cost of a call, refill a second
NUMBER_BYTES = 8  # of a ping's payload: how many data frames were sent before it
CLOSE_CODE_HEARTBEAT = 4000
CLOSE_CODE_REQUESTS = 1008


class Credits:
    """A pool that refills; time is passed in."""

    def __init__(self, pool: float, cost: float, refill_per_s: float, now_s: float) -> None:
        self._pool, self._cost, self._refill_per_s = pool, cost, refill_per_s
        self._left, self._at_s = pool, now_s

    def take(self, now_s: float) -> bool:
        """Pay for one call; False where the pool is exhausted."""
        self._left = min(self._pool, self._left + (now_s - self._at_s) * self._refill_per_s)
        self._at_s = now_s
        if self._left < self._cost:
            return False
        self._left -= self._cost
        return True


class Connection(WSListener):
    """The `number`-th client, from 1 in the order of connecting."""

    def __init__(self, venue: Venue, methods: Methods, number: int, ended: Callable[[Connection], None]) -> None:
        super().__init__()
        self.number = number
        self.link = Link()
        self.player = Player(venue, self.link, number)
        self._venue, self._methods, self._ended = venue, methods, ended
        now_s = time.monotonic()
        self._credits = {name: Credits(*numbers, now_s) for name, numbers in CREDITS.items()}
        self._opened_s = self._heartbeat_at_s = now_s
        self._heartbeat_s = 0.0  # 0: none asked for
        self._unanswered = False  # a test_request
        self._asked_frames = 0
        self.frames_read = 0  # data frames that the client has read for sure: see ask_read()
        self._authorised_until_s = 0.0  # 0: never logged in

    # --- called by picows ---------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.link.connected(transport)
        self._venue.ledger.event("opened", connection=self.number)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self.link.half_open:
            return
        if frame.msg_type == WSMsgType.CLOSE:
            self.link.how = self.link.how or f"client closed {int(frame.get_close_code().value)}"
            self.player.stop()
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif frame.msg_type == WSMsgType.PONG:
            self._note_read(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT:
            self._request(frame.get_payload_as_bytes())

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        self.player.stop()
        self._venue.ledger.event(
            "closed",
            connection=self.number,
            how=self.link.how or "client lost",
            frames=self.player.frames_sent,
            bytes_unsent=self.link.bytes_unsent,
        )
        self._ended(self)

    def pause_writing(self) -> None:
        self.link.pause()

    def resume_writing(self) -> None:
        self.link.resume()
        self.player.pump()

    # --- what the client has read ---------------------------------------------------------------------------------

    def ask_read(self) -> None:
        """A ping behind all that was sent, once: by its answer the client says that it has read it."""
        if self._asked_frames < self.player.frames_sent:
            self._asked_frames = self.player.frames_sent
            self.link.write(ping(self._asked_frames.to_bytes(NUMBER_BYTES, "big")))

    def _note_read(self, answer: bytes) -> None:
        if len(answer) == NUMBER_BYTES:  # others answer nothing that we asked
            self.frames_read = max(self.frames_read, min(int.from_bytes(answer, "big"), self._asked_frames))

    # --- requests -----------------------------------------------------------------------------------------------------

    def _request(self, payload: bytes) -> None:
        received_us = time.time_ns() // 1000
        request_id: object = None
        try:
            request = _parsed(payload)
            request_id, method = request.get("id"), request["method"]
            self._pay(method)
            if self._venue.maintenance:
                raise RpcError(11051, "system_maintenance")
            result = self._answer(method, request.get("params", {}))
            self._reply(request_id, {"result": result}, received_us)
        except RpcError as error:
            self._reply(request_id, {"error": error.body()}, received_us)
            if error.code == 10028:
                self.close(CLOSE_CODE_REQUESTS, "too_many_requests")

    def _reply(self, request_id: object, content: dict[str, object], received_us: int) -> None:
        message = envelope(request_id, content, received_us, ahead_us=self._venue.clock_ahead_us)
        if self._venue.reply_delay_s:
            asyncio.get_running_loop().call_later(self._venue.reply_delay_s, self._send_json, message)
        else:
            self._send_json(message)

    def _pay(self, method: str) -> None:
        hasty = self._fault_of("hasty")
        if hasty is not None:
            self._venue.ledger.event("hasty", connection=self.number)
            self._venue.used(hasty)
            raise RpcError(10028, "too_many_requests")
        pool = "subscribe" if method in ("public/subscribe", "private/subscribe") else "other"
        if self._venue.settings.limits and not self._credits[pool].take(time.monotonic()):
            raise RpcError(10028, "too_many_requests")

    def _answer(self, method: str, params: Params) -> object:
        match method:
            case "public/subscribe" | "private/subscribe":
                if self._venue.settling:
                    raise RpcError(10041, "settlement_in_progress")
                return self._subscribe(_channels(params))
            case "public/unsubscribe" | "private/unsubscribe":
                return self.player.remove(_channels(params))
            case "public/unsubscribe_all":
                self.player.remove(self.player.names())
                return "ok"
            case "public/set_heartbeat":
                return self._set_heartbeat(params)
            case "public/disable_heartbeat":
                self._heartbeat_s = 0.0
                return "ok"
            case "public/auth":
                return self._authorise(params)
            case "public/test":
                self._unanswered = False
        return self._methods.call(method, params)

    def _subscribe(self, names: list[str]) -> list[str]:
        """Accepted names, in another order; those that are not understood are left out without a word. One that is
        subscribed already is accepted and nothing begins anew."""
        if any(name.endswith(".raw") for name in names):
            self._require_login()
        accepted = [name for name in dict.fromkeys(names) if self._venue.channel(name) and not self._refused(name)]
        self.player.add(accepted, REPEATED_TICKERS)
        return sorted(accepted, reverse=True)

    def _refused(self, name: str) -> bool:
        """Whether a fault asks to leave this channel out."""
        fault = self._fault_of("refuse", name)
        if fault is None:
            return False
        self._venue.ledger.event("refuse", connection=self.number, channel=name)
        if fault.count:
            self._venue.used(fault)
        return True

    def _fault_of(self, action: str, channel: str = "") -> Fault | None:
        """The first of these that is due here now."""
        for fault in self._venue.faults:
            due = fault.due(self.number, self._venue.seconds(), self.player.frames_sent)
            if fault.action == action and due and fault.covers(channel):
                return fault
        return None

    def _set_heartbeat(self, params: Params) -> object:
        interval = params.get("interval")
        if not isinstance(interval, int) or interval < HEARTBEAT_MIN_S:
            raise invalid("interval", f"must be at least {HEARTBEAT_MIN_S}")
        self._heartbeat_s = interval * self._venue.settings.heartbeat_scale
        self._heartbeat_at_s = time.monotonic()
        return "ok"

    def _require_login(self) -> None:
        if not self._authorised_until_s:
            raise RpcError(13778, "raw_subscriptions_not_available_for_unauthorized")
        if time.monotonic() >= self._authorised_until_s:
            raise RpcError(13009, "unauthorized", {"reason": "invalid_token"})

    def _authorise(self, params: Params) -> object:
        self._authorised_until_s, granted = self._venue.logins.grant(params, time.monotonic())
        self._venue.ledger.event("login", connection=self.number, grant=params.get("grant_type"))
        return granted

    def _send_json(self, message: object) -> None:
        self.link.write(websocket_frame(orjson.dumps(message)))

    def notify(self, channel: str, data: object) -> None:
        """A notification that is no market data, if its channel is subscribed."""
        if self.player.has(channel):
            params = {"channel": channel, "data": data}
            self._send_json({"jsonrpc": "2.0", "method": "subscription", "params": params})

    def close(self, code: int, reason: str) -> None:
        self.player.stop()
        self.link.close(code, reason)

    # --- time ---------------------------------------------------------------------------------------------------------

    def check(self, now_s: float) -> None:
        """Called often: heartbeats, and the end of the venue's patience."""
        if self.link.half_open or self.link.stalled(now_s):
            return
        settings = self._venue.settings
        if settings.slow_s and self.link.paused_for(now_s) > settings.slow_s:
            self._kill("connection_too_slow")
        elif self._heartbeat_s and now_s - self._heartbeat_at_s >= self._heartbeat_s:
            self._beat(now_s)
        elif self.player.idle and not self._heartbeat_s and now_s - self._opened_s > IDLE_S * settings.heartbeat_scale:
            self._kill("idle")

    def _beat(self, now_s: float) -> None:
        if self._unanswered:
            self.close(CLOSE_CODE_HEARTBEAT, "heartbeat close")
            return
        self._heartbeat_at_s, self._unanswered = now_s, True
        for kind in ("heartbeat", "test_request"):
            self._send_json({"params": {"type": kind}, "method": "heartbeat", "jsonrpc": "2.0"})

    def _kill(self, how: str) -> None:
        self.player.stop()
        self.link.kill(how)


def _parsed(payload: bytes) -> dict[str, Any]:
    """A request that can be answered. RpcError where it is none."""
    if len(payload) > REQUEST_BYTES_MAX:
        raise RpcError(-32600, "request entity too large")
    try:
        request = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise RpcError(11050, "bad_request") from error
    if (
        not isinstance(request, dict)
        or not isinstance(request.get("method"), str)
        or not isinstance(request.get("params", {}), dict)
    ):
        raise RpcError(-32600, "Invalid Request")
    return request


def _channels(params: Params) -> list[str]:
    channels: Any = params.get("channels")
    if not isinstance(channels, list) or not all(isinstance(name, str) for name in channels):
        raise RpcError(-32000, "Missing params")
    return channels
