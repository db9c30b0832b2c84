"""deploy/docker for real: the image is built, and its stack is started with start.sh, watched and stopped.

A Docker engine of our own (servers/docker.py); no registry is asked. So TimescaleDB runs on this machine, in its place
stands a container that asks for it, and everybody has the host's network; tickbay, the check, the schema and the logins
are the ones of compose.yaml.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from patience import PATIENCE_S
from servers import timescale
from servers.debian import Unavailable
from servers.docker import CLIENT, Engine, compose_program, engine, run
from servers.postgres import running
from simulator import Simulator, simulating
from tickbay.audit.stored import Postgres
from tickbay.audit.verdict import audit_ledger
from tickbay.embedded import EmbeddedServer, free_port
from tickbay.sim.ledger import LedgerReader

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "docker"
IMAGE = "tickbay:local"
IMAGE_MAX_MB = 200
DATABASE = "ticks"
INSTRUMENTS = 40  # of 60 that are listed
GRACE_S = 30  # stop_grace_period of compose.yaml: then Docker kills
# Everything of the host's network; a container that is healthy once the database is, in place of TimescaleDB. Health is
# asked for more often: an engine without start_interval waits one interval before it asks at all.
OVERRIDE = """
x-host: &host {{network_mode: host, networks: !reset null, ports: !reset []}}
services:
  check: {{build: {{network: host}}}}
  timescaledb:
    <<: *host
    image: tickbay:local
    user: "10001:10001"
    entrypoint: [python, -c, "import signal; signal.sigwait([signal.SIGTERM])"]
    healthcheck:
      test: [CMD, python, -c, "import socket; socket.create_connection(('127.0.0.1', {port}))"]
      interval: 1s
    volumes: !reset []
    tmpfs: !reset []
  schema:
    <<: *host
    environment: &database {{DB_HOST: 127.0.0.1, DB_PORT: "{port}"}}
  logins:
    <<: *host
    image: tickbay:local
    environment: {{PGHOST: 127.0.0.1, PGPORT: "{port}"}}
    volumes: ["{root}:/timescale:ro", "./psql:/usr/local/bin/psql:ro"]
  tickbay:
    <<: *host
    healthcheck: {{interval: 3s}}
    environment:
      <<: *database
      TICKBAY_METRICS_HOST: 127.0.0.1
      TICKBAY_METRICS_PORT: "{metrics}"
      TICKBAY_HEALTH_HOST: 127.0.0.1
      TICKBAY_HEALTH_PORT: "{health}"
      TICKBAY_WEB_HOST: 127.0.0.1
      TICKBAY_WEB_PORT: "{web}"
  owner:
    <<: *host
    environment: *database
  top:
    <<: *host
    environment: {{TICKBAY_TOP_HOST: 127.0.0.1, TICKBAY_TOP_PORT: "{top}"}}
    healthcheck:
      test: [CMD, python, -c, "import socket; socket.create_connection(('127.0.0.1', {top}))"]
      interval: 3s
