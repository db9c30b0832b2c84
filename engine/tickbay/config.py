"""What can be set: TOML file and environment → frozen dataclasses. The only module that reads either.

Every key is optional. An unknown key, a wrong type or a value out of bounds is a ConfigError that names the key, what was
expected and, for an unknown key, the nearest one that exists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    name: str = "deribit"
    ws_url: str = "wss://www.deribit.com/ws/api/v2"
    rest_url: str = "https://www.deribit.com/api/v2"
    ca_file: Path | None = None  # extra certificate authority; certificates are always verified
    heartbeat_s: int = 10  # asked of the venue, at least 10
    frame_bytes_max: int = 8 << 20
    channels_per_call: int = 200  # public/subscribe; protocols: at most 500, and 32 kB a request
    request_bytes_max: int = 30_000
    subscribe_credits: int = 30_000  # the venue's pool for subscribe calls …
    subscribe_cost: int = 3_000  # … what one call takes from it …
    subscribe_refill_per_s: int = 10_000  # … and what comes back each second
    connect_timeout_s: float = 10.0
    silent_s: float = 15.0  # nothing at all on the connection: it is dead
    stale_s: float = 10.0  # no ticker of a live option for this long: resubscribe it
    backoff_min_s: float = 1.0
    backoff_max_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """A rule: which instruments to record, and which channels of each. Rules are united."""

    currency: str = "ETH"
    kind: str = "option"  # option, future (perpetuals too), spot, option_combo, future_combo
    top: int = 0  # only the N with the highest open interest; 0: all
    days_max: float = 0.0  # only those that expire within so many days; 0: all
    names: tuple[str, ...] = ()  # only these
    channels: tuple[str, ...] = ("ticker", "trades", "book")
    interval: str = "100ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeds:
    count: int = 4
    channels_max: int = 1000  # per connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """Slots per ring, powers of two from 512 on. At 10,000 frames/s over four feeds the defaults hold about 25 s."""

    quote: int = 1 << 16
    trade: int = 1 << 13
    book: int = 1 << 17
    gap: int = 1 << 12
    instrument: int = 1 << 13
    status: int = 1 << 10
    full_wait_ms: int = 200  # how long a feed waits for the journal before it counts an overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    commit_ms: int = 100
    segment_mb: int = 64
    retain_hours: float = 24.0  # keep segments at least so long, even when every sink has them
    quota_gb: float = 50.0  # then the oldest go, committed or not (as a recorded gap)
    free_floor_gb: float = 2.0  # never fill the disk beyond this


@dataclass(frozen=True, slots=True, kw_only=True)
class Timescale:
    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 5432
    user: str = "postgres"
    password: str = field(default="", repr=False)
    dbname: str = "tickbay"
    sslmode: str = ""  # empty: verify-full unless the host is this machine
    flush_ms: int = 100
    batch_rows: int = 20_000
    chunk_interval: str = "1 day"
    compress_after_days: int = 7
    retain_days: int = 0  # tick tables; 0: for ever
    status_retain_days: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    refresh_s: float = 60.0
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervisor:
    heartbeat_timeout_s: float = 15.0  # a child silent for longer is killed and replaced
    backoff_min_s: float = 0.5
    backoff_max_s: float = 30.0
    degraded_restarts: int = 10  # more than so many …
    degraded_window_s: float = 300.0  # … in so long is DEGRADED
    stop_timeout_s: float = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    level: str = "info"  # debug, info, warning, error
    format: str = "auto"  # auto: human on a terminal, else json


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
    universe: Universe = field(default_factory=Universe)
    supervisor: Supervisor = field(default_factory=Supervisor)
    log: Log = field(default_factory=Log)
