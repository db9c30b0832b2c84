"""deploy/docker as text: linted, hardened, complete. What it does is in test_container.py."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from composed import FOLDER, GROUP, composed, configured
from servers.debian import Unavailable
from servers.docker import compose_program, tool
from tickbay import _native
from tickbay.config import Config
from tickbay.record import Kind
from tickbay.rule import CHANNELS, Select

ROOT = Path(__file__).parents[1]
KNOWN = ["", "postgres", "quest", "admin", "changeme", "password", "Admin", " quest\n"]
PROFILES = ["", "questdb", "monitoring", "questdb,monitoring", "top", "owner,offsite", "*"]
ONCE = {"check", "schema", "logins", "owner", "offsite"}
SERVERS = {"timescaledb", "questdb", "tickbay", "prometheus", "alertmanager", "grafana"}
REQUIRED = [
    "db_password",
    "db_writer_password",
    "db_reader_password",
    "questdb_password",
    "questdb_reader_password",
    "grafana_password",
    "tickbay_top_token",
]


def linted(name: str, *arguments: str | Path) -> None:
    try:
        command = [tool(name), *arguments]
    except Unavailable as error:
        pytest.skip(str(error))
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def compose() -> None:
    try:
        compose_program()
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def services(compose: None) -> dict[str, dict[str, Any]]:
    """Every service as Compose understands it."""
    found: dict[str, dict[str, Any]] = composed()["services"]
    return found


# -------- linted


def test_the_dockerfile_is_what_hadolint_wants() -> None:
    linted("hadolint", FOLDER / "Dockerfile")


def test_every_yaml_file_that_deploys_is_what_yamllint_wants() -> None:
    linted("yamllint", "--strict", "-c", ROOT / ".yamllint.yaml", "deploy")


def test_every_script_that_deploys_is_what_shellcheck_wants() -> None:
    scripts = sorted((ROOT / "deploy").rglob("*.sh"))
    assert len(scripts) >= 5
    linted("shellcheck", *scripts)


def test_scripts_can_be_run_and_what_containers_read_can_be_read_by_them() -> None:
    """A container's user is another one than the file's."""
    for path in FOLDER.iterdir():
        mode = path.stat().st_mode
        assert path.suffix != ".sh" or mode & stat.S_IXOTH, path
        assert mode & stat.S_IROTH or path.name in (".env", "secrets"), path


# -------- what Compose makes of it


@pytest.mark.usefixtures("compose")
@pytest.mark.parametrize("profiles", PROFILES)
def test_every_profile_is_valid(profiles: str) -> None:
    done = configured(SECRETS_GID=GROUP, COMPOSE_PROFILES=profiles)
    assert done.returncode == 0, done.stderr
    assert "WARN" not in done.stderr and "level=warning" not in done.stderr
    names = set(yaml.safe_load(done.stdout)["services"])
    assert {"check", "timescaledb", "schema", "logins", "tickbay"} <= names
    for profile, service in (("questdb", "questdb"), ("top", "top"), ("owner", "owner"), ("offsite", "offsite")):
        assert (service in names) == (profile in profiles or profiles == "*")
    for service in ("prometheus", "alertmanager", "grafana"):
        assert (service in names) == ("monitoring" in profiles or profiles == "*")


@pytest.mark.usefixtures("compose")
def test_without_passwords_it_refuses_in_one_line_that_says_what_to_do() -> None:
    done = configured()
    assert done.returncode != 0 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "SECRETS_GID" in done.stderr and "./start.sh" in done.stderr


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        tag = service["image"].rpartition(":")[2]
        assert tag == "local" or re.match(r"v?\d+\.\d+\.\d+", tag), (name, service["image"])
    assert re.search(r"^ARG DEBIAN_IMAGE=debian:\w+-\d{8}-slim$", (FOLDER / "Dockerfile").read_text(), re.M)


def test_one_service_alone_builds_the_image_of_all(services: dict[str, dict[str, Any]]) -> None:
    """Else a second start could find another image of the same, and stop what runs to put it in place."""
    assert [name for name, service in services.items() if "build" in service] == ["check"]


def test_every_service_is_hardened_and_bounded(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"] and "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True and service["init"] is True, name
        assert re.fullmatch(r"[1-9]\d*:\d+", service["user"]), name
        assert int(service["mem_limit"]) > 0 and service["pids_limit"] > 0 and 0 < service["cpus"] <= 2, name
        assert service["logging"]["options"].keys() >= {"max-size", "max-file"}, name
        assert service["group_add"] == [GROUP], name
        assert not service.get("privileged") and service.get("network_mode") != "host", name
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name


def test_no_port_is_published_but_on_this_machine(services: dict[str, dict[str, Any]]) -> None:
    published = {(name, port["host_ip"]) for name, service in services.items() for port in service.get("ports", [])}
    assert {address for _, address in published} == {"127.0.0.1"}
    assert {name for name, _ in published} == SERVERS | {"top"}


def test_nothing_starts_before_the_passwords_are_checked(services: dict[str, dict[str, Any]]) -> None:
    def waits_for_the_check(name: str) -> bool:
        needs = services[name].get("depends_on", {})
        return "check" in needs or any(waits_for_the_check(each) for each in needs if needs[each]["required"])

    assert [name for name in services if name != "check" and not waits_for_the_check(name)] == ["offsite"]
    for service in services.values():
        for name, needed in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if name in ONCE else "service_healthy"
            assert needed["condition"] == expected or (name, needed["condition"]) == ("tickbay", "service_started")


def test_who_serves_says_whether_it_is_healthy_and_has_time_to_stop(services: dict[str, dict[str, Any]]) -> None:
    for name in SERVERS - {"tickbay"}:
        assert services[name]["healthcheck"]["test"], name
    assert "tickbay status" in (FOLDER / "Dockerfile").read_text().partition("HEALTHCHECK")[2]
    assert services["tickbay"]["stop_grace_period"] == "30s"
    assert Config().supervisor.stop_timeout_s < 30


def test_no_secret_is_an_environment_variable_or_an_argument(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for variable, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|TOKEN|API_KEY|API_SECRET|APPLICATION_KEY", variable):
                assert variable.endswith("_FILE") and str(value).startswith("/run/secrets/"), (name, variable)


def test_a_service_sees_only_the_secrets_that_it_is_told_to_read(services: dict[str, dict[str, Any]]) -> None:
    scripts = {"check": "check.sh", "logins": "logins.sh", "offsite": "offsite.sh"}
    for name, service in services.items():
        text = str(service.get("environment")) + str(service.get("command"))
        if name in scripts:
            text += (FOLDER / scripts[name]).read_text()
        for secret in service.get("secrets", []):
            assert f"/run/secrets/{secret['source']}" in text, (name, secret)


def test_the_rings_of_what_is_said_to_fit_do_fit_into_the_tmpfs() -> None:
    """The arithmetic in compose.yaml."""
    (size,) = re.findall(r"RINGS_SIZE:-(\d+)m", (FOLDER / "compose.yaml").read_text())
    usual, whole = Config(), Config(select=(Select(channels=tuple(CHANNELS)),))

    def feed(config: Config) -> int:
        kinds = [*config.tick_kinds, "gap", "status"]
        return sum(_native.ring_file_size(Kind[kind.upper()], getattr(config.ring, kind)) for kind in kinds)

    # The universe has instruments, gaps and its status, the healer trades and gaps: 15 MiB each is more.
    others = 2 * (15 << 20)
    assert 4 * feed(whole) + others <= int(size) << 20
    assert 4 * 3 * feed(usual) + others <= int(size) << 20
    assert round(feed(usual) / 2**20) == 43 and round(feed(whole) / 2**20) == 70
    assert 4 * 3 * feed(whole) + others > int(size) << 20


# -------- passwords that everybody knows


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Good ones, in files."""
    for name in REQUIRED:
        path = tmp_path / name
        path.write_text(f"only for this test {name}\n")
        path.chmod(0o640)
    return tmp_path


