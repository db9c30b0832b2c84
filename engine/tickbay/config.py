"""What can be set: TOML file and environment → frozen dataclasses. The only module that reads either.

Every key is optional. An unknown key, a wrong type or a value out of bounds is a ConfigError that names the key, what
was expected and, for an unknown key, the nearest one that exists. The environment wins over the file. Secrets come
from the environment or from a file that others cannot read, never from the configuration file.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints
from urllib.parse import urlsplit

from tickbay import __version__, connect_string
from tickbay.errors import ConfigError
from tickbay.rule import CHANNELS, USUAL_CHANNELS, Select, check_rules
from tickbay.secret import secret_of
from tickbay.tables import Bounds, Origin, Words, build, convert_text

FILE_BYTES_MAX = 1 << 20
GB = 10**9  # as disks are sold; a segment's megabytes are of 2^20 bytes, as files are allocated
MEMORY_DIR = Path("/dev/shm")  # noqa: S108 - our folder in it is checked: ours, 0700, no link
Port = Annotated[int, Bounds(1, 65535)]
AnyPort = Annotated[int, Bounds(0, 65535)]  # 0: one that is free; the process's health report says which
Slots = Annotated[int, Bounds(512, 1 << 24, power_of_two=True)]
SHORT_S = Bounds(0.05, 3600)
# Of feeds: the venue takes 32 from one address; the universe has one, and a few are needed for REST.
CONNECTIONS_MAX = 28
SINKS = ("timescale", "questdb")
MERGER_HOLD_S = 5.0  # how long a message waits for what the other leg of a pair may bring before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    name: Annotated[str, Words(("deribit",))] = "deribit"
    ws_url: str = "wss://www.deribit.com/ws/api/v2"
    rest_url: str = "https://www.deribit.com/api/v2"
    ca_file: Path | None = None  # extra certificate authority; certificates are always verified
    api_key: str = field(default="", repr=False)  # these two from the environment or a secret file only
    api_secret: str = field(default="", repr=False)
    heartbeat_s: Annotated[int, Bounds(10, 600)] = 10  # asked of the venue, at least 10
    frame_bytes_max: Annotated[int, Bounds(1 << 16, 8 << 20)] = 8 << 20  # above: DECODE_FRAME_MAX
    # public/subscribe; the venue recommends at most 500, and refuses requests over 32 kB
    channels_per_call: Annotated[int, Bounds(1, 500)] = 200
    request_bytes_max: Annotated[int, Bounds(1024, 32_768)] = 30_000
    subscribe_credits: Annotated[int, Bounds(1, 10_000_000)] = 30_000  # the venue's pool for subscribe calls …
    subscribe_cost: Annotated[int, Bounds(0, 10_000_000)] = 3_000  # … what one call takes from it …
    subscribe_refill_per_s: Annotated[int, Bounds(1, 10_000_000)] = 10_000  # … and what comes back each second
    connect_timeout_s: Annotated[float, SHORT_S] = 10.0
    silent_s: Annotated[float, SHORT_S] = 15.0  # nothing at all on the connection: it is dead
    stale_s: Annotated[float, SHORT_S] = 10.0  # no word of a channel that must speak for this long: resubscribe it
    ticker_stale_s: Annotated[float, SHORT_S] = 3.0  # the same of one ticker while most others speak
    clock_off_ms: Annotated[float, Bounds(1, 3_600_000)] = 100.0  # this machine's clock and the venue's: tell of more
    backoff_min_s: Annotated[float, SHORT_S] = 1.0
    backoff_max_s: Annotated[float, SHORT_S] = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeds:
    count: Annotated[int, Bounds(1, CONNECTIONS_MAX)] = 4
    # 2: each share of the channels on two connections, of which one may fail: what either brings is stored once
    redundancy: Annotated[int, Bounds(1, 2)] = 1
    channels_max: Annotated[int, Bounds(1, 100_000)] = 1000  # per connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """Slots per ring, powers of two from 512 on. At 10,000 frames/s over four feeds the defaults hold about 25 s."""

    quote: Slots = 1 << 16
    trade: Slots = 1 << 13
    book: Slots = 1 << 17
    gap: Slots = 1 << 12
    instrument: Slots = 1 << 13
    status: Slots = 1 << 10
    # made only where a rule has their channel
    bbo: Slots = 1 << 16
    index: Slots = 1 << 10
    mark: Slots = 1 << 15
    funding: Slots = 1 << 11
    depth: Slots = 1 << 17
    # how long a feed waits for the journal before it counts an overflow
    full_wait_ms: Annotated[int, Bounds(0, 10_000)] = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    commit_ms: Annotated[int, Bounds(1, 10_000)] = 100
    segment_mb: Annotated[int, Bounds(1, 4096)] = 64
    # keep segments at least so long, even when every sink has them: a restored database takes from them what came after
    # its backup, so a day between backups, the backup itself, and two days until somebody has replaced the database
    retain_hours: Annotated[float, Bounds(0, 1_000_000)] = 72.0
    # then the oldest go, committed or not (as a recorded gap)
    quota_gb: Annotated[float, Bounds(0.001, 1_000_000)] = 50.0
    free_floor_gb: Annotated[float, Bounds(0, 1_000_000)] = 2.0  # never fill the disk beyond this

    @property
    def segment_bytes(self) -> int:
        return self.segment_mb << 20

    @property
    def quota_bytes(self) -> int:
        return int(self.quota_gb * GB)

    @property
    def free_floor_bytes(self) -> int:
        return int(self.free_floor_gb * GB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timescale:
    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 5432
    user: str = "postgres"
    password: str = field(default="", repr=False)  # from the environment or a secret file only
    dbname: str = "tickbay"
    # empty: verify-full unless the host is this machine
    sslmode: Annotated[str, Words(("", "disable", "allow", "prefer", "require", "verify-ca", "verify-full"))] = ""
    flush_ms: Annotated[int, Bounds(1, 60_000)] = 200
    batch_rows: Annotated[int, Bounds(1, 1_000_000)] = 20_000
    chunk_interval: str = "1 day"
    compress_after_days: Annotated[int, Bounds(1, 36_500)] = 7
    retain_days: Annotated[int, Bounds(0, 36_500)] = 0  # tick tables; 0: for ever
    status_retain_days: Annotated[int, Bounds(1, 36_500)] = 90
    direct_compress: bool = False  # rows are compressed as they come (TimescaleDB Community)
    instrument_index: bool = False  # (instrument, ts) on the tables of ticks; halves what the server can take


@dataclass(frozen=True, slots=True, kw_only=True)
class Questdb:
    enabled: bool = False
    host: str = "127.0.0.1"
    port: Port = 9000  # HTTP
    user: str = ""
    password: str = field(default="", repr=False)  # from the environment or a secret file only
    token: str = field(default="", repr=False)  # instead of user and password; from there too
    database: str = "qdb"  # what the server must call itself; the open-source one knows no other name
    tls: Annotated[str, Words(("", "on", "off"))] = ""  # empty: on unless the host is this machine
    ca_file: Path | None = None  # extra certificate authority
    flush_ms: Annotated[int, Bounds(1, 60_000)] = 200
    batch_rows: Annotated[int, Bounds(1, 1_000_000)] = 20_000
    partition: Annotated[str, Words(("HOUR", "DAY"))] = "DAY"  # of new tables of ticks
    retain_days: Annotated[int, Bounds(0, 36_500)] = 0  # tick tables; 0: for ever
    status_retain_days: Annotated[int, Bounds(1, 36_500)] = 90
    # What the server acknowledged so long before it was restarted is sent again: it may not have been on its disk.
    rewind_minutes: Annotated[int, Bounds(15, 1440)] = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    # The venue announces what is new; so often we compare with all that it lists, for what we did not hear.
    refresh_s: Annotated[float, Bounds(0.05, 86_400)] = 60.0
    linger_s: Annotated[float, Bounds(0, 3600)] = 60.0  # an instrument's channels stay so long after its end
    timeout_s: Annotated[float, SHORT_S] = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heal:
    enabled: bool = True
    settle_s: Annotated[float, SHORT_S] = 10.0  # what is missing may still come by itself
    check_s: Annotated[float, Bounds(0.5, 86_400)] = 60.0  # so often the venue is asked who traded since the last time
    requests_per_s: Annotated[int, Bounds(1, 1000)] = 10  # the venue lets 20 through, of all who share the address …
    requests_burst: Annotated[int, Bounds(1, 10_000)] = 50  # … and 100 at once
    timeout_s: Annotated[float, SHORT_S] = 10.0
    recent_hours: Annotated[float, Bounds(0, 1000)] = 24.0  # how far back venue.rest_url has trades
    history_url: str = ""  # who has older ones; empty: the venue's own where venue.rest_url is, else nobody
    tries: Annotated[int, Bounds(1, 100)] = 6  # answers without a trade before it counts as lost for good


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    enabled: bool = True
    disagree_s: Annotated[float, SHORT_S] = 5.0  # a book's best prices are not the ticker's for so long: send it anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervisor:
    heartbeat_timeout_s: Annotated[float, Bounds(1, 3600)] = 15.0  # a child silent for longer is killed and replaced
    backoff_min_s: Annotated[float, SHORT_S] = 0.5
    backoff_max_s: Annotated[float, SHORT_S] = 30.0
    degraded_restarts: Annotated[int, Bounds(1, 1000)] = 10  # more than so many …
    degraded_window_s: Annotated[float, Bounds(1, 86_400)] = 300.0  # … in so long is DEGRADED
    stop_timeout_s: Annotated[float, Bounds(1, 3600)] = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    enabled: bool = True
    host: str = "127.0.0.1"
    port: AnyPort = 8001
    hosts: tuple[str, ...] = ()  # names by which others ask for it; addresses and localhost always do


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPort:
    enabled: bool = True
    host: str = "127.0.0.1"
    port: AnyPort = 8000
    hosts: tuple[str, ...] = ()  # as of Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    enabled: bool = True
    host: str = "127.0.0.1"
    port: AnyPort = 8080
    hosts: tuple[str, ...] = ()  # as of Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """Of `tickbay top --web`."""

    host: str = "127.0.0.1"
    port: AnyPort = 7681
    hosts: tuple[str, ...] = ()  # as of Metrics
    token: str = field(default="", repr=False)  # from the environment or a secret file only; empty: a new one each time


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    level: Annotated[str, Words(("debug", "info", "warning", "error"))] = "info"
    format: Annotated[str, Words(("auto", "human", "json"))] = "auto"  # auto: human on a terminal, else json


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    data_dir: Path = Path("data")  # journal, cursors, quarantine, universe: on a disk
    run_dir: Path = Path()  # rings, health, sockets: on a tmpfs; empty: chosen by load()
    venue: Venue = field(default_factory=Venue)
    select: tuple[Select, ...] = (Select(),)
    feeds: Feeds = field(default_factory=Feeds)
    ring: Ring = field(default_factory=Ring)
    journal: Journal = field(default_factory=Journal)
    timescale: Timescale = field(default_factory=Timescale)
    questdb: Questdb = field(default_factory=Questdb)
    universe: Universe = field(default_factory=Universe)
    heal: Heal = field(default_factory=Heal)
    check: Check = field(default_factory=Check)
    supervisor: Supervisor = field(default_factory=Supervisor)
    metrics: Metrics = field(default_factory=Metrics)
    health: HealthPort = field(default_factory=HealthPort)
    web: Web = field(default_factory=Web)
    top: Top = field(default_factory=Top)
    log: Log = field(default_factory=Log)

    @property
    def sinks(self) -> tuple[str, ...]:
        """The sinks that are enabled. Each has a writer process and a cursor file."""
        return tuple(sink for sink in SINKS if self.settings_of(sink).enabled)

    def settings_of(self, sink: str) -> Timescale | Questdb:
        """KeyError where there is no such sink."""
        settings: dict[str, Timescale | Questdb] = {"timescale": self.timescale, "questdb": self.questdb}
        return settings[sink]

    @property
    def tick_kinds(self) -> tuple[str, ...]:
        """The kinds of records that a feed writes of what the venue sends: the usual three, and what rules have."""
        asked = {*USUAL_CHANNELS, *(channel for rule in self.select for channel in rule.channels)}
        return tuple(dict.fromkeys(kind for channel, kind in CHANNELS.items() if channel in asked))

    @property
    def history_url(self) -> str:
        """Who has the trades of more than a day ago; empty: nobody."""
        return self.heal.history_url or (HISTORY_URL if self.venue.rest_url == Venue().rest_url else "")

    def fingerprint(self) -> str:
        """Of everything but the secrets, and of the version: a child with another one does not run what is
        configured.
        """
        return hashlib.sha256(f"{__version__} {self!r}".encode()).hexdigest()[:16]


HISTORY_URL = "https://history.deribit.com/api/v2"
TESTNET = {"ws_url": "wss://test.deribit.com/ws/api/v2", "rest_url": "https://test.deribit.com/api/v2"}
# Environment variable → table ("" is the top) and key. The text is read as the key's type.
ENVIRONMENT = {
    "TICKBAY_DATA_DIR": ("", "data_dir"),
    "TICKBAY_RUN_DIR": ("", "run_dir"),
    "DB_HOST": ("timescale", "host"),
    "DB_PORT": ("timescale", "port"),
    "DB_USER": ("timescale", "user"),
    "DB_NAME": ("timescale", "dbname"),
    "DB_SSLMODE": ("timescale", "sslmode"),
    "QUESTDB_ENABLED": ("questdb", "enabled"),
    "QUESTDB_HOST": ("questdb", "host"),
    "QUESTDB_PORT": ("questdb", "port"),
    "QUESTDB_USER": ("questdb", "user"),
    "QUESTDB_DATABASE": ("questdb", "database"),
    "QUESTDB_TLS": ("questdb", "tls"),
    "DERIBIT_WS_URL": ("venue", "ws_url"),
    "DERIBIT_REST_URL": ("venue", "rest_url"),
    "TICKBAY_METRICS_HOST": ("metrics", "host"),
    "TICKBAY_METRICS_PORT": ("metrics", "port"),
    "TICKBAY_METRICS_HOSTS": ("metrics", "hosts"),
    "TICKBAY_HEALTH_HOST": ("health", "host"),
    "TICKBAY_HEALTH_PORT": ("health", "port"),
    "TICKBAY_HEALTH_HOSTS": ("health", "hosts"),
    "TICKBAY_WEB_HOST": ("web", "host"),
    "TICKBAY_WEB_PORT": ("web", "port"),
    "TICKBAY_WEB_HOSTS": ("web", "hosts"),
    "TICKBAY_TOP_HOST": ("top", "host"),
    "TICKBAY_TOP_PORT": ("top", "port"),
    "TICKBAY_TOP_HOSTS": ("top", "hosts"),
    "LOG_LEVEL": ("log", "level"),
}
CONNECT_VARIABLE = "QDB_CLIENT_CONF"  # as QuestDB's own clients read it; supervisor/machine.py takes the secrets out
# Environment variable of a secret (with _FILE: of a file that has it) → table, key, name of systemd's credential.
SECRETS = {
    "DB_PASSWORD": ("timescale", "password", "db_password"),
    "QUESTDB_PASSWORD": ("questdb", "password", "questdb_password"),
    "QUESTDB_TOKEN": ("questdb", "token", "questdb_token"),
    "DERIBIT_API_KEY": ("venue", "api_key", "deribit_api_key"),
    "DERIBIT_API_SECRET": ("venue", "api_secret", "deribit_api_secret"),
    "TICKBAY_TOP_TOKEN": ("top", "token", "tickbay_top_token"),
}
SECRET_VARIABLES = (*SECRETS, *(f"{variable}_FILE" for variable in SECRETS), "CREDENTIALS_DIRECTORY")
SESSIONS_MAX = 16  # that the venue allows one key
TOKEN_MIN = 16  # so that nobody guesses it


def find(path: Path | None, env: Mapping[str, str]) -> Path | None:
    """The configuration file: the one given, else $TICKBAY_CONFIG, else tickbay.toml in this directory if there is
    one.
    """
    if path is not None:
        return path
    if named := env.get("TICKBAY_CONFIG"):
        return Path(named)
    here = Path("tickbay.toml")
    return here if here.exists() else None


def secrets_of(config: Config) -> tuple[str, ...]:
    """Every secret that is set: what no log may show."""
    values = (getattr(getattr(config, table), key) for table, key, _ in SECRETS.values())
    return tuple(value for value in values if value)


def add_argument(parser: ArgumentParser) -> None:
    """The option that every command has which needs the configuration."""
    help = "configuration file; default: $TICKBAY_CONFIG, else tickbay.toml here, else built-in defaults"
    parser.add_argument("--config", type=Path, metavar="FILE", help=help)


def load(path: Path | None, env: Mapping[str, str]) -> Config:
    """The configuration of the file `path` (None: defaults) under that of `env`; raises ConfigError.

    Relative paths are relative to the directory of the file that has them, else to the current one.
    """
    tables: dict[str, Any] = _read(path) if path is not None else {}
    origin = Origin(str(path), path.absolute().parent if path is not None else Path.cwd())
    for variable, (table, key, _) in SECRETS.items():
        if isinstance(tables.get(table), dict) and key in tables[table]:
            raise ConfigError(f"{path}: {table}.{key} does not belong in this file: set {variable}_FILE or {variable}")
    config = build(Config, tables, "", origin)
    if "data_dir" not in tables:
        config = replace(config, data_dir=origin.directory / config.data_dir)
    config = _overridden(config, env)
    _check(config)
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: larger than {FILE_BYTES_MAX} bytes: is it the configuration file?")
        return tomllib.loads(text.decode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _overridden(config: Config, env: Mapping[str, str]) -> Config:
    """`config` with what the environment says."""
    origin = Origin("environment", Path.cwd())
    tables = ("", "venue", "timescale", "questdb", "metrics", "health", "web", "top", "log")
    changes: dict[str, dict[str, Any]] = {table: {} for table in tables}
    if _number(env, "DERIBIT_TESTNET", bool, origin):
        changes["venue"] |= TESTNET
    if text := env.get(CONNECT_VARIABLE):
        for key, value in connect_string.parse(text, CONNECT_VARIABLE).items():
            hints = get_type_hints(Questdb, include_extras=True)
            changes["questdb"][key] = convert_text(value, hints[key], f"{CONNECT_VARIABLE}: {key}", origin)
    for variable, (table, key) in ENVIRONMENT.items():
        if text := env.get(variable):
            hints = get_type_hints(type(getattr(config, table)) if table else Config, include_extras=True)
            changes[table][key] = convert_text(text, hints[key], variable, origin)
    if (flush_s := _number(env, "FLUSH_INTERVAL_SEC", Annotated[float, Bounds(0.001, 60)], origin)) is not None:
        changes["timescale"]["flush_ms"] = max(1, round(flush_s * 1000))
    if (top := _number(env, "TOP_N_INSTRUMENTS", Annotated[int, Bounds(0, 1_000_000)], origin)) is not None:
        changes[""]["select"] = tuple(replace(rule, top=int(top)) for rule in config.select)
    for variable, (table, key, credential) in SECRETS.items():
        if secret := secret_of(variable, credential, env):
            changes[table][key] = secret
    changed = {table: replace(getattr(config, table), **keys) for table, keys in changes.items() if table and keys}
    config = replace(config, **changes[""], **changed)
    if config.run_dir == Path():
        runtime = env.get("RUNTIME_DIRECTORY", "").split(":")[0]  # systemd lists several with colons
        config = replace(config, run_dir=Path(runtime) if runtime else MEMORY_DIR / f"tickbay-{os.getuid()}")
    return config


def _number(env: Mapping[str, str], variable: str, hint: Any, origin: Origin) -> float | None:
    text = env.get(variable)
    return None if not text else cast("float", convert_text(text, hint, variable, origin))


def _check(config: Config) -> None:
    """What needs more than one value to judge."""
    for key, url, secure, plain in (
        ("venue.ws_url", config.venue.ws_url, "wss", "ws"),
        ("venue.rest_url", config.venue.rest_url, "https", "http"),
        ("heal.history_url", config.heal.history_url or HISTORY_URL, "https", "http"),
    ):
        parts = urlsplit(url)
        if parts.scheme not in (secure, plain) or not parts.hostname:
            raise ConfigError(f"{key} = {url!r}: expected {secure}://host…")
        if parts.username or parts.password:
            raise ConfigError(f"{key}: a URL must not carry a user or password")
        if parts.scheme == plain and not is_loopback(parts.hostname):
            raise ConfigError(f"{key} = {url!r}: {plain}:// is for this machine only: use {secure}://")
    if config.questdb.enabled and config.journal.retain_hours * 60 < config.questdb.rewind_minutes:
        raise ConfigError("journal.retain_hours is less than questdb.rewind_minutes: what is sent again comes from it")
    if config.questdb.token and config.questdb.password:
        raise ConfigError("questdb has a token and a password: give one of them")
    if not (config.questdb.token.isascii() and config.questdb.token.isprintable()):
        raise ConfigError("questdb's token is not printable ASCII on one line, so no HTTP header can carry it")
    check_rules(config.select)
    for key, low, high in (
        ("venue.backoff_min_s", config.venue.backoff_min_s, config.venue.backoff_max_s),
        ("supervisor.backoff_min_s", config.supervisor.backoff_min_s, config.supervisor.backoff_max_s),
    ):
        if low > high:
            raise ConfigError(f"{key} = {low:g} is greater than the matching backoff_max_s = {high:g}")
    connections = config.feeds.count * config.feeds.redundancy
    if connections > CONNECTIONS_MAX:
        raise ConfigError(
            f"feeds.count = {config.feeds.count} with feeds.redundancy = {config.feeds.redundancy} needs "
            f"{connections} connections: the venue takes {CONNECTIONS_MAX} and a few others"
        )
    if config.feeds.redundancy == 2 and config.heal.enabled and config.heal.settle_s <= MERGER_HOLD_S:
        raise ConfigError(
            f"heal.settle_s = {config.heal.settle_s:g}: expected more than {MERGER_HOLD_S:g} with feeds.redundancy = 2:"
            " the merger may hold a trade that long"
        )
    if bool(config.venue.api_key) != bool(config.venue.api_secret):
        raise ConfigError("DERIBIT_API_KEY and DERIBIT_API_SECRET: one of the two is missing: set both or none")
    if config.venue.api_key and connections > SESSIONS_MAX:
        raise ConfigError(f"with DERIBIT_API_KEY at most {SESSIONS_MAX} feeds: the venue allows a key no more sessions")
    if config.top.token and (len(config.top.token) < TOKEN_MIN or not config.top.token.isascii()):
        raise ConfigError(f"TICKBAY_TOP_TOKEN: at least {TOKEN_MIN} ASCII characters: openssl rand -hex 16 makes some")
    if config.data_dir == Path():
        raise ConfigError('data_dir = "": expected a path')


def is_loopback(host: str) -> bool:
    """Is `host` this machine, by name or address?"""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
