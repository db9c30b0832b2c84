"""`python rival.py CONFIG FOLDER`: a second writer for the sink that the engine's own writer serves, as after a
failover that was none.

It reads the same rings and journal and writes to the same database; its own cursor file and health lie in FOLDER. No
lock keeps the two apart, only SINK-1 does.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from tickbay.config import load
from tickbay.events import Events
from tickbay.health import Health
from tickbay.process import ProcessContext, Stopping
from tickbay.writer import writer


def main(config_path: str, folder: Path) -> None:
    config = load(Path(config_path), os.environ)
    for name in ("health", "cursors"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if not (folder / "journal").exists():
        (folder / "journal").symlink_to(config.data_dir / "journal")
    stopping = Stopping()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    health = Health(folder, "rival", "writer")
    writer.run(ProcessContext("writer-timescale", replace(config, data_dir=folder), health, Events("rival"), stopping))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