def checked(secrets: Path, **env: str) -> tuple[int, str]:
    command = ["sh", str(FOLDER / "check.sh"), *(str(secrets / name) for name in REQUIRED)]
    done = subprocess.run(command, env={"PATH": os.environ["PATH"]} | env, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_passwords_of_ones_own_are_fine(secrets: Path) -> None:
    assert checked(secrets) == (0, "")
    assert checked(secrets, COMPOSE_PROFILES="monitoring,questdb", QUESTDB_ENABLED="true") == (0, "")


@pytest.mark.parametrize("password", KNOWN)
@pytest.mark.parametrize("name", REQUIRED)
def test_a_password_that_everybody_knows_is_refused_in_one_line(secrets: Path, name: str, password: str) -> None:
    (secrets / name).write_text(password)
    status, said = checked(secrets)
    assert status == 1 and said.count("\n") == 1 and f"{name} is " in said


def test_a_password_that_is_missing_or_can_be_read_by_everyone_is_refused_in_one_line(secrets: Path) -> None:
    (secrets / "grafana_password").chmod(0o644)
    status, said = checked(secrets)
    assert status == 1 and said.count("\n") == 1 and "chmod o-rwx" in said
    (secrets / "grafana_password").unlink()
    status, said = checked(secrets)
    assert status == 1 and said.count("\n") == 1 and "./start.sh" in said


@pytest.mark.parametrize(("profiles", "enabled"), [("monitoring", "true"), ("questdb", "false"), ("questdb", "")])
def test_a_questdb_that_only_one_half_knows_of_is_refused(secrets: Path, profiles: str, enabled: str) -> None:
    status, said = checked(secrets, COMPOSE_PROFILES=profiles, QUESTDB_ENABLED=enabled)
    assert status == 1 and said.count("\n") == 1 and "QUESTDB_ENABLED" in said


# -------- start.sh


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A clean host: the folder with its .env, and a docker that only tells how it was called."""
    folder = tmp_path / "docker"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns(".env", "secrets"))
    shutil.copy(folder / ".env.example", folder / ".env")
    (folder / ".env").chmod(0o600)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text('#!/bin/sh\necho "called: $*"\n')
    (tmp_path / "bin" / "docker").chmod(0o755)
    return folder


def started(host: Path, *arguments: str, **env: str) -> tuple[int, str]:
    path = f"{host.parent / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        [host / "start.sh", *arguments], env={"PATH": path} | env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_first_start_makes_private_passwords_and_the_second_keeps_them(host: Path) -> None:
    status, said = started(host, "--force-recreate")
    assert status == 0 and said.splitlines()[-1] == "called: compose up --build --detach --wait --force-recreate", said
    assert (host / "secrets").stat().st_mode & 0o777 == 0o700
    made = {path.name: path.read_text() for path in (host / "secrets").iterdir()}
    assert set(REQUIRED) <= set(made)
    assert {path.stat().st_mode & 0o777 for path in (host / "secrets").iterdir()} == {0o640}
    passwords = [made[name] for name in REQUIRED]
    assert all(re.fullmatch(r"[0-9a-f]{48}", text) for text in passwords) and len(set(passwords)) == len(REQUIRED)
    assert all(text not in said for text in passwords)
    assert {text for name, text in made.items() if name not in REQUIRED} == {""}  # not even a line
    gid = (host / "secrets" / "db_password").stat().st_gid
    assert f"\nSECRETS_GID={gid}\n" in (host / ".env").read_text()
    before = (host / ".env").read_text()
    status, said = started(host)
    assert (status, said.splitlines()[0]) == (0, "called: compose up --build --detach --wait")
    assert said.splitlines()[1].startswith("all is healthy: http://127.0.0.1:8080, or ")
    assert {path.name: path.read_text() for path in (host / "secrets").iterdir()} == made
    assert (host / ".env").read_text() == before


def test_a_password_that_is_set_is_taken_and_another_one_later_is_refused(host: Path) -> None:
    status, said = started(host, DB_PASSWORD="it's mine $HOME")
    assert status == 0 and "it's" not in said
    assert (host / "secrets" / "db_password").read_text() == "it's mine $HOME"
    status, said = started(host, DB_PASSWORD="another")
    assert status == 1 and said.count("\n") == 1 and "not the same" in said and "another" not in said


@pytest.mark.parametrize("password", [known for known in KNOWN if known.isalpha()])
def test_start_refuses_a_password_that_everybody_knows_and_keeps_no_file_of_it(host: Path, password: str) -> None:
    with (host / ".env").open("a") as file:
        file.write(f"GRAFANA_PASSWORD='{password}'\n")
    status, said = started(host)
    assert status == 1 and "GRAFANA_PASSWORD is " in said.splitlines()[-1] and "called" not in said
    assert not (host / "secrets" / "grafana_password").exists()


@pytest.mark.parametrize(("knows", "said"), [("version", "Docker does not answer"), ("info", "no Docker Compose")])
def test_without_docker_or_compose_start_says_so_and_makes_nothing(host: Path, knows: str, said: str) -> None:
    """A docker that can do one thing only."""
    (host.parent / "bin" / "docker").write_text(f'#!/bin/sh\ntest "$1" = {knows}\n')
    (host.parent / "bin" / "docker-compose").symlink_to("/bin/false")
    status, text = started(host)
    assert status == 1 and text.count("\n") == 1 and said in text
    assert not (host / "secrets").exists()


def test_without_an_env_file_start_says_how_to_make_one(host: Path) -> None:
    (host / ".env").unlink()
    status, said = started(host)
    assert status == 1 and said.count("\n") == 1 and "cp .env.example .env" in said


# -------- offsite.sh


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A folder with a backup, a key, and an rclone that only tells how it was called."""
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / "day").write_text("rows")
    (tmp_path / "key").write_text("canary\n")
    (tmp_path / "rclone").write_text('#!/bin/sh\necho "$@"\nenv | grep RCLONE | sort\n')
    (tmp_path / "rclone").chmod(0o755)
    return tmp_path


