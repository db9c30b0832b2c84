"""`data/<process>/memory.json`: what a process that follows streams knows, and how far it has read each to know it. One
file, replaced whole and synced, so that both always belong together; whoever starts with it reads the journal on from
there. Used by the healer and the checker.

Only what is durable in the journal may be saved (JRNL-2): the healer's knowledge of a row that a power cut took would
make its hole last for ever.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from tickbay._native import crc32c
from tickbay.cursor import Position
from tickbay.files import Files, read_all, write_all

FILE_BYTES_MAX = 256 << 20
CRC_BYTES = 9  # eight digits and a line's end, before the JSON
VERSION = 2  # of what is in the file; another release may know other things


def memory_path(data_dir: Path, process: str) -> Path:
    return data_dir / process / "memory.json"


def save(files: Files, path: Path, positions: Mapping[str, Position], said: Mapping[str, Any]) -> None:
    """OSError where the disk does not take it; then the older file stays."""
    read = {stream: list(position) for stream, position in positions.items()}
    text = orjson.dumps({"version": VERSION, "positions": read, "said": said})
    new = path.with_suffix(".new")
    fd = files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(files, fd, [b"%08x\n" % crc32c(text), text], 0)
        files.fdatasync(fd)
    finally:
        files.close(fd)
    files.rename(new, path)
    files.sync_directory(path.parent)


def load(files: Files, path: Path) -> tuple[dict[str, Position], dict[str, Any]] | None:
    """Positions and what save() was told; None where there is no whole file of this version: then the journal tells it
    all. OSError: the disk."""
    try:
        fd = files.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        data = bytes(read_all(files, fd, min(files.size(fd), FILE_BYTES_MAX), 0))
    finally:
        files.close(fd)
    text = data[CRC_BYTES:]
    if data[:CRC_BYTES] != b"%08x\n" % crc32c(text):
        return None
    value = orjson.loads(text)
    if value.get("version") != VERSION:
        return None
    return {stream: Position(*position) for stream, position in value["positions"].items()}, value["said"]
