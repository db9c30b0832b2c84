"""The venue's REST: a result, or an error that says who must act; bounded; and never over a connection that is not
checked.
"""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rest_server import RestServer, option
from tickbay.config import Venue
from tickbay.errors import ConfigError, VenueDown, VenueFault
from tickbay.universe import rest as module
from tickbay.universe.rest import Rest

ETH = {"currency": "ETH", "kind": "option"}


@pytest.fixture
def venue() -> Iterator[RestServer]:
    with RestServer() as server:
        server.listed["ETH", "option"] = [option("A")]
        yield server


def call(settings: Venue, *, timeout_s: float = 20.0) -> Any:
    async def run() -> Any:
        async with Rest(settings, timeout_s=timeout_s) as rest:
            return await rest.call("get_instruments", ETH)

    return asyncio.run(run())


def settings_of(venue: RestServer) -> Venue:
    return Venue(rest_url=venue.url)


def test_a_call_gives_the_result(venue: RestServer) -> None:
    assert call(settings_of(venue)) == [option("A")]


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("500", VenueDown, "HTTP status 500"),
        ("hasty", VenueDown, "10028 too_many_requests"),
        ("maintenance", VenueDown, "11051"),
        ("moved", VenueDown, "HTTP status 302"),
        ("cut", VenueDown, "get_instruments"),
        ("hang", VenueDown, "no answer within 0.3 s"),
        ("refuse", VenueFault, "-32602 Invalid params"),
        ("garbage", VenueFault, "no JSON"),
        ("list", VenueFault, "no JSON-RPC object"),
        ("huge", VenueFault, "an answer of more than"),
        ("bomb", VenueFault, "an answer of more than"),
    ],
)
def test_what_is_no_result_says_who_must_act(
    venue: RestServer, monkeypatch: pytest.MonkeyPatch, fault: str, error: type[Exception], words: str
) -> None:
    monkeypatch.setattr(module, "RESPONSE_BYTES_MAX", 1 << 20)
    venue.fault = fault
    with pytest.raises(error, match=words):
        call(settings_of(venue), timeout_s=0.3 if fault == "hang" else 20.0)


def test_a_venue_that_is_not_there_is_down() -> None:
    with pytest.raises(VenueDown, match="get_instruments"):
        call(Venue(rest_url="http://127.0.0.1:1/api/v2"))


def test_a_certificate_authority_that_cannot_be_read_is_the_operators(tmp_path: Path) -> None:
    settings = Venue(rest_url="https://localhost/api/v2")
    (tmp_path / "empty.pem").touch()
    for name in ("none.pem", "empty.pem"):
        with pytest.raises(ConfigError, match=r"venue\.ca_file"):
            Rest(dataclasses.replace(settings, ca_file=tmp_path / name), timeout_s=1.0)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    """And taken when the operator names its authority."""
    certificate, key = self_signed(tmp_path)
    with RestServer(tls=(certificate, key)) as venue:
        venue.listed["ETH", "option"] = [option("A")]
        assert venue.url.startswith("https://")
        with pytest.raises(VenueDown, match="certificate verify failed"):
            call(settings_of(venue))
        assert call(dataclasses.replace(settings_of(venue), ca_file=certificate)) == [option("A")]


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
