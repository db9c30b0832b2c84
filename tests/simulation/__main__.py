"""`python -m tests.simulation`, from the repository's folder: play seeds and say what came of them.

    --seeds 0-9999     these, on every core (the named ones first)
    --seed 39 --trace  one, and what happened in it
    --plant NAME       with this bug of mutants.py in the code: the first seed that meets it

Exit status 0: everything held.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

# The tests import each other by their bare names, as they do under pytest.
sys.path.insert(0, str(Path(__file__).parent.parent))

from simulation.history import folder, run
from simulation.mutants import FOUND, MUTANTS, planted
from simulation.seeds import NAMED, Played, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", default="0-9999", help="first and last, as 0-9999 (default)")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="with --seed: what happened, line by line")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    bugs = sorted(MUTANTS | FOUND)
    parser.add_argument("--plant", choices=bugs, metavar="NAME", help="find the first that meets this bug")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed, trace=arguments.trace)
    first, _, last = arguments.seeds.partition("-")
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        parser.error(f"--seeds {arguments.seeds}: give the first and the last, as 0-9999")
    seeds = range(int(first), int(last) + 1)
    if arguments.plant:
        return _meet(arguments.plant, seeds)
    began = time.monotonic()
    played = play([*NAMED, *seeds], jobs=arguments.jobs)
    print(f"{told(played)}, {time.monotonic() - began:.0f} s")
    return 1 if played.broken else 0


def _one(seed: int, *, trace: bool) -> int:
    with folder() as path:
        verdict = run(seed, path)
    if trace:
        print("\n".join(verdict.log))
    name = f" ({', '.join(NAMED[seed])})" if seed in NAMED else ""
    print(f"seed {seed}{name}: {verdict.broken or 'everything held'}")
    return 1 if verdict.broken else 0


def _meet(name: str, seeds: Iterable[int]) -> int:
    with folder() as path:
        for seed in seeds:
            with planted(name):
                broken = run(seed, path).broken
            if not broken:
                continue
            if without := run(seed, path).broken:
                print(f"seed {seed} is broken without it: {without}", file=sys.stderr)
                return 1
            print(f"seed {seed} meets {name!r}: {broken}")
            return 0
    print(f"none of these seeds meets {name!r}", file=sys.stderr)
    return 1


def told(played: Played) -> str:
    """One line, after one for each seed that failed."""
    for seed, broken in sorted(played.broken.items()):
        print(f"seed {seed}: {broken}\n    python -m tests.simulation --seed {seed} --trace", file=sys.stderr)
    return (
        f"{played.seeds:,} seeds, {played.calls:,} calls of the system, {played.rows:,} rows, "
        f"{played.hours:.1f} hours of virtual time: {len(played.broken)} broken"
    )


if __name__ == "__main__":
    sys.exit(main())
