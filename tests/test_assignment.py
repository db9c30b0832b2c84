"""The file that tells feeds what they have: whole or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tickbay.errors import VenueFault
from tickbay.universe.assignment import Assignment, read_assignment, write_assignment


def test_an_assignment_reads_back_as_written(tmp_path: Path) -> None:
    assignment = Assignment(3, {"feed-1": ("ticker.A.100ms",)}, {"ticker.A.100ms": 9}, {"B": 4})
    write_assignment(tmp_path / "a.json", assignment)
    assert read_assignment(tmp_path / "a.json") == assignment
    assert assignment.channels_of("feed-1") == {"ticker.A.100ms": 9} and assignment.channels_of("feed-2") == {}


def test_a_damaged_assignment_is_a_fault_and_none_is_none(tmp_path: Path) -> None:
    assert read_assignment(tmp_path / "a.json") is None
    for text in ("", "[]", '{"version": 1}', '{"version": 1, "feeds": []}', '{"version": "x", "feeds": {}}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(VenueFault):
            read_assignment(tmp_path / "a.json")