"""


# Its loader and libraries lie elsewhere in the container than it was told.
PSQL = """#!/bin/sh
exec {libraries}/{loader} --library-path {libraries} /timescale/{psql} "$@"
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clean host has: nobody changes it between two builds."""
    folder = tmp_path_factory.mktemp("stack")
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns(".env", "secrets"))
    shutil.copy(ROOT / "tickbay.toml.example", folder)
    # A container's user is another one than ours: pytest's folders are closed to it.
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o711)
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
    copy_sources(folder)
    return folder


def copy_sources(folder: Path) -> None:
    """What the image is built of."""
    shutil.copy(ROOT / ".dockerignore", folder)
    built = shutil.ignore_patterns("__pycache__", "*.so", "build")
    for name in re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=built)
        else:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


@pytest.fixture(scope="module")
def docker(checkout: Path) -> Iterator[Engine]:
    """With the image built."""
    try:
        with engine() as started:
            text = (FOLDER / "Dockerfile").read_text()
            (base,) = re.findall(r"^ARG DEBIAN_IMAGE=(\S+)", text, re.M)
            started.import_base(base)
            dockerfile = str(checkout / "deploy" / "docker" / "Dockerfile")
            started.docker("build", "--network", "host", "--file", dockerfile, "--tag", IMAGE, str(checkout))
            yield started
    except Unavailable as error:
        pytest.skip(str(error))


def in_image(docker: Engine, command: str) -> str:
    """What a shell says in a new container, hardened as in compose.yaml."""
    hardened = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none")
    return docker.docker("run", "--rm", *hardened, "--entrypoint", "sh", IMAGE, "-c", command, check=False).strip()


# -------- the image


def test_the_image_runs_as_a_user_without_rights_or_a_compiler(docker: Engine) -> None:
    (found,) = json.loads(docker.docker("image", "inspect", IMAGE))
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"]["StopSignal"] == "SIGTERM" and found["Config"]["Healthcheck"]
    assert in_image(docker, "id -u; id -g; id -G") == "10001\n10001\n10001"
    assert in_image(docker, "find /opt /backups /var/lib/tickbay -perm /6000 -o -perm -002 ! -type l") == ""
    assert in_image(docker, "for each in gcc cc c++ make as ld; do command -v $each; done") == ""
    assert in_image(docker, "ls /opt/tickbay/bin/pip* /src 2>&1 | grep -vc 'No such file'") == "0"


def test_the_image_has_at_most_200_megabytes(docker: Engine) -> None:
    """Over a base that is put together as the official one is."""
    (found,) = json.loads(docker.docker("image", "inspect", IMAGE))
    print(f"{found['Size'] / 1e6:.1f} MB")
    assert found["Size"] / 1e6 <= IMAGE_MAX_MB


def test_the_image_works_on_a_root_that_cannot_be_written(docker: Engine) -> None:
    assert in_image(docker, "tickbay version").startswith("tickbay ")
    assert "Read-only file system" in in_image(docker, "touch /opt/tickbay/here")
    assert "state" in in_image(docker, "tickbay status; echo state $?")


# -------- the stack


@dataclass(frozen=True, slots=True)
class Ports:
    metrics: int
    health: int
    web: int
    top: int


@dataclass(frozen=True, slots=True)
class Stack:
    docker: Engine
    folder: Path  # deploy/docker of a copy
    server: EmbeddedServer
    simulator: Simulator
    ledger: Path
    ports: Ports
    said: str  # by the first start.sh

    def start(self, *arguments: str) -> str:
        """What start.sh says, with nothing on its path but what a host with Docker has."""
        path = f"{Path(compose_program()).parent}:{CLIENT.parent}:/bin"
        return run([str(self.folder / "start.sh"), *arguments], self.docker.env | {"PATH": path}, folder=self.folder)

    def compose(self, *arguments: str, check: bool = True) -> str:
        return self.docker.compose(self.folder, *arguments, check=check)

    def states(self) -> dict[str, dict[str, Any]]:
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        return {line["Service"]: line for line in map(json.loads, lines)}

    def within(self, command: str) -> str:
        """What a shell says in tickbay's container."""
        return self.compose("exec", "--no-TTY", "tickbay", "sh", "-c", command, check=False).strip()

    def rows(self, table: str) -> int:
        with psycopg.connect(self.server.conninfo(DATABASE)) as connection:
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
        assert row is not None
        return int(row[0])

    def wait_for_rows(self, more_than: int) -> int:
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.rows("option_quotes")) <= more_than:
            assert time.monotonic() < deadline, self.compose("logs", "tickbay")
            time.sleep(0.2)
        return found

    def wait_until_still(self) -> None:
        """Until nothing comes any more."""
        seen = -1
        while (found := self.rows("option_quotes")) != seen:
            seen = found
            time.sleep(1.5)

    def asked(self, port: int, path: str, host: str) -> int:
        """The HTTP status of a GET that calls the server `host`."""
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": host})
            return connection.getresponse().status
        finally:
            connection.close()

    def stop(self) -> float:
        """The seconds that `docker compose stop` took. Exit status 0, not the 137 of a kill or the 143 of a signal."""
        began = time.monotonic()
        self.compose("stop", "tickbay")
        seconds = time.monotonic() - began
        assert self.states()["tickbay"]["ExitCode"] == 0, self.compose("logs", "tickbay")
        return seconds


