"""deploy/docker/.env.example: each variable is documented, arrives where it belongs, and does there what is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from composed import FOLDER, composed
from servers import prometheus
from servers.debian import Unavailable
from tickbay import config as configuration
from tickbay.config import ENVIRONMENT, SECRETS, Config

EXAMPLE = (FOLDER / ".env.example").read_text()
PROMETHEUS = FOLDER.parent / "monitoring" / "prometheus" / "prometheus.yml"
# Variable → what it is set to, where that must arrive (a path in what Compose makes of it), and as what.
ARRIVES = {
    "COMPOSE_PROFILES": ("*", "services check environment COMPOSE_PROFILES", "*"),
    "QUESTDB_ENABLED": ("true", "services tickbay environment QUESTDB_ENABLED", "true"),
    "TICKBAY_TAG": ("v9", "services tickbay image", "tickbay:v9"),
    "DEPLOYMENT_ENV": ("lab", "services prometheus environment DEPLOYMENT_ENV", "lab"),
    "COLLECTOR_ID": ("c2", "services prometheus environment COLLECTOR_ID", "c2"),
    "BIND_ADDRESS": ("127.0.0.9", "services grafana ports 0 host_ip", "127.0.0.9"),
    "HOST_NAMES": ("nas.local,nas", "services top environment TICKBAY_TOP_HOSTS", "nas.local,nas"),
    "DB_PORT": ("15001", "services timescaledb ports 0 published", "15001"),
    "QUESTDB_PORT": ("15002", "services questdb ports 0 published", "15002"),
    "QUESTDB_PG_PORT": ("15003", "services questdb ports 1 published", "15003"),
    "HEALTH_PORT": ("15004", "services tickbay ports 0 published", "15004"),
    "WEB_PORT": ("15005", "services tickbay ports 1 published", "15005"),
    "TOP_PORT": ("15006", "services top ports 0 published", "15006"),
    "GRAFANA_PORT": ("15007", "services grafana ports 0 published", "15007"),
    "PROMETHEUS_PORT": ("15008", "services prometheus ports 0 published", "15008"),
    "ALERTMANAGER_PORT": ("15009", "services alertmanager ports 0 published", "15009"),
    "SECRETS_GID": ("4444", "services grafana group_add 0", "4444"),
    "DB_NAME": ("ticks", "services timescaledb environment POSTGRES_DB", "ticks"),
    "DB_USER": ("owner", "services timescaledb environment POSTGRES_USER", "owner"),
    "QUESTDB_USER": ("quincy", "services questdb environment QDB_HTTP_USER", "quincy"),
    "TICKBAY_TOML": ("/etc/mine.toml", "services tickbay volumes 2 source", "/etc/mine.toml"),
    "DERIBIT_WS_URL": ("wss://a.example/ws", "services tickbay environment DERIBIT_WS_URL", "wss://a.example/ws"),
    "DERIBIT_REST_URL": ("https://a.example/a", "services tickbay environment DERIBIT_REST_URL", "https://a.example/a"),
    "DERIBIT_TESTNET": ("true", "services tickbay environment DERIBIT_TESTNET", "true"),
    "TOP_N_INSTRUMENTS": ("30", "services tickbay environment TOP_N_INSTRUMENTS", "30"),
    "FLUSH_INTERVAL_SEC": ("0.25", "services tickbay environment FLUSH_INTERVAL_SEC", "0.25"),
    "LOG_LEVEL": ("warning", "services tickbay environment LOG_LEVEL", "warning"),
    "GRAFANA_USER": ("greta", "services grafana environment GF_SECURITY_ADMIN_USER", "greta"),
    "PROMETHEUS_RETENTION": ("7d", "services prometheus command 2", "--storage.tsdb.retention.time=7d"),
    "PROMETHEUS_RETENTION_SIZE": ("1GB", "services prometheus command 3", "--storage.tsdb.retention.size=1GB"),
    "SMTP_HOST": ("mail.example", "services alertmanager environment SMTP_HOST", "mail.example"),
    "SMTP_PORT": ("465", "services alertmanager environment SMTP_PORT", "465"),
    "SMTP_FROM": ("a@example.org", "services alertmanager environment SMTP_FROM", "a@example.org"),
    "SMTP_TO": ("b@example.org", "services alertmanager environment SMTP_TO", "b@example.org"),
    "SMTP_USER": ("sam", "services alertmanager environment SMTP_USER", "sam"),
    "TELEGRAM_CHAT_ID": ("-77", "services alertmanager environment TELEGRAM_CHAT_ID", "-77"),
    "TICKBAY_DATA": ("/disk/1", "services tickbay volumes 0 source", "/disk/1"),
    "BACKUP_DATA": ("/disk/2", "services owner volumes 1 source", "/disk/2"),
    "TIMESCALE_DATA": ("/disk/3", "services timescaledb volumes 0 source", "/disk/3"),
    "QUESTDB_DATA": ("/disk/4", "services questdb volumes 0 source", "/disk/4"),
    "PROMETHEUS_DATA": ("/disk/5", "services prometheus volumes 1 source", "/disk/5"),
    "RINGS_SIZE": ("777m", "volumes run driver_opts o", "size=777m,uid=10001,gid=10001,mode=0700,nosuid,nodev,noexec"),
    "TICKBAY_MEMORY": ("1k", "services tickbay mem_limit", "1024"),
    "TIMESCALE_MEMORY": ("2k", "services timescaledb mem_limit", "2048"),
    "QUESTDB_MEMORY": ("3k", "services questdb mem_limit", "3072"),
    "TICKBAY_CPUS": ("0.1", "services tickbay cpus", "0.1"),
    "TIMESCALE_CPUS": ("0.2", "services timescaledb cpus", "0.2"),
    "QUESTDB_CPUS": ("0.3", "services questdb cpus", "0.3"),
    "B2_BUCKET": ("pail", "services offsite environment B2_BUCKET", "pail"),
    "B2_KEY_ID": ("kid", "services offsite environment B2_KEY_ID", "kid"),
}


def of_start(name: str) -> list[str]:
    """The secrets of one list of start.sh: NAME is for it, NAME_FILE for compose.yaml."""
    (found,) = re.findall(rf"^{name}='(.*)'", (FOLDER / "start.sh").read_text(), re.M)
    return str(found).split()


PRIVATE = [*of_start("REQUIRED"), *of_start("OPTIONAL")]


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    """What Compose makes of a .env in which everything is set."""
    env = {name: value for name, (value, _, _) in ARRIVES.items()}
    env |= {f"{name}_FILE": f"/private/{name.lower()}" for name in PRIVATE}
    try:
        return composed(**env)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def defaults(everything: dict[str, Any]) -> dict[str, Any]:
    """… and of one in which nothing is."""
    return composed(SECRETS_GID="1")


def at(found: Any, path: str) -> str:
    for part in path.split():
        found = found[int(part) if isinstance(found, list) else part]
    return str(found)


def test_every_variable_is_documented_once_and_nothing_else() -> None:
    variables = re.findall(r"^([A-Z][A-Z0-9_]*)=", EXAMPLE, re.M)
    assert sorted(variables) == sorted([*ARRIVES, *PRIVATE, *(f"{name}_FILE" for name in PRIVATE)])
    used = re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", (FOLDER / "compose.yaml").read_text())
    assert set(used) == {*ARRIVES, *(f"{name}_FILE" for name in PRIVATE)}


def test_the_names_that_people_use_are_kept() -> None:
    names = """DB_USER DB_PASSWORD DB_NAME DB_PORT DERIBIT_WS_URL DERIBIT_API_KEY DERIBIT_API_SECRET DERIBIT_TESTNET
        TOP_N_INSTRUMENTS FLUSH_INTERVAL_SEC LOG_LEVEL GRAFANA_USER GRAFANA_PASSWORD GRAFANA_PORT PROMETHEUS_PORT
        QUESTDB_USER QUESTDB_PASSWORD QUESTDB_PORT SMTP_HOST SMTP_PORT SMTP_USER SMTP_PASSWORD TELEGRAM_BOT_TOKEN
        TELEGRAM_CHAT_ID B2_KEY_ID B2_APPLICATION_KEY B2_BUCKET DEPLOYMENT_ENV COLLECTOR_ID"""
    assert set(names.split()) <= {*ARRIVES, *PRIVATE}


def test_no_value_of_the_example_is_a_password() -> None:
    given = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.+)$", EXAMPLE, re.M))
    assert set(given) == {"COMPOSE_PROFILES", "QUESTDB_ENABLED", "DEPLOYMENT_ENV", "COLLECTOR_ID"}


@pytest.mark.parametrize("name", ARRIVES)
def test_what_is_set_arrives(everything: dict[str, Any], defaults: dict[str, Any], name: str) -> None:
    _, path, expected = ARRIVES[name]
    assert at(everything, path) == expected
    assert at(defaults, path) != expected or name == "COMPOSE_PROFILES"


@pytest.mark.parametrize("name", PRIVATE)
def test_a_secret_is_the_file_that_is_named(everything: dict[str, Any], name: str) -> None:
    assert at(everything, f"secrets {name.lower()} file") == f"/private/{name.lower()}"


def test_one_name_of_a_database_and_of_a_login_is_that_of_everybody(everything: dict[str, Any]) -> None:
    services = everything["services"]
    told = {name: services[name]["environment"] for name in ("tickbay", "schema", "logins", "grafana", "questdb")}
    named = told["tickbay"]["DB_NAME"], told["schema"]["DB_NAME"], told["logins"]["PGDATABASE"]
    assert {*named, told["grafana"]["GRAFANA_DB_NAME"]} == {"ticks"}
    assert told["schema"]["DB_USER"] == told["logins"]["PGUSER"] == "owner"
    assert told["tickbay"]["QUESTDB_USER"] == told["questdb"]["QDB_PG_USER"] == "quincy"


# -------- what tickbay does with it


def loaded(everything: dict[str, Any], folder: Path, **without: str) -> Config:
    """The configuration of tickbay's container."""
    env = everything["services"]["tickbay"]["environment"]
    assert set(env) <= {*ENVIRONMENT, *(f"{name}_FILE" for name in SECRETS), "TICKBAY_CONFIG", *CONVERTED}
    for secret in everything["services"]["tickbay"]["secrets"]:
        path = folder / secret["source"]
        path.write_text(f"of {secret['source']}\n")
        path.chmod(0o640)
    env = {name: value.replace("/run/secrets", str(folder)) for name, value in env.items()}
    return configuration.load(None, env | without)


