"""What a complete segment holds, beside it in `<number>.idx`: which stream's records lie where.

It is derived: lost, damaged or of another version, it is made again from the segment. With it a start needs to read
only the last segment (R15), and a writer that is far behind finds its records without reading everybody else's.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tickbay._native import crc32c
from tickbay.cursor import Position
from tickbay.files import Files, read_all, write_all
from tickbay.journal.segment import Batch

_MAGIC = 0x3230584449424B54  # "TKBIDX02"
# magic, CRC-32C of the rest of the header and of the spans, streams, segment, end, written_ns, epoch, complete
_HEADER = struct.Struct("<QIIQQqII")
_CRC_FROM = 12
_STREAMS_MAX = 1 << 16  # more is damage

SPAN = np.dtype(
    [
        ("stream", "S32"),
        ("layout", "<u8"),
        ("first_seq", "<u8"),
        ("last_seq", "<u8"),
        ("records", "<u8"),
        ("first_epoch", "<u4"),
        ("last_epoch", "<u4"),
        ("kind", "<u2"),
        ("record_size", "<u2"),
        ("places", "<u4"),
        ("from_ns", "<i8"),
        ("last_ns", "<i8"),
        ("to_ns", "<i8"),
    ]
)
# Offsets fit 32 bits: segments are at most 4 GiB.
PLACE = np.dtype(
    [
        ("epoch", "<u4"),
        ("records", "<u4"),
        ("first_seq", "<u8"),
        ("offset", "<u4"),
        ("zero", "<u4"),
        ("from_ns", "<i8"),
        ("to_ns", "<i8"),
    ]
)


class Place(NamedTuple):
    """Where a batch of one stream lies."""

    epoch: int
    records: int
    first_seq: int
    offset: int
    zero: int
    from_ns: int  # our clock: when its first record was received
    to_ns: int  # and when it was written

    @property
    def last(self) -> Position:
        return Position(self.epoch, self.first_seq + self.records - 1)


Places = list[Place]  # in the order of the stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What a segment holds of one stream."""

    kind: int
    record_size: int
    layout: int  # of its first batch
    first: Position
    last: Position
    records: int
    from_ns: int  # our clock: when its first record was received
    last_ns: int  # the first record of its last batch
    to_ns: int  # when that was written


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentIndex:
    segment: int
    end: int  # behind the last good batch
    epoch: int  # the last of its batches' (or of the segment itself, where it has none)
    written_ns: int  # when its last batch was written
    complete: bool  # it ends with the batch that says so, or was given up on purpose
    spans: dict[str, Span]


def make_index(
    segment: int, epoch: int, created_ns: int, batches: Iterable[Batch], *, end: int, complete: bool
) -> tuple[SegmentIndex, dict[str, Places]]:
    """The index of a segment's batches, in file order, and the places per stream."""
    streams: dict[str, list[Batch]] = {}
    written_ns = created_ns
    for batch in batches:
        streams.setdefault(batch.stream, []).append(batch)
        epoch = max(epoch, batch.epoch)
        written_ns = max(written_ns, batch.written_ns)
    spans, places = {}, {}
    for stream, own in streams.items():
        spans[stream] = Span(
            kind=own[0].kind,
            record_size=own[0].record_size,
            layout=own[0].layout,
            first=Position(own[0].epoch, own[0].first_seq),
            last=own[-1].last,
            records=sum(batch.records for batch in own),
            from_ns=own[0].received_ns,
            last_ns=own[-1].received_ns,
            to_ns=own[-1].written_ns,
        )
        places[stream] = [place_of(batch) for batch in own]
    index = SegmentIndex(segment=segment, end=end, epoch=epoch, written_ns=written_ns, complete=complete, spans=spans)
    return index, places


def place_of(batch: Batch) -> Place:
    return Place(batch.epoch, batch.records, batch.first_seq, batch.offset, 0, batch.received_ns, batch.written_ns)