def project(folder: Path, server: EmbeddedServer, simulator: Simulator, ports: Ports) -> Path:
    """.env, and the override, in the copy of what a clean host has."""
    here = folder / "deploy" / "docker"
    root = timescale.binaries().parents[4]
    text = OVERRIDE.format(port=server.port, root=root, **asdict(ports))
    (here / "compose.override.yaml").write_text(text)
    (loader,) = root.glob("usr/lib/*/ld-linux-*.so.*")
    psql = timescale.binaries().relative_to(root) / "psql"
    libraries = Path("/timescale") / loader.parent.relative_to(root)
    (here / "psql").write_text(PSQL.format(libraries=libraries, loader=loader.name, psql=psql))
    (here / "psql").chmod(0o755)
    (folder / "tickbay.toml").write_text("[feeds]\ncount = 2\n[journal]\nfree_floor_gb = 0\n")
    settings = {
        "COMPOSE_PROFILES": "top",
        "QUESTDB_ENABLED": "false",
        "TOP_N_INSTRUMENTS": str(INSTRUMENTS),
        "HOST_NAMES": "nas.example,nas",
        "TICKBAY_TOML": str(folder / "tickbay.toml"),
        "DERIBIT_WS_URL": simulator.ws_url,
        "DERIBIT_REST_URL": simulator.rest_url,
        "DB_PASSWORD": server.password,
        "DB_NAME": DATABASE,
    }
    lines = (here / ".env.example").read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in settings]
    (here / ".env").write_text("\n".join(kept + [f"{name}={value}" for name, value in settings.items()]) + "\n")
    return here


@pytest.fixture(scope="module")
def stack(docker: Engine, checkout: Path) -> Iterator[Stack]:
    settings = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
    ports = Ports(*(free_port() for _ in fields(Ports)))
    with (
        running(timescale.binaries(), **settings) as server,
        simulating(checkout, "--instruments", "ETH=60", "--no-limits") as simulator,
    ):
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        here = project(checkout, server, simulator, ports)
        docker.docker("image", "rm", "--force", IMAGE)  # start.sh builds it
        made = Stack(docker, here, server, simulator, checkout / "ledger", ports, "")
        try:
            yield replace(made, said=made.start())
        finally:
            made.compose("down", "--volumes", "--timeout", "30", check=False)


def test_one_command_brings_everything_up_healthy(stack: Stack) -> None:
    states = stack.states()
    ended = {name: line["ExitCode"] for name, line in states.items() if line["State"] == "exited"}
    assert ended == {"check": 0, "schema": 0, "logins": 0}
    assert states["tickbay"]["Health"] == states["top"]["Health"] == "healthy"
    assert "made secrets/grafana_password" in stack.said
    # Healthy is also who still starts.
    good = "until tickbay status >/tmp/status; do sleep 0.2; done"
    assert stack.within(f"timeout {PATIENCE_S} sh -c '{good}'; echo $?; cat /tmp/status").startswith("0\n")


def test_the_second_start_leaves_everything_as_it_is(stack: Stack) -> None:
    before = {name: line["ID"] for name, line in stack.states().items()}
    assert "made" not in stack.start()
    assert {name: line["ID"] for name, line in stack.states().items()} == before


