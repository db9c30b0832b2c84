"""What a process remembers on disk is whole, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from faulty_files import CHANGES, FaultyFiles
from tickbay import memory
from tickbay.cursor import Position
from tickbay.files import Files
from tickbay.gap import Cause, Gap
from tickbay.healer.plan import Patience, Plan
from tickbay.record import Kind

POSITIONS = {"feed-1.trade": Position(7, 9), "healer.gap": Position(7, 1)}
PATIENCE = Patience(settle_ns=1, recent_ns=1, tries_max=1, history=False, wait_ns=lambda _failures: 1)


def test_a_plan_comes_back_as_it_was_with_the_positions_that_belong_to_it(tmp_path: Path) -> None:
    plan = Plan(PATIENCE)
    plan.captured("A", [(3, 4), (7, 7)], from_ns=1, to_ns=2, mono_ns=0)
    plan.fetched("A", [(5, 5)], 3)
    gap = Gap(
        cause=Cause.SEQUENCE, kind=Kind.TRADE, instrument="A", from_ns=1, to_ns=2, first_missing=5, last_missing=6
    )
    plan.gap(gap, lambda _feed: [], 0)
    plan.gap(Gap(cause=Cause.RESTART, from_ns=5, to_ns=9, feed="feed-1"), lambda _feed: ["option.ETH"], 0)
    plan.gap(Gap(cause=Cause.DISCONNECT, from_ns=8, feed="feed-1"), lambda _feed: ["option.ETH"], 0)
    memory.save(Files(), tmp_path / "memory.json", POSITIONS, plan.said())
    known = memory.load(Files(), tmp_path / "memory.json")
    assert known is not None and known[0] == POSITIONS
    again = Plan(PATIENCE)
    again.remember(known[1], 0)
    assert again.said() == plan.said() and again.missing == plan.missing == 1
    assert [case.key for case in again.cases] == [case.key for case in plan.cases] and len(again.cases) == 2


@pytest.mark.parametrize("operation", ["open", "pwritev", "fdatasync", "rename"])
def test_a_disk_that_fails_in_the_middle_leaves_the_older_file(tmp_path: Path, operation: str) -> None:
    assert operation in CHANGES
    path = tmp_path / "memory.json"
    memory.save(Files(), path, POSITIONS, {"plan": 1})
    with pytest.raises(OSError, match="Input/output error"):
        memory.save(FaultyFiles(lambda called, _number: called == operation), path, {}, {"plan": 2})
    assert memory.load(Files(), path) == (POSITIONS, {"plan": 1})


def test_a_file_that_is_not_whole_is_none(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    assert memory.load(Files(), path) is None
    memory.save(Files(), path, POSITIONS, {})
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert memory.load(Files(), path) is None


def test_a_file_of_another_version_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "memory.json"
    monkeypatch.setattr(memory, "VERSION", 0)
    memory.save(Files(), path, POSITIONS, {})
    monkeypatch.undo()
    assert memory.load(Files(), path) is None
