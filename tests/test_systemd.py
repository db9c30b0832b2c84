"""deploy/systemd: as text, as systemd itself checks it, and booted."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from patience import wait_for
from servers.booted import Booted, booted
from servers.debian import Unavailable
from servers.postgres import fresh_database
from simulator import Simulator, simulating
from tickbay.config import SECRETS, Timescale
from tickbay.embedded import EmbeddedServer
from tickbay.sinks.connection import conninfo_of

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "systemd"
SERVICES = sorted(FOLDER.glob("*.service"))
EXPOSURE_MAX = 1.5


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_a_service_is_exposed_no_more_than_it_must(unit: Path) -> None:
    done = analyze("security", "--offline=true", "--no-pager", unit)
    if "--offline" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge a file")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE_MAX, done.stdout


def test_every_service_shows_the_line_of_each_secret_that_it_may_need() -> None:
    assert len(SERVICES) == 4
    for unit in SERVICES:
        named = re.findall(r"^(?:# )?LoadCredential=(\w+):/etc/tickbay/(\w+)$", unit.read_text(), re.MULTILINE)
        keys = ["deribit_api_key", "deribit_api_secret"] if unit.stem == "tickbay" else []
        assert named == [(name, name) for name in ("db_password", "questdb_password", *keys)]
        assert unit.name in (FOLDER / "README.md").read_text()
        assert {name for name, _ in named} <= {credential for _, _, credential in SECRETS.values()}


def test_systemd_understands_every_line_of_every_unit(tmp_path: Path) -> None:
    for unit in sorted({*FOLDER.glob("*.service"), *FOLDER.glob("*.timer")}):
        # The program is not here: what there is to run does not matter.
        (tmp_path / unit.name).write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", unit.read_text()))
    done = analyze("verify", *sorted(tmp_path.iterdir()))
    ours = [line for line in done.stderr.splitlines() if "tickbay" in line]
    assert done.returncode == 0 and ours == [], done.stderr


def test_the_installer_says_all_that_it_would_do_and_does_nothing() -> None:
    before = sorted(FOLDER.rglob("*"))
    for action in ([], ["--uninstall"]):
        done = subprocess.run(
            [FOLDER / "install.sh", "--dry-run", *action], capture_output=True, text=True, check=False
        )
        if "no systemd" in done.stderr:
            pytest.skip("no systemd")
        assert done.returncode == 0, done.stderr
        units = {unit.name for unit in before if unit.suffix in (".service", ".timer")}
        assert {name for name in units if f"/etc/systemd/system/{name}" in done.stdout} == units
        assert "/etc/sysusers.d/tickbay.conf" in done.stdout
        assert "db_password" not in done.stdout or "type the password" in done.stdout
    refused = subprocess.run([FOLDER / "install.sh", "--purge"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1


NO_NETWORK = "NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|name resolution|Network is unreachable"


@pytest.mark.slow
def test_what_the_installer_installs_is_checked_by_hash_runs_and_can_be_read_by_everyone(tmp_path: Path) -> None:
    """Also for a root whose files nobody else may read."""
    script = (FOLDER / "install.sh").read_text()
    for installing in re.findall(r"^ *run .*pip\" (?:install|wheel) (\$\w+)", script, re.MULTILINE):
        (options,) = re.findall(rf'^ *{installing[1:]}="(.*)"$', script, re.MULTILINE)
        assert "--require-hashes --only-binary :all:" in options or "--no-index" in options, script
    made = tmp_path / "made"
    command = ["sh", "-c", f"umask 077; exec {FOLDER}/install.sh --environment={made}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    # Not "No matching distribution" alone: that is also what a lock says from which something is missing.
    if done.returncode and (away := re.search(f".*(?:{NO_NETWORK}).*", done.stderr)):
        pytest.skip(f"no packages can be had: {away[0]}")
    assert done.returncode == 0, done.stdout + done.stderr
    program = [str(made / "bin" / "tickbay"), "version"]
    assert subprocess.run(program, capture_output=True, text=True, check=True).stdout.startswith("tickbay ")
    closed = [path for path in made.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o044 != 0o044]
    assert closed == []


# -------- booted

SETTINGS = """
data_dir = "/var/lib/tickbay"
[venue]
ws_url = "{ws_url}"
rest_url = "{rest_url}"
[feeds]
count = 1
[ring]
quote = 4096
book = 4096
[timescale]
port = {port}
user = "{user}"
dbname = "{dbname}"
[metrics]
port = 0
[health]
port = 0
[web]
port = 0
"""


@pytest.fixture
def machine(tmp_path: Path, postgres_server: EmbeddedServer) -> Iterator[tuple[Booted, Simulator, Timescale]]:
    """Installed by install.sh, not yet started, with a watchdog that a test can wait for."""
    database = fresh_database(postgres_server)
    try:
        with simulating(tmp_path, "--instruments", "ETH=10", "--no-limits") as simulator, booted() as tree:
            etc = tree.root / "etc"
            (etc / "tickbay").mkdir()
            (etc / "tickbay" / "tickbay.toml").write_text(
                SETTINGS.format(
                    ws_url=simulator.ws_url,
                    rest_url=simulator.rest_url,
                    port=database.port,
                    user=database.user,
                    dbname=database.dbname,
                )
            )
            assert "installed. Now set" in tree.run("/opt/src/deploy/systemd/install.sh", "--keep-environment")
            password = etc / "tickbay" / "db_password"
            password.write_text(database.password + "\n")
            password.chmod(0o600)
            quick = etc / "systemd" / "system" / "tickbay.service.d" / "quick.conf"
            quick.parent.mkdir()
            quick.write_text("[Service]\nWatchdogSec=4\nRestartSec=0\n")
            tree.run("systemctl", "daemon-reload")
            yield tree, simulator, database
    except Unavailable as error:
        pytest.skip(f"cannot boot a tree: {error}")


def pid_of(tree: Booted, process: str) -> str:
    """Inside the tree; empty where it does not run."""
    told = tree.run("sh", "-c", "for each in /proc/[0-9]*; do echo ${each#/proc/} $(tr '\\0' ' ' <$each/cmdline); done")
    found = re.search(rf"^(\d+) tickbay: {re.escape(process)}\s*$", told, re.MULTILINE)
    return found[1] if found else ""


def lose_everything(tree: Booted, database: Timescale) -> None:
    with psycopg.connect(conninfo_of(replace(database, dbname="postgres")), autocommit=True) as connection:
        name = sql.Identifier(database.dbname)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    tree.run("sh", "-c", "rm -r /var/lib/tickbay/* /run/tickbay")


def check_hardened(tree: Booted, pid: str) -> None:
    """A process of ours has no rights, and what is the system's cannot be written where it lives, not even by root."""
    told = tree.run("cat", f"/proc/{pid}/status")
    rights = {name: value.strip() for name, _, value in (line.partition(":") for line in told.splitlines())}
    assert int(rights["CapBnd"], 16) == 0 and rights["NoNewPrivs"] == "1" and rights["Seccomp"] == "2", told
    inside = ("nsenter", "--target", pid, "--mount", "touch")
    for folder in ("/usr", "/etc", "/opt/tickbay"):
        assert "Read-only file system" in tree.run(*inside, f"{folder}/of-ours", check=False), folder
    tree.run(*inside, "/run/tickbay/of-ours", "/var/lib/tickbay/of-ours")


