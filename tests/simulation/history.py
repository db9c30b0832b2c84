"""One seed: a configuration, an engine that starts, faults, an end; and whether everything held."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from simulation.disk import Disk
from simulation.faults import Faults
from simulation.ledger import Broken, Ledger, Stored
from simulation.machine import VirtualMachine
from simulation.postgres import Postgres
from simulation.questdb import Questdb
from simulation.roles import Roles
from simulation.world import World
from tickbay import config

SLOTS = config.Ring(quote=512, trade=1024, book=2048, gap=512, instrument=512, status=512, full_wait_ms=50)
CONVERGED_S = 150.0  # once faults are over: a silence of 15 s, a restart of 30 s, a parked sink of 60 s, and slack
BOOT_S = 1.0
LOOK_S = 0.25
SINK_LAG_S = 5.0  # SINK-3: what durable was so long ago, a sink that nothing hits has
RESTARTS_WINDOW_S, RESTARTS_MAX = 60.0, 14  # SUP-2: of one process under one supervisor


class SmallSegments(config.Journal):
    """Segments that a few hundred records fill."""

    bytes_each = 32 << 10

    @property
    def segment_bytes(self) -> int:
        return self.bytes_each


@dataclass
class Verdict:
    seed: int
    broken: str  # empty: everything held
    log: list[str]
    digest: str  # of all that happened
    calls: int
    rows: int
    seconds: float  # virtual ones


@contextmanager
def folder() -> Iterator[Path]:
    """For the rings: they are shared memory also here."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="tickbay-simulation-", dir=memory if memory.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def run(seed: int, path: Path) -> Verdict:
    """Play one seed; `path` is an empty folder that is left empty of rings."""
    history = History(seed, path)
    broken = ""
    try:
        history.play()
    except Broken as error:
        broken = f"{error}"
    except Exception as error:  # noqa: BLE001 - whatever the code under test raises is what the seed has found
        last = traceback.extract_tb(error.__traceback__)[-1]
        broken = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {error}"
    finally:
        history.close()
    return history.verdict(broken)


