"""Configuration: what is set is what counts, and what cannot be meant stops the start in one line."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from pathlib import Path

import pytest

from tickbay import config as configuration
from tickbay.config import (
    CONNECT_VARIABLE,
    ENVIRONMENT,
    SECRETS,
    SINKS,
    Config,
    HealthPort,
    Metrics,
    Questdb,
    Timescale,
    Venue,
    load,
)
from tickbay.errors import ConfigError
from tickbay.rule import Select
from tickbay.venues import VENUES

EXAMPLE = Path(__file__).parent.parent / "tickbay.toml.example"


def loaded(tmp_path: Path, text: str, **env: str) -> Config:
    (tmp_path / "t.toml").write_text(text)
    return load(tmp_path / "t.toml", env)


def refusal(tmp_path: Path, text: str, **env: str) -> str:
    """The one line that a configuration is refused with."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, **env)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_the_example_is_the_defaults() -> None:
    example = dataclasses.replace(load(EXAMPLE, {}), data_dir=Path("data"))
    assert example == dataclasses.replace(load(None, {}), data_dir=Path("data"))


def test_the_example_names_every_key_but_the_password() -> None:
    def keys(cls: type, prefix: str = "") -> set[str]:
        found = set()
        for field in dataclasses.fields(cls):
            hint = typing.get_type_hints(cls)[field.name]
            item = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
            if dataclasses.is_dataclass(item) and isinstance(item, type):
                found |= keys(item, f"{field.name}.")
            else:
                found.add(prefix + field.name)
        return found

    named = set()
    for key, value in tomllib.loads(EXAMPLE.read_text()).items():
        tables = value if isinstance(value, list) else [value]
        named |= {f"{key}.{inner}" for table in tables if isinstance(table, dict) for inner in table} or {key}
    assert named == keys(Config) - {f"{table}.{key}" for table, key, _ in SECRETS.values()}


def test_the_example_names_every_variable_of_the_environment() -> None:
    named = set(re.findall(r"\b[A-Z][A-Z_]+\b", EXAMPLE.read_text()))
    assert {*ENVIRONMENT, *SECRETS, CONNECT_VARIABLE} - named == set()


def test_a_size_is_in_the_bytes_that_the_example_says() -> None:
    sizes = re.findall(r"^(\w+)_[mg]b = ([\d.]+) +#.*\((\d+)\^(\d+) bytes\)", EXAMPLE.read_text(), re.MULTILINE)
    assert len(sizes) == 3
    journal = load(None, {}).journal
    for name, value, base, power in sizes:
        assert getattr(journal, f"{name}_bytes") == float(value) * int(base) ** int(power), name


def test_what_the_file_sets_counts(tmp_path: Path) -> None:
    config = loaded(tmp_path, '[feeds]\ncount = 7\n[[select]]\ncurrency = "BTC"\nnames = ["A", "B"]\n[[select]]\n')
    assert config.feeds.count == 7
    assert config.select == (Select(currency="BTC", names=("A", "B")), Select())


