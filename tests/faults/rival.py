"""`python rival.py CONFIG FOLDER`: a second writer for the sink that the engine's own writer serves, as after a
failover that was none.

It reads the same rings and journal and writes to the same database; its own cursor file and health lie in FOLDER. No
lock keeps them apart, only SINK-1 does.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tickbay.config import load
from tickbay.cursor import CursorFile
from tickbay.events import Events
from tickbay.files import Files
from tickbay.health import Health
from tickbay.journal.stream_reader import StreamReader
from tickbay.process import Stopping
from tickbay.writer.writer import Writer, make_sink


def main(config_path: str, folder: Path) -> None:
    config = load(Path(config_path), os.environ)
    (folder / "health").mkdir(parents=True, exist_ok=True)
    events, stopping = Events("rival"), Stopping()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    Writer(
        config,
        make_sink("timescale", config, events),
        StreamReader(config.run_dir, config.data_dir),
        CursorFile(folder / "timescale.cursor", Files()),
        Health(folder, "rival", "writer"),
        events,
        stopping,
    ).work()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
