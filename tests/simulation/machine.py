"""The processes of one machine, as the supervisor sees them: pid files, locks, signals, heartbeats, their end."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path

from simulation.ledger import Broken
from simulation.world import Dead, Process, World
from tickbay.config import Config
from tickbay.errors import ConfigError, TickbayError
from tickbay.health import Health, Report
from tickbay.identity import Identity
from tickbay.process import Stopping
from tickbay.supervisor.child import process_names

BOOT_ID = "virtual boot"
STARTED_S = (0.05, 0.4)  # from the spawn to the lock: a fresh interpreter takes its time
REFUSED, FAILED, KILLED = 2, 1, -int(signal.SIGKILL)
SILENT_SLACK_S = WAIT_SLACK_S = 1.0  # the supervisor looks now and then


class VirtualStopping(Stopping):
    def __init__(self, world: World) -> None:
        self.on_repeat = None
        self._world = world
        self._set = False
        self._waiting: list[Callable[[], None]] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        for wake in self._waiting:
            wake()

    def wait(self, timeout_s: float) -> bool:
        task = self._world.task()

        def wake() -> None:
            self._world.wake(task)

        if not self._set:
            self._waiting.append(wake)
            self._world.sleep(timeout_s)
            self._waiting.remove(wake)
        return self._set


class VirtualHealth(Health):
    """Beats into the machine instead of a file."""

    def __init__(self, machine: VirtualMachine, name: str, identity: Identity, run_dir: Path) -> None:
        super().__init__(run_dir, name, name.partition("-")[0])
        self._machine = machine
        self._virtual = identity

    def beat(self) -> None:
        self._machine.beat(self, self._virtual)


class VirtualMachine:
    """`roles`: what runs under each name."""

    def __init__(self, world: World, config: Config, roles: dict[str, Callable[[Process], int]]) -> None:
        self.world = world
        self.config = config
        self.roles = roles
        self.reports: dict[str, Report] = {}
        self.files: dict[str, tuple[Process, str]] = {}  # pid files: who, with which configuration
        self.locks: dict[str, Process] = {}
        self.stoppings: dict[int, VirtualStopping] = {}
        self.wanted = process_names(config)
        self.processes: list[Process] = []  # living ones
        self.beats: dict[int, float] = {}
        self.doomed: dict[str, float] = {}  # names that die soon after each start, until then
        self.starts: dict[str, list[float]] = {}
        self.ends: dict[str, float] = {}  # when each name ended last
        self.failed: dict[str, bool] = {}  # and whether nobody had asked for it
        self.fingerprint = config.fingerprint()
        self._pids = 100

    # -------- processes

    def spawn(self, name: str) -> Process:
        self._pids += 1
        process = Process(name, self._pids)
        self.processes.append(process)
        self.stoppings[process.pid] = VirtualStopping(self.world)
        self.beats[process.pid] = self.world.now_s
        process.ended.append(lambda: self._note_end(process))
        self.starts.setdefault(name, []).append(self.world.now_s)
        self.world.note(f"{name}: started, pid {process.pid}")
        self.world.start(process, lambda: self._main(process))
        if self.world.now_s < self.doomed.get(name, 0.0):
            self.world.at(self.world.chance.uniform(0, 1.0), lambda: self._die_young(process))
        return process

    def _main(self, process: Process) -> None:
        """As process.running() and guarded(): lock, pid file, and how it ends."""
        try:
            self.world.sleep(self.world.chance.uniform(*STARTED_S))
            holder = self.locks.get(process.name)
            if holder is not None and holder.alive:
                raise ConfigError(f"{process.name} is already running")
            self.locks[process.name] = process
            if process.name in ("supervisor", *self.wanted):  # a rival has its run_dir elsewhere
                self.files[process.name] = (process, self.fingerprint)
            status = self.roles.get(process.name.partition("-")[0], self.roles["other"])(process)
        except Dead:
            return
        except ConfigError as error:
            self.world.note(f"{process.name}: refuses: {error}")
            status = REFUSED
        except (OSError, TickbayError) as error:
            self.world.note(f"{process.name}: fails: {error}")
            status = FAILED
        self.world.note(f"{process.name}: ends with {status}")
        self.world.end(process, status)

    def _die_young(self, process: Process) -> None:
        if process.name in self.doomed:
            self.kill(process)

    def _note_end(self, process: Process) -> None:
        self.processes.remove(process)
        self.ends[process.name] = self.world.now_s
        self.failed[process.name] = process.status != 0 and not self.stoppings[process.pid].is_set()

    def kill(self, process: Process) -> None:
        if process.alive:
            self.world.note(f"{process.name}: killed")
            self.world.end(process, KILLED)

    def lose_power(self) -> None:
        for process in list(self.processes):
            self.world.end(process, KILLED)
        self.files.clear()
        self.reports.clear()
        self.locks.clear()

    def find(self, name: str) -> Process | None:
        """The one who holds the name's lock."""
        holder = self.locks.get(name)
        return holder if holder is not None and holder.alive else None

    def beat(self, health: Health, identity: Identity) -> None:
        self.beats[identity.pid] = self.world.now_s
        self.reports[health.process] = Report(
            **{name: getattr(health, name) for name in _TOLD},
            identity=identity,
            started_ns=0,
            heartbeat_ns=int(self.world.now_s * 1e9) + 1,
            rates={},
        )


