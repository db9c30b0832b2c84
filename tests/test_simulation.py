"""The whole engine on a virtual clock, disk and network: thousands of histories, each from a seed (tests/simulation).

A failure prints its seed; `python -m tests.simulation --seed N --trace` plays it again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulation.history import folder, run
from simulation.mutants import MUTANTS, planted
from simulation.seeds import NAMED, play

SEEDS = 10_000
# One of the first so many finds each planted bug; it took 57 at most when this was written.
MUTANT_SEEDS = 300
INVARIANT = re.compile(r"(RING|JRNL|SINK|SUP|GAP)-[1-4]: ")


@pytest.fixture(scope="module")
def rings() -> Iterator[Path]:
    with folder() as path:
        yield path


@pytest.mark.slow
def test_nothing_is_lost_or_stored_twice_in_any_of_ten_thousand_histories() -> None:
    """JRNL-1, JRNL-2, JRNL-3, SINK-1, SINK-2, SINK-3, SINK-4, SUP-1, SUP-2, RING-2."""
    played = play([*NAMED, *range(SEEDS)], jobs=os.cpu_count() or 1)
    assert played.broken == {}
    assert played.seeds == len(NAMED) + SEEDS and played.rows > 100 * SEEDS


def test_a_seed_is_a_history(rings: Path) -> None:
    for seed in range(8):
        first, second = run(seed, rings), run(seed, rings)
        assert first.log == second.log
        assert first.digest == second.digest, seed
    assert run(1, rings).digest != run(2, rings).digest


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(rings: Path, name: str) -> None:
    """The simulation can fail: each of these would be seen."""
    broken = ""
    with planted(name):
        for seed in range(MUTANT_SEEDS):
            broken = run(seed, rings).broken
            if broken:
                break
    assert INVARIANT.match(broken), f"{name}: {broken or 'not found'}"
    assert run(seed, rings).broken == "", "it is the planted bug that was found"


@pytest.mark.parametrize(("seed", "name"), [(seed, name) for seed, names in NAMED.items() for name in names])
def test_a_named_seed_meets_its_bug_when_it_comes_back(rings: Path, seed: int, name: str) -> None:
    with planted(name):
        broken = run(seed, rings).broken
    assert INVARIANT.match(broken), f"its history is another now: python -m tests.simulation --plant {name!r} finds one"
