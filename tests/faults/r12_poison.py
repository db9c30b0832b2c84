"""R12: one row in 10^4 is refused, by every class of errors that can be a row's fault: every other row must land, and
every refused one be in the quarantine with its bytes and its reason. Then too many are, and the writer must stop.

A journal and a writer as processes, this program is the feed. Two classes come from records that no venue should make
us write (text that is not UTF-8, a time in another century); the others a trigger raises, for rows that ask for it.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack

import numpy as np
import psycopg
from psycopg import sql

import test_writer
from faults.figure import Outcome
from faults.rig import folders
from patience import wait_for
from rows import DAY_NS, made
from servers import postgres
from tickbay.config import Timescale
from tickbay.record import Kind, Records
from tickbay.sinks.connection import conninfo_of
from tickbay.sinks.poison import POISON_BURST, POISON_SHARE

ASKED = "poison rows 1 in 10^4, all error classes: 100 % of good rows land, 100 % of bad ones are quarantined"
SIZE, SIZE_DEEP = 400_000, 20_000_000
SHARE = 10_000
# Not in UTF-8; ours (TIME-1); and what a trigger raises: data, integrity, a view's check option, raise_exception.
REAL = ("22021", "")
RAISED = ("22001", "22003", "22007", "22P02", "23502", "23503", "23505", "23514", "44000", "P0001")
STREAM, TABLE, KIND = "feed-1.book", "book_changes", Kind.BOOK
CHUNK = 5000
PATIENCE_S = 300.0
TRIGGER = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'this row asked for it' USING ERRCODE = substr(NEW.instrument, 8); END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON {} FOR EACH ROW
    WHEN (NEW.instrument LIKE 'POISON-%') EXECUTE FUNCTION refuse();
"""


def run(size: int, seed: int) -> Outcome:
    chance = random.Random(seed)
    with ExitStack() as stack:
        folder, run_dir = stack.enter_context(folders())
        server = stack.enter_context(postgres.running())
        settings = postgres.fresh_database(server)
        engine = test_writer.Engine(folder, run_dir, settings)
        stack.callback(_kill, engine)
        engine.start("journal", "writer-timescale")
        engine.append(STREAM, _rows(1, 1))
        wait_for(lambda: _done(settings) == 1, "the tables", PATIENCE_S)
        with psycopg.connect(conninfo_of(settings), autocommit=True) as connection:
            connection.execute(sql.SQL(TRIGGER).format(sql.Identifier(TABLE)))
        poison: dict[int, tuple[str, bytes]] = {}
        times = [_rows(1, 1)["exch_ns"]]
        for first in range(2, size + 2, CHUNK):
            records = _rows(first, min(CHUNK, size + 2 - first))
            poison |= _poisoned(records, chance)
            times.append(records["exch_ns"])
            engine.append(STREAM, records)
        wait_for(lambda: _done(settings) == size + 1, "every row", PATIENCE_S)
        wrong, missing, unquarantined = _compare(settings, np.concatenate(times), poison)
        parked = _overdose(engine, settings, size + 2)
        for name in ("writer-timescale", "journal"):
            engine.end(name)
    states = len({state for state, _ in poison.values()})
    return Outcome(
        f"{size:,} rows, {len(poison)} of them bad in {states} ways: {missing} good ones missing, {wrong} wrong, "
        f"{unquarantined} bad ones not quarantined; at {4 * POISON_SHARE:.0%} bad the writer "
        f"{'stops' if parked else 'GOES ON'}",
        good=not (missing or wrong or unquarantined) and parked and states == len(REAL) + len(RAISED),
    )


def _kill(engine: test_writer.Engine) -> None:
    for process in engine.processes.values():
        process.kill()
        process.wait()


def _rows(first: int, count: int) -> Records:
    return made(KIND, count, first_seq=first, at_ns=time.time_ns() // DAY_NS * DAY_NS, seed=first)


def _poisoned(records: Records, chance: random.Random) -> dict[int, tuple[str, bytes]]:
    """Spoil one in SHARE of the records, in place; sequence → (SQLSTATE, the record's bytes)."""
    found = {}
    for index in range(len(records)):
        if chance.randrange(SHARE):
            continue
        state = chance.choice((*REAL, *RAISED))
        _spoil(records, index, state)
        found[int(records["seq"][index])] = (state, records[index : index + 1].tobytes())
    return found


def _spoil(records: Records, index: int, state: str) -> None:
    if state == "22021":
        records["instrument"][index] = b"ETH-\xff\xfe"
    elif state == "":
        records["exch_ns"][index] = 1
    else:
        records["instrument"][index] = f"POISON-{state}".encode()


def _done(settings: Timescale) -> int:
    """The last sequence committed."""
    with psycopg.connect(conninfo_of(settings)) as connection:
        try:
            row = connection.execute("SELECT seq FROM sink_cursor WHERE stream = %s", [STREAM]).fetchone()
        except psycopg.errors.UndefinedTable:
            return 0
    return int(row[0]) if row else 0


def _compare(settings: Timescale, times: np.ndarray, poison: dict[int, tuple[str, bytes]]) -> tuple[int, int, int]:
    """Rows that are wrong or come twice; good ones that are missing; bad ones that are not in the quarantine as what
    they are."""
    good = np.ones(len(times) + 1, bool)
    good[[0, *poison]] = False
    with psycopg.connect(conninfo_of(settings)) as connection:
        query = sql.SQL("SELECT seq, exch_ns FROM {} ORDER BY seq").format(sql.Identifier(TABLE))
        rows = np.array(connection.execute(query).fetchall(), np.int64)
        quarantined = {
            seq: (state or "", record)
            for seq, state, record in connection.execute("SELECT seq, sqlstate, record FROM quarantine")
        }
    seqs = rows[:, 0]
    wrong = int((~good[seqs]).sum() + (rows[:, 1] != times[seqs - 1]).sum() + len(seqs) - len(np.unique(seqs)))
    missing = int(good.sum() - len(np.unique(seqs[good[seqs]])))
    return wrong, missing, len(quarantined.items() ^ poison.items())


def _overdose(engine: test_writer.Engine, settings: Timescale, first: int) -> bool:
    """Far more bad rows than the breaker lets pass: whether the writer stops before it quarantines them all."""
    records = _rows(first, int(4 * POISON_BURST / (4 * POISON_SHARE)))
    bad = range(0, len(records), int(1 / (4 * POISON_SHARE)))
    for index in bad:
        _spoil(records, index, "P0001")
    engine.append(STREAM, records)
    engine.wait_for_report(lambda report: "rows refused" in report.detail, "the writer to stop")
    return _done(settings) < int(records["seq"][-1])
