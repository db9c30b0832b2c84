"""R11: the network between the feeds and the venue fails in every way that networks do, and the venue's REST too.

Each feed's new connection is timed from the moment at which one can be had: when the network is back, or, where the
old one is dead without a word, when its silence must have been noticed (silent_s).
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg

from faults.figure import Outcome
from faults.rig import HASTY, Rig, counted, rigged
from patience import wait_for
from servers.fault_proxy import Fault, FaultProxy
from test_link import certificate
from tickbay.audit import gaps
from tickbay.audit.stored import Postgres
from tickbay.control import ask
from tickbay.errors import ControlDown

ASKED = (
    "50 network faults (reset, close, stall, throttle, half-open, TLS close, 5xx, 429, missing heartbeat): reconnect "
    "p99 <= 2 s after the network is back, 100 % resubscribed, 100 % gap records"
)
SIZE, SIZE_DEEP = 50, 10_000
RATE = 1500.0  # frames/s
RECONNECT_S = 2.0
SILENT_S = 1.5
OUTAGE_S = (0.2, 2.5)  # some end before a stall counts as silence, some after
PATIENCE_S = 30.0
REST = ("rest 500", "rest 429")
SETTINGS = f"{HASTY}[universe]\nrefresh_s = 0.5\n"
SILENT = (Fault.HALF_OPEN, Fault.DEAF)  # the old connection is dead, a new one can be had at once
LIGHT = (Fault.STALL, Fault.THROTTLE)  # a connection may survive these


@dataclass(slots=True)
class Seen:
    reconnects_s: list[float] = field(default_factory=list)
    rest_s: list[float] = field(default_factory=list)
    unsubscribed: int = 0  # feeds that did not get all their channels back
    cuts: list[tuple[str, int, int]] = field(default_factory=list)  # feed, from and to, our clock


def run(size: int, seed: int) -> Outcome:
    chance = random.Random(seed)
    seen = Seen()
    with rigged(rate=RATE, seed=seed, supervisor=SETTINGS) as rig:
        cert = certificate(rig.folder, "proxy", "127.0.0.1")
        with FaultProxy(int(rig.simulator.ws_url.split(":")[2].split("/")[0]), cert) as proxy:
            _go_through(rig, proxy, str(cert[0]))
            bag: list[Fault | str] = []
            for _ in range(size):
                if not bag:
                    bag = [*Fault, *REST]
                    chance.shuffle(bag)
                fault = bag.pop()
                if isinstance(fault, Fault):
                    _cut(rig, proxy, fault, chance.uniform(*OUTAGE_S), seen)
                else:
                    _refuse_rest(rig, fault.split()[1], seen)
            verdict = rig.finish()
        unrecorded = _without_gap(rig, seen.cuts)
    ordered = sorted(seen.reconnects_s)
    p99_s = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return Outcome(
        f"{size} faults, {len(ordered)} reconnects: p50 {ordered[len(ordered) // 2]:.2f} s, p99 {p99_s:.2f} s, REST "
        f"back in {max(seen.rest_s):.2f} s at most; {seen.unsubscribed} feeds without all channels, {unrecorded} of "
        f"{len(seen.cuts)} cuts without a gap; {counted(verdict)}",
        good=p99_s <= RECONNECT_S and not seen.unsubscribed and not unrecorded and verdict.good,
    )


def _go_through(rig: Rig, proxy: FaultProxy, ca_file: str) -> None:
    """The engine again, its feeds by the proxy."""
    rig.stop()
    text = rig.file.read_text().replace(rig.simulator.ws_url, f"wss://127.0.0.1:{proxy.port}/ws/api/v2")
    rig.file.write_text(text.replace("[venue]\n", f'[venue]\nca_file = "{ca_file}"\nsilent_s = {SILENT_S}\n'))
    rig.up()
    rig.wait_flowing()


def _feeds(rig: Rig) -> list[str]:
    return [name for name in rig.names if name.startswith("feed-")]


def _status(rig: Rig, feed: str) -> dict[str, Any]:
    try:
        return ask(rig.run_dir / "sockets" / f"{feed}.sock", {"op": "status"}, 5)
    except ControlDown:
        return {"state": "down", "conn": 0, "channels_live": 0, "channels_asked": -1}


def _is_whole(status: dict[str, Any]) -> bool:
    return bool(status["state"] == "live" and status["channels_live"] == status["channels_asked"] > 0)


def _cut(rig: Rig, proxy: FaultProxy, fault: Fault, outage_s: float, seen: Seen) -> None:
    """One fault, for all feeds, and how each came back."""
    feeds = _feeds(rig)
    before = {feed: int(_status(rig, feed)["conn"]) for feed in feeds}
    from_ns, began = time.time_ns(), time.monotonic()
    proxy.fail(fault)
    if fault in SILENT:
        time.sleep(SILENT_S)
    else:
        time.sleep(outage_s)
    proxy.restore()
    back = time.monotonic()
    waiting = dict(before)
    while waiting and time.monotonic() - back < PATIENCE_S:
        for feed, conn in list(waiting.items()):
            status = _status(rig, feed)
            new = int(status["conn"]) > conn
            # A connection that a stall or throttle left alone may still be given up: it counts once it has shown life.
            survived = fault in LIGHT and not new and time.monotonic() - back > SILENT_S
            if _is_whole(status) and (new or survived):
                del waiting[feed]
                if new:
                    seen.reconnects_s.append(time.monotonic() - back)
                    told = f"{fault.name} for {back - began:.1f} s: {feed} back after {seen.reconnects_s[-1]:.2f} s"
                    print(f"     {told}", file=sys.stderr)
                    seen.cuts.append((feed, from_ns, from_ns + int((time.monotonic() - began) * 1e9)))
        time.sleep(0.01)
    seen.unsubscribed += len(waiting)


def _refuse_rest(rig: Rig, status: str, seen: Seen) -> None:
    """Two REST calls answered so; seconds from the last of them to a good one."""
    rig.simulator.fault(f"rest count=2 status={status}")
    wait_for(lambda: rig.simulator.status()["faults"] == 0, "the universe to ask")
    began, good = time.monotonic(), _good_fetches(rig)
    wait_for(lambda: _good_fetches(rig) > good, "the universe to be answered", PATIENCE_S)
    seen.rest_s.append(time.monotonic() - began)


def _good_fetches(rig: Rig) -> int:
    report = rig.report("universe")
    return report.counters["fetches"] - report.counters["fetch_failures"] if report is not None else 0


def _without_gap(rig: Rig, cuts: list[tuple[str, int, int]]) -> int:
    """Of how many cuts the database knows no gap of that feed, at that time, of all its channels."""
    with psycopg.connect(rig.server.conninfo(rig.database.dbname)) as connection:
        known = [gap for gap in gaps.recorded(Postgres(connection)) if gap.cause in gaps.CUT and not gap.kind]
    return sum(
        not any(gap.feed == feed and gap.from_ns <= to_ns and gap.to_ns >= from_ns for gap in known)
        for feed, from_ns, to_ns in cuts
    )
