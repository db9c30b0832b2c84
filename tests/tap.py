"""A tap on the line between a client and a server: forwards every connection and keeps what the server sent."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Tap:
    """Listens on `port` of the loopback for `target`. `heard` has the bytes of each connection, in order of opening."""

    def __init__(self, target: int) -> None:
        self.heard: list[bytearray] = []
        self._target = ("127.0.0.1", target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._sockets:
            _shut(end)
        for thread in self._threads:
            thread.join(timeout=10)
        for end in self._sockets:
            end.close()

    def frames_of(self, payload: bytes) -> int:
        """How often the server sent exactly this as one text frame of a WebSocket."""
        size = len(payload)
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
        assert size < 1 << 16
        return sum(heard.count(b"\x81" + length + payload) for heard in self.heard)

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            self.heard.append(bytearray())
            for source, target, kept in ((client, server, None), (server, client, self.heard[-1])):
                thread = threading.Thread(target=self._forward, args=(source, target, kept))
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _forward(source: socket.socket, target: socket.socket, kept: bytearray | None) -> None:
        with contextlib.suppress(OSError):  # either end went away: so does the other
            while data := source.recv(1 << 18):
                if kept is not None:
                    kept += data
                target.sendall(data)
        _shut(source)
        _shut(target)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # already gone
        end.shutdown(socket.SHUT_RDWR)