def test_a_whole_number_is_fine_where_a_fraction_may_be(tmp_path: Path) -> None:
    assert loaded(tmp_path, "[venue]\nsilent_s = 3\n").venue.silent_s == 3.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[venue]\nsilent = 3", "unknown key venue.silent: did you mean silent_s?"),
        ("[venu]", "unknown key venu: did you mean venue?"),
        ("zzz = 1", "unknown key zzz; known are data_dir, run_dir, venue"),
        ("[[select]]\n[[select]]\ncurency = 'ETH'", "unknown key select[1].curency: did you mean currency?"),
        ("[feeds]\ncount = true", "feeds.count = True: expected a whole number"),
        ("[feeds]\ncount = 1.0", "feeds.count = 1.0: expected a whole number"),
        ("[feeds]\ncount = '4'", "feeds.count = '4': expected a whole number"),
        ("[feeds]\ncount = 0", "feeds.count = 0: expected 1 to 28"),
        ("[ring]\nquote = 1000", "ring.quote = 1000: expected a power of two"),
        ("[venue]\nframe_bytes_max = 8388609", "venue.frame_bytes_max = 8388609: expected 65536 to 8388608"),
        ("[venue]\nsilent_s = 'long'", "venue.silent_s = 'long': expected a number"),
        ("[venue]\nsilent_s = nan", "venue.silent_s = nan: expected 0.05 to 3600"),
        ("[timescale]\nenabled = 1", "timescale.enabled = 1: expected true or false"),
        ("[timescale]\nsslmode = 'maybe'", "timescale.sslmode = 'maybe': expected one of \"\", disable"),
        ("feeds = 3", "feeds = 3: expected a table"),
        ("select = 3", "select = 3: expected tables ([[…]])"),
        ("select = []", "select: no rule"),
        ("[[select]]\nnames = 'A'", "select[0].names = 'A': expected a list, each text"),
        ("[[select]]\nnames = [1]", "select[0].names[0] = 1: expected text"),
        ("[[select]]\nchannels = ['ticker', 'tape']", "expected one of ticker, trades, book"),
        ("[[select]]\nkind = 'options'", "select[0].kind = 'options': expected one of option, future"),
        ("[[select]]\ncurrency = 'eth'", "select[0].currency = 'eth': expected capitals, such as ETH"),
        ("data_dir = ''", 'data_dir = "": expected a path'),
        ("[venue]\nbackoff_min_s = 61", "venue.backoff_min_s = 61 is greater than the matching backoff_max_s = 60"),
        ("a =", "not valid TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refusal(tmp_path, text)


ONE_AND_OTHER = "[[select]]\nchannels = [{}]\n{}\n[[select]]\nchannels = [{}]\ninterval = 'raw'\n{}"


@pytest.mark.parametrize(
    ("text", "channel"),
    [
        (ONE_AND_OTHER.format("'book'", "", "'book', 'quote'", "names = ['A']"), "book"),
        (ONE_AND_OTHER.format("'book'", "currency = 'any'", "'book'", ""), "book"),
        (ONE_AND_OTHER.format("'trades'", "names = ['B']", "'trades'", "names = ['A']"), "trades"),
        (ONE_AND_OTHER.format("'depth'", "interval = 'agg2'", "'depth'", ""), "depth"),
    ],
)
def test_two_rules_that_would_bring_a_channel_in_two_intervals_are_refused(
    tmp_path: Path, text: str, channel: str
) -> None:
    """A book of two chains breaks with each message, and a trade would be stored twice."""
    line = refusal(tmp_path, text)
    assert "select[1].interval = 'raw': select[0] records" in line and f" {channel} of the same" in line


@pytest.mark.parametrize(
    "text",
    [
        ONE_AND_OTHER.format("'ticker', 'trades'", "", "'book'", ""),
        ONE_AND_OTHER.format("'book'", "names = ['B']", "'book'", "names = ['A']"),
        ONE_AND_OTHER.format("'book', 'trades'", "currency = 'BTC'", "'book', 'trades'", ""),
        ONE_AND_OTHER.format("'book', 'trades'", "kind = 'future'", "'book', 'trades'", ""),
        ONE_AND_OTHER.format("'quote', 'mark'", "", "'quote', 'mark'", ""),
        ONE_AND_OTHER.format("'depth'", "", "'depth'", ""),  # there is no raw one
    ],
)
def test_two_rules_of_different_intervals_that_share_no_channel_are_fine(tmp_path: Path, text: str) -> None:
    assert [rule.interval for rule in loaded(tmp_path, text).select][1] == "raw"


def test_a_healer_that_asks_while_the_merger_may_hold_a_trade_is_refused(tmp_path: Path) -> None:
    line = refusal(tmp_path, "[feeds]\nredundancy = 2\n[heal]\nsettle_s = 5")
    assert line.endswith("expected more than 5 with feeds.redundancy = 2: the merger may hold a trade that long")


def test_a_missing_file_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml", {})


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    text = (
        'data_dir = "/a"\n[timescale]\nhost = "x"\nport = 1\n[log]\nlevel = "debug"\n[[select]]\ntop = 1\n[[select]]\n'
    )
    config = loaded(
        tmp_path,
        text,
        TICKBAY_DATA_DIR="/b",
        TICKBAY_RUN_DIR="/c",
        DB_HOST="db",
        DB_PORT="6543",
        DB_USER="u",
        DB_NAME="n",
        DERIBIT_WS_URL="wss://w/",
        DERIBIT_REST_URL="https://r/",
        TOP_N_INSTRUMENTS="50",
        FLUSH_INTERVAL_SEC="0.25",
        LOG_LEVEL="error",
        TICKBAY_METRICS_HOST="0.0.0.0",
        TICKBAY_METRICS_PORT="0",
        TICKBAY_METRICS_HOSTS="tickbay, nas.lan",
        TICKBAY_HEALTH_PORT="8080",
    )
    assert config.metrics == Metrics(host="0.0.0.0", port=0, hosts=("tickbay", "nas.lan"))
    assert config.health == HealthPort(host="127.0.0.1", port=8080)
    assert (config.data_dir, config.run_dir) == (Path("/b"), Path("/c"))
    assert config.timescale == Timescale(host="db", port=6543, user="u", dbname="n", flush_ms=250)
    assert (config.venue.ws_url, config.venue.rest_url) == ("wss://w/", "https://r/")
    assert [rule.top for rule in config.select] == [50, 50]
    assert config.log.level == "error"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("DB_PORT", "abc", "DB_PORT = 'abc': expected a whole number"),
        ("DB_PORT", "0", "DB_PORT = 0: expected 1 to 65535"),
        ("TOP_N_INSTRUMENTS", "-1", "TOP_N_INSTRUMENTS = -1: expected 0 to"),
        ("FLUSH_INTERVAL_SEC", "never", "FLUSH_INTERVAL_SEC = 'never': expected a number"),
        ("DERIBIT_TESTNET", "maybe", "DERIBIT_TESTNET = 'maybe': expected true or false"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL = 'loud': expected one of debug"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_refused(tmp_path: Path, variable: str, value: str, expected: str) -> None:
    assert expected in refusal(tmp_path, "", **{variable: value})


def test_the_test_venue_is_one_variable_and_an_explicit_url_wins_over_it(tmp_path: Path) -> None:
    config = loaded(tmp_path, "", DERIBIT_TESTNET="1", DERIBIT_REST_URL="https://mine/")
    assert config.venue.ws_url == "wss://test.deribit.com/ws/api/v2"
    assert config.venue.rest_url == "https://mine/"
    assert loaded(tmp_path, "", DERIBIT_TESTNET="false").venue == Config().venue


def test_the_run_dir_is_systemds_or_a_folder_of_ours_in_memory(tmp_path: Path) -> None:
    assert loaded(tmp_path, "", RUNTIME_DIRECTORY="/run/tickbay:/run/other").run_dir == Path("/run/tickbay")
    assert loaded(tmp_path, "").run_dir.parent == Path("/dev/shm")


def test_relative_paths_are_relative_to_the_file_that_has_them(tmp_path: Path) -> None:
    config = loaded(tmp_path, 'run_dir = "r"\n[venue]\nca_file = "ca.pem"\n')
    assert (config.data_dir, config.run_dir) == (tmp_path / "data", tmp_path / "r")
    assert config.venue.ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize("url", ["ws://www.deribit.com/", "http://x/", "wss://", "wss://user:secret@x/", "x"])
def test_a_url_that_is_not_encrypted_and_not_local_is_refused(tmp_path: Path, url: str) -> None:
    assert "venue.ws_url" in refusal(tmp_path, f'[venue]\nws_url = "{url}"\n')
    assert "secret" not in refusal(tmp_path, '[venue]\nws_url = "wss://user:secret@x/"\n')


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "[::1]"])
def test_this_machine_needs_no_encryption(tmp_path: Path, host: str) -> None:
    config = loaded(tmp_path, f'[venue]\nws_url = "ws://{host}:1/x"\nrest_url = "http://{host}:1/x"\n')
    assert config.venue.ws_url.startswith("ws://")


