"""R13: a database that answers nothing must hold no feed (SINK-3), nor the writer of another database.

The engine's own database stands still (SIGSTOP of the whole server, so its connections stay open); beside it a second
writer serves a second server from the same rings and journal. How late a record is taken from the socket, and how late
it is stored by the healthy one, is compared with the time before.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg

from faults.figure import Outcome
from faults.rig import Rig, counted, rigged, server_pids
from patience import wait_for
from servers import postgres
from tickbay.embedded import EmbeddedServer

ASKED = "a database that stands still: feeds never held, p99 of a healthy sink beside it within 10 %"
SIZE, SIZE_DEEP = 20, 24 * 3600 // 2  # seconds that it stands still, after as many without
RATE = 4000.0  # frames/s
WARM_UP_S = 3.0  # what is on its way when a window begins belongs to neither
TAKEN_MS = "(recv_ns - exch_ns) / 1e6"
STORED_MS = "extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1e3 - recv_ns / 1e6"


def run(size: int, seed: int) -> Outcome:
    with ExitStack() as stack:
        rig = stack.enter_context(rigged(rate=RATE, seed=seed))
        # Its rows tell when they were committed.
        healthy = stack.enter_context(postgres.running(track_commit_timestamp="on"))
        database = postgres.fresh_database(healthy)
        rig.start_rival(database)
        conninfo = healthy.conninfo(database.dbname)
        wait_for(lambda: _rows(conninfo) > RATE, "the healthy writer to have caught up")
        time.sleep(WARM_UP_S)
        quiet = Window(time.time_ns())
        time.sleep(size)
        quiet.end_ns = time.time_ns()
        with standing_still(rig.server):
            stalled = Window(time.time_ns() + int(WARM_UP_S * 1e9))
            time.sleep(WARM_UP_S + size)
            stalled.end_ns = time.time_ns()
        held = _overflows(rig)
        verdict = rig.finish()
        taken = [window.percentile(conninfo, TAKEN_MS) for window in (quiet, stalled)]
        stored = [window.percentile(conninfo, STORED_MS) for window in (quiet, stalled)]
    good = verdict.good and not held and not verdict.known and all(b <= a * 1.1 for a, b in (taken, stored))
    return Outcome(
        f"database still for {size} s under {RATE:,.0f} frames/s: {held} overflows; p99 of the healthy sink "
        f"{stored[0]:.0f} → {stored[1]:.0f} ms, from the venue to the feed {taken[0]:.1f} → {taken[1]:.1f} ms; "
        f"{counted(verdict)}",
        good=good,
    )


@dataclass(slots=True)
class Window:
    """A time, by when records were received."""

    begin_ns: int
    end_ns: int = 0

    def percentile(self, conninfo: str, of: str) -> float:
        """The 99th of an expression over the quotes of that time."""
        query = (
            f"SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY {of}) FROM option_quotes"
            " WHERE recv_ns >= %s AND recv_ns < %s"
        )
        with psycopg.connect(conninfo) as connection:
            found = connection.execute(query, (self.begin_ns, self.end_ns)).fetchone()
        assert found and found[0] is not None, "quotes were stored"
        return float(found[0])


@contextmanager
def standing_still(server: EmbeddedServer) -> Iterator[None]:
    """The server answers nothing within; its connections stay."""
    pids = server_pids(server)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


def _rows(conninfo: str) -> int:
    try:
        with psycopg.connect(conninfo) as connection:
            found = connection.execute("SELECT count(*) FROM option_quotes").fetchone()
    except psycopg.errors.UndefinedTable:
        return 0
    return int(found[0]) if found else 0


def _overflows(rig: Rig) -> int:
    reports = [rig.report(name) for name in rig.names if name.startswith("feed-")]
    return sum(report.counters["overflows"] for report in reports if report is not None)