CONVERTED = ("TOP_N_INSTRUMENTS", "FLUSH_INTERVAL_SEC", "DERIBIT_TESTNET")


def test_tickbay_understands_what_it_is_told(everything: dict[str, Any], tmp_path: Path) -> None:
    config = loaded(everything, tmp_path)
    assert (config.venue.ws_url, config.venue.rest_url) == ("wss://a.example/ws", "https://a.example/a")
    assert (config.venue.api_key, config.venue.api_secret) == ("of deribit_api_key", "of deribit_api_secret")
    assert [rule.top for rule in config.select] == [30]
    assert (config.timescale.flush_ms, config.log.level) == (250, "warning")
    database = config.timescale
    assert (database.host, database.port, database.user) == ("timescaledb", 5432, "tickbay_engine")
    assert (database.dbname, database.password, database.sslmode) == ("ticks", "of db_writer_password", "disable")
    questdb = config.questdb
    assert (questdb.enabled, questdb.host, questdb.port, questdb.tls) == (True, "questdb", 9000, "off")
    assert (questdb.user, questdb.password) == ("quincy", "of questdb_password")
    assert (config.metrics.host, config.metrics.hosts) == ("0.0.0.0", ("tickbay",))
    assert config.health.host == config.web.host == "0.0.0.0"
    assert config.health.hosts == config.web.hosts == ("nas.local", "nas")


def test_the_defaults_that_are_told_are_the_defaults() -> None:
    usual = Config()
    assert f"[{usual.timescale.flush_ms / 1000:g}]" in EXAMPLE
    assert f"[{usual.log.level}]" in EXAMPLE and f"[{usual.venue.ws_url}, {usual.venue.rest_url}]" in EXAMPLE
    assert [rule.top for rule in usual.select] == [0]  # all


def test_the_test_venue_is_one_word(everything: dict[str, Any], tmp_path: Path) -> None:
    config = loaded(everything, tmp_path, DERIBIT_WS_URL="", DERIBIT_REST_URL="")
    assert config.venue.ws_url == "wss://test.deribit.com/ws/api/v2"


# -------- what Prometheus does with it


def test_every_alert_says_which_installation_and_which_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYMENT_ENV", "lab")
    monkeypatch.setenv("COLLECTOR_ID", "c2")
    # Versions before 3 want a word to do it.
    with prometheus.running(PROMETHEUS.read_text(), "--enable-feature=expand-external-labels") as server:
        labels = yaml.safe_load(server.config())["global"]["external_labels"]
    assert labels == {"env": "lab", "collector": "c2"}