@pytest.mark.parametrize("host", ["128.0.0.1", "localhost.example.com", "0.0.0.0", "127.0.0.1.nip.io"])
def test_what_only_looks_local_is_not(tmp_path: Path, host: str) -> None:
    assert "this machine only" in refusal(tmp_path, f'[venue]\nws_url = "ws://{host}/"\n')


def test_what_can_be_named_is_there_and_what_is_not_is_taken_for_nothing_else() -> None:
    hint = typing.get_type_hints(Venue, include_extras=True)["name"]
    assert set(hint.__metadata__[0].words) == VENUES.keys()
    both = Config(questdb=Questdb(enabled=True))
    assert both.sinks == SINKS
    assert [both.settings_of(sink) for sink in SINKS] == [both.timescale, both.questdb]
    with pytest.raises(KeyError):
        both.settings_of("timescaledb")


# Secrets


def test_the_password_comes_from_the_environment_or_a_file_or_a_credential(tmp_path: Path) -> None:
    secret = tmp_path / "db_password"
    secret.write_text("canary\n")
    secret.chmod(0o600)
    for env in (
        {"DB_PASSWORD": "canary"},
        {"DB_PASSWORD_FILE": str(secret)},
        {"CREDENTIALS_DIRECTORY": str(tmp_path)},
    ):
        assert loaded(tmp_path, "", **env).timescale.password == "canary"
    assert loaded(tmp_path, "", CREDENTIALS_DIRECTORY=str(tmp_path / "none")).timescale.password == ""


