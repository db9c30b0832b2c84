"""The folder of one store's backup: compressed files and `manifest.json`, which is replaced whole and last.

A file's name has the beginning of its checksum, so a file never changes, an interrupted backup spoils nothing, and what
copies the folder elsewhere by name or checksum sends only what is new.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import orjson

from tickbay.cursor import Position
from tickbay.errors import BackupFault, ConfigError
from tickbay.files import Files

FORMAT = 1
MANIFEST = "manifest.json"
MANIFEST_BYTES_MAX = 256 << 20  # 500 bytes for each part: a thousand days of 15 tables are 8 MB
PIECE = 1 << 20
# The fastest: rows of ticks become a fifth with it, and a sixth with the usual one, which takes four times as long.
LEVEL = 1
GZIP = 31  # zlib's word for: with gzip's header, which has no time and no name here, so that the same is the same


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a backup."""

    name: str  # option_quotes/2026-11-21, journal/000000000012.seg
    file: str  # below the folder
    tally: str  # what the store said of it: see store.Found
    rows: int  # 0 of a file of data_dir
    bytes: int  # of the file
    sha256: str  # of the file
    mark: str = ""  # the same as at open(): nobody has written to the part since; empty: the store cannot tell


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds."""

    store: str
    made_at: str  # when its cursors were read: ISO 8601, UTC
    tickbay: str  # the version that made it
    server: str
    schema: int
    cursors: Mapping[str, Position]
    columns: Mapping[str, tuple[str, ...]]
    parts: tuple[Part, ...]

    def part(self, name: str) -> Part | None:
        return next((part for part in self.parts if part.name == name), None)

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


class Folder:
    """One store's folder. Every method: BackupFault, or OSError of the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = Files()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Made if need be, and nobody else's meanwhile."""
        for path in (self.path.parent, self.path):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._files.open(self.path / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{self.path}: another tickbay is at work here: wait for it") from None
        else:
            yield
        finally:
            self._files.close(lock)

    # ------------------------------------------------------------ manifest

    def manifest(self) -> Manifest | None:
        """Of the last backup that was finished; None where there was none."""
        path = self.path / MANIFEST
        try:
            fd = self._files.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            data = file.read(MANIFEST_BYTES_MAX + 1)
        try:
            told = orjson.loads(data)
            if told.pop("format") != FORMAT:
                raise BackupFault(f"{path}: of another format than {FORMAT}: restore it with the tickbay that made it")
            seal = told.pop("sha256")
            cursors = {stream: Position(int(epoch), int(seq)) for stream, (epoch, seq) in told["cursors"].items()}
            columns = {table: tuple(map(str, names)) for table, names in told["columns"].items()}
            parts = tuple(Part(**part) for part in told["parts"])
            if seal != _seal(told) or not all(_inside(part.file) for part in parts):
                raise BackupFault(f"{path} was changed: its checksum is another")
            return Manifest(**told | {"cursors": cursors, "columns": columns, "parts": parts})
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BackupFault(f"{path} is no manifest of a backup") from None

    def finish(self, manifest: Manifest) -> None:
        """From here on this is the backup; files of no part go."""
        cursors = {stream: list(position) for stream, position in manifest.cursors.items()}
        told = asdict(manifest) | {"cursors": cursors}
        data = orjson.dumps({"format": FORMAT} | told | {"sha256": _seal(told)}, option=orjson.OPT_INDENT_2)
        self._put(MANIFEST, data)
        kept = {part.file for part in manifest.parts} | {MANIFEST, "lock"}
        for path in self.path.rglob("*"):
            if path.is_file() and path.relative_to(self.path).as_posix() not in kept:
                path.unlink()

    def _put(self, name: str, data: bytes) -> None:
        beside = self.path / f"{name}.unfinished"
        with os.fdopen(self._files.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(self.path / name)
        self._files.sync_directory(self.path)

    # ------------------------------------------------------------ parts

    def write(self, name: str, tally: str, pieces: Iterator[tuple[bytes, int]]) -> Part:
        """Compress the pieces into a file and sync it."""
        beside = self.path / f"{name}.unfinished"
        beside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        packer, digest, rows, size = zlib.compressobj(LEVEL, wbits=GZIP), hashlib.sha256(), 0, 0
        with os.fdopen(self._files.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            for piece, ended in pieces:
                packed = packer.compress(piece)
                digest.update(packed)
                size += file.write(packed)
                rows += ended
            packed = packer.flush()
            digest.update(packed)
            size += file.write(packed)
            file.flush()
            os.fsync(file.fileno())
        final = f"{name}.{digest.hexdigest()[:16]}.gz"
        beside.rename(self.path / final)
        self._files.sync_directory(beside.parent)
        return Part(name, final, tally, rows, size, digest.hexdigest())

    def check(self, part: Part) -> None:
        """BackupFault unless its file is there, and is what it was."""
        digest, size = hashlib.sha256(), 0
        for piece in self._raw(part):
            digest.update(piece)
            size += len(piece)
        if size != part.bytes or digest.hexdigest() != part.sha256:
            raise BackupFault(f"{self.path / part.file} is damaged: its checksum is another: take an older copy of it")

    def read(self, part: Part) -> Iterator[bytes]:
        """What was written, in pieces."""
        unpacker = zlib.decompressobj(wbits=GZIP)
        for piece in self._raw(part):
            while piece:
                yield unpacker.decompress(piece, PIECE)
                piece = unpacker.unconsumed_tail
        if not unpacker.eof:
            raise BackupFault(f"{self.path / part.file} ends too early")

    def _raw(self, part: Part) -> Iterator[bytes]:
        try:
            fd = self._files.open(self.path / part.file, os.O_RDONLY)
        except FileNotFoundError:
            raise BackupFault(f"{self.path / part.file} is missing") from None
        with os.fdopen(fd, "rb") as file:
            while piece := file.read(PIECE):
                yield piece


def _seal(told: Mapping[str, object]) -> str:
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _inside(file: str) -> bool:
    """Whether a name from a manifest stays below its folder."""
    path = PurePosixPath(file)
    return not path.is_absolute() and ".." not in path.parts
