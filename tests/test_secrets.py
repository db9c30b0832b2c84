"""Secrets are nowhere but in the environment, what the engine leaves on disk is nobody else's, and it listens to this
machine only: the whole engine runs with canaries, at log level debug, with every door open, and everything that it
says, serves and writes is searched.
"""

from __future__ import annotations

import ipaddress
import stat
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from faults.rig import HASTY, Rig
from patience import wait_for
from simulator import simulating
from tickbay.embedded import EmbeddedServer
from whole_engine import tickbay, whole_engine

pytestmark = pytest.mark.slow

WRONG = "canary-0815-canary"
VENUE_CANARIES = {"DERIBIT_API_KEY": "canary-4711-key", "DERIBIT_API_SECRET": "canary-4711-secret"}
COMPLAINING = (("status",), ("status", "--json"), ("gaps",), ("schema", "status"), ("schema", "apply"), ("audit",))
ASKING = (*COMPLAINING, ("sink", "ls"), ("journal", "ls"), ("certificate", "today", "--target", "0"))
PAGES = {
    "metrics_port": ("/metrics", "/nowhere"),
    "health_port": ("/healthz", "/readyz"),
    "web_port": ("/", "/api/health", "/api/processes", "/api/instruments", "/api/gaps", "/api/"),
}
DOORS = "[{}]\nenabled = false\n"
LISTENING = "0A"  # of /proc/net/tcp


@pytest.fixture
def rig(tmp_path: Path, shm_dir: Path, postgres_server: EmbeddedServer) -> Iterator[Rig]:
    market = ["--instruments", "ETH=20", "--no-limits", "--rate", "500"]
    with (
        simulating(tmp_path, *market) as simulator,
        whole_engine(tmp_path, shm_dir, postgres_server, simulator, more=HASTY) as rig,
    ):
        rig.env |= {"LOG_LEVEL": "debug", **VENUE_CANARIES}
        text = rig.file.read_text()
        for door in ("metrics", "health", "web"):
            assert DOORS.format(door) in text
            text = text.replace(DOORS.format(door), f"[{door}]\nport = 0\n")
        rig.file.write_text(text + '[[select]]\ninterval = "raw"\n')
        yield rig


def left_by(rig: Rig) -> list[Path]:
    """What the engine has made."""
    return sorted(path for top in (rig.run_dir, rig.folder / "data") for path in top.rglob("*"))


def pages(rig: Rig) -> str:
    """Everything that is served over HTTP."""
    report = rig.report("metrics")
    assert report is not None
    found = []
    for door, paths in PAGES.items():
        for path in paths:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{int(report.gauges[door])}{path}") as answer:
                    found.append(f"{answer.headers}{answer.read().decode()}")
            except urllib.error.HTTPError as error:  # its words count too
                with error:
                    found.append(f"{error.headers}{error.read().decode()}")
    return "".join(found)


def listening(rig: Rig) -> dict[str, list[str]]:
    """process → the addresses on which it listens, by what the kernel says."""
    found: dict[str, list[str]] = {}
    for name in rig.names:
        identity = rig.identity(name)
        assert identity is not None, f"{name} runs"
        links = {str(path.readlink()) for path in Path(f"/proc/{identity.pid}/fd").iterdir() if path.is_symlink()}
        for table in ("tcp", "tcp6", "udp", "udp6"):
            for line in Path(f"/proc/{identity.pid}/net/{table}").read_text().splitlines()[1:]:
                local, state, inode = (line.split()[at] for at in (1, 3, 9))
                if f"socket:[{inode}]" in links and (state == LISTENING or table.startswith("udp")):
                    raw = bytes.fromhex(local.split(":")[0])
                    words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
                    found.setdefault(name, []).append(str(ipaddress.ip_address(words)))
    return found


def places(rig: Rig, secret: str) -> list[str]:
    """Where it can be read by who should not: arguments, log, files."""
    said = {str(path): path.read_bytes() for path in [*left_by(rig), rig.folder / "engine.log"] if path.is_file()}
    for name in rig.names:
        identity = rig.identity(name)
        assert identity is not None, f"{name} runs"
        for what in ("cmdline", "environ", "comm"):  # the title takes the place of the environment too
            said[f"{what} of {name}"] = Path(f"/proc/{identity.pid}/{what}").read_bytes()
    return [where for where, text in said.items() if secret.encode() in text]


def answers(rig: Rig, commands: Iterable[Sequence[str]] = ASKING) -> str:
    """Of every command that asks."""
    found = [tickbay(*command, "--config", str(rig.file), env=rig.env) for command in commands]
    assert not any("Traceback" in err for _, _, err in found)
    return "".join(out + err for _, out, err in found)


def test_no_secret_is_in_an_argument_log_file_page_or_answer_all_files_are_private_and_nothing_listens_to_others(
    rig: Rig,
) -> None:
    rig.up()
    rig.wait_flowing()
    rig.kill("feed-1")  # trouble is when processes talk
    rig.kill_backend()
    rig.wait_flowing()
    said = answers(rig)
    assert "HEALTHY" in said or "DEGRADED" in said
    said += answers(rig, [("backup", str(rig.folder / "data" / "backup"))])  # its files are looked at with the others
    assert "timescale/manifest.json" in "".join(map(str, left_by(rig)))
    served = pages(rig)
    assert "tickbay_stream_published_total" in served and '"verdict"' in served and "<html" in served
    for secret in (rig.database.password, *VENUE_CANARIES.values()):
        assert secret not in said + served
        held = [where for where in places(rig, secret) if not where.startswith("environ of feed-")]
        assert held == [], "feeds hold the key, whose environment nobody else can read"
    assert len(places(rig, "feed-1")) > 3, "what is there is found"
    assert {path.suffix for path in (rig.folder / "data" / "certificates").iterdir()} == {".json", ".html"}
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in left_by(rig)}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
    assert any(stat.S_ISSOCK(path.lstat().st_mode) for path in modes), "sockets were looked at too"
    addresses = listening(rig)
    assert set(addresses) == {"metrics"} and len(addresses["metrics"]) == 3, addresses
    assert set(addresses["metrics"]) == {"127.0.0.1"}
    rig.stop()


def test_a_wrong_password_is_not_repeated_by_whoever_complains_of_it(rig: Rig) -> None:
    rig.env["DB_PASSWORD"] = WRONG
    rig.up()
    wait_for(lambda: rig.state("writer-timescale") == "degraded", "the writer to complain")
    said = answers(rig, [*COMPLAINING, ("backup", str(rig.folder / "backup"))])
    assert said.count("password authentication failed") >= 5, said
    assert WRONG not in said
    assert places(rig, WRONG) == []
