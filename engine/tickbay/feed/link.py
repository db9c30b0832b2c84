"""One WebSocket connection at a time: opened with its certificate verified, written to, and closed. Frames that come
in do not pass here: picows hands them to the compiled listener.

LINK-1: what leaves this machine is encrypted, and the venue's certificate and host name are verified. There is no
switch.
"""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus
from urllib.parse import urlsplit

from picows import (
    WSCloseCode,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    ws_connect,
)

from tickbay import config
from tickbay.errors import ConfigError, VenueDown
from tickbay.tls import venue_context


class TooOften(VenueDown):
    """The venue says that we come too often."""


def make_tls(venue: config.Venue) -> ssl.SSLContext | None:
    """How to encrypt; None for ws://, which is for this machine only. ConfigError where that cannot be."""
    url = urlsplit(venue.ws_url)
    if url.scheme != "wss":
        if url.scheme != "ws" or not config.is_loopback(url.hostname or ""):  # LINK-1
            raise ConfigError(f"venue.ws_url = {venue.ws_url!r}: expected wss://host… (ws:// is for this machine only)")
        return None
    return venue_context(venue)


class Link:
    def __init__(self, venue: config.Venue, listener: WSListener) -> None:
        self._venue = venue
        self._listener = listener
        self._tls = make_tls(venue)
        self._transport: WSTransport | None = None
        self._close_frame = ""
        self._attempt = 0  # only the newest may become the connection

    async def open(self) -> None:
        """VenueDown where no connection can be made, TooOften where we shall not try again soon. The listener is
        started and hears on_connected() before this returns."""
        timeout_s = self._venue.connect_timeout_s
        self._attempt += 1
        attempt = self._attempt

        upgraded = False

        def take(_request: WSUpgradeRequest, _response: WSUpgradeResponse) -> WSListener:
            nonlocal upgraded
            if attempt != self._attempt:  # its answer came when nobody waited any more
                raise ConnectionAbortedError("given up")
            upgraded = True
            return self._listener

        try:
            async with asyncio.timeout(timeout_s):
                await ws_connect(
                    take,
                    self._venue.ws_url,
                    ssl_context=self._tls,
                    websocket_handshake_timeout=timeout_s,
                    max_frame_size=self._venue.frame_bytes_max,
                    max_redirects=0,
                    enable_auto_pong=False,  # the listener answers them: it must see every frame
                    # It does not tell of a TLS connection that ends before the upgrade (1.2.0), so that each try took
                    # the whole timeout; uvloop's own takes 0.14 µs a frame more.
                    use_aiofastnet=False,
                )
        except WSHandshakeError as error:
            if error.response is not None and error.response.status == HTTPStatus.TOO_MANY_REQUESTS:
                raise TooOften("HTTP 429: too many connections or requests from this address") from error
            raise VenueDown(f"no WebSocket: {error}") from error
        except TimeoutError as error:
            raise VenueDown(f"no connection within {timeout_s:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise VenueDown(f"certificate refused: {error.verify_message}") from error
        except OSError as error:  # ssl.SSLError too
            raise VenueDown(error.strerror or str(error)) from error
        if not upgraded:
            # picows returns as if all were well, and the listener never hears of it: we would wait for ever.
            raise VenueDown("the connection ended before it was a WebSocket")

    def made(self, transport: WSTransport) -> None:
        self._transport = transport
        self._close_frame = ""

    def closing(self, code: int, reason: str) -> None:
        """The venue sent a close frame (code 0: without one); the end of the connection follows."""
        self._close_frame = f"the venue closed: {code} {reason}".rstrip()

    def ending(self, transport: WSTransport) -> str:
        """How it ended, in a few words."""
        handshake = transport.close_handshake
        if handshake is not None and handshake.sent is not None and not handshake.recv_then_sent:
            return f"we closed: {handshake.sent.reason}"  # picows found a frame that breaks the protocol
        return self._close_frame or "the connection broke"

    def is_current(self, transport: WSTransport) -> bool:
        return transport is self._transport

    def send(self, payload: bytes) -> None:
        """One text frame. Nothing where the connection has gone: its end is told by on_disconnected()."""
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.send(WSMsgType.TEXT, payload)

    def end(self, *, politely: bool) -> None:
        """Close, and give up an attempt under way; `politely` with a close frame, else at once: a peer that does not
        read would never let it go."""
        self._attempt += 1
        transport, self._transport = self._transport, None
        if transport is None or transport.is_disconnected:
            return
        if politely:
            transport.send_close(WSCloseCode.OK)
        transport.disconnect(graceful=politely)
