"""The socket of one client: bytes out, and every way in which they can stop.

In: ready frames. Out: bytes past picows straight into the transport, since they need no further work. Whether the
client takes them, and how the connection ended, is known here.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time

from picows import WSTransport

REASON_BYTES_MAX = 123  # of a WebSocket close frame


class Link:
    """A connection before, during and after its life."""

    def __init__(self) -> None:
        self.how = ""  # how it ended, where that was our doing
        self.bytes_unsent = 0  # when it was cut: handed over, but not yet to the kernel
        self.half_open = False
        self._transport: WSTransport | None = None
        self._paused_s = 0.0  # since when the client takes nothing; 0: it does
        self._silent_until_s = 0.0  # 0: not stalled
        self._delayed: list[bytes] = []  # what a stall holds back

    def connected(self, transport: WSTransport) -> None:
        self._transport = transport

    @property
    def up(self) -> bool:
        return self._transport is not None and not self._transport.is_disconnected and not self.half_open

    @property
    def free(self) -> bool:
        """Whether the client would take more now."""
        return self.up and not self._paused_s and not self._silent_until_s

    @property
    def _socket(self) -> asyncio.Transport:
        assert self._transport is not None, "connected() comes first"
        return self._transport.underlying_transport

    def write(self, data: bytes) -> None:
        """Send, or keep while stalled, or forget where nobody listens any more."""
        if self._silent_until_s:
            self._delayed.append(data)
        elif self.up:
            self._socket.write(data)

    def pause(self) -> None:
        self._paused_s = time.monotonic()

    def resume(self) -> None:
        self._paused_s = 0.0

    def paused_for(self, now_s: float) -> float:
        return now_s - self._paused_s if self._paused_s else 0.0

    def stall(self, seconds: float) -> None:
        """Send nothing for a while; then everything in order."""
        self._silent_until_s = time.monotonic() + seconds

    def stalled(self, now_s: float) -> bool:
        """Whether it still is. At the end of a stall what was held back is sent."""
        if now_s < self._silent_until_s:
            return True
        if self._silent_until_s:
            self._silent_until_s = 0.0
            self.write(b"".join(self._delayed))
            self._delayed.clear()
        return False

    def freeze(self) -> None:
        """Become half open: the peer's machine still acknowledges, nobody reads, writes or closes."""
        self.half_open = True
        self._socket.pause_reading()

    def close(self, code: int, reason: str) -> None:
        """A proper WebSocket close, behind everything sent."""
        if self._transport is not None and not self._transport.is_disconnected:
            self.how = self.how or f"closed {code} {reason}".strip()
            body = code.to_bytes(2, "big") + reason.encode()[:REASON_BYTES_MAX]
            self._socket.write(bytes((0x88, len(body))) + body)  # picows' own knows only the standard's codes
            self._transport.disconnect()

    def kill(self, how: str) -> None:
        """A reset: the client loses what it has not read."""
        if self._transport is not None and not self._transport.is_disconnected:
            self.how = self.how or how
            self.bytes_unsent = self._socket.get_write_buffer_size()
            sock: socket.socket = self._socket.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.abort()
