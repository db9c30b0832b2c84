"""A running `tickbay sim`, and a WebSocket client that shows what is really on the wire."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

ENGINE = Path(__file__).parent.parent / "engine"
START_TIMEOUT_S = 30
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Simulator:
    """The process, its addresses and its controls."""

    def __init__(self, process: subprocess.Popen[str], ws_url: str, rest_url: str) -> None:
        self.process, self.ws_url, self.rest_url = process, ws_url, rest_url

    def call(self, method: str, **params: object) -> Any:
        """The result of a REST call; HTTPError where it is refused."""
        query = "&".join(f"{name}={value}" for name, value in params.items())
        return json.loads(self._open(f"{self.rest_url}/{method}?{query}"))["result"]

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._open(self._control("status")))
        return found

    def feeds(self) -> list[int]:
        """The connections that have data, in the order in which they were made."""
        return [each["connection"] for each in self.status()["connections"] if each["channels"]]

    def announced_to(self) -> list[int]:
        """The connections that have announcements: the universe's."""
        return [each["connection"] for each in self.status()["connections"] if each["announcements"]]

    def start(self) -> None:
        self._open(self._control("start"), b"")

    def end_data(self) -> None:
        """No more of it; connections stay."""
        self._open(self._control("stop"), b"")

    def fault(self, line: str) -> None:
        self._open(self._control("fault"), line.encode())

    def wait_until(self, reached: Callable[[dict[str, Any]], bool], timeout_s: float = 30) -> dict[str, Any]:
        """The status, once `reached` says so."""
        deadline = time.monotonic() + timeout_s
        while not reached(status := self.status()):
            assert time.monotonic() < deadline, status
            time.sleep(0.02)
        return status

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(timeout=20) == 0

    def _control(self, name: str) -> str:
        return self.rest_url.replace("/api/v2", f"/sim/{name}")

    @staticmethod
    def _open(url: str, data: bytes | None = None) -> bytes:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=20) as response:
            content: bytes = response.read()
            return content


@contextmanager
def simulating(folder: Path, *arguments: str) -> Iterator[Simulator]:
    """A simulator on free ports; with its ledger in `folder`/ledger."""
    ports = folder / "ports"
    ports.unlink(missing_ok=True)
    where = ["--port", "0", "--rest-port", "0", "--ports-file", str(ports), "--ledger", str(folder / "ledger")]
    command = [sys.executable, "-m", "tickbay", "sim", *where, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ENGINE)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ports.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        found = json.loads(ports.read_text())
        yield Simulator(process, found["ws_url"], found["rest_url"])
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True, slots=True)
class Closed:
    """How the other side ended: a close frame's code and reason, or code 0 where the connection just ended."""

    code: int
    reason: str = ""


class Refused(Exception):
    """The upgrade was answered with another HTTP status."""


class Client:
    """One blocking WebSocket connection. Reads whole frames and judges nothing."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self.socket: socket.socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname=parts.hostname)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._buffer, self._place = bytearray(), 0
        while b"\r\n\r\n" not in self._buffer:
            self._read()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if b" 101 " not in head.splitlines()[0]:
            self.socket.close()
            raise Refused(head.splitlines()[0].decode())
        self._buffer = bytearray(rest)
        self._next_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _read(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionResetError("end of stream")
        self._buffer += data

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        """One masked frame (with a mask of zeros, which changes nothing)."""
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        if size > 65535:
            length = b"\xff" + size.to_bytes(8, "big")
        self.socket.sendall(bytes([0x80 | opcode]) + length + bytes(4) + payload)

    def frame(self) -> bytes | Closed:
        """The next text frame's payload, or how the connection ended."""
        try:
            while True:
                opcode, payload = self._frame()
                if opcode == CLOSE:
                    return Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode())
                if opcode == TEXT:
                    return payload
        except (ConnectionError, ssl.SSLError):
            return Closed(0)

    def text(self) -> bytes:
        """The next text frame's payload; the connection must not end."""
        frame = self.frame()
        assert not isinstance(frame, Closed), frame
        return frame

    def _frame(self) -> tuple[int, bytes]:
        self._need(2)
        size, head = self._buffer[self._place + 1] & 127, 2
        if size >= 126:
            head = 4 if size == 126 else 10
            self._need(head)
            size = int.from_bytes(self._buffer[self._place + 2 : self._place + head], "big")
        self._need(head + size)
        begin = self._place + head
        opcode, payload = self._buffer[self._place] & 15, bytes(self._buffer[begin : begin + size])
        self._place = begin + size
        return opcode, payload

    def _need(self, size: int) -> None:
        """Have so many bytes behind the place up to which all was read."""
        while len(self._buffer) - self._place < size:
            del self._buffer[: self._place]
            self._place = 0
            self._read()

    def request(self, method: str, **params: object) -> int:
        self._next_id += 1
        message = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params}
        self.send(json.dumps(message).encode())
        return self._next_id

    def until_reply(self, request_id: object) -> tuple[list[bytes], dict[str, Any]]:
        """The notifications before a reply, and the reply."""
        before: list[bytes] = []
        while True:
            frame = self.text()
            message = json.loads(frame)
            if message.get("id") == request_id and "method" not in message:
                return before, message
            before.append(frame)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        return self.until_reply(self.request(method, **params))[1]

    def subscribe(self, *channels: str) -> list[str]:
        found: list[str] = self.call("public/subscribe", channels=channels)["result"]
        return found

    def frames(self, count: int, channel: str = "") -> list[bytes]:
        """The next `count` data frames of a channel whose name begins so."""
        found: list[bytes] = []
        mark = f'"channel":"{channel}'.encode()
        while len(found) < count:
            frame = self.text()
            if mark in frame:
                found.append(frame)
        return found

    def until_ping(self) -> bytes:
        """The payload of the next ping; all before it is dropped."""
        while True:
            opcode, payload = self._frame()
            if opcode == PING:
                return payload

    def until_silent(self, seconds: float = 0.5) -> list[bytes]:
        """Everything that comes until nothing came for so long."""
        found: list[bytes] = []
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        while True:
            try:
                found.append(self.text())
            except TimeoutError:
                self.socket.settimeout(before)
                return found

    def closed(self) -> Closed:
        """Read on until the connection ends."""
        while not isinstance(frame := self.frame(), Closed):
            pass
        return frame


def refused_status(simulator: Simulator, method: str, **params: object) -> tuple[int, bytes]:
    """HTTP status and body of a REST call that is refused."""
    try:
        simulator.call(method, **params)
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    raise AssertionError(f"{method} was not refused")
