"""SUPERVISOR: starts, watches, replaces and adopts the other processes. `tickbay up` runs it in the foreground.

In: the configuration, pid files, heartbeats, one control socket. Out: processes, `run/health/supervisor.json`,
sd_notify.

SUP-1: killing the supervisor stops no capture; a new one adopts the living children.
SUP-2: a child that dies or hangs is replaced within seconds, with a bounded, decaying restart rate, its siblings
untouched.

The order of stopping loses nothing (stop()): feeds and universe end, so nothing more comes → mergers
publish the rest of it → the journal syncs what the rings still hold → the writers commit up to there and end → the
journal ends and marks itself clean. Whatever a writer cannot commit (its database is down) stays in the journal. Until
its own turn each process is still replaced if it dies.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from functools import partial
from typing import Any

from tickbay import config as configuration
from tickbay import control, legs
from tickbay.errors import ConfigError, ControlRefused
from tickbay.events import Event
from tickbay.health import Report, read_report
from tickbay.process import ProcessContext, guarded, running, warn_of_slow_rings
from tickbay.status.positions import ring_positions
from tickbay.supervisor import restart
from tickbay.supervisor.child import Child, Leaving, process_names
from tickbay.supervisor.machine import Machine, ThisMachine, spawn_process
from tickbay.supervisor.notify import Notifier

TICK_S = 0.25  # restarts are due, heartbeats looked at and our own one written so often
RESTART_WAIT_S = 60.0  # for a process that `tickbay restart` replaces to beat again
OPERATOR_STATUS = 2  # how a process exits where the operator must change something
# When each stage of stopping is overdue, as a share of supervisor.stop_timeout_s.
STOP_FEEDS, STOP_MERGERS, STOP_SYNC, STOP_WRITERS, STOP_JOURNAL = 0.35, 0.45, 0.55, 0.8, 1.0
STOP_METRICS_S = 1.0  # the last one, which has nothing to lose: until then it shows how the others end


class Supervisor:
    """`previous` is what the supervisor before us reported last."""

    def __init__(
        self,
        context: ProcessContext,
        machine: Machine,
        *,
        env: Mapping[str, str],
        previous: Report | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._context = context
        self._config = context.config
        self._events = context.events
        self._machine = machine
        self._now_s = context.clock.now_s
        self._sleep = sleep
        self._jitter = jitter
        self._notifier = Notifier(env)
        self._pinged_s = 0.0
        self._children = {name: self._child(name) for name in process_names(self._config)}
        self._outdated: list[Child] = []  # living ones of an older version, that are not asked to end yet
        self._unwanted: list[Child] = []  # living ones of an older configuration
        self._previous = previous.children if previous is not None else {}
        self._ready = False
        self._failure: BaseException | None = None  # ends the supervisor: a refusal, or a mistake of ours in a callback
        self._killed = 0  # children that did not stop in time, with something to lose
        context.stopping.on_repeat = self._kill_all

    def _child(self, name: str) -> Child:
        return Child(name, self._machine, self._now_s)

    async def run(self) -> int:
        """Until told to stop; returns the exit status. ConfigError when the journal cannot run as configured."""
        asyncio.get_running_loop().set_exception_handler(self._note_failure)
        server = control.Server(self._config.run_dir / "sockets" / "supervisor.sock", self.control)
        await server.start()
        try:
            return await self.supervise()
        finally:
            await server.stop()

    async def supervise(self) -> int:
        """run() without a control socket: start or adopt everything, watch it until told to stop, stop it."""
        await self._start_all()
        await self._wait(lambda: False)
        await self._stop()
        return 1 if self._killed else 0

    def _note_failure(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised. To go on with half of it done would be worse than to end: the next supervisor adopts."""
        self._failure = context.get("exception") or AssertionError(context.get("message"))

    async def _wait(self, done: Callable[[], bool], until_s: float | None = None) -> bool:
        """Tick until `done`, or the time `until_s`; without a time, until told to stop. Returns whether it is done."""
        while not done():
            now_s = self._now_s()
            if now_s >= until_s if until_s is not None else self._context.stopping.is_set():
                return False
            self._tick()
            await self._sleep(TICK_S)
            if self._failure is not None:
                raise self._failure
        return True

    # Starting

    async def _start_all(self) -> None:
        began_s = self._now_s()
        self._adopt_all()
        journal = self._children["journal"]
        if not journal.running:
            self._start(journal)
        # The journal makes the rings, so it comes first. (The others would wait for theirs, and say so.)
        if not await self._wait(lambda: journal.past_start):
            return
        for child in self._children.values():
            if not child.running and child.due_s is None:
                self._start(child)
        capturing = [child for child in self._children.values() if child.captures]
        if await self._wait(lambda: all(child.beaten for child in capturing)):
            self._ready = True
            self._notifier.send(f"READY=1\nSTATUS={len(self._children)} processes run")
            took_s = round(self._now_s() - began_s, 1)
            self._events.emit(Event.SUPERVISOR_READY, processes=len(self._children), startup_s=took_s)

    def _adopt_all(self) -> None:
        """SUP-1: whoever lives is taken over; who is not wanted any more, or runs with another configuration, goes."""
        for child in self._children.values():
            if not child.adopt():
                continue
            child.restarts = int(self._previous.get(child.name, {}).get("restarts", 0))
            self._watch(child)
            self._events.emit(Event.CHILD_ADOPTED, child=child.name, pid=child.pid)
            if child.fingerprint != self._config.fingerprint():
                self._outdated.append(child)
        self._renew()
        for name in self._machine.names():
            child = self._child(name)
            if name not in self._children and name != self._context.name and child.adopt():
                self._unwanted.append(child)
                self._watch(child)
                self._leave(child, Leaving.STOP, reason="it is not configured any more")

    def _renew(self) -> None:
        """Replace what runs with another configuration or version: all at once, but the second leg of a pair when its
        merger needs it no more, so that one of them always records."""
        for child in list(self._outdated):
            first = self._children.get(legs.first_leg(child.name))
            renewed = first is not None and first not in self._outdated and self._is_back(first, {"live"}, {"live"})
            if first is None or first is child or renewed:
                self._outdated.remove(child)
                self._leave(child, Leaving.RESTART, reason="it runs with another configuration or version")

    def _is_back(self, child: Child, good: Container[str], good_pair: Container[str]) -> bool:
        """Does a process that was replaced do its work again, in a state that is `good`? A leg of a pair only when its
        merger says later than that that it depends on neither of the two: the other one may be next."""
        if not child.running or not child.past_start or child.state not in good:
            return False
        merger = self._merger(child)
        return merger is None or (merger.state in good_pair and merger.fresh_s > child.state_s)

    def _merger(self, child: Child) -> Child | None:
        """Of a leg of a pair."""
        return self._children.get(legs.merger_of_leg(child.name))

    def _start(self, child: Child) -> None:
        """Start it, unless it lives already (one that the supervisor before us had only just started)."""
        try:
            if child.adopt():
                event = Event.CHILD_ADOPTED
            else:
                child.start()
                event = Event.CHILD_STARTED
        except OSError as error:
            wait_s = self._count_failure(child)
            self._events.emit(Event.CHILD_UNSTARTABLE, child=child.name, error=error, restart_s=round(wait_s, 2))
            return
        self._events.emit(event, child=child.name, pid=child.pid)
        self._watch(child)

    # Watching

    def _watch(self, child: Child) -> None:
        child.on_end(partial(self._ended, child))

    def _ended(self, child: Child) -> None:
        """The process is gone."""
        pid, leaving, started = child.pid, child.leaving, child.past_start
        status = child.reap()
        if child in self._unwanted:
            self._unwanted.remove(child)
        elif leaving is Leaving.RESTART:
            child.restarts += 1
            self._start(child)
        elif leaving is Leaving.STOP:
            return
        elif child.role == "journal" and status == OPERATOR_STATUS and not started and not self._ready:
            report = self._machine.report(child.name)
            # One that runs already is refused before it can report: its own line in the log says so.
            why = (report.last_error if report is not None else "") or "the journal cannot run: see the line before"
            self._failure = ConfigError(why.removeprefix(f"{Event.PROCESS_REFUSED.value.sentence}: "))
        else:
            wait_s = self._count_failure(child)
            ended = {"child": child.name, "pid": pid, "status": _ending(status)}
            self._events.emit(Event.CHILD_EXITED, **ended, restart_s=round(wait_s, 2))

    def _count_failure(self, child: Child) -> float:
        """SUP-2: put the next start as far off as its history says. Returns that wait in seconds."""
        limits, now_s = self._config.supervisor, self._now_s()
        child.failures.append(now_s)
        child.restarts += 1
        wait_s = restart.delay_s(child.failures, now_s, limits=limits, jitter=self._jitter())
        child.due_s = now_s + wait_s
        return wait_s

    def _tick(self) -> None:
        now_s = self._now_s()
        for child in [*self._children.values(), *self._unwanted]:
            child.observe()
            if child.running:
                self._check_living(child, now_s)
            elif child.due_s is not None and now_s >= child.due_s:
                self._start(child)
        self._renew()
        for child in self._children.values():
            self._check_history(child, now_s)
        self._beat(now_s)

    def _check_living(self, child: Child, now_s: float) -> None:
        """SUP-2: who is silent for too long hangs; who was asked to end and does not, too."""
        limits = self._config.supervisor
        if child.killed:
            return
        if child.leaving is not Leaving.NO and now_s - child.leaving_s > limits.stop_timeout_s:
            self._kill_overdue(child)
        elif child.leaving is Leaving.NO and child.silent_s() > limits.heartbeat_timeout_s:
            silent_s = round(child.silent_s(), 1)
            self._events.emit(Event.CHILD_HUNG, child=child.name, pid=child.pid, silent_s=silent_s)
            child.kill()

    def _check_history(self, child: Child, now_s: float) -> None:
        limits = self._config.supervisor
        was, child.excessive = child.excessive, restart.excessive(child.failures, now_s, limits=limits)
        if child.excessive and not was:
            window_s = limits.degraded_window_s
            self._events.emit(Event.RESTARTS_EXCESSIVE, child=child.name, restarts=child.restarts, window_s=window_s)
        elif was and not child.excessive:
            self._events.emit(Event.RESTARTS_CALMED, child=child.name)

    def _beat(self, now_s: float) -> None:
        health = self._context.health
        if self._context.stopping.is_set():
            health.state = "stopping"
        elif any(child.excessive for child in self._children.values()):
            health.state = "degraded"
        else:
            health.state = "live" if self._ready else "starting"
        health.children = {
            child.name: {
                "pid": child.pid,
                "running": child.running,
                "adopted": child.adopted,
                "restarts": child.restarts,
                "excessive": child.excessive,
                "restart_s": round(max(child.due_s - now_s, 0.0), 2) if child.due_s is not None else None,
            }
            for child in self._children.values()
        }
        health.beat()
        # A hang of a child is ours to end, and a database is nobody's business here: what systemd watches is that we
        # do. So the ping stops only when a child has been silent for longer than we let one be.
        limit_s = self._config.supervisor.heartbeat_timeout_s * 2
        capturing = [child for child in self._children.values() if child.captures and child.running]
        fresh = all(child.silent_s() < limit_s for child in capturing)
        if self._notifier.watchdog_s and fresh and now_s - self._pinged_s >= self._notifier.watchdog_s:
            self._notifier.send("WATCHDOG=1")
            self._pinged_s = now_s

    # Restarting on request

    async def control(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        match request["op"]:
            case "status":
                return {"state": self._context.health.state, "children": self._context.health.children}
            case "restart":
                return await self._replace(str(request.get("process", "")))
        raise ControlRefused(f"the supervisor knows no operation {request['op']!r}: expected status or restart")

    async def _replace(self, name: str) -> Mapping[str, Any]:
        """Ask a process to end, start it anew and wait until it does as well as it did before: so whoever restarts one
        after another never has two feeds, say, that do not record.
        """
        child = self._children.get(name)
        if child is None:
            raise ControlRefused(f"no process is called {name!r}: there are {', '.join(self._children)}")
        old_pid, good = child.pid, {"live", child.state or "live"}
        merger = self._merger(child)
        good_pair = {"live", merger.state if merger is not None else "live"}
        if child.running:
            self._leave(child, Leaving.RESTART, reason="asked for")
        else:
            child.due_s = self._now_s()  # it waits for its restart: now, then
        ends_s = self._now_s() + RESTART_WAIT_S
        while self._now_s() < ends_s and not self._context.stopping.is_set():
            if child.pid != old_pid and self._is_back(child, good, good_pair):
                return {"process": name, "old_pid": old_pid, "pid": child.pid}
            await self._sleep(TICK_S)
        raise ControlRefused(f"{name} has not come back yet: see tickbay status")

    # Stopping

    def _leave(self, child: Child, leaving: Leaving, *, reason: str) -> None:
        self._events.emit(Event.CHILD_LEAVING, child=child.name, pid=child.pid, reason=reason)
        child.leave(leaving)

    async def _stop(self) -> None:
        """The order that loses nothing: see the top."""
        self._notifier.send("STOPPING=1")
        self._killed = 0  # whoever had to be killed for a restart, months ago, has been back since
        began_s, timeout_s = self._now_s(), self._config.supervisor.stop_timeout_s
        children = self._children.values()
        producers = [child for child in children if child.role in ("feed", "universe", "healer", "checker")]
        await self._end([*producers, *self._unwanted], began_s + STOP_FEEDS * timeout_s)
        await self._end([child for child in children if child.role == "merger"], began_s + STOP_MERGERS * timeout_s)
        await self._wait(self._is_synced, until_s=began_s + STOP_SYNC * timeout_s)
        await self._end([child for child in children if child.role == "writer"], began_s + STOP_WRITERS * timeout_s)
        await self._end([self._children["journal"]], began_s + STOP_JOURNAL * timeout_s)
        await self._end([child for child in children if child.role == "metrics"], self._now_s() + STOP_METRICS_S)

    def _is_synced(self) -> bool:
        """Has the journal synced everything that was published?"""
        return all(position.undurable == 0 for position in ring_positions(self._config.run_dir).values())

    async def _end(self, stage: Iterable[Child], until_s: float) -> None:
        """Ask these to end and wait; kill who has not by then."""
        stage = list(stage)
        for child in stage:
            child.leave(Leaving.STOP)
        await self._wait(lambda: not any(child.running for child in stage), until_s=until_s)
        for child in stage:
            if child.running:
                self._kill_overdue(child)
        await self._wait(lambda: not any(child.running for child in stage), until_s=until_s + 1.0)

    def _kill_overdue(self, child: Child) -> None:
        self._killed += child.captures  # who only watches has nothing to lose
        self._events.emit(Event.STOP_OVERDUE, child=child.name, pid=child.pid)
        child.kill()

    def _kill_all(self) -> None:
        """A second signal: at once. Safe by design: what was published lies in the rings, what was synced in the
        journal.
        """
        living = [child for child in [*self._children.values(), *self._unwanted] if child.running]
        for child in living:
            child.kill()
        self._events.emit(Event.STOP_FORCED, processes=len(living))


def _ending(status: int | None) -> str:
    """How a process ended, for a person. Of an adopted one nobody can tell: its status went to its new parent."""
    if status is None:
        return "unknown"
    return signal.Signals(-status).name if status < 0 else f"exit {status}"


def add_arguments(parser: ArgumentParser) -> None:
    configuration.add_argument(parser)


def main(arguments: Namespace) -> int:
    """`tickbay up`: supervise in the foreground until told to stop; returns the exit status."""
    path = configuration.find(arguments.config, os.environ)
    config = configuration.load(path, os.environ)
    previous = read_report(config.run_dir, "supervisor")
    with running("supervisor", config) as context:
        warn_of_slow_rings(config, context.events)
        machine = ThisMachine(config.run_dir, spawn_process(path, os.environ))
        supervisor = Supervisor(context, machine, env=os.environ, previous=previous)
        return guarded(context, lambda: asyncio.run(supervisor.run()))
