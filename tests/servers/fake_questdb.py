"""A server that speaks QuestDB's HTTP and misbehaves: what a real one cannot be made to show. It never replaces one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

Behaviour = Callable[[socket.socket, str], None]  # with a connection, and the request's first line
RECEIVE_BYTES = 1 << 16
DRIP_S = 0.05


class FakeQuestdb:
    """Answers each request by the next behaviour, the last one for ever. Requests are read whole before, unless the
    behaviour is one of `early`."""

    def __init__(self, *behaviours: Behaviour, early: bool = False) -> None:
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self._behaviours = list(behaviours)
        self._early = early
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept)
        self._open: list[socket.socket] = []
        self._others: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):  # it may have ended by itself
                connection.shutdown(socket.SHUT_RDWR)
        for thread in (self._thread, *self._others):
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return  # the test is over
            self._open.append(connection)
            self._others.append(threading.Thread(target=self._serve, args=(connection,)))
            self._others[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while head := self._head(connection):
                first = head.split(b"\r\n")[0].decode()
                self.requests.append(first)
                if not self._early:
                    self.bodies.append(_body(connection, head))
                behaviour = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
                behaviour(connection, first)

    def _head(self, connection: socket.socket) -> bytes:
        """Up to the empty line, byte by byte: what follows is the body's."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                return b""
            data += byte
        return data


def _body(connection: socket.socket, head: bytes) -> bytes:
    """Of the request, decoded where it comes in chunks."""
    if b"chunked" in head:
        found = b""
        with connection.makefile("rb") as file:
            while size := int(file.readline(), 16):
                found += file.read(size)
                file.readline()
            file.readline()
        return found
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    length = lengths[0] if lengths else 0
    found = b""
    while len(found) < length:
        found += connection.recv(min(RECEIVE_BYTES, length - len(found)))
    return found


# ---------------------------------------------------------------- behaviours


def answer(status: int, body: bytes = b"", *, more: str = "") -> Behaviour:
    """A whole answer."""

    def behave(connection: socket.socket, _first: str) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode()
        connection.sendall(head + body)

    return behave


def cut(data: bytes) -> Behaviour:
    """So much of an answer, and then the connection ends."""

    def behave(connection: socket.socket, _first: str) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)

    return behave


def drip(data: bytes, *, seconds: float) -> Behaviour:
    """A byte now and then."""

    def behave(connection: socket.socket, _first: str) -> None:
        ends = time.monotonic() + seconds
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(DRIP_S)
            if time.monotonic() > ends:
                break
        connection.shutdown(socket.SHUT_RDWR)

    return behave
