"""The journal as a store of backups: its segments, and what the processes beside it remember, as files of data_dir.

What processes remember is read before the segments: it is never ahead of them, as after a power cut. The cursors of the
databases are not here: each belongs to the backup of its database. Nor is the marker of a clean end, so the engine
gives what comes after a restore a new epoch: nothing can be mistaken for what a database has already.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath

from tickbay.backup.folder import PIECE, Manifest, Part
from tickbay.backup.store import Found, Reading, State
from tickbay.config import Config
from tickbay.cursor import Position
from tickbay.errors import BackupFault, ConfigError
from tickbay.files import Files
from tickbay.identity import is_running
from tickbay.process import make_directories

# In the order in which they are read.
REMEMBERED = ("universe/*.json", "healer/*.json", "checker/*.json", "merger/*.state", "cursors/merger-*.cursor")
KEPT = ("certificates/*.json", "certificates/*.html", "quarantine/*.frames")
SEGMENTS = "journal/*.seg"


class JournalBackup:
    """The journal and the files beside it. See Store."""

    name = "journal"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._directory = config.data_dir
        self._files = Files()

    def open(self) -> State:
        """See Store.open()."""
        if not (self._directory / "journal").is_dir():
            raise ConfigError(f"{self._directory}: no journal is here: check data_dir")
        return State("", 0, dict[str, Position](), {})

    def parts(self, known: Mapping[str, Part]) -> Iterator[Found]:
        """See Store.parts(): a look at each file is quick."""
        del known
        for pattern in (*REMEMBERED, *KEPT, SEGMENTS):
            for path in sorted(self._directory.glob(pattern)):
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue  # a segment that was let go
                yield Found(path.relative_to(self._directory).as_posix(), f"{found.st_size} {found.st_mtime_ns}", 0)

    @contextmanager
    def read(self, found: Found) -> Iterator[Reading]:
        """See Store.read(). The newest segment is read while it grows: recovery is made for that (JRNL-1)."""
        yield Reading(found.tally, self._pieces(found.name))

    def _pieces(self, name: str) -> Iterator[tuple[bytes, int]]:
        path = self._directory / name
        with os.fdopen(self._files.open(path, os.O_RDONLY), "rb", buffering=0) as file:
            while piece := file.read(PIECE):
                yield piece, 0
            # A segment that is let go becomes the file of a new one, under another name.
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                raise FileNotFoundError(path)

    def expires(self, name: str) -> bool:
        """See Store.expires(): the journal lets go what every database has."""
        return bool(name)

    # ------------------------------------------------------------ restoring

    def prepare(self, manifest: Manifest, *, replace: bool) -> None:
        """See Store.prepare()."""
        if is_running(self._config.run_dir, "journal"):
            raise ConfigError("the journal is running: stop the engine, then restore")
        make_directories(self._config)
        known = {part.name for part in manifest.parts}
        there = [path for path in sorted((self._directory / "journal").iterdir()) if path.is_file()]
        strange = [path for path in there if path.relative_to(self._directory).as_posix() not in known]
        if strange and not replace:
            raise ConfigError(f"{strange[0]} is not of this backup: move the journal away, or say --replace to lose it")
        for path in there if replace else ():
            path.unlink()

    def has(self, part: Part) -> bool:
        """See Store.has(): files are quick to write again."""
        assert part.name
        return False

    def write(self, part: Part, pieces: Iterator[bytes]) -> None:
        """See Store.write()."""
        name = PurePosixPath(part.name)
        if not any(name.match(pattern) and len(name.parts) == 2 for pattern in (*REMEMBERED, *KEPT, SEGMENTS)):
            raise BackupFault(f"{part.name}: no file that a journal's backup has")
        path = self._directory / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        beside = path.with_name(path.name + ".unfinished")
        with os.fdopen(self._files.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
        self._files.sync_directory(path.parent)

    def finish(self, manifest: Manifest) -> None:
        """See Store.finish()."""
        assert manifest.store == self.name

    def close(self) -> None:
        """Nothing is open."""