@pytest.mark.slow
def test_booted_it_starts_notifies_survives_a_killed_child_comes_back_when_hung_and_stops_cleanly(
    machine: tuple[Booted, Simulator, Timescale],
) -> None:
    tree, simulator, database = machine
    began = time.monotonic()
    tree.run("systemctl", "start", "tickbay.service")  # returns when the supervisor has said that it is ready
    assert tree.property("tickbay", "ActiveState") == "active"
    assert "supervisor_ready" in tree.run("journalctl", "--unit", "tickbay", "--output", "cat")
    main = tree.property("tickbay", "MainPID")
    print(f"ready after {time.monotonic() - began:.1f} s")
    wait_for(lambda: len(simulator.feeds()) == 1, "the feed to connect")
    for process in ("supervisor", "feed-1"):
        check_hardened(tree, pid_of(tree, process))

    tree.run("sh", "-c", f"kill -9 {pid_of(tree, 'writer-timescale')}")
    wait_for(lambda: pid_of(tree, "writer-timescale") != "", "the writer to be replaced")
    assert tree.property("tickbay", "NRestarts") == "0" and tree.property("tickbay", "MainPID") == main

    feed = pid_of(tree, "feed-1")
    tree.run("sh", "-c", f"kill -STOP {main}")  # hung
    began = time.monotonic()
    wait_for(lambda: tree.property("tickbay", "NRestarts") == "1", "the watchdog")
    wait_for(lambda: tree.property("tickbay", "ActiveState") == "active", "the next supervisor to be ready")
    print(f"restarted and ready {time.monotonic() - began:.1f} s after it hung")
    assert pid_of(tree, "feed-1") == feed, "SUP-1: capture went on, the next supervisor has adopted it"
    assert database.password not in tree.run("journalctl", "--output", "cat")
    assert database.password not in tree.run("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")

    tree.run("systemctl", "start", "tickbay-backup.service")
    assert tree.run("find", "/var/backups/tickbay", "-name", "manifest.json").count("\n") == 2
    tree.run("systemctl", "stop", "tickbay.service")
    assert tree.property("tickbay", "Result") == "success" and tree.property("tickbay", "ExecMainStatus") == "0"
    assert pid_of(tree, "journal") == ""
    lose_everything(tree, database)  # /run/tickbay too: so is a new machine, or one that was booted
    tree.run("systemctl", "start", "tickbay-restore.service")
    restored = tree.run("journalctl", "--unit", "tickbay-restore", "--output", "cat")
    assert "timescale: restored" in restored and "journal: restored" in restored
    tree.run("rm", "-r", "/run/tickbay")  # as after a boot
    tree.run("systemctl", "start", "tickbay-backup.service")
    assert "removed. What remains" in tree.run(
        "/opt/src/deploy/systemd/install.sh", "--uninstall", "--keep-environment"
    )
    assert not list((tree.root / "etc" / "systemd" / "system").glob("tickbay*.service"))
    assert (tree.root / "etc" / "tickbay" / "db_password").exists(), "what is the operator's stays"
