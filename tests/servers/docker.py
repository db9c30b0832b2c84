"""A Docker engine of our own for tests, with a base image that no registry has to be asked for.

Needs root, Debian's docker.io and mmdebstrap, and Compose; Unavailable says what is missing.
Images and the build cache are kept below ~/.cache/tickbay/docker: the first time takes minutes, later ones seconds. The
engine touches neither the machine's network nor its firewall: containers have the host's network or none.
"""

from __future__ import annotations

import fcntl
import json
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
STOP_TIMEOUT_S = 30
COMMAND_TIMEOUT_S = 600
BUILD_CACHE_MAX = "3GB"
AUDIT = Path(__file__).parents[2] / "build" / "audit" / "bin"
CLIENT = Path("/usr/bin/docker")  # Debian's has BuildKit built in; another one on the path may want a plugin
# Compose has only the plugin: without it the old builder, which shares no cache with BuildKit. The first suite that has
# 0.17, as Compose wants.
BUILDX_SUITE = "forky"
# What Debian's slim images leave out.
NOT_SLIM = ("doc", "man", "info", "locale", "groff", "lintian", "linda")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # a build goes the way to its packages that this machine goes


def compose_program() -> str:
    """Compose as a program of its own; Unavailable where there is none."""
    return str(tool("docker-compose"))


def tool(name: str) -> Path:
    """What looks at deploy/: of build/audit (requirements/audit.lock), else this machine's. Unavailable without."""
    path = os.pathsep.join([str(AUDIT), str(Path(sys.executable).parent), os.environ["PATH"]])
    found = shutil.which(name, path=path)
    if found is None:
        raise Unavailable(f"{name} is not here: `make build/audit/.ready` installs it")
    return Path(found)


class Engine:
    """A running dockerd."""

    def __init__(self, socket: Path, settings: Path) -> None:
        """`settings` is the client's folder of them, instead of this user's. Compose would take a variable of .env from
        the environment first: of ours it has only what programs need."""
        ours = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        given = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(settings)}
        self.env = ours | given

    def docker(self, *arguments: str, check: bool = True) -> str:
        """What the client says, stderr included."""
        return run([str(CLIENT), *arguments], self.env, check)

    def compose(self, folder: Path, *arguments: str, check: bool = True, **env: str) -> str:
        """The same of Compose in `folder`."""
        return run([compose_program(), "--progress", "plain", *arguments], self.env | env, check, folder)

    def clear(self) -> None:
        """Nothing runs any more and nothing is kept, but images and what builds them again."""
        if containers := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", "--volumes", *containers)
        if volumes := self.docker("volume", "ls", "--quiet").split():
            self.docker("volume", "rm", "--force", *volumes)
        self.docker("image", "prune", "--force")
        self.docker("builder", "prune", "--force", "--keep-storage", BUILD_CACHE_MAX)

    def answers(self) -> bool:
        asked = subprocess.run([CLIENT, "version"], env=self.env, capture_output=True, timeout=30, check=False)
        return asked.returncode == 0

    def import_base(self, name: str) -> None:
        """A slim Debian trixie under the name of the official image, unless it is there already."""
        if self.docker("image", "ls", "--quiet", name):
            return
        debian.check()
        with tempfile.TemporaryDirectory(prefix="tickbay-base-") as folder:
            tree = Path(folder) / "base.tar"
            copy = f'--customize-hook=cp {CERTIFICATES} "$1{CERTIFICATES}"'
            slim = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in NOT_SLIM]
            options = ["--quiet", "--variant=minbase", "--include=ca-certificates", copy, *slim]
            debian.run("mmdebstrap", *options, "trixie", str(tree), debian.mirror())
            self.docker("import", str(tree), name)


def run(command: list[str], env: Mapping[str, str], check: bool = True, folder: Path | None = None) -> str:
    """What a command says, stderr included."""
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


@contextmanager
def engine() -> Iterator[Engine]:
    """A new engine over the cache, ended afterwards. One at a time: others wait."""
    if os.geteuid() != 0:
        raise Unavailable("a Docker engine needs root")
    for program in ("dockerd", "mmdebstrap", str(CLIENT)):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is missing")
    compose_program()
    plugins = debian.unpacked("docker-buildx", BUILDX_SUITE, ("docker-buildx",)) / "usr/libexec/docker/cli-plugins"
    data = debian.cache() / "docker"
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="tickbay-docker-") as name:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = Path(name)
        no_network = ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none"]
        where = [f"--data-root={data / 'data'}", f"--exec-root={folder / 'exec'}", f"--pidfile={folder / 'pid'}"]
        socket = folder / "socket"
        command = ["dockerd", "--storage-driver=overlay2", *no_network, *where, f"--host=unix://{socket}"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        (folder / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(plugins)]}))
        started = Engine(socket, folder)
        try:
            _wait_ready(started, process, folder / "log")
            started.clear()  # of a test that was killed
            yield started
        finally:
            if process.poll() is None:
                started.clear()
            process.terminate()
            process.wait(STOP_TIMEOUT_S)
            _unmount(folder)


def _wait_ready(started: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not started.answers():
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise Unavailable(f"dockerd does not start: {' '.join(last)}")
        time.sleep(0.2)


def _unmount(folder: Path) -> None:
    """What the engine leaves mounted: the network namespace of containers with the host's network."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in reversed([each for each in mounted if each.startswith(f"{folder}/")]):
        debian.run("umount", "--lazy", path)
