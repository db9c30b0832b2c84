"""Decode one frame to records: the C decoder, beside a copy of the frame's bytes, simdjson's first stage, a call from
Python, Python's JSON parsers, and cryptofeed's Deribit handler with empty callbacks, on the same frames.

What cryptofeed does more: its handler makes Decimals and keeps a book. What it does less: it stores nothing, and of a
ticker it takes four numbers of thirty.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import orjson

from bench import corpus, peer
from bench.result import Result, Size, main, median, native
from tickbay import _native
from tickbay.record import DTYPES, Kind

RECV_NS = 1_800_000_000 * 10**9  # as native/bench/bench_decode.c
TURNS = 41
CHANNELS = {"ticker": Kind.QUOTE, "book": Kind.BOOK, "trades": Kind.TRADE}


def measure(size: Size) -> Result:
    result = Result("decode", size)
    found = corpus.load(size)
    checksum, records = check(found.frames)
    result.checked = f"{records} records of {len(found.frames)} {found.origin} frames against json, C by CRC"
    with tempfile.TemporaryDirectory() as folder:
        path = corpus.write(Path(folder) / "frames", found.frames)
        turns = size.of(TURNS, 3)
        answer = native("bench_decode", path, turns)
        assert (answer["checksum"], answer["records"]) == (checksum, records), "the C bench decoded something else"
        result.add("bytes per frame", len(b"".join(found.frames)) / len(found.frames), "B")
        result.add("records per frame", records / len(found.frames), "")
        copy_ns = result.add("limit: copy the frame's bytes", _median(answer["copy_ns"]), "ns/frame")
        decode_ns = result.add("decode_deribit", _median(answer["decode_ns"]), "ns/frame", "median of the turns")
        result.add("decode_deribit, best turn", min(_floats(answer["decode_ns"])), "ns/frame")
        ratios = np.divide(_floats(answer["decode_ns"]), _floats(answer["copy_ns"]))
        result.aim("decode", "time / copy of the bytes", 6.5, float(np.median(ratios)), "x", most=True)
        beside_stage1(result, answer)
        for channel in CHANNELS:
            if frames := found.of(channel):
                answer = native("bench_decode", corpus.write(Path(folder) / channel, frames), turns)
                result.add(f"decode_deribit, {channel} only", _median(answer["decode_ns"]), "ns/frame")
        in_python(result, found.frames, 1 if size.small else 9)
        beside_cryptofeed(result, path, found, decode_ns)
    assert copy_ns > 0
    return result


def beside_stage1(result: Result, answer: Mapping[str, object]) -> None:
    """What a parser costs that finds where each word is, and reads none; where simdjson is installed."""
    if "stage1_ns" not in answer:
        result.notes.append("simdjson is not installed here (Debian: libsimdjson-dev): its first stage is not measured")
        return
    stage1_ns = _floats(answer["stage1_ns"])
    result.add("limit: simdjson's first stage", median(stage1_ns), "ns/frame", str(answer["stage1"]))
    ratios = np.divide(_floats(answer["decode_ns"]), stage1_ns)
    result.aim("decode", "time / simdjson's first stage", 2.2, float(np.median(ratios)), "x", most=True)


def check(frames: Sequence[bytes]) -> tuple[int, int]:
    """Every frame decoded through Python and compared with json's: CRC-32C of all records, their number."""
    checksum = count = 0
    for frame in frames:
        status, message, payload, _ = _native.decode_deribit(frame, RECV_NS, 1, 256)
        assert status == _native.DECODE_OK, frame
        records = np.frombuffer(payload, DTYPES[Kind(message)])
        data = json.loads(frame)["params"]["data"]
        if message == Kind.QUOTE:
            (record,) = records
            assert record["instrument"] == data["instrument_name"].encode()
            assert record["mark_price"] == data["mark_price"] and record["index_price"] == data["index_price"]
        elif message == Kind.TRADE:
            assert [trade["price"] for trade in data] == records["price"].tolist()
        else:
            levels = [level[1:] for side in ("bids", "asks") for level in data[side]]
            got = records[["price", "amount"]].tolist() if levels else []
            assert [tuple(level) for level in levels] == got, frame
        checksum = _native.crc32c(payload, checksum)
        count += len(records)
    return checksum, count


def in_python(result: Result, frames: Sequence[bytes], turns: int) -> None:
    """The same work called for from Python, and the parse alone that a Python program would begin with."""

    def decode(frame: bytes) -> object:
        return _native.decode_deribit(frame, RECV_NS, 1, 64)

    result.add("decode_deribit called from Python", _each_ns(decode, frames, turns), "ns/frame", "copies the records")
    result.add("orjson.loads, parse only", _each_ns(orjson.loads, frames, turns), "ns/frame")
    result.add("json.loads, parse only", _each_ns(json.loads, frames, turns), "ns/frame")


def _each_ns(call: Callable[[bytes], object], frames: Sequence[bytes], turns: int) -> float:
    times = []
    for _ in range(turns):
        began = time.process_time_ns()
        for frame in frames:
            call(frame)
        times.append((time.process_time_ns() - began) / len(frames))
    return median(times)


def beside_cryptofeed(result: Result, path: Path, found: corpus.Corpus, decode_ns: float) -> None:
    """Where it is not installed the bench says so, and nothing is claimed of it."""
    python = peer.python()
    if python is None:
        result.notes.append(peer.ABSENT)
        return
    turns = result.size.of(7, 1)
    answer = peer.ask(python, "decode", str(path), str(turns))
    assert answer["callbacks"] >= len(found.of("ticker")) and answer["frames"] == len(found.frames), answer
    handler_ns = result.add(
        f"peer: cryptofeed {answer['version']}", median(answer["ns"]), "ns/frame", "empty callbacks"
    )
    result.aim("decode", "faster than cryptofeed's handler", 50, handler_ns / decode_ns, "x")


def _floats(values: object) -> list[float]:
    assert isinstance(values, list)
    return values


def _median(values: object) -> float:
    return median(_floats(values))


if __name__ == "__main__":
    main(measure)