def test_ticks_are_stored_by_a_login_that_can_only_add_rows(stack: Stack) -> None:
    stack.wait_for_rows(stack.wait_for_rows(0))
    with psycopg.connect(stack.server.conninfo(DATABASE)) as connection:
        users = connection.execute(
            "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchall()
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'option_quotes'"
        assert connection.execute(owner).fetchone() != ("tickbay_engine",)
    assert users == [("tickbay_engine",)]


def test_what_env_says_takes_effect(stack: Stack) -> None:
    """TOP_N_INSTRUMENTS; DB_NAME, DERIBIT_WS_URL and the rest would have shown before."""
    deadline = time.monotonic() + PATIENCE_S
    with psycopg.connect(stack.server.conninfo(DATABASE), autocommit=True) as connection:
        found = 0
        while found < INSTRUMENTS and time.monotonic() < deadline:
            time.sleep(0.2)
            row = connection.execute("SELECT count(DISTINCT instrument) FROM option_quotes").fetchone()
            found = row[0] if row else 0
    assert found == INSTRUMENTS


def test_the_screen_in_a_browser_wants_its_token_and_sees_the_engine(stack: Stack) -> None:
    token = (stack.folder / "secrets" / "tickbay_top_token").read_text().strip()
    assert stack.asked(stack.ports.top, "/", "localhost:7681") == 403
    assert stack.asked(stack.ports.top, f"/?token={token}", "localhost:7681") == 303
    seen = json.loads(stack.compose("exec", "--no-TTY", "top", "tickbay", "status", "--json"))
    assert all(process["pid"] for process in seen["processes"]), seen


def test_tickbay_runs_without_rights_on_a_root_that_cannot_be_written(stack: Stack) -> None:
    assert stack.within("id -u; id -g") == "10001\n10001"
    # Every process of it, the first one (init) too.
    rights = stack.within("cat /proc/[0-9]*/status | grep -E '^(CapEff|CapBnd|NoNewPrivs)' | sort -u")
    assert rights.split() == ["CapBnd:", "0" * 16, "CapEff:", "0" * 16, "NoNewPrivs:", "1"]
    assert "tini" in stack.within("cat /proc/1/cmdline") or "docker-init" in stack.within("cat /proc/1/cmdline")
    mounts = {line.split()[1]: line.split()[2:] for line in stack.within("cat /proc/mounts").splitlines()}
    assert mounts["/"][1].split(",")[0] == "ro"
    type, options, *_ = mounts["/run/tickbay"]
    assert type == "tmpfs" and {"noexec", "nosuid", "nodev", "size=655360k"} <= set(options.split(","))
    assert stack.within("stat -c %a /run/tickbay /var/lib/tickbay") == "700\n700"


def test_others_may_ask_by_the_names_that_compose_gives_and_no_other(stack: Stack) -> None:
    assert stack.asked(stack.ports.metrics, "/metrics", "tickbay:8001") == 200
    assert stack.asked(stack.ports.metrics, "/metrics", "elsewhere.example") == 421
    assert stack.asked(stack.ports.health, "/readyz", "127.0.0.1:8000") == 200
    assert stack.asked(stack.ports.web, "/", "localhost:8080") == 200
    assert stack.asked(stack.ports.web, "/", "elsewhere.example") == 421
    assert stack.asked(stack.ports.web, "/", "nas.example") == stack.asked(stack.ports.health, "/healthz", "nas") == 200
    token = (stack.folder / "secrets" / "tickbay_top_token").read_text().strip()
    assert stack.asked(stack.ports.top, f"/?token={token}", "nas.example") == 303


def test_no_password_is_in_anything_that_docker_tells(stack: Stack) -> None:
    names = stack.docker.docker("ps", "--all", "--quiet").split()
    told = stack.docker.docker("inspect", *names) + stack.compose("logs") + stack.said + stack.within("env")
    told += stack.within("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    passwords = [path.read_text().strip() for path in (stack.folder / "secrets").iterdir()]
    assert len(passwords) > 6
    assert [text for text in passwords if text and text in told] == []


def test_every_store_is_backed_up_by_one_command_and_a_running_one_is_not_overwritten(stack: Stack) -> None:
    stack.wait_for_rows(0)
    owner = "run", "--rm", "--no-TTY", "owner"
    said = stack.compose(*owner, "backup", "/backups")
    assert "timescale" in said and "journal" in said
    assert stack.compose(*owner, "restore", "/backups", "--check")
    # Its processes are those of another container: known by their locks.
    refused = stack.compose(*owner, "restore", "/backups", "--only", "journal", "--replace", check=False)
    assert "the journal is running: stop the engine, then restore" in refused
    stack.compose(*owner, "gaps")  # which the engine's own login may not read


def test_a_stop_in_the_middle_and_one_at_the_end_lose_nothing_and_exit_0_within_the_grace(stack: Stack) -> None:
    before = stack.wait_for_rows(0)
    assert stack.stop() < GRACE_S
    stack.start()
    stack.wait_for_rows(before)
    stack.simulator.end_data()
    stack.wait_until_still()
    assert stack.stop() < GRACE_S
    stack.simulator.stop()
    with psycopg.connect(stack.server.conninfo(DATABASE)) as connection:
        verdict = audit_ledger(Postgres(connection), LedgerReader(stack.ledger))
    assert verdict.good, verdict.lines


def test_a_machine_that_was_lost_records_again_by_the_documented_commands(stack: Stack, tmp_path: Path) -> None:
    owner = "run", "--rm", "--no-TTY", "owner"
    stack.compose(*owner, "backup", "/backups", "--quiet")
    had = {table: stack.rows(table) for table in ("option_quotes", "option_trades", "book_changes", "data_gaps")}
    stack.compose("rm", "--force", "--stop", "tickbay", "top")
    stack.docker.docker("volume", "rm", "tickbay_tickbay-data")
    replace_server(stack)
    stack.start("timescaledb")
    stack.compose(*owner, "restore", "/backups", "--quiet")
    assert {table: stack.rows(table) for table in had} == had
    assert all(had[table] > 0 for table in ("option_quotes", "book_changes"))
    ports = [str(urlsplit(url).port) for url in (stack.simulator.ws_url, stack.simulator.rest_url)]
    venue = "--instruments", "ETH=60", "--no-limits", "--port", ports[0], "--rest-port", ports[1]
    with simulating(tmp_path, *venue):
        stack.start()
        stack.wait_for_rows(had["option_quotes"])
        assert stack.states()["tickbay"]["Health"] == "healthy"
        lose_the_database(stack, owner)


def lose_the_database(stack: Stack, owner: tuple[str, ...]) -> None:
    """While ticks come, by the commands of docs/deployment.md: what came since the backup is there again."""
    stack.compose(*owner, "backup", "/backups", "--quiet")
    had = stack.wait_for_rows(stack.rows("option_quotes"))
    stack.compose("exec", "--no-TTY", "tickbay", "tickbay", "sink", "park", "timescale")
    replace_server(stack)
    stack.start("timescaledb")
    stack.compose(*owner, "restore", "/backups", "--only", "timescale", "--quiet")
    stack.start()
    stack.wait_for_rows(had)
    assert ": OK" in stack.compose(*owner, "audit")


def replace_server(stack: Stack) -> None:
    """As a new one has it: an empty database with the old name, and no login but its owner's."""
    with psycopg.connect(stack.server.conninfo(), autocommit=True) as connection:
        for text in ("DROP DATABASE {} WITH (FORCE)", "CREATE DATABASE {}"):
            connection.execute(sql.SQL(text).format(sql.Identifier(DATABASE)))
        connection.execute("DROP ROLE tickbay_engine, grafana, tickbay_writer, tickbay_reader")


# -------- refused


def test_without_start_too_nothing_starts_with_a_password_that_everybody_knows(stack: Stack) -> None:
    stack.compose("down", "--timeout", "30")
    (stack.folder / "secrets" / "grafana_password").write_text("changeme\n")
    said = stack.compose("up", "--detach", "--wait", check=False)
    assert stack.states()["check"]["ExitCode"] == 1
    assert {name for name, line in stack.states().items() if line["State"] == "running"} == set()
    assert "grafana_password is 'changeme', which everybody knows" in stack.compose("logs", "check"), said