def save_index(files: Files, path: Path, index: SegmentIndex, places: dict[str, Places]) -> None:
    """Write it whole or not at all. It is not synced: what a power cut leaves of it fails its CRC and is made again."""
    table = np.zeros(len(index.spans), dtype=SPAN)
    for row, (stream, span) in zip(table, sorted(index.spans.items()), strict=True):
        row["stream"], row["layout"], row["records"] = stream.encode(), span.layout, span.records
        row["first_epoch"], row["first_seq"] = span.first
        row["last_epoch"], row["last_seq"] = span.last
        row["kind"], row["record_size"], row["places"] = span.kind, span.record_size, len(places[stream])
        row["from_ns"], row["last_ns"], row["to_ns"] = span.from_ns, span.last_ns, span.to_ns
    tail = struct.pack("<IQQqII", len(table), index.segment, index.end, index.written_ns, index.epoch, index.complete)
    body = tail + table.tobytes()
    listed = b"".join(np.array(places[stream], dtype=PLACE).tobytes() for stream in sorted(index.spans))
    data = struct.pack("<QI", _MAGIC, crc32c(body)) + body + listed + struct.pack("<I", crc32c(listed))
    # One name for all: only the journal process writes indexes, one after the other.
    new = path.with_suffix(".idx-new")
    fd = files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(files, fd, [data], 0)
    finally:
        files.close(fd)
    files.rename(new, path)


def load_index(files: Files, path: Path, segment: int) -> SegmentIndex | None:
    """The index without its places; None where there is no whole one of this segment."""
    loaded = _load(files, path, segment, None)
    return None if loaded is None else loaded[0]


def load_places(files: Files, path: Path, segment: int) -> dict[str, Places] | None:
    """The places per stream; None where there is no whole index of this segment."""
    loaded = _load(files, path, segment, 64 << 20)
    return None if loaded is None else loaded[1]


def _load(
    files: Files, path: Path, segment: int, places_bytes_max: int | None
) -> tuple[SegmentIndex, dict[str, Places]] | None:
    try:
        fd = files.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        header = read_all(files, fd, _HEADER.size, 0)
        if len(header) < _HEADER.size:
            return None
        magic, crc, streams, number, end, written_ns, epoch, complete = _HEADER.unpack(header)
        if magic != _MAGIC or number != segment or streams > _STREAMS_MAX:
            return None
        rows = read_all(files, fd, streams * SPAN.itemsize, _HEADER.size)
        if len(rows) != streams * SPAN.itemsize or crc32c(bytes(header[_CRC_FROM:]) + rows) != crc:
            return None
        table = np.frombuffer(rows, dtype=SPAN)
        index = SegmentIndex(
            segment=segment,
            end=end,
            epoch=epoch,
            written_ns=written_ns,
            complete=bool(complete),
            spans={name(row): _span(row) for row in table},
        )
        if places_bytes_max is None:
            return index, {}
        start = _HEADER.size + len(rows)
        listed = read_all(files, fd, min(places_bytes_max, files.size(fd) - start), start)
    finally:
        files.close(fd)
    if len(listed) != int(table["places"].sum()) * PLACE.itemsize + 4:
        return None
    if crc32c(memoryview(listed)[:-4]) != struct.unpack("<I", listed[-4:])[0]:
        return None
    every = [
        Place(*row) for row in np.frombuffer(listed, dtype=PLACE, count=(len(listed) - 4) // PLACE.itemsize).tolist()
    ]
    ends = np.cumsum(table["places"]).tolist()
    return index, {name(row): every[end - int(row["places"]) : end] for row, end in zip(table, ends, strict=True)}


def name(row: np.void) -> str:
    return bytes(row["stream"]).decode(errors="replace")


def _span(row: np.void) -> Span:
    return Span(
        kind=int(row["kind"]),
        record_size=int(row["record_size"]),
        layout=int(row["layout"]),
        first=Position(int(row["first_epoch"]), int(row["first_seq"])),
        last=Position(int(row["last_epoch"]), int(row["last_seq"])),
        records=int(row["records"]),
        from_ns=int(row["from_ns"]),
        last_ns=int(row["last_ns"]),
        to_ns=int(row["to_ns"]),
    )