_TOLD = sorted(set(Report.__dataclass_fields__) - {"identity", "started_ns", "heartbeat_ns", "rates"})


def identity_of(process: Process) -> Identity:
    return Identity(process.pid, process.pid, BOOT_ID)


class Handle:
    """Running of tickbay.supervisor.machine."""

    def __init__(self, machine: VirtualMachine, view: SupervisorsView, process: Process, *, own: bool) -> None:
        self.identity = identity_of(process)
        self.fingerprint = "" if own else machine.files[process.name][1]
        self._machine = machine
        self._view = view
        self._process = process
        self._own = own

    def signal(self, number: signal.Signals) -> None:
        if not self._process.alive:
            self._machine.failed[self._process.name] = False  # asked to end before that was seen: it may come at once
            return
        self._machine.world.note(f"supervisor: {number.name} to {self._process.name}")
        if number == signal.SIGKILL:
            self._check_deserved()
            self._machine.kill(self._process)
        else:
            self._view.asked.add(self._process.pid)
            self._machine.stoppings[self._process.pid].set()

    def _check_deserved(self) -> None:
        machine = self._machine
        silent_s = machine.world.now_s - machine.beats[self._process.pid]
        limit_s = machine.config.supervisor.heartbeat_timeout_s - SILENT_SLACK_S
        if self._process.pid not in self._view.asked and silent_s < limit_s:
            raise Broken(f"SUP-2: {self._process.name} was killed after {silent_s:.1f} s of silence")

    def on_end(self, ended: Callable[[], None]) -> None:
        if self._process.alive:
            self._process.ended.append(lambda: self._view.due.append(ended))
        else:
            self._view.due.append(ended)

    def reap(self) -> int | None:
        return self._process.status if self._own else None


class SupervisorsView:
    """Machine of tickbay.supervisor.machine, for one life of the supervisor."""

    def __init__(self, machine: VirtualMachine, supervisor: Process) -> None:
        self._machine = machine
        self._supervisor = supervisor
        self._began_s = machine.world.now_s
        self.due: deque[Callable[[], None]] = deque()  # ends of processes, to be told from its loop
        self.asked: set[int] = set()  # to end

    async def sleep(self, seconds: float) -> None:
        self._machine.world.sleep(seconds)
        while self.due:
            self.due.popleft()()

    def find(self, name: str) -> Handle | None:
        written = self._machine.files.get(name)
        return Handle(self._machine, self, written[0], own=False) if written is not None and written[0].alive else None

    def start(self, name: str) -> Handle:
        holder = self._machine.find(name)
        if holder is not None:
            raise Broken(f"SUP-1: {name} was started beside the one that lives")
        self._check_wait(name)
        return Handle(self._machine, self, self._machine.spawn(name), own=True)

    def _check_wait(self, name: str) -> None:
        """SUP-2: whoever dies is not back at once, and within the longest wait, if the supervisor could see to it."""
        machine = self._machine
        ended_s = machine.ends.get(name, 0.0)
        waited_s = machine.world.now_s - ended_s
        if self._began_s > ended_s or self._supervisor.stops:
            return
        if machine.failed.get(name) and waited_s < machine.config.supervisor.backoff_min_s / 2:
            raise Broken(f"SUP-2: {name} was started again {waited_s:.3f} s after its end")
        if waited_s > machine.config.supervisor.backoff_max_s + WAIT_SLACK_S:
            raise Broken(f"SUP-2: {name} was started {waited_s:.1f} s after its end")

    def names(self) -> list[str]:
        return sorted(self._machine.files)

    def report(self, name: str) -> Report | None:
        return self._machine.reports.get(name)
