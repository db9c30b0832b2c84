"""What is answered to an HTTP request: pure, but for looking at the engine. GET and HEAD only, for known hosts only.

In: a request's first line and headers. Out: status, headers and body. /metrics is on metrics.port; what is on web.port
is in web/api.py; /healthz and /readyz are on health.port:

- /healthz: 200 while the engine records, also where something needs attention; 503 where nothing is.
- /readyz: 200 where all is well; 503 with the reasons, as `tickbay status` has them, where something needs attention.

HTTP-1: a request that names a host we do not go by is refused, so no page in a browser can read us through a name of
its own that points here; an address is not a name, and no other origin is ever allowed.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from tickbay.config import Config
from tickbay.metrics.collector import Collector
from tickbay.status.snapshot import Status, collect

FIELDS_MAX = 16  # of a query
PLAIN = "text/plain; charset=utf-8"
STRANGE_NAME = (
    "this host name is not among ours: name it in web.hosts (health.hosts, metrics.hosts) of tickbay.toml,"
    " or in HOST_NAMES of deploy/docker/.env"
)


@dataclass(frozen=True, slots=True)
class Answer:
    status: HTTPStatus
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    headers: Mapping[str, str]  # spelt Like-This
    query: Mapping[str, str] = field(default_factory=dict)  # of a key that comes twice, the last


class BadQuery(Exception):
    """A query that cannot be answered; the sentence is for who asked."""


Page = Callable[[Request], Answer]
METHODS = ("GET", "HEAD")


def metrics_pages(config: Config) -> dict[str, Page]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(config))

    def metrics(request: Request) -> Answer:
        headers = request.headers
        encode, content_type = choose_encoder(headers.get("Accept", ""))
        body, more = encode(registry), {"Content-Type": content_type}
        if gzip_accepted(headers.get("Accept-Encoding", "")):
            body, more["Content-Encoding"] = gzip.compress(body, compresslevel=1), "gzip"
        return Answer(HTTPStatus.OK, body, more)

    return {"/metrics": metrics}


def health_pages(config: Config) -> dict[str, Page]:
    def healthz(_request: Request) -> Answer:
        verdict = collect(config).verdict
        return text(HTTPStatus.SERVICE_UNAVAILABLE if verdict == "down" else HTTPStatus.OK, verdict)

    def readyz(_request: Request) -> Answer:
        status = collect(config)
        code = HTTPStatus.OK if status.verdict == "healthy" else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(code, orjson.dumps(reduced(status)), {"Content-Type": "application/json"})

    return {"/healthz": healthz, "/readyz": readyz}


def reduced(status: Status) -> dict[str, Any]:
    """What who watches needs of `tickbay status --json`, under the same names."""
    return {
        "schema": status.schema,
        "version": status.version,
        "time": status.time,
        "verdict": status.verdict,
        "reasons": status.reasons,
        "supervised": status.supervised,
        "processes": [
            {"name": each.name, "state": each.state, "restarts": each.restarts, "lag_s": each.lag_s}
            for each in status.processes
        ],
        "totals": {
            "frames_per_s": status.totals.frames_per_s,
            "gaps": status.totals.gaps,
            "hold_hours": status.totals.hold_hours,
        },
    }


def answer(
    method: str, target: str, headers: Mapping[str, str], *, pages: Mapping[str, Page], hosts: tuple[str, ...]
) -> Answer:
    """To one request; its headers are spelt Like-This. `hosts` are the names by which we may be called."""
    if method not in METHODS:
        allowed = {"Allow": ", ".join(METHODS), "Content-Type": PLAIN}
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"GET and HEAD only\n", allowed)
    if not is_known(headers.get("Host", ""), hosts):  # HTTP-1
        return text(HTTPStatus.MISDIRECTED_REQUEST, STRANGE_NAME)
    path, _, query = target.partition("?")
    page = pages.get(path)
    if page is None:
        return text(HTTPStatus.NOT_FOUND, "there is " + " and ".join(pages))
    try:
        wanted = parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        return text(HTTPStatus.BAD_REQUEST, f"a query of more than {FIELDS_MAX} fields")
    try:
        return page(Request(headers, dict(wanted)))
    except BadQuery as error:
        return text(HTTPStatus.BAD_REQUEST, str(error))


def text(status: HTTPStatus, sentence: str) -> Answer:
    return Answer(status, f"{sentence}\n".encode(), {"Content-Type": PLAIN})


def is_known(host: str, hosts: tuple[str, ...]) -> bool:
    """Is the Host header `host` an address, localhost, or one of `hosts`?"""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in ("localhost", *(known.lower() for known in hosts)) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
