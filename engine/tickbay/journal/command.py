"""`tickbay journal ls|verify|dump`: what the journal holds, whether it is whole, and its records as JSON lines.

Reads files and changes none, so it may be used while the engine runs, and on a copy of the journal anywhere else.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson

from tickbay import _native
from tickbay import config as configuration
from tickbay.cursor import START, Position
from tickbay.errors import ConfigError, JournalFault
from tickbay.files import Files
from tickbay.journal.journal_reader import JournalReader
from tickbay.journal.recovery import verify
from tickbay.journal.segment import read_segment, segment_name, segment_number, walk
from tickbay.journal.segment_index import SegmentIndex, load_index, make_index
from tickbay.record import parse_stream
from tickbay.sinks.sink import Chunk, Hole
from tickbay.status.status import duration
from tickbay.tables import nearest

ROWS_MAX, BYTES_MAX = 10_000, 4 << 20  # of a chunk that is dumped at a time
# What is written, let go or recycled while it is read looks damaged. Only what is still so after a while is.
SECOND_LOOK_S = 0.5


def add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    listing = actions.add_parser("ls", help="list the segments: streams, sequences, sizes, ages")
    listing.add_argument("--json", action="store_true", help="print one JSON object per segment")
    checking = actions.add_parser("verify", help="check every CRC and every sequence; exit status 1 where one is wrong")
    dumping = actions.add_parser("dump", help="print the records of a stream, one JSON object per line")
    dumping.add_argument("stream", metavar="STREAM", help="such as feed-1.quote")
    dumping.add_argument("--from", type=int, default=1, dest="first", metavar="SEQ", help="from this sequence on")
    dumping.add_argument("--limit", type=int, default=0, metavar="N", help="at most N records; default: all")
    for action in (listing, checking, dumping):
        configuration.add_argument(action)


def main(arguments: Namespace) -> int:
    """Do one of them; returns the exit status. ConfigError where there is no journal or no such stream; JournalFault
    where the disk fails."""
    config = configuration.load(configuration.find(arguments.config, os.environ), os.environ)
    directory = config.data_dir / "journal"
    files = Files()
    try:
        match arguments.action:
            case "ls":
                return _list(files, directory, as_json=arguments.json)
            case "verify":
                return _verify(files, directory)
            case _:
                return _dump(files, directory, arguments)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no journal in {directory}: set data_dir, or run `tickbay up`") from error
    except OSError as error:
        raise JournalFault(f"{error.filename or directory}: {error.strerror}") from error


# ---------------------------------------------------------------- ls


def _list(files: Files, directory: Path, *, as_json: bool) -> int:
    now_s = time.time()
    if not as_json:
        print(_row("SEGMENT", "SIZE", "AGE", "STREAM", "RECORDS", "FIRST", "LAST"))
    for index, size, modified_s in _segments(files, directory):
        if as_json:
            print(orjson.dumps(_described(index, size, modified_s)).decode())
            continue
        spans = sorted(index.spans.items())
        head = (str(index.segment), f"{size / 1e6:.1f} MB", duration(max(0.0, now_s - modified_s)))
        if not spans:
            print(_row(*head, "(empty)", "", "", ""))
        for stream, span in spans:
            print(_row(*head, stream, f"{span.records:,}", str(span.first.seq), str(span.last.seq)))
            head = ("", "", "")
    return 0


def _row(segment: str, size: str, age: str, stream: str, records: str, first: str, last: str) -> str:
    return f"{segment:>8} {size:>10} {age:>7}  {stream:<24} {records:>13} {first:>14} {last:>14}".rstrip()


def _described(index: SegmentIndex, size: int, modified_s: float) -> dict[str, object]:
    streams = {
        stream: {
            "records": span.records,
            "first": {"epoch": span.first.epoch, "seq": span.first.seq},
            "last": {"epoch": span.last.epoch, "seq": span.last.seq},
        }
        for stream, span in sorted(index.spans.items())
    }
    return {"segment": index.segment, "bytes": size, "modified_ns": int(modified_s * 1e9), "streams": streams}


def _segments(files: Files, directory: Path) -> Iterator[tuple[SegmentIndex, int, float]]:
    """Every segment's index (made in memory where it has none), bytes on disk and time of its last change."""
    for number in sorted(found for found in map(segment_number, files.names(directory)) if found is not None):
        path = directory / segment_name(number)
        try:
            status = path.stat()
            index = load_index(files, path.with_suffix(".idx"), number) or _walked(files, path, number)
        except FileNotFoundError:
            continue  # let go since we looked
        yield index, status.st_size, status.st_mtime


