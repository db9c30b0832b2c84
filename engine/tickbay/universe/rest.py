"""The venue's REST calls: one method, its parameters → its result. Used by the universe and the healer process.

What it gives back is bounded, certificates are verified, and an answer is one of three: a result, VenueDown (not
reached, not well, asked too much: try later), VenueFault (it refused this call, or sent what is no answer).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from tickbay import __version__, config
from tickbay.errors import VenueDown, VenueFault
from tickbay.tls import venue_context

RESPONSE_BYTES_MAX = 64 << 20  # every instrument of the venue was 5.1 MB in 2026
PIECE_BYTES = 1 << 18
# Codes that pass by themselves.
LATER = frozenset({10028, 10040, 10041, 10047, 10066, 11051, 11094, 13028, 13503, 13888})


class Rest:
    """A connection pool, to be used as an asynchronous context manager."""

    def __init__(self, venue: config.Venue, *, timeout_s: float, url: str = "") -> None:
        """`url`: another host of the venue than that of the configuration."""
        self._base = (url or venue.rest_url).rstrip("/")
        self._tls = venue_context(venue) if urlsplit(self._base).scheme == "https" else None
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Rest:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, headers={"User-Agent": f"tickbay/{__version__}"}, raise_for_status=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(self, method: str, parameters: Mapping[str, str]) -> Any:
        """The result of `public/<method>`. VenueDown or VenueFault otherwise."""
        assert self._session is not None, "use Rest as a context manager"
        url = f"{self._base}/public/{method}"
        try:
            # No redirects: the host that the configuration names is the one that we trust.
            async with self._session.get(
                url, params=dict(parameters), ssl=self._tls or True, allow_redirects=False
            ) as response:
                body = await _bounded(response)
                return _result(method, response.status, body)
        except TimeoutError as error:
            raise VenueDown(f"{method}: no answer within {self._timeout.total:g} s") from error
        except aiohttp.ClientError as error:
            raise VenueDown(f"{method}: {error}") from error


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body, counted after decompression."""
    body = bytearray()
    async for piece in response.content.iter_chunked(PIECE_BYTES):
        body += piece
        if len(body) > RESPONSE_BYTES_MAX:
            raise VenueFault(f"an answer of more than {RESPONSE_BYTES_MAX} bytes")
    return bytes(body)


def _result(method: str, status: int, body: bytes) -> Any:
    """What a body means. Errors come with status 400 and a JSON-RPC body, those of the venue's edge without one."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if status != 200:
            raise VenueDown(f"{method}: HTTP status {status}") from error
        raise VenueFault(f"{method}: the answer is no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise VenueFault(f"{method}: the answer is no JSON-RPC object")
    refusal = answer.get("error")
    if isinstance(refusal, dict):
        code = refusal.get("code")
        text = f"{method}: the venue says {code} {str(refusal.get('message'))[:120]}"
        if code in LATER or status == 429 or status >= 500:
            raise VenueDown(text)
        raise VenueFault(text, code=code if type(code) is int else 0)
    if status != 200 or "result" not in answer:
        raise VenueDown(f"{method}: HTTP status {status} without a result")
    return answer["result"]
