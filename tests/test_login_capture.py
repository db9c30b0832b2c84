"""A feed with an API key against the simulator's logins: tokens that end, a wrong secret, and where the secrets go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from patience import wait_for
from simulator import simulating
from tickbay.embedded import EmbeddedServer
from tickbay.health import read_report
from tickbay.sim.ledger import LedgerReader
from whole_engine import query, whole_engine

pytestmark = pytest.mark.slow

KEY, SECRET = "canary-key", "canary-secret"
RULE = '\n[[select]]\ninterval = "raw"\n'
MARKET = ("--instruments", "ETH=8", "--rate", "500", "--token-s", "2")


def test_a_login_lasts_over_its_tokens_and_a_new_connection_and_leaves_no_trace(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    monkeypatch.setenv("DERIBIT_API_KEY", KEY)
    monkeypatch.setenv("DERIBIT_API_SECRET_FILE", str(tmp_path / "secret"))
    with (
        simulating(tmp_path, *MARKET) as simulator,
        whole_engine(tmp_path, shm_dir, postgres_server, simulator, feeds=1, more=RULE) as rig,
    ):
        rig.up()
        rig.wait_flowing()
        wait_for(lambda: len(logins(tmp_path)) >= 3, "the login to be renewed")
        (feed,) = simulator.feeds()
        simulator.fault(f"kill connection={feed}")
        wait_for(lambda: bool(set(simulator.feeds()) - {feed}), "a new connection")
        rig.wait_flowing()
        report = read_report(shm_dir, "feed-1")
        assert report is not None and (report.state, report.detail) == ("live", "")
        processes = {name: identity.pid for name in rig.names if (identity := rig.identity(name))}
        told = {name: Path(f"/proc/{pid}/cmdline").read_bytes() for name, pid in processes.items()}
        held = {name: Path(f"/proc/{pid}/environ").read_bytes() for name, pid in processes.items()}
        verdict = rig.finish()
    assert verdict.good, verdict
    grants = logins(tmp_path)
    assert grants.count("client_credentials") == 2 and grants.count("refresh_token") >= 2
    others = "SELECT cause, kind, instrument, detail FROM gaps WHERE cause NOT IN ('disconnect', 'sequence')"
    assert query(rig, others) == []
    assert not any(KEY.encode() in line for line in told.values())
    assert {name for name, lines in held.items() if KEY.encode() in lines} <= {"feed-1", "supervisor"}
    assert traces(tmp_path, shm_dir) == []


def test_a_wrong_secret_is_told_once_and_capture_goes_on(
    postgres_server: EmbeddedServer, tmp_path: Path, shm_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERIBIT_API_KEY", KEY)
    monkeypatch.setenv("DERIBIT_API_SECRET", "wrong")
    with (
        simulating(tmp_path, *MARKET) as simulator,
        whole_engine(tmp_path, shm_dir, postgres_server, simulator, feeds=1, more=RULE) as rig,
    ):
        rig.up()
        wait_for(lambda: is_denied(shm_dir), "the feed to say so")
        wait_for(lambda: query(rig, "SELECT count(*) > 100 FROM option_quotes") == [(True,)], "rows to be stored")
        report = read_report(shm_dir, "feed-1")
        verdict = rig.finish()
    assert verdict.good, verdict
    assert report is not None and report.state == "degraded"
    assert "the venue refuses the API key (13004 invalid_credentials)" in report.detail
    log = "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*log*") if path.is_file())
    assert log.count("login_denied") == 1


def is_denied(run_dir: Path) -> bool:
    report = read_report(run_dir, "feed-1")
    return report is not None and "refuses the API key" in report.detail


def logins(folder: Path) -> list[str]:
    """How each login was granted."""
    return [event["grant"] for event in LedgerReader(folder / "ledger").events() if event["event"] == "login"]


def traces(*folders: Path) -> list[str]:
    """Files in which the key or the secret lies, but for the secret's own."""
    paths = [Path(root) / name for folder in folders for root, _, names in os.walk(folder) for name in names]
    return [
        str(path)
        for path in paths
        if path.name != "secret"
        and path.is_file()
        and (SECRET.encode() in (text := path.read_bytes()) or KEY.encode() in text)
    ]