def test_a_secret_that_everyone_can_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "db_password"
    secret.write_text("canary")
    secret.chmod(0o644)
    for env in ({"DB_PASSWORD_FILE": str(secret)}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}):
        line = refusal(tmp_path, "", **env)
        assert "can be read by everyone: chmod" in line and "canary" not in line


def test_a_password_in_the_configuration_file_is_refused_without_being_shown(tmp_path: Path) -> None:
    line = refusal(tmp_path, '[timescale]\npassword = "canary"\n')
    assert "DB_PASSWORD_FILE" in line and "canary" not in line


def test_two_passwords_are_one_too_many(tmp_path: Path) -> None:
    assert "unset one" in refusal(tmp_path, "", DB_PASSWORD="a", DB_PASSWORD_FILE="/b")


def test_a_missing_secret_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(tmp_path, "", DB_PASSWORD_FILE=str(tmp_path / "none"))


def test_a_password_is_in_no_text_of_the_configuration_and_does_not_change_its_fingerprint(tmp_path: Path) -> None:
    config, other = loaded(tmp_path, "", DB_PASSWORD="canary"), loaded(tmp_path, "", DB_PASSWORD="finch")
    assert "canary" not in repr(config) + str(config)
    assert config.fingerprint() == other.fingerprint()
    assert config.fingerprint() != loaded(tmp_path, "[feeds]\ncount = 5\n").fingerprint()


def test_the_file_is_the_one_given_then_the_variables_then_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert configuration.find(None, {}) is None
    (tmp_path / "tickbay.toml").touch()
    assert configuration.find(None, {}) == Path("tickbay.toml")
    assert configuration.find(None, {"TICKBAY_CONFIG": "/x"}) == Path("/x")
    assert configuration.find(Path("/y"), {"TICKBAY_CONFIG": "/x"}) == Path("/y")


# QuestDB's variables


def test_questdb_s_variables_win_over_the_file_and_over_its_clients_connect_string(tmp_path: Path) -> None:
    connect = "https::addr=a:1;username=b;password=c;tls_roots=/d;"
    text = '[questdb]\nhost = "f"\nport = 2\nuser = "g"\ndatabase = "h"\n'
    questdb = loaded(tmp_path, text, QDB_CLIENT_CONF=connect).questdb
    assert (questdb.host, questdb.port, questdb.user, questdb.password) == ("a", 1, "b", "c")
    assert (questdb.tls, questdb.ca_file, questdb.database) == ("on", Path("/d"), "h")
    env = {"QUESTDB_HOST": "i", "QUESTDB_PORT": "3", "QUESTDB_USER": "j", "QUESTDB_DATABASE": "k", "QUESTDB_TLS": "off"}
    questdb = loaded(tmp_path, text, QDB_CLIENT_CONF=connect, QUESTDB_PASSWORD="l", **env).questdb
    assert (questdb.host, questdb.port, questdb.user, questdb.database) == ("i", 3, "j", "k")
    assert (questdb.password, questdb.tls, questdb.enabled) == ("l", "off", False)
    assert loaded(tmp_path, text, QUESTDB_ENABLED="true").questdb.enabled


def test_an_empty_variable_of_questdb_s_changes_nothing(tmp_path: Path) -> None:
    names = [name for name in (*ENVIRONMENT, *SECRETS, *(f"{name}_FILE" for name in SECRETS)) if "QUESTDB" in name]
    assert len(names) == 10
    env = dict.fromkeys((*names, "QDB_CLIENT_CONF"), "")
    assert loaded(tmp_path, "", **env) == loaded(tmp_path, "")


