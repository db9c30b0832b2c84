"""LINK-1: what leaves this machine is encrypted, and the venue is who it says it is."""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from feed_case import TRADES, FeedCase
from simulator import simulating
from tickbay.config import Venue
from tickbay.errors import ConfigError
from tickbay.feed.link import make_tls


def test_an_unencrypted_venue_elsewhere_is_refused() -> None:
    """LINK-1."""
    for url in ("ws://www.deribit.com/ws/api/v2", "ws://192.0.2.1/", "http://127.0.0.1/", "ws:///"):
        with pytest.raises(ConfigError, match="expected wss://"):
            make_tls(Venue(ws_url=url))
    assert make_tls(Venue(ws_url="ws://127.0.0.1:1/")) is None
    assert make_tls(Venue(ws_url="ws://[::1]:1/")) is None


def test_a_ca_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "none.pem"):
        with pytest.raises(ConfigError, match=r"venue\.ca_file"):
            make_tls(Venue(ca_file=tmp_path / name))


def certificate(folder: Path, name: str, host: str) -> tuple[Path, Path]:
    """A self-signed certificate for `host`, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={host}"]
    command += ["-addext", f"subjectAltName={'IP' if host[0].isdigit() else 'DNS'}:{host}"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the certificates, is not installed")
def test_only_the_right_certificate_for_the_right_host_is_accepted(
    shm_dir: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """LINK-1."""
    ours = certificate(tmp_path, "ours", "127.0.0.1")
    elsewhere = certificate(tmp_path, "elsewhere", "www.example.com")
    case = FeedCase(shm_dir, tmp_path / "data")
    case.assign(TRADES)
    with (
        closing(case),
        simulating(tmp_path_factory.mktemp("right"), "--hold", "--tls", *map(str, ours)) as right,
        simulating(tmp_path_factory.mktemp("wrong"), "--hold", "--tls", *map(str, elsewhere)) as wrong,
    ):
        for url, ca_file, reason in (
            (right.ws_url, None, "certificate refused: self"),
            (right.ws_url, elsewhere[0], "certificate refused: self"),
            (wrong.ws_url, elsewhere[0], "certificate refused: IP address mismatch"),
        ):
            case.configure(url, **({"ca_file": str(ca_file)} if ca_file else {}))
            case.start()
            case.until_lost(reason)
            assert case.health().counters["frames"] == 0
            case.end()
        case.configure(right.ws_url, ca_file=str(ours[0]))
        case.start()
        case.until_live(1)


class HangingUp:
    """Takes connections, and TLS where it has a certificate, and ends each before it is a WebSocket."""

    def __init__(self, files: tuple[Path, Path] | None) -> None:
        self.taken = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws{'s' if files else ''}://127.0.0.1:{self._listener.getsockname()[1]}/ws/api/v2"
        if files:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*files)
            self._listener = tls.wrap_socket(self._listener, server_side=True)
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        with suppress(OSError):  # closed: the end
            while True:
                end = self._listener.accept()[0]
                self.taken += 1
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True])
def test_a_connection_that_ends_before_it_is_a_websocket_is_made_again_at_once(
    shm_dir: Path, tmp_path: Path, *, tls: bool
) -> None:
    """picows returned as if all were well, and the feed waited for ever; with aiofastnet and TLS it took the whole
    connect_timeout_s to return at all."""
    if tls and shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificates, is not installed")
    files = certificate(tmp_path, "ours", "127.0.0.1") if tls else None
    case = FeedCase(shm_dir, tmp_path / "data")
    case.assign(TRADES)
    with closing(case), closing(HangingUp(files)) as venue:
        more: dict[str, object] = {"ca_file": str(files[0])} if files else {}
        case.configure(venue.url, connect_timeout_s=3600, **more)
        case.start()
        case.until(lambda: venue.taken >= 4, "more connections")


def test_the_venue_is_always_verified_and_spoken_to_by_tls_1_2_or_newer() -> None:
    """LINK-1."""
    context = make_tls(Venue())
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