def _walked(files: Files, path: Path, number: int) -> SegmentIndex:
    data = read_segment(files, path)
    header = _native.segment_check(data)
    walked = walk(data, number)
    epoch, created_ns = (header.epoch, header.created_ns) if header is not None else (0, 0)
    return make_index(number, epoch, created_ns, walked.batches, end=walked.end, complete=False)[0]


# ---------------------------------------------------------------- verify


def _verify(files: Files, directory: Path) -> int:
    """JRNL-1: every byte that counts is read."""
    problems = list(verify(files, directory))
    if problems:
        time.sleep(SECOND_LOOK_S)
        again = set(verify(files, directory))
        problems = [problem for problem in problems if problem in again]
    for problem in problems:
        print(problem)
    segments = list(_segments(files, directory))
    records = sum(span.records for index, _, _ in segments for span in index.spans.values())
    size = sum(size for _, size, _ in segments)
    streams = {stream for index, _, _ in segments for stream in index.spans}
    end = f"{len(problems)} problems" if problems else "OK"
    print(
        f"journal: {len(segments)} segments, {size / 1e6:,.1f} MB, {records:,} records of {len(streams)} streams: {end}"
    )
    return 1 if problems else 0


# ---------------------------------------------------------------- dump


def _dump(files: Files, directory: Path, arguments: Namespace) -> int:
    stream: str = arguments.stream
    try:
        parse_stream(stream)
    except ValueError as error:
        raise ConfigError(f"{error}") from error
    reader = JournalReader(files, directory)
    try:
        known = reader.streams()
        if stream not in known:
            raise ConfigError(f"the journal has no records of {stream}{nearest(stream, sorted(known))}")
        left = arguments.limit or None
        for line in _lines(reader, stream, arguments.first, _before(files, directory, stream, arguments.first)):
            print(line.decode())
            if left is not None and (left := left - 1) == 0:
                break
    finally:
        reader.close()
    return 0


def _before(files: Files, directory: Path, stream: str, first: int) -> Position:
    """A position not long before sequence `first`, so that not all of the journal is read to get there."""
    for index, _, _ in _segments(files, directory):
        span = index.spans.get(stream)
        if span is not None and span.last.seq >= first:
            return Position(span.first.epoch, max(first, span.first.seq) - 1)
    return START


def _lines(reader: JournalReader, stream: str, first: int, after: Position) -> Iterator[bytes]:
    """Records from `first` on, and the holes between them, as JSON."""
    while (found := reader.read(stream, after, None, rows_max=ROWS_MAX, bytes_max=BYTES_MAX)) is not None:
        after = found.end
        if isinstance(found, Hole):
            missing = {"first": found.first_seq, "last": found.last_seq}
            yield orjson.dumps({"stream": stream, "epoch": found.epoch, "missing": missing})
        else:
            yield from _records(found, first)


def _records(chunk: Chunk, first: int) -> Iterator[bytes]:
    names = [name for name in chunk.records.dtype.names or () if name != "reserved"]
    for record in chunk.records[chunk.records["seq"] >= np.uint64(first)]:
        values = {name: record[name].item() for name in names}
        texts = {name: value.decode(errors="replace") for name, value in values.items() if isinstance(value, bytes)}
        yield orjson.dumps({"stream": chunk.stream, "epoch": chunk.epoch} | values | texts)
