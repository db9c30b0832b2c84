"""How many rows the committed batches had, for a writer's health report."""

from __future__ import annotations

PREFIX = "batches."  # of the counter of one bucket: "batches.1000", batches of 101 to 1000 rows
ENDS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)


class BatchSizes:
    def __init__(self) -> None:
        self._counts = dict.fromkeys(ENDS, 0)
        self._rows = 0

    def add(self, rows: int) -> None:
        self._rows += rows
        end = next((end for end in ENDS if rows <= end), None)
        if end is not None:  # what is larger is in the counter of all batches only
            self._counts[end] += 1

    def counters(self) -> dict[str, int]:
        """Every bucket by itself, and the rows of all batches together."""
        return {"batched_rows": self._rows} | {f"{PREFIX}{end}": count for end, count in self._counts.items()}
