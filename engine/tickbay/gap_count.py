"""How many holes a process has found, by cause, for its health report. Each is counted when it is found."""

from __future__ import annotations

from tickbay.gap import Cause, Gap

PREFIX = "gaps."  # of the counter of one cause: "gaps.disconnect"


class GapCount:
    def __init__(self) -> None:
        self._found = dict.fromkeys(Cause, 0)

    def add(self, gap: Gap) -> None:
        self._found[gap.cause] += 1

    @property
    def total(self) -> int:
        return sum(self._found.values())

    def counters(self) -> dict[str, int]:
        """Of every cause, also of those that never came: what was never 0 cannot be seen to grow."""
        return {f"{PREFIX}{cause.name.lower()}": count for cause, count in self._found.items()}
