"""A real Prometheus, its promtool and Alertmanager's amtool, from Debian; skipped with the reason where those cannot be
had.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import pytest

from patience import PATIENCE_S
from servers import debian
from tickbay.embedded import free_port

SUITE = "trixie"  # Prometheus 2.53, Alertmanager 0.28
PACKAGES = ("prometheus", "promtool", "prometheus-alertmanager")
Series = list[dict[str, Any]]


def program(name: str) -> Path:
    """prometheus, promtool, prometheus-alertmanager or amtool."""
    try:
        return debian.unpacked("prometheus", SUITE, PACKAGES) / "usr" / "bin" / name
    except debian.Unavailable as error:
        pytest.skip(f"no Prometheus: {error}")


def tool(name: str, *arguments: str, input: str | None = None) -> str:
    """What a tool says; it must find nothing wrong."""
    done = subprocess.run(
        [program(name), *arguments], input=input, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class PrometheusServer:
    """That scrapes `targets`; see running()."""

    def __init__(self, port: int) -> None:
        self.port = port

    def query(self, expression: str) -> Series:
        """The series of an instant query."""
        return cast(Series, self._ask("query", query=expression)["result"])

    def query_range(self, expression: str, *, start: float, end: float, step_s: float) -> Series:
        return cast(Series, self._ask("query_range", query=expression, start=start, end=end, step=step_s)["result"])

    def value(self, expression: str) -> float:
        """Of the only series; NaN where there is none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else float("nan")

    def wait_for(self, expression: str) -> Series:
        """Its series, once there is one."""
        ends = time.monotonic() + PATIENCE_S
        while not (found := self.query(expression)):
            assert time.monotonic() < ends, f"waited {PATIENCE_S:g} s for {expression}"
            time.sleep(0.2)
        return found

    def config(self) -> str:
        """prometheus.yml as it understood it."""
        return str(self._ask("status/config")["yaml"])

    def _ask(self, what: str, **parameters: object) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error


@contextmanager
def running(config: str, *flags: str) -> Iterator[PrometheusServer]:
    """A server with this prometheus.yml, gone afterwards."""
    binary, port = program("prometheus"), free_port()
    with tempfile.TemporaryDirectory(prefix="tickbay-prometheus-") as name:
        folder = Path(name)
        (folder / "prometheus.yml").write_text(config)
        command = [str(binary), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", *flags]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            _wait_ready(process, port, folder / "log")
            yield PrometheusServer(port)
        finally:
            process.kill()
            process.wait()


def _wait_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
                return
        except OSError:
            assert process.poll() is None and time.monotonic() < ends, log.read_text()
            time.sleep(0.1)
