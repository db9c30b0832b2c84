"""What may happen to the engine, and when: drawn from the seed."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from simulation.disk import Disk, Trouble
from simulation.machine import VirtualMachine
from simulation.postgres import Postgres
from simulation.questdb import Questdb
from simulation.world import Process, World
from tickbay.supervisor.child import process_names

CALLS_MAX = 60  # a process is hit at one of so many of its next calls of the system
REQUESTS_MAX = 25
# Calls of the disk that fail together; a failed sync is the worst, because the kernel tells of it once.
FAILING = (
    ("fdatasync",),
    ("fdatasync",),
    ("pwritev",),
    ("fallocate",),
    ("rename", "sync_directory"),
    ("open",),
    ("unlink",),
    ("preadv",),
)


@dataclass
class Faults:
    """`one_sided`: only this sink is hit, so the other must not feel it (SINK-3)."""

    world: World
    machine: VirtualMachine
    disk: Disk
    postgres: Postgres
    questdb: Questdb
    power_cut: Callable[[], None]
    operator: Callable[[str], None]  # restarts a process
    one_sided: str = ""
    rewinds: bool = True  # the other database may lose what lay in its page cache
    over: list[Callable[[], None]] = field(default_factory=list)  # ends what still lasts

    def draw(self, count: int, until_s: float) -> None:
        """Choose that many, and when."""
        chance = self.world.chance
        kinds = self._one_sided() if self.one_sided else self._all()
        names = chance.sample(sorted(kinds), k=min(len(kinds), chance.randint(1, 5)))
        for _ in range(count):
            name = chance.choice(names)
            self.world.at(chance.uniform(0.5, until_s), partial(self._happen, name, kinds[name]))

    def _happen(self, name: str, fault: Callable[[], None]) -> None:
        self.world.note(f"fault: {name}")
        fault()

    def _all(self) -> dict[str, Callable[[], None]]:
        faults: dict[str, Callable[[], None]] = {
            "a process is killed": self.kill,
            "a process stands still": self.stop,
            "a process keeps dying": self.doom,
            "the operator restarts a process": self.restart,
            "the power goes": self.lose_power,
            "the disk fails": self.fail_disk,
            "the disk is slow": self.slow_disk,
        }
        if not self.rewinds:  # a full disk lets go of what the other database has, which then must not lose it
            faults["the disk is full"] = self.fill_disk
        sinks = self.machine.config.sinks
        return (
            faults
            | (self._of_timescale() if "timescale" in sinks else {})
            | (self._of_questdb() if "questdb" in sinks else {})
        )

    def _one_sided(self) -> dict[str, Callable[[], None]]:
        faults = self._of_timescale() if self.one_sided == "timescale" else self._of_questdb()
        return faults | {"its writer is killed": lambda: self._trap(f"writer-{self.one_sided}", self.machine.kill)}

    def _of_timescale(self) -> dict[str, Callable[[], None]]:
        return {
            "postgres crashes": self.crash_postgres,
            "postgres stalls": self.stall_postgres,
            "a connection to postgres breaks": self.cut_postgres,
        }

    def _of_questdb(self) -> dict[str, Callable[[], None]]:
        return {
            "questdb crashes": self.crash_questdb,
            "questdb suspends a table": self.suspend_questdb,
            "a connection to questdb breaks": self.cut_questdb,
        }

    def _for(self, seconds: float, end: Callable[[], None]) -> None:
        """It lasts so long, or until faults are over."""
        self.over.append(end)
        self.world.at(seconds, end)

    def end(self) -> None:
        for end in self.over:
            end()
        self.disk.trouble = self.disk.trap = None
        self.machine.doomed.clear()
        for process in self.machine.processes:
            process.trap = None
        self.postgres.trap = self.questdb.trap = None

    # -------- processes

    def _any(self) -> Process | None:
        living = sorted(self.machine.processes, key=lambda process: (process.name, process.pid))
        return self.world.chance.choice(living) if living else None

    def _trap(self, name: str, act: Callable[[Process], None]) -> None:
        process = self.machine.find(name)
        if process is not None:
            process.trap = (process.calls + self.world.chance.randint(1, CALLS_MAX), lambda: act(process))

    def _hit(self, act: Callable[[Process], None]) -> None:
        """Any process, now or at one of its next calls."""
        process = self._any()
        if process is None:
            return
        if self.world.chance.random() < 0.2:
            act(process)
        else:
            process.trap = (process.calls + self.world.chance.randint(1, CALLS_MAX), lambda: act(process))

    def kill(self) -> None:
        self._hit(self.machine.kill)

    def stop(self) -> None:
        seconds = self.world.chance.choice((0.1, 1.0, 5.0, 20.0))

        def stop(process: Process) -> None:
            self.world.note(f"{process.name}: stands still for {seconds} s")
            self.world.stop(process, seconds)

        self._hit(stop)

    def doom(self) -> None:
        process = self._any()
        if process is not None and process.name not in ("supervisor", "rival"):
            self.machine.doomed[process.name] = self.world.now_s + self.world.chance.choice((3.0, 20.0))
            self.machine.kill(process)

    def restart(self) -> None:
        self.operator(self.world.chance.choice(process_names(self.machine.config)))

    def lose_power(self) -> None:
        """Mostly in the middle of what the journal does."""
        journal = self.machine.find("journal")
        dice = self.world.chance.random()
        if journal is None or dice < 0.2:
            self.power_cut()
        elif dice < 0.6:  # when all is written and nothing of it synced
            self.disk.trap = ("fdatasync", self.power_cut)
        else:
            self._trap("journal", lambda _: self.power_cut())

    # -------- the disk

    def fail_disk(self) -> None:
        chance = self.world.chance
        calls = chance.choice(FAILING)
        error = errno.ENOSPC if calls in (("fallocate",), ("pwritev",)) and chance.random() < 0.3 else errno.EIO
        self.disk.trouble = Trouble(calls, error, chance.choice((1, 1, 2, 5, 20)))

    def fill_disk(self) -> None:
        self.disk.ballast = max(0, self.disk.free - self.world.chance.randint(0, 30_000))
        self._for(self.world.chance.choice((0.5, 3.0, 10.0)), self._empty_disk)

    def _empty_disk(self) -> None:
        self.disk.ballast = 0

    def slow_disk(self) -> None:
        self.disk.slow = True
        self._for(self.world.chance.choice((1.0, 5.0)), self._hurry_disk)

    def _hurry_disk(self) -> None:
        self.disk.slow = False

    # -------- the databases

    def crash_postgres(self) -> None:
        self.postgres.crash()
        self._for(self.world.chance.choice((0.2, 2.0, 10.0)), self.start_postgres)

    def start_postgres(self) -> None:
        self.postgres.up = True

    def stall_postgres(self) -> None:
        self.postgres.stalled_until = self.world.now_s + self.world.chance.choice((1.0, 5.0, 30.0))
        self.over.append(self._hurry_postgres)

    def _hurry_postgres(self) -> None:
        self.postgres.stalled_until = 0.0

    def cut_postgres(self) -> None:
        chance = self.world.chance
        how = chance.choice(("before", "after", "late", "after", "late"))
        self.postgres.trap = (self.postgres.requests + chance.randint(1, REQUESTS_MAX), how)

    def crash_questdb(self) -> None:
        if self.rewinds and self.world.chance.random() < 0.5:
            self.questdb.lose_power()
        else:
            self.questdb.crash()
        self._for(self.world.chance.choice((0.2, 2.0, 10.0)), self.start_questdb)

    def start_questdb(self) -> None:
        if not self.questdb.up:
            self.questdb.restart()

    def suspend_questdb(self) -> None:
        name = self.world.chance.choice(("book_changes", "delta_one_trades"))
        self.questdb.suspend(name)
        self._for(self.world.chance.choice((1.0, 10.0)), lambda: self.questdb.resume(name))

    def cut_questdb(self) -> None:
        chance = self.world.chance
        self.questdb.trap = (
            self.questdb.requests + chance.randint(1, REQUESTS_MAX),
            chance.choice(("before", "after")),
        )
