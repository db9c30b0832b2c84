"""A small Debian, booted by systemd-nspawn, in which units run as they would on a machine of their own.

Needs root, Debian's systemd-container and mmdebstrap; Unavailable says what is missing. The tree is made once, below
~/.cache/tickbay, and every boot has a copy that goes with it. It has the host's network, and this Python and this
checkout read-only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import debian
from servers.debian import Unavailable

SUITE = "bookworm"  # the newest that still boots where the kernel has the old cgroups
# What a Python that was built elsewhere may be linked with.
PACKAGES = "systemd,systemd-sysv,libssl3,libffi8,zlib1g,liblzma5,libbz2-1.0,libsqlite3-0,libreadline8,libexpat1"
BOOT_TIMEOUT_S = 60
COMMAND_TIMEOUT_S = 90
ROOT = Path(__file__).parents[2]
PROGRAM = f"""#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/src/engine:/opt/site
exec /opt/python/bin/{Path(sys.executable).resolve().name} -m tickbay "$@"
"""


class Booted:
    """A running tree."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root, self._leader = root, leader

    def run(self, *command: str, check: bool = True) -> str:
        """What a command inside says, stderr included."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._leader), "--all", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def property(self, unit: str, name: str) -> str:
        """Of a unit, as systemd knows it."""
        return self.run("systemctl", "show", unit, "--property", name, "--value").strip()


def tree() -> Path:
    """The tree, made at the first call."""
    if os.geteuid() != 0:
        raise Unavailable("booting a tree needs root")
    for program in ("systemd-nspawn", "mmdebstrap", "nsenter"):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is missing")
    final = debian.cache() / f"booted-{SUITE}"
    if not final.is_dir():
        debian.check()
        debian.cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="unpacking-", dir=debian.cache()) as name:
            made = Path(name) / "root"
            options = ["--quiet", "--variant=minbase", f"--include={PACKAGES}"]
            debian.run("mmdebstrap", *options, SUITE, str(made), debian.mirror())
            made.rename(final)
    return final


@contextmanager
def booted() -> Iterator[Booted]:
    """Booted, and powered off afterwards."""
    with tempfile.TemporaryDirectory(prefix="tickbay-booted-") as name:
        root = Path(name) / "root"
        debian.run("cp", "--archive", "--reflink=auto", str(tree()), str(root))
        program = root / "opt" / "tickbay" / "bin" / "tickbay"
        program.parent.mkdir(parents=True)
        program.write_text(PROGRAM)
        program.chmod(0o755)
        site = Path(sys.prefix) / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
        # fmt: off
        base = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--directory", str(root),
            f"--bind-ro={sys.base_prefix}:/opt/python", f"--bind-ro={ROOT}:/opt/src", f"--bind-ro={site}:/opt/site",
        ]
        # fmt: on
        debian.run(*base, "--pipe", "/opt/tickbay/bin/tickbay", "version")
        with (Path(name) / "console").open("wb") as console:
            manager = subprocess.Popen(
                [*base, "--console=pipe", "--boot"], stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        try:
            yield Booted(root, _leader(manager))
        finally:
            manager.send_signal(signal.SIGTERM)  # an orderly end
            try:
                manager.wait(BOOT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                manager.kill()
                manager.wait()


def _leader(manager: subprocess.Popen[bytes]) -> int:
    """The first process of the tree, once all its units have started."""
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while time.monotonic() < deadline and manager.poll() is None:
        children = Path(f"/proc/{manager.pid}/task/{manager.pid}/children").read_text().split()
        if children:
            command = ["nsenter", "--target", children[0], "--all", "systemctl", "is-system-running"]
            if subprocess.run(command, capture_output=True, check=False).stdout in (b"running\n", b"degraded\n"):
                return int(children[0])
        time.sleep(0.2)
    raise Unavailable("the tree does not boot")
