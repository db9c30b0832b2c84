"""The whole engine with both databases through a bad day, and what the audit says of it afterwards: every row that the
venue sent is in both, once (SINK-1, SINK-2)."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from faults.rig import Rig
from patience import wait_for
from servers.postgres import running
from servers.questdb import QuestdbServer
from servers.questdb import running as running_questdb
from simulator import simulating
from whole_engine import tickbay, whole_engine

pytestmark = pytest.mark.slow

MARKET = ("--instruments", "ETH=60", "--rate", "1500", "--frames", "60000", "--hold")
QUESTDB = "writer-questdb"
PAUSE_S = 2.0  # of load between two faults


def test_both_databases_have_every_row_after_a_day_of_faults(tmp_path: Path, shm_dir: Path) -> None:
    """Writers and servers are killed in the middle of the load, a table is suspended and resumed, and QuestDB is sent
    its last quarter of an hour again."""
    with (
        running() as server,
        running_questdb() as questdb,
        simulating(tmp_path, *MARKET) as simulator,
        whole_engine(
            tmp_path, shm_dir, server, simulator, more=f"[questdb]\nenabled = true\nport = {questdb.port}\n"
        ) as rig,
    ):
        rig.up()
        wait_for(lambda: len(simulator.feeds()) == 2, "both feeds to be there")
        simulator.start()
        wait_for(lambda: rig.committed("questdb") > 500, "rows in QuestDB")
        questdb.stop(signal.SIGKILL)
        rig.kill("writer-timescale")
        time.sleep(PAUSE_S)
        questdb.start()
        rig.wait_live(QUESTDB)
        rig.kill(QUESTDB)
        server.stop("immediate")
        time.sleep(PAUSE_S)
        server.start()
        rig.wait_live("writer-timescale")
        suspend_and_resume(rig, questdb)
        command(rig, "sink", "rewind", "questdb", "--minutes", "15")
        simulator.wait_until(lambda status: bool(status["done"]), timeout_s=120)
        verdict = rig.finish()
        assert verdict.good, verdict
        audit(rig)


def suspend_and_resume(rig: Rig, questdb: QuestdbServer) -> None:
    rig.wait_live(QUESTDB)
    questdb.suspend("book_changes")
    wait_for(lambda: "suspended: book_changes" in listed(rig), "the suspended table to be noticed")
    assert "the journal can hold" in listed(rig)
    time.sleep(PAUSE_S)
    assert "book_changes: resumed" in command(rig, "sink", "resume", "questdb")
    rig.wait_live(QUESTDB)


def listed(rig: Rig) -> str:
    """`tickbay sink ls`, whatever it says."""
    return tickbay("sink", "ls", env=rig.env | {"TICKBAY_CONFIG": str(rig.file)})[1]


def command(rig: Rig, *arguments: str, status: int = 0) -> str:
    found, out, err = tickbay(*arguments, env=rig.env | {"TICKBAY_CONFIG": str(rig.file)})
    assert found == status, out + err
    return out


def audit(rig: Rig) -> None:
    """By the ledger, the journal too, and by the journal: nothing lost, nothing twice, nothing different."""
    told = command(rig, "audit", "--ledger", str(rig.folder / "ledger"))
    print(told)
    assert told.count("0 lost, 0 twice, 0 different") == 3 and told.count(": OK\n") == 3
    told = command(rig, "audit")
    print(told)
    assert told.count(": OK\n") == 4
    assert "still to come" not in told
    document = json.loads(command(rig, "audit", "--json"))
    assert document["good"]
    rows = {store["rows"] for store in document["stores"].values()}
    assert rows == {document["journal"]["records"]}, "every record is a row in both"
