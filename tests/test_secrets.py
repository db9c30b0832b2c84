"""The database's password is nowhere but in the environment, and what the engine leaves on disk is nobody else's: the
whole engine runs with it, at log level debug, and everything that it says and writes is searched.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.rig import HASTY, Rig, wait_for
from servers.postgres import postgres_server
from simulator import simulating
from tickbay.embedded import EmbeddedServer
from whole_engine import tickbay, whole_engine

__all__ = ["postgres_server"]
pytestmark = pytest.mark.slow

WRONG = "canary-0815-canary"
ASKING = (("status",), ("status", "--json"), ("gaps",), ("schema", "status"), ("schema", "apply"), ("audit",))


@pytest.fixture
def rig(tmp_path: Path, shm_dir: Path, postgres_server: EmbeddedServer) -> Iterator[Rig]:
    market = ["--instruments", "ETH=20", "--no-limits", "--rate", "500"]
    with (
        simulating(tmp_path, *market) as simulator,
        whole_engine(tmp_path, shm_dir, postgres_server, simulator, more=HASTY) as rig,
    ):
        rig.env["LOG_LEVEL"] = "debug"
        yield rig


def left_by(rig: Rig) -> list[Path]:
    """What the engine has made."""
    return sorted(path for top in (rig.run_dir, rig.folder / "data") for path in top.rglob("*"))


def places(rig: Rig, secret: str) -> list[str]:
    """Where it can be read by who should not: arguments, log, files."""
    said = {str(path): path.read_bytes() for path in [*left_by(rig), rig.folder / "engine.log"] if path.is_file()}
    for name in rig.names:
        identity = rig.identity(name)
        assert identity is not None, f"{name} runs"
        for what in ("cmdline", "environ", "comm"):  # the title takes the place of the environment too
            said[f"{what} of {name}"] = Path(f"/proc/{identity.pid}/{what}").read_bytes()
    return [where for where, text in said.items() if secret.encode() in text]


def answers(rig: Rig) -> str:
    """Of every command that asks."""
    found = [tickbay(*command, "--config", str(rig.file), env=rig.env) for command in ASKING]
    assert not any("Traceback" in err for _, _, err in found)
    return "".join(out + err for _, out, err in found)


def test_the_password_is_in_no_argument_log_file_or_answer_and_all_files_are_private(rig: Rig) -> None:
    rig.up()
    rig.wait_flowing()
    rig.kill("feed-1")  # trouble is when processes talk
    rig.kill_backend()
    rig.wait_flowing()
    assert "HEALTHY" in (said := answers(rig)) or "DEGRADED" in said
    assert rig.database.password not in said
    assert places(rig, rig.database.password) == []
    assert len(places(rig, "feed-1")) > 3, "what is there is found"
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in left_by(rig)}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
    assert any(stat.S_ISSOCK(path.lstat().st_mode) for path in modes), "sockets were looked at too"
    rig.stop()


def test_a_wrong_password_is_not_repeated_by_whoever_complains_of_it(rig: Rig) -> None:
    rig.env["DB_PASSWORD"] = WRONG
    rig.up()
    wait_for(lambda: rig.state("writer-timescale") == "degraded", "the writer to complain")
    said = answers(rig)
    assert said.count("password authentication failed") >= 4, said
    assert WRONG not in said
    assert places(rig, WRONG) == []
