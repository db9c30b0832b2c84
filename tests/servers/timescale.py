"""A real TimescaleDB (Apache edition) without a container: Debian's packages of a newer suite, unpacked into a cache.

PostgreSQL, TimescaleDB and every library they need, down to libc, are unpacked below ~/.cache/tickbay, and the
programs are pointed at them with patchelf. Nothing of the system is touched: apt runs with directories of its own.
Skipped with the reason where apt, dpkg, Debian's signing keys or the network are missing.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers import debian
from servers.debian import Unavailable, run
from servers.postgres import running
from tickbay.embedded import EmbeddedServer

# Packages that are needed by programs we do not run, or by the system's own configuration.
UNNEEDED = re.compile(
    r"libperl|libjson-perl|libtext-|libpam-modules|libpam-runtime|libc-bin|libc-l10n|libsystemd-shared|libsasl2-modules-db"
    r"|libc-gconv|libdb5|libsemanage|libproc2"
)


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian suite and the PostgreSQL whose TimescaleDB it has."""

    suite: str
    postgresql: int


# The first that works. forky and sid move; trixie is stable, with TimescaleDB 2.19.
RELEASES = (Release("forky", 18), Release("sid", 18), Release("trixie", 17))


def binaries() -> Path:
    """The directory of the programs, unpacked at the first call."""
    debian.check()
    cache = debian.cache()
    for release in RELEASES:
        if (done := _programs(cache / f"timescaledb-{release.suite}", release)).is_dir():
            return done
    failures = []
    for release in RELEASES:
        try:
            return _unpack(cache, release)
        except Unavailable as error:
            failures.append(f"{release.suite}: {error}")
    raise Unavailable("; ".join(failures))


def _programs(root: Path, release: Release) -> Path:
    return root / "usr" / "lib" / "postgresql" / str(release.postgresql) / "bin"


def _unpack(cache: Path, release: Release) -> Path:
    """Download and unpack in a folder beside the final one and rename it, so that a half of it is never used."""
    cache.mkdir(parents=True, exist_ok=True)
    final = cache / f"timescaledb-{release.suite}"
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache) as name:
        folder = Path(name)
        apt = debian.apt(folder, release.suite)
        run(*apt, "update")
        run(*apt, "download", *_packages(apt, release.postgresql), cwd=folder)
        root = folder / "root"
        for package in folder.glob("*.deb"):
            run("dpkg", "-x", str(package), str(root))
        debian.point_at_own_libraries(folder, _programs(root, release).iterdir(), root, final)
        try:
            root.rename(final)
        except OSError as error:  # another test session was faster
            if not _programs(final, release).is_dir():
                raise Unavailable(str(error)) from error
    return _programs(final, release)


def _packages(apt: list[str], postgresql: int) -> list[str]:
    """PostgreSQL, TimescaleDB and the libraries they need, as apt resolves it."""
    planned = run(*apt, "-s", "install", f"postgresql-{postgresql}", f"postgresql-{postgresql}-timescaledb")
    names = {line.split()[1].split(":")[0] for line in planned.splitlines() if line.startswith("Inst ")}
    wanted = re.compile(rf"lib|zlib1g|postgresql-{postgresql}|postgresql-client-{postgresql}")
    return sorted(name for name in names if wanted.match(name) and not UNNEEDED.match(name))


@pytest.fixture(scope="session")
def timescale_server() -> Iterator[EmbeddedServer]:
    """One TimescaleDB for all tests of a session; each takes a fresh_database()."""
    try:
        programs = binaries()
    except Unavailable as error:
        pytest.skip(f"no TimescaleDB: {error}")
    settings = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
    with running(programs, **settings) as server:
        yield server
