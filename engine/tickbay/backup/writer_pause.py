"""A sink's writer stands still while its database is restored: by the order that also `tickbay sink park` gives, so
that it holds for a writer that is started meanwhile too. What is captured waits in the journal."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tickbay.config import Config
from tickbay.cursor import CursorFile, Position
from tickbay.errors import ConfigError
from tickbay.files import Files
from tickbay.health import read_report
from tickbay.identity import is_running
from tickbay.process import make_directories
from tickbay.sinks.orders import Orders

REASON = "tickbay restore has not finished: run it again"
WAIT_S = 60.0  # a writer may be in the middle of a batch, or wait for a server that is away
ASK_S = 0.1


class WriterPause:
    """Of one sink."""

    def __init__(self, config: Config, sink: str) -> None:
        self._config = config
        self._sink = sink
        self._orders = Orders(config.data_dir, sink)

    def begin(self) -> None:
        """Returns when the writer stands still. ConfigError where it does not."""
        make_directories(self._config)
        self._orders.park(REASON)
        deadline = time.monotonic() + WAIT_S
        while self._writing():
            if time.monotonic() > deadline:
                raise ConfigError(f"writer-{self._sink} does not pause: stop the engine, then restore")
            time.sleep(ASK_S)

    def _writing(self) -> bool:
        writer = f"writer-{self._sink}"
        report = read_report(self._config.run_dir, writer)
        return is_running(self._config.run_dir, writer) and (report is None or REASON not in report.detail)

    def save(self, cursors: Mapping[str, Position]) -> None:
        """From here on the journal keeps what comes behind the backup (JRNL-3), and a new one counts on from there.
        Where the sink was at earlier times (sinks/rewind.py) is of another database."""
        path = self._config.data_dir / "cursors" / f"{self._sink}.cursor"
        path.with_suffix(".marks").unlink(missing_ok=True)
        file = CursorFile(path, Files())
        try:
            file.save(cursors)
        finally:
            file.close()

    def end(self) -> None:
        """The writer goes on, from the cursors that it finds."""
        self._orders.unpark()
