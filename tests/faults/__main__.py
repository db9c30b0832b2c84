"""`python -m tests.faults r1 r3 [--deep]`, from the repository's folder: run figures, print each, and at the end the
table. Exit status 0: all reached."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# The tests import each other by their bare names, as they do under pytest.
sys.path.insert(0, str(Path(__file__).parent.parent))

from faults.figure import figures, reach, table


def main() -> int:
    known = figures()
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    names = [figure.name.lower() for figure in known]
    parser.add_argument("figure", nargs="*", type=str.lower, help=f"{', '.join(names)}; default: all")
    parser.add_argument("--deep", action="store_true", help="the deep size: hours")
    parser.add_argument("--seed", type=int, default=1, help="of every choice that is left to chance (default 1)")
    arguments = parser.parse_args()
    for name in arguments.figure:
        if name not in names:
            parser.error(f"there is no figure {name}: there are {', '.join(names)}")
    results = []
    for figure in known:
        if not arguments.figure or figure.name.lower() in arguments.figure:
            results.append(reach(figure, deep=arguments.deep, seed=arguments.seed))
            print(results[-1], flush=True)
    print(f"\n{table(results)}")
    return 0 if all(result.outcome.good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