@pytest.mark.parametrize("port", ["x", "0", "65536", "9000.0"])
def test_a_port_of_questdb_s_that_is_none_is_refused_by_the_name_of_its_variable(tmp_path: Path, port: str) -> None:
    assert "QUESTDB_PORT = " in refusal(tmp_path, "", QUESTDB_PORT=port)


def test_a_connect_string_is_refused_by_the_name_of_its_variable_and_without_its_secret(tmp_path: Path) -> None:
    for text in ("http::addr=h:70000;token=canary;", "http::addr=h:1;;token=canary;", "tcp::token=canary;"):
        line = refusal(tmp_path, "", QDB_CLIENT_CONF=text)
        assert "QDB_CLIENT_CONF" in line and "canary" not in line


@pytest.mark.parametrize("key", ["password", "token"])
def test_questdb_s_secrets_come_from_the_environment_or_a_file_or_a_credential(tmp_path: Path, key: str) -> None:
    secret = tmp_path / f"questdb_{key}"
    secret.write_text("canary\n")
    secret.chmod(0o600)
    variable = f"QUESTDB_{key.upper()}"
    for env in (
        {variable: "canary"},
        {f"{variable}_FILE": str(secret)},
        {"CREDENTIALS_DIRECTORY": str(tmp_path)},
        {"QDB_CLIENT_CONF": f"http::addr=h:1;{key}=canary;"},
    ):
        config = loaded(tmp_path, "", **env)
        assert getattr(config.questdb, key) == "canary"
        assert config.timescale.password == "" and "canary" not in repr(config)
    assert "unset one" in refusal(tmp_path, "", **{variable: "a", f"{variable}_FILE": "/b"})
    line = refusal(tmp_path, f'[questdb]\n{key} = "canary"\n')
    assert f"{variable}_FILE" in line and "canary" not in line
    secret.chmod(0o604)
    line = refusal(tmp_path, "", **{f"{variable}_FILE": str(secret)})
    assert "can be read by everyone" in line and "canary" not in line


def test_a_secret_file_that_is_no_line_of_text_is_refused_without_being_shown(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.touch(mode=0o600)
    for data, what in ((b"canary" * 1000, "more than 4096 bytes"), (b"canary\xff", "not UTF-8")):
        secret.write_bytes(data)
        line = refusal(tmp_path, "", QUESTDB_TOKEN_FILE=str(secret))
        assert what in line and "canary" not in line


@pytest.mark.parametrize("token", ["canary\nfinch", "canary\t", "canarý"])
def test_a_token_that_no_header_can_carry_is_refused_without_being_shown(tmp_path: Path, token: str) -> None:
    """The HTTP client would have shown it in its complaint."""
    line = refusal(tmp_path, "", QUESTDB_TOKEN=token)
    assert "printable ASCII" in line and "canar" not in line


def test_a_token_and_a_password_are_one_too_many(tmp_path: Path) -> None:
    for env in ({"QUESTDB_PASSWORD": "canary"}, {"QDB_CLIENT_CONF": "http::addr=h:1;password=canary;"}):
        line = refusal(tmp_path, "", QUESTDB_TOKEN="canary", **env)
        assert "give one of them" in line and "canary" not in line


def test_only_writers_get_questdb_s_secrets() -> None:
    variables = ("QUESTDB_PASSWORD", "QUESTDB_TOKEN")
    assert {*variables, *(f"{name}_FILE" for name in variables)} <= set(configuration.SECRET_VARIABLES)


def test_the_api_key_is_a_secret_of_two_parts(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary-s\n")
    secret.chmod(0o600)
    config = loaded(tmp_path, "", DERIBIT_API_KEY="canary-k", DERIBIT_API_SECRET_FILE=str(secret))
    assert (config.venue.api_key, config.venue.api_secret) == ("canary-k", "canary-s")
    assert "canary" not in repr(config)
    assert "one of the two is missing" in refusal(tmp_path, "", DERIBIT_API_KEY="canary-k")
    both = {"DERIBIT_API_KEY": "canary-k", "DERIBIT_API_SECRET": "canary-s"}
    assert "at most 16 feeds" in refusal(tmp_path, "[feeds]\ncount = 17", **both)
    assert "does not belong in this file" in refusal(tmp_path, '[venue]\napi_secret = "canary-s"')
