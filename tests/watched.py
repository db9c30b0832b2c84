"""What an engine leaves for who watches it, without the engine: rings, reports, events. The rings and files are real,
the living processes are this one.
"""

from __future__ import annotations

import time
from pathlib import Path

import orjson

from tickbay.config import Config, Feeds
from tickbay.event_file import EventFile
from tickbay.gap import Cause, Gap
from tickbay.health import Health
from tickbay.identity import Identity
from tickbay.record import Flag, Kind, Records, blank, stream_name
from tickbay.ring import Ring, create
from tickbay.universe.assignment import Assignment, assignment_path, write_assignment

FOLDERS = ("run/health", "run/rings", "run/events", "run/pids", "data/cursors", "data/universe")
FEED = "feed-1"
CALL, PUT, SILENT, NEVER = "ETH-27MAR26-3000-C", "ETH-27MAR26-3000-P", "ETH-27MAR26-4000-C", "ETH-27MAR26-5000-C"
HOSTILE = "<img/src=x/onerror=x>"  # of the characters that a channel may have
NAMES = (CALL, PUT, SILENT, NEVER, HOSTILE)
S = 10**9


class Watched:
    """Configured for one feed."""

    def __init__(self, folder: Path) -> None:
        for name in FOLDERS:
            (folder / name).mkdir(parents=True)
        self.config = Config(run_dir=folder / "run", data_dir=folder / "data", feeds=Feeds(count=1))
        self.file = folder / "tickbay.toml"
        self.file.write_text('run_dir = "run"\ndata_dir = "data"\n[feeds]\ncount = 1\n')
        self._second = -1
        self.rings = {kind: self.ring(kind) for kind in (Kind.QUOTE, Kind.GAP)}
        self.processes = [
            Health(self.config.run_dir, name, role)
            for name, role in ((FEED, "feed"), ("journal", "journal"), ("universe", "universe"))
        ]

    def ring(self, kind: Kind, feed: str = FEED) -> Ring:
        """A new one, in place of any that there was."""
        path, identity = self.config.run_dir / "rings" / f"{stream_name(feed, kind)}.ring", Identity.own()
        create(path, kind, 512, stream=stream_name(feed, kind), boot_id=identity.boot_id, epoch=1, first_seq=1)
        ring = Ring.attach(path, kind)
        ring.produce(identity.pid, identity.start_time)
        return ring

    def run(self) -> None:
        """All that a person would look at."""
        self.assign(*NAMES)
        self.quote(SILENT, bid=0.01, ask=0.02, iv=60.0, age_s=100)
        self.quote_others()
        now_ns = time.time_ns()
        self.gap(Gap(cause=Cause.DISCONNECT, from_ns=now_ns - 60 * S, to_ns=now_ns - 50 * S, detail="cut"))
        self.gap(Gap(cause=Cause.STALE, from_ns=now_ns - 30 * S, kind=Kind.QUOTE, instrument=SILENT))
        self.gap(Gap(cause=Cause.SEQUENCE, from_ns=now_ns - 9 * S, to_ns=now_ns, kind=Kind.TRADE, instrument=CALL,
                     first_missing=7, last_missing=8, count=2, healed=True, detail="2 trades fetched"))  # fmt: skip
        self.event("info", FEED, "feed_live", channels=12)
        self.event("warning", "journal", "disk_slow", seconds=1.5)
        self.beat()

    def quote_others(self) -> None:
        """All but the silent one and the one that never spoke: in ten seconds they are stale."""
        self.quote(CALL, bid=0.05, ask=0.0525, iv=55.5)
        self.quote(PUT, bid=0.061, ask=0.07, iv=54.25)
        self.quote(HOSTILE, bid=0.1, ask=0.2, iv=1.0)

    def beat(self) -> None:
        """The processes live."""
        for health in self.processes:
            health.state = "live"
            if health.process == FEED:
                health.counters = {"frames": 7, "quotes": 4, "gaps": 3, "reconnects": 1}
                health.gauges = {"channels_asked": 12, "channels_live": 12, "silent_s": 0.01}
            health.beat()

    def assign(self, *names: str) -> None:
        channels = tuple(f"ticker.{name}.100ms" for name in names)
        path = assignment_path(self.config.data_dir)
        write_assignment(path, Assignment(version=1, feeds={FEED: channels}))

    def quote(self, name: str, *, bid: float, ask: float, iv: float, age_s: float = 0) -> None:
        record = self.blank_quote(name, age_s)
        record["bid_price"], record["ask_price"], record["mark_price"] = bid, ask, (bid + ask) / 2
        record["mark_iv"], record["delta"], record["flags"] = iv, 0.5, Flag.OPTION
        self.rings[Kind.QUOTE].append(record)

    @staticmethod
    def blank_quote(name: str, age_s: float = 0) -> Records:
        record = blank(Kind.QUOTE)
        record["instrument"] = name.encode()
        record["recv_ns"] = time.time_ns() - round(age_s * S)
        record["exch_ns"] = record["recv_ns"] - 5_000_000
        return record

    def gap(self, gap: Gap) -> None:
        self.rings[Kind.GAP].append(gap.record(recv_ns=time.time_ns(), conn=1, writer=FEED))

    def event(self, level: str, process: str, event: str, **fields: object) -> None:
        self._second += 1
        value = {
            "time": f"2026-03-01T12:00:{self._second:02d}.000Z",
            "level": level,
            "process": process,
            "event": event,
        } | fields
        EventFile(self.config.run_dir, process).append(orjson.dumps(value) + b"\n")

    def close(self) -> None:
        for ring in self.rings.values():
            ring.close()
