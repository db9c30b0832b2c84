"""The table of the newest events of all processes. All of them went to the engine's stderr."""

from __future__ import annotations

from collections.abc import Sequence

from tickbay.config import Config
from tickbay.event_file import newest_events
from tickbay.status.snapshot import Status
from tickbay.top.panel import Panel, shown
from tickbay.top.table import Cell, Column

EVENTS_MAX = 1000
LEVELS = {"error": "bad", "warning": "warn", "debug": "dim"}
EVENT_HEAD = ("time", "level", "process", "event")


class Logs(Panel):
    name = "Logs"
    attention = "warnings and errors"
    columns = (
        Column("UTC", 8, order="time"),
        Column("LEVEL", 7),
        Column("PROCESS", 16),
        Column("EVENT", 18),
        Column("FIELDS", 300),
    )

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._run_dir = config.run_dir
        self.descending = True  # the newest first
        self._rows: list[dict[str, object]] = []

    def look(self, status: Status) -> None:  # noqa: ARG002 - it reads the files of events
        found = [
            event
            for event in newest_events(self._run_dir, EVENTS_MAX)
            if self.has_text(*map(str, event.values()))
            and not (self.only and event["level"] not in ("warning", "error"))
        ]
        self._rows = self.in_order(found, None)

    def __len__(self) -> int:
        return len(self._rows)

    def cells(self, row: int) -> Sequence[Cell]:
        event = self._rows[row]
        fields = "  ".join(f"{name}={value}" for name, value in event.items() if name not in EVENT_HEAD)
        level = str(event["level"])
        return (
            Cell(str(event["time"])[11:19], "dim"),
            Cell(level, LEVELS.get(level, "")),
            Cell(str(event["process"])),
            Cell(str(event["event"]), LEVELS.get(level, "")),
            Cell(fields),
        )

    def detail(self, row: int) -> dict[str, str]:
        return {name: shown(value) for name, value in self._rows[row].items()}

    def summary(self) -> str:
        return f"{len(self._rows):,} events, the newest {'first' if self.descending else 'last'}"
