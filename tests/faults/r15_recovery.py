"""R15: how long the engine needs to be back: a supervisor, a writer, and all of it with a large journal.

The times are those of an engine with its default settings, as a user has it.
"""

from __future__ import annotations

import shutil
import signal
import time

import numpy as np

from faults.figure import Outcome
from faults.rig import Rig, counted, rigged
from patience import wait_for
from tickbay.identity import Identity
from tickbay.record import Kind, blank
from tickbay.ring import Ring, RingFull

ASKED = "supervisor back in 2 s, writer in 3 s to its next commit, cold start with 1 GB of journal in 5 s"
SIZE, SIZE_DEEP = 1, 100  # GB of journal
RATE = 1000.0  # frames/s
KILLS = 5  # of each; the slowest counts
DEFAULTS = ""
SUPERVISOR_S, WRITER_S, COLD_S = 2.0, 3.0, 5.0
STREAM = "feed-1.quote"
CHUNK_ROWS = 4096


def run(size: int, seed: int) -> Outcome:
    with rigged(rate=RATE, seed=seed, supervisor=DEFAULTS) as rig:
        supervisor_s = writer_s = 0.0
        for _ in range(KILLS):
            supervisor_s = max(supervisor_s, _supervisor(rig))
            # To a new supervisor it is the first failure. For one that fails again and again waiting is the remedy.
            writer_s = max(writer_s, _writer(rig))
        verdict = rig.finish()
    with rigged(rate=RATE, seed=seed, supervisor=DEFAULTS) as rig:
        rig.stop()
        journal_bytes = _grow_journal(rig, size * 10**9)
        cold_s = _cold_start(rig)
    return Outcome(
        f"supervisor {supervisor_s:.1f} s, writer {writer_s:.1f} s to its next commit (slowest of {KILLS}), cold start "
        f"with {journal_bytes / 1e9:.1f} GB {cold_s:.1f} s until every feed's records are durable; {counted(verdict)}",
        good=verdict.good and supervisor_s <= SUPERVISOR_S and writer_s <= WRITER_S and cold_s <= COLD_S,
    )


def _supervisor(rig: Rig) -> float:
    """From its death to its successor, which has adopted all: seconds."""
    children = {name: rig.identity(name) for name in rig.names[1:]}
    began = time.monotonic()
    rig.kill("supervisor")
    rig.wait_live("supervisor")
    took_s = time.monotonic() - began
    assert {name: rig.identity(name) for name in rig.names[1:]} == children, "SUP-1: all of them live on"
    return took_s


def _writer(rig: Rig) -> float:
    """From its death to the next commit: seconds."""
    began = time.monotonic()
    rig.kill("writer-timescale")
    rig.wait_commit()
    return time.monotonic() - began


def _grow_journal(rig: Rig, size: int) -> int:
    """Let the journal alone write `size` bytes of quotes, and end it as a power cut does: no clean end, no rings.
    Returns how large it is."""
    rig.start_journal()
    rig.wait_live("journal")
    own, ring = Identity.own(), Ring.attach(rig.run_dir / "rings" / f"{STREAM}.ring", Kind.QUOTE)
    ring.produce(own.pid, own.start_time)
    records = blank(Kind.QUOTE, CHUNK_ROWS)
    records["instrument"] = b"ETH-PERPETUAL"
    for _ in range(size // records.nbytes + 1):
        records["recv_ns"] = records["exch_ns"] = time.time_ns() + np.arange(CHUNK_ROWS)
        wait_for(lambda: _append(ring, records), "the journal to take records")
    wait_for(lambda: ring.durable == ring.head - 1, "all to be durable")
    rig.set_committed(STREAM, ring.durable)
    ring.close()
    rig.signal("journal", signal.SIGKILL)
    wait_for(lambda: rig.identity("journal") is None, "the journal to be gone")
    shutil.rmtree(rig.run_dir / "rings")
    return sum(path.stat().st_size for path in (rig.folder / "data" / "journal").iterdir())


def _append(ring: Ring, records: np.ndarray) -> bool:
    try:
        ring.append(records)
    except RingFull:
        return False
    return True


def _cold_start(rig: Rig) -> float:
    """From `tickbay up` to new durable records of every feed: seconds."""
    began = time.monotonic()
    rig.up()
    feeds = [name for name in rig.names if name.startswith("feed-")]
    rig.wait_live(*feeds)
    before = {each.stream: each.durable for each in rig.streams()}
    quotes = [f"{feed}.quote" for feed in feeds]
    wait_for(
        lambda: all(each.durable > before[each.stream] for each in rig.streams() if each.stream in quotes),
        "every feed's records to be durable",
    )
    return time.monotonic() - began
