"""Virtual time and the processes that live in it: one runs at a time, and only a call of the system lets another one
run. Everything that is left to chance comes from one generator, so a seed is a history.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from functools import partial

import greenlet

from tickbay.clock import Clock

BEGAN_NS = 1_800_000_000 * 10**9  # unix time of virtual 0
UPTIME_S = 1_000.0  # what a monotonic clock shows then
PREEMPTED = 0.25  # how often a call of the system lets others run
CALL_S = 0.002  # and for how long, on average


class Dead(greenlet.GreenletExit):
    """Thrown into what a killed process was doing. Not an Exception: nothing may handle it."""


class Process:
    """A process: one task or several, which live and die together."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self.alive = True
        self.stopped = False  # SIGSTOP
        self.stops = 0
        self.status: int | None = None
        self.tasks: list[Task] = []
        self.ended: list[Callable[[], None]] = []  # who is told of its end
        self.calls = 0  # of the system
        self.trap: tuple[int, Callable[[], None]] | None = None  # at which call, what
        self._held: list[Task] = []

    def hold(self, task: Task) -> None:
        self._held.append(task)

    def release(self) -> list[Task]:
        held, self._held = self._held, []
        return held


class Task(greenlet.greenlet):
    """One line of work of a process."""

    def __init__(self, process: Process, run: Callable[[], None], hub: greenlet.greenlet) -> None:
        super().__init__(run, hub)
        self.process = process
        self.ticket = 0  # of the waking that it waits for


class World:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now_s = 0.0
        self.log: list[str] = []  # what happened, for a person; two runs of a seed have the same
        self.calls = 0
        self._hub = greenlet.getcurrent()
        self._order = 0
        self._queue: list[tuple[float, int, Task | None, int, Callable[[], None] | None]] = []

    def note(self, text: str) -> None:
        self.log.append(f"{self.now_s:10.4f} {text}")

    # -------- outside of any process

    def at(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call it later, whatever became of the processes."""
        self._order += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._order, None, 0, call))

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Let time pass until a condition holds, at most to `limit_s`; returns whether it does. Raises what a process
        could not have survived: a broken assertion, ours or of the code under test."""
        while not until():
            if not self._queue or self._queue[0][0] > limit_s:
                return False
            when, _, task, ticket, call = heapq.heappop(self._queue)
            self.now_s = max(self.now_s, when)
            if call is not None:
                call()
            elif task is not None and task.process.alive and task.ticket == ticket:
                if task.process.stopped:
                    task.process.hold(task)
                else:
                    task.switch()
        return True

    # -------- processes

    def start(self, process: Process, run: Callable[[], None]) -> None:
        """A task of a process, from now on."""
        task = Task(process, run, self._hub)
        process.tasks.append(task)
        self._wake_at(task, self.now_s)

    def end(self, process: Process, status: int) -> None:
        """However it ended: nothing of it runs any more."""
        if not process.alive:
            return
        process.alive, process.status = False, status
        for task in process.tasks:
            if task is not greenlet.getcurrent():
                self.at(0.0, partial(task.throw, Dead))
        for told in process.ended:
            told()
        process.ended.clear()

    def stop(self, process: Process, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so long."""
        if process.alive and not process.stopped:
            process.stopped = True
            process.stops += 1
            self.at(seconds, lambda: self._go_on(process))

    def _go_on(self, process: Process) -> None:
        process.stopped = False
        for task in process.release():
            self._wake_at(task, self.now_s)

    # -------- within a task

    def _wake_at(self, task: Task, when_s: float) -> None:
        self._order += 1
        task.ticket = self._order
        heapq.heappush(self._queue, (when_s, self._order, task, self._order, None))

    def wake(self, task: Task) -> None:
        """What it waits for has come. One that is stopped wakes up when it goes on."""
        if task.process.alive and not task.process.stopped:
            self._wake_at(task, self.now_s)

    @staticmethod
    def task() -> Task:
        task = greenlet.getcurrent()
        assert isinstance(task, Task), "only a process sleeps"
        return task

    def sleep(self, seconds: float) -> None:
        task = self.task()
        if not task.process.alive:
            raise Dead
        self._wake_at(task, self.now_s + seconds)
        self._hub.switch()

    def call(self, process: Process) -> None:
        """A call of the system begins: what is to happen to the process at this one happens, and others may run."""
        if not process.alive:
            raise Dead
        self.calls += 1
        process.calls += 1
        if process.trap is not None and process.calls >= process.trap[0]:
            (_, spring), process.trap = process.trap, None
            spring()
            if not process.alive:
                raise Dead
            if process.stopped:
                self.sleep(0.0)
        elif self.chance.random() < PREEMPTED:
            self.sleep(self.chance.expovariate(1 / CALL_S))


class VirtualClock(Clock):
    def __init__(self, world: World) -> None:
        self._world = world

    def now_s(self) -> float:
        return UPTIME_S + self._world.now_s

    def unix_ns(self) -> int:
        return BEGAN_NS + int(self._world.now_s * 1e9)

    def sleep(self, seconds: float) -> None:
        self._world.sleep(seconds)
