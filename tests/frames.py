"""Deribit frames for tests: our own (frames_deribit.txt, which the C tests read too) and the recorded ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

OWN = Path(__file__).with_name("frames_deribit.txt")
CAPTURES = Path(__file__).parents[2] / "shared" / "captures" / "deribit"


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One frame and what it is, in the words of decode.h."""

    name: str
    message: str
    records: int
    text: str


def own() -> list[Frame]:
    """The frames written by hand from the protocol."""
    frames = []
    for line in OWN.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, message, records, text = line.split("\t")
            frames.append(Frame(name, message, int(records), text))
    return frames


def recorded_2021() -> Iterator[tuple[float, str]]:
    """What the venue sent on 2021-07-22: (unix seconds of receipt, frame). 89 tickers, 46 books and one reply."""
    for line in (CAPTURES / "options-ws-2021-07-22.txt").read_text(encoding="utf-8").splitlines():
        received, separator, text = line.partition(": ")
        if separator and not received.startswith("wss:"):
            yield float(received), text


def recorded_2026() -> Iterator[str]:
    """What the venue sent in September 2026 about one option (56 tickers, 12 books), and single messages."""
    yield from (CAPTURES / "2026" / "raw_option_stream.jsonl").read_text(encoding="utf-8").splitlines()
    for path in sorted((CAPTURES / "2026").glob("*.json")):
        message = json.loads(path.read_text(encoding="utf-8"))
        if "jsonrpc" in message:
            yield path.read_text(encoding="utf-8").strip()
