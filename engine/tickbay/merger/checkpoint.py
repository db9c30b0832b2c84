"""What a merger needs to go on after its death: `data/merger/<merger>.state`.

How far each leg's stream was read and each of the pair's published at one moment, the chains (native/merge.h) and
the legs' holes of that moment. It is written when both are on disk (JRNL-2), and before the cursor that lets the
journal's segments go. What was published after it is read from the pair's own streams: so whenever the merger is
killed, it knows what it has published, and reads the legs from where nothing is missing.

A file is a line of JSON and the chains behind it, under a CRC, replaced as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tickbay._native import MERGE_CHAIN_SIZE, MERGE_CHAINS, crc32c
from tickbay.cursor import Position
from tickbay.files import Files, read_all, write_all

BYTES_MAX = MERGE_CHAINS * MERGE_CHAIN_SIZE + (16 << 20)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    read: Mapping[str, Position] = field(default_factory=dict)  # of each leg's stream: all up to here needs no reading
    published: Mapping[str, Position] = field(default_factory=dict)  # of each of the pair's streams
    chains: bytes = b""
    cover: Mapping[str, Any] = field(default_factory=dict)


def load(path: Path, files: Files) -> Checkpoint | None:
    """None where there is none that is whole and of this version. OSError: the disk."""
    try:
        fd = files.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        data = bytes(read_all(files, fd, min(files.size(fd), BYTES_MAX), 0))
    finally:
        files.close(fd)
    line, _, chains = data.partition(b"\n")
    crc, _, head = line.partition(b" ")
    if crc != b"%08x" % crc32c(head + chains):
        return None
    try:
        value = orjson.loads(head)
        if value["chain_size"] != MERGE_CHAIN_SIZE:
            return None
        read, published = (
            {stream: Position(*position) for stream, position in value[key].items()} for key in ("read", "published")
        )
        return Checkpoint(read, published, chains, value["cover"])
    except (ValueError, KeyError, TypeError):
        return None


def save(path: Path, checkpoint: Checkpoint, files: Files) -> None:
    """Replace it, durably. OSError: the older one still holds."""
    head = orjson.dumps(
        {
            "chain_size": MERGE_CHAIN_SIZE,
            "read": {stream: list(position) for stream, position in checkpoint.read.items()},
            "published": {stream: list(position) for stream, position in checkpoint.published.items()},
            "cover": checkpoint.cover,
        }
    )
    crc = b"%08x " % crc32c(head + checkpoint.chains)
    new = path.with_name(path.name + ".new")
    fd = files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(files, fd, [crc + head + b"\n", checkpoint.chains], 0)
        files.fdatasync(fd)
    finally:
        files.close(fd)
    files.rename(new, path)
    files.sync_directory(path.parent)
