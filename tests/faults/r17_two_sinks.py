"""R17: of two databases one stands still or is killed, and the other does not notice (SINK-3).

How late its rows are, from the frame in our hands to the commit, is taken from its writer's own histogram: p99 of the
time before beside p99 of the time of trouble, in both directions, and then the audit of both databases.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np

from faults.figure import Outcome
from faults.r13_slow_sink import standing_still
from faults.rig import HASTY, Rig, rigged
from patience import wait_for
from servers.questdb import QuestdbServer
from servers.questdb import running as running_questdb
from tickbay.audit.stored_questdb import QuestdbDatabase
from tickbay.audit.verdict import Verdict, audit_ledger
from tickbay.histogram import ENDS_NS, Counts, quantile_ns
from tickbay.sim.ledger import LedgerReader
from tickbay.sinks.questdb_server import QuestdbServer as Client

ASKED = (
    "one of two databases stands still or dies: p99 lag of the other within 10 % and a bucket (25 %) of before, both "
    "whole afterwards"
)
SIZE, SIZE_DEEP = 10, 3600  # seconds of trouble, and as many before
RATE = 2000.0  # frames/s
UNCHANGED = 1.10 * 1.25  # a quantile is known to one bucket
WARM_UP_S = 4.0  # what is on its way when a window begins belongs to neither


def run(size: int, seed: int) -> Outcome:
    with running_questdb() as questdb:
        more = f"{HASTY}[questdb]\nenabled = true\nport = {questdb.port}\n"
        with rigged(rate=RATE, seed=seed, supervisor=more) as rig:
            rig.wait_live("writer-questdb")
            time.sleep(WARM_UP_S)
            told = []
            troubles: list[tuple[str, str, Callable[[], AbstractContextManager[None]]]] = [
                ("QuestDB still", "timescale", lambda: stopped(questdb)),
                ("QuestDB killed", "timescale", lambda: killed(questdb)),
                ("TimescaleDB still", "questdb", lambda: standing_still(rig.server)),
            ]
            for sick, healthy, trouble in troubles:
                quiet = p99_ms(rig, healthy, size)
                with trouble():
                    time.sleep(WARM_UP_S)
                    told.append((sick, healthy, quiet, p99_ms(rig, healthy, size)))
                rig.wait_live(*(f"writer-{name}" for name in rig.sinks))
                wait_for(lambda: rig.lag() < RATE, "both to have caught up")
            verdict = rig.finish()
            other = audit_questdb(rig, questdb)
    text = "; ".join(f"{sick}: p99 of {healthy} {quiet:.0f} → {then:.0f} ms" for sick, healthy, quiet, then in told)
    unchanged = all(then <= UNCHANGED * quiet for _, _, quiet, then in told)
    return Outcome(
        f"{text}; audits: TimescaleDB {verdict}, QuestDB {other}", good=verdict.good and other.good and unchanged
    )


def audit_questdb(rig: Rig, questdb: QuestdbServer) -> Verdict:
    server = Client(questdb.settings)
    try:
        return audit_ledger(QuestdbDatabase(server), LedgerReader(rig.folder / "ledger"))
    finally:
        server.close()


def p99_ms(rig: Rig, sink: str, seconds: float) -> float:
    """Of all rows that were committed within the next seconds."""
    before = counts(rig, sink)
    time.sleep(seconds)
    return quantile_ns(counts(rig, sink) - before, 0.99) / 1e6


def counts(rig: Rig, sink: str) -> Counts:
    report = rig.report(f"writer-{sink}")
    assert report is not None, f"the writer of {sink} lives"
    found = np.zeros(len(ENDS_NS), np.int64)
    for end_ns, count in report.stages["receive_to_commit"][sink]["buckets"]:
        found[ENDS_NS.index(end_ns)] = count
    return found


@contextmanager
def stopped(server: QuestdbServer) -> Iterator[None]:
    """It answers nothing within; its connections stay."""
    assert server._process is not None
    server._process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server._process.send_signal(signal.SIGCONT)


@contextmanager
def killed(server: QuestdbServer) -> Iterator[None]:
    server.stop(signal.SIGKILL)
    try:
        yield
    finally:
        server.start()
