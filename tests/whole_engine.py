"""Simulated venue → `tickbay up` → a database, all real processes, as the end-to-end tests want them.

The rig itself (start, break, finish, audit) is the fault suite's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from faults import rig as faults_rig
from faults.rig import Rig
from servers import postgres
from simulator import ENGINE, Simulator
from tickbay.embedded import EmbeddedServer

COMMAND_TIMEOUT_S = 60


@contextmanager
def whole_engine(
    folder: Path, run_dir: Path, server: EmbeddedServer, simulator: Simulator, *, feeds: int = 2, more: str = ""
) -> Iterator[Rig]:
    """Configured for a fresh database of `server`, not started; whatever it leaves running is killed. `more`: of
    tickbay.toml.
    """
    rig = Rig(folder, run_dir, server, postgres.fresh_database(server), simulator)
    database = rig.database
    rig.file.write_text(
        faults_rig.SETTINGS.format(
            data_dir=folder / "data",
            run_dir=run_dir,
            ws_url=simulator.ws_url,
            rest_url=simulator.rest_url,
            feeds=feeds,
            server=f'port = {database.port}\nuser = "{database.user}"\ndbname = "{database.dbname}"',
        )
        + more
    )
    try:
        yield rig
    finally:
        rig.kill_all()


def query(rig: Rig, text: str, *values: object) -> list[Any]:
    """The rows that the engine's database answers."""
    with psycopg.connect(rig.server.conninfo(rig.database.dbname)) as connection:
        return connection.execute(text, values).fetchall()


def tickbay(*arguments: str, env: dict[str, str] | None = None, before: Sequence[str] = ()) -> tuple[int, str, str]:
    """A command that ends by itself: exit status, stdout, stderr. `before`: what it is run by."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "tickbay", *arguments],
        env=env if env is not None else os.environ | {"PYTHONPATH": str(ENGINE)},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
