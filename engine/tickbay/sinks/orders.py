"""What the operator asks of a sink with `tickbay sink`: files beside its cursor, so that a writer that does not run, or
is restarted, obeys as well.

`<sink>.parked`: stop writing until the file is gone. `<sink>.rewind`: go back by so many minutes, once.
`<sink>.resume`: what kept the sink from being written to is mended, ask it now.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

FILE_BYTES_MAX = 200


class Orders:
    """The orders to one sink: given by `tickbay sink`, obeyed by its writer. Every method: OSError, the disk."""

    def __init__(self, data_dir: Path, sink: str) -> None:
        self._parked = data_dir / "cursors" / f"{sink}.parked"
        self._resume = data_dir / "cursors" / f"{sink}.resume"
        self._rewind = data_dir / "cursors" / f"{sink}.rewind"

    def park(self, reason: str) -> None:
        _put(self._parked, reason.encode(errors="replace")[:FILE_BYTES_MAX])

    def unpark(self) -> None:
        self._parked.unlink(missing_ok=True)

    def resume(self) -> None:
        """Whatever the sink has parked itself for, it is to be asked again now."""
        _put(self._resume, b"")

    def resumed(self) -> bool:
        """Whether that is asked; once."""
        try:
            self._resume.unlink()
        except FileNotFoundError:
            return False
        return True

    def parked(self) -> str | None:
        """Why, where the sink is parked."""
        try:
            return self._parked.read_bytes()[:FILE_BYTES_MAX].decode(errors="replace")
        except FileNotFoundError:
            return None

    def go_back(self, minutes: float) -> None:
        _put(self._rewind, f"{minutes:g}".encode())

    def minutes_back(self) -> float | None:
        """How far to go back, where that is asked."""
        try:
            minutes = float(self._rewind.read_bytes()[:FILE_BYTES_MAX])
        except FileNotFoundError:
            return None
        except ValueError:
            minutes = math.nan
        if not 0 < minutes < math.inf:
            self.went_back()  # not written by us
            return None
        return minutes

    def went_back(self) -> None:
        """The order is carried out."""
        self._rewind.unlink(missing_ok=True)


def _put(path: Path, data: bytes) -> None:
    """Whole or not at all: a writer that read the file while it is empty would take it for none of ours."""
    beside = path.with_name(path.name + "-new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    beside.replace(path)