def sent(bucket: Path, **env: str) -> tuple[int, str]:
    command = ["sh", str(FOLDER / "offsite.sh"), str(bucket / "backups")]
    path = {"PATH": f"{bucket}:{os.environ['PATH']}", "B2_APPLICATION_KEY_FILE": str(bucket / "key")}
    done = subprocess.run(command, env=path | env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_bucket_is_made_the_same_as_the_backups_with_the_key_in_no_argument(bucket: Path) -> None:
    status, said = sent(bucket, B2_BUCKET="pail", B2_KEY_ID="kid")
    assert status == 0
    called, *environment = said.splitlines()
    assert called.endswith(f" sync --checksum {bucket}/backups b2:pail/tickbay") and "canary" not in called
    assert environment == ["RCLONE_CONFIG_B2_ACCOUNT=kid", "RCLONE_CONFIG_B2_KEY=canary", "RCLONE_CONFIG_B2_TYPE=b2"]


def test_nothing_is_sent_without_a_bucket_a_key_or_a_backup(bucket: Path) -> None:
    for env in ({"B2_KEY_ID": "kid"}, {"B2_BUCKET": "pail"}):
        status, said = sent(bucket, **env)
        assert status == 2 and said.count("\n") == 1 and "is not set in .env" in said
    (bucket / "backups" / "day").unlink()
    status, said = sent(bucket, B2_BUCKET="pail", B2_KEY_ID="kid")
    assert status == 1 and said.count("\n") == 1 and "no backup" in said  # an empty folder would empty the bucket
    (bucket / "key").write_text("")
    status, said = sent(bucket, B2_BUCKET="pail", B2_KEY_ID="kid")
    assert status == 2 and said.count("\n") == 1 and "b2_application_key is empty" in said