class History:
    def __init__(self, seed: int, path: Path) -> None:
        self.seed = seed
        self.world = World(seed)
        self._path = path
        (path / "rings").mkdir(parents=True, exist_ok=True)
        chance = self.world.chance
        self.config = self._draw_config()
        self.disk = Disk(chance, ["journal", "cursors"])
        self.ledger = Ledger(self.config, self.disk)
        poison = chance.choice((0, 0, 0, 97))  # every so manieth record is refused
        self.postgres = Postgres(self.world, self.ledger, lambda number: bool(poison) and number % poison == 0)
        self.questdb = Questdb(self.world, self.ledger, lambda number: bool(poison) and number % poison == 1)
        self.roles = Roles(
            self.world,
            self.config,
            self.disk,
            self.ledger,
            self.postgres,
            self.questdb,
            burst=chance.choice((10, 40, 100)),
            pause_s=chance.choice((0.2, 0.4, 0.8)),
        )
        self.machine = VirtualMachine(self.world, self.config, self.roles.table())
        self.roles.machine = self.machine
        sinks = self.config.sinks
        self.faults = Faults(
            self.world,
            self.machine,
            self.disk,
            self.postgres,
            self.questdb,
            power_cut=self.lose_power,
            operator=self._restart,
            one_sided=chance.choice(sinks) if len(sinks) == 2 and chance.random() < 0.4 else "",
            rewinds=not self._tight and chance.random() < 0.5,
        )
        self._rival = "timescale" in sinks and not self.faults.one_sided and chance.random() < 0.25
        self._stopping = False  # of the whole engine, on purpose
        self._restarted = False  # by the operator
        self._over = self._converged = False
        self._durable: list[tuple[float, dict[str, int]]] = []
        self._checked: dict[str, dict[str, int]] = {sink: {} for sink in sinks}
        self._begun: dict[str, dict[str, int]] = {sink: {} for sink in sinks}

    def _draw_config(self) -> config.Config:
        chance = self.world.chance
        sinks = chance.choice((("timescale", "questdb"), ("timescale",), ("questdb",), ("timescale", "questdb")))
        self._tight = chance.random() < 0.4  # segments go as soon as the sinks, or the quota, let them
        commit_ms, flush_ms = chance.choice((100, 300, 1000)), chance.choice((200, 500, 1000))
        batch_rows = chance.choice((20, 100, 500))
        quota_bytes = SmallSegments.bytes_each * chance.choice((4, 6, 12)) if self._tight else 1 << 30
        return config.Config(
            data_dir=self._path / "data",
            run_dir=self._path,
            feeds=config.Feeds(count=1),
            ring=SLOTS,
            journal=SmallSegments(
                commit_ms=commit_ms,
                segment_mb=1,
                retain_hours=0 if self._tight else 1,
                quota_gb=quota_bytes / 1e9,
                free_floor_gb=0,
            ),
            timescale=config.Timescale(enabled="timescale" in sinks, flush_ms=flush_ms, batch_rows=batch_rows),
            questdb=config.Questdb(enabled="questdb" in sinks, flush_ms=flush_ms, batch_rows=batch_rows),
            supervisor=config.Supervisor(heartbeat_timeout_s=5.0, backoff_min_s=0.25, backoff_max_s=4.0),
        )

    # -------- the story

    def play(self) -> None:
        chance = self.world.chance
        self._boot()
        if self._rival:
            self.world.at(chance.uniform(1, 5), self._start_rival)
        lasts_s = chance.uniform(2.5, 6.0)
        self.faults.draw(chance.randint(2, 6), lasts_s)
        self.world.at(LOOK_S, self._look)
        self.world.run(lambda: False, lasts_s)
        self.world.note("faults are over")
        self.faults.end()
        self.roles.feeding, self._over = False, True
        ends_s = lasts_s + CONVERGED_S
        if not self.world.run(lambda: self._converged, ends_s):
            raise Broken(f"SUP-2: {CONVERGED_S:g} s after the last fault: {self._unfinished()}")
        self._check()
        if chance.random() < 0.5:
            self._stop()
            self._check()

    def _boot(self) -> None:
        """As systemd: the supervisor always comes back."""
        if self._stopping or self.machine.find("supervisor") is not None:
            return
        supervisor = self.machine.spawn("supervisor")
        boots = self.disk.boots
        supervisor.ended.append(lambda: self._boot_again(boots))

    def _boot_again(self, boots: int) -> None:
        if self.disk.boots == boots:
            self.world.at(self.world.chance.uniform(0.1, 1.0), self._boot)

    def _start_rival(self) -> None:
        if not self._over and self.machine.find("rival") is None:
            rival = self.machine.spawn("rival")
            rival.ended.append(lambda: self.world.at(1.0, self._start_rival))

    def _restart(self, name: str) -> None:
        self._restarted = True
        self.roles.restart(name)

    def lose_power(self) -> None:
        """Of the machine; a database may be on another one."""
        chance = self.world.chance
        self.world.note("the power is gone")
        self.disk.boots += 1  # who ends now is of an earlier boot: nobody starts it again
        self.machine.lose_power()
        self.disk.lose_power()
        self.ledger.power_lost()
        for ring in (self._path / "rings").iterdir():
            ring.unlink()
        if chance.random() < 0.5:
            self.postgres.crash()
            self.world.at(BOOT_S, self.faults.start_postgres)
        if chance.random() < 0.5 and self.faults.rewinds:
            self.questdb.lose_power()
            self.world.at(BOOT_S, self.faults.start_questdb)
        self.world.at(BOOT_S, partial(self._boot_after, self.disk.boots))

    def _boot_after(self, boots: int) -> None:
        """Unless the power went once more meanwhile: then that one's boot is to come."""
        if self.disk.boots == boots:
            self._boot()

    def _stop(self) -> None:
        """SIGTERM to the supervisor: everything is drained and marked clean."""
        supervisor = self.machine.find("supervisor")
        assert supervisor is not None
        self._stopping = True
        self.world.note("the operator stops the engine")
        self.machine.stoppings[supervisor.pid].set()
        limit_s = self.world.now_s + self.config.supervisor.stop_timeout_s + 2.0
        if not self.world.run(lambda: not supervisor.alive, limit_s):
            raise Broken("SUP-2: the engine does not stop")
        if supervisor.status != 0:
            raise Broken(f"SUP-2: the engine stopped with {supervisor.status}")
        if living := [process.name for process in self.machine.processes if process.name != "rival"]:
            raise Broken(f"SUP-2: {', '.join(living)} outlived the stop")
        if "clean" not in self.disk.directories["journal"].synced:
            raise Broken("JRNL-1: the journal is not marked clean after a stop")

    # -------- looking at it

    def _taken(self, sink: str) -> dict[str, int]:
        """How far a database has each stream."""
        if sink == "timescale":
            return {stream: end.seq for stream, end in self.postgres.cursors.items()}
        stored = self.questdb.stored
        return {stream: max(stored.has(stream), default=0) for stream in self.ledger.streams}

    def _look(self) -> None:
        self.world.at(LOOK_S, self._look)
        self.ledger.look()
        for sink, begun in self._begun.items():
            if sink == "timescale" or not self.questdb.lost:
                self.ledger.check_cursor(sink, self._taken(sink), self._checked[sink])
            for stream, position in self.ledger.cursor_of(sink).items():
                if position.seq:
                    begun.setdefault(stream, position.seq)
        if self._over:
            self._converged = not self._unfinished()
        if self.faults.one_sided and not self._over:
            self._check_other_side()

    def _check_other_side(self) -> None:
        """SINK-3, RING-2: neither the feed nor the other sink feels it."""
        if self.roles.overflowed:
            raise Broken(f"RING-2: the feed was held back by {self.faults.one_sided}")
        (other,) = set(self.config.sinks) - {self.faults.one_sided}
        now_s = self.world.now_s
        self._durable.append((now_s, {name: stream.durable for name, stream in self.ledger.watched()}))
        while self._durable[0][0] < now_s - SINK_LAG_S:
            _, durable = self._durable.pop(0)
            taken = self._taken(other)
            if late := [name for name, seq in durable.items() if taken.get(name, 0) < seq]:
                raise Broken(f"SINK-3: {other} lacks {late[0]} of {SINK_LAG_S:g} s ago, and nothing hit it")

    def _unfinished(self) -> str:
        """What has not come back to order yet."""
        for name in ("supervisor", *self.machine.wanted):
            process = self.machine.find(name)
            if process is None or process.stopped:
                return f"{name} does not run"
        if not self.ledger.drained:
            return "the journal has not taken what the rings hold"
        for sink in self.config.sinks:
            taken = self._taken(sink)
            for name, stream in self.ledger.watched():
                unknown = name in self.ledger.dropped and name not in self._begun[sink]  # it never had any of it
                if taken.get(name, 0) < stream.durable and not unknown:
                    return f"{sink} has {name} up to {taken.get(name, 0)} of {stream.durable}"
            cursor = self.ledger.cursor_of(sink)
            if behind := self.ledger.behind(cursor):
                return f"the cursor file of {sink} is behind in {behind[0]}"
        return ""

    def _check(self) -> None:
        for sink in self.config.sinks:
            self.ledger.check_whole(sink, self._stored(sink), self._begun[sink], stopped=self._stopping)
        self._check_restarts()

    def _stored(self, sink: str) -> Stored:
        return self.postgres.stored if sink == "timescale" else self.questdb.stored

    def _check_restarts(self) -> None:
        """SUP-2: a bounded rate."""
        if len(self.machine.starts["supervisor"]) > 1 or self._restarted or self.disk.boots:
            return
        for name in self.machine.wanted:
            starts = self.machine.starts[name]
            for first in range(len(starts) - RESTARTS_MAX):
                if starts[first + RESTARTS_MAX] - starts[first] < RESTARTS_WINDOW_S:
                    raise Broken(f"SUP-2: {name} was started {RESTARTS_MAX + 1} times in {RESTARTS_WINDOW_S:g} s")

    # -------- the end

    def close(self) -> None:
        for process in list(self.machine.processes):
            self.world.end(process, 0)
        self.world.run(lambda: False, self.world.now_s)
        for stream in self.ledger.streams.values():
            stream.ring = None
        for ring in (self._path / "rings").iterdir():
            ring.unlink()

    def verdict(self, broken: str) -> Verdict:
        told = "\n".join(self.world.log).replace(str(self._path), "")
        digest = hashlib.blake2b(f"{told} {self.world.calls} {self.world.chance.getstate()}".encode(), digest_size=8)
        rows = sum(len(rows) for sink in self.config.sinks for rows in self._stored(sink).rows.values())
        return Verdict(self.seed, broken, self.world.log, digest.hexdigest(), self.world.calls, rows, self.world.now_s)
