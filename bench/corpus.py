"""Frames to decode: recorded ones where they are there, else the simulator's. Their digits are drawn anew each time.

Without that a processor learns a file of a few hundred frames by heart, and the bench measures its memory. Only the
digits of values: names, times and chains of ids stay as they are, and the prices of a book change together, because a
peer that keeps books insists that what is deleted was there.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.result import Size
from tickbay.sim.instruments import parse_market
from tickbay.sim.strip import payload_of
from tickbay.sim.venue import Settings, Venue

CAPTURES = Path(__file__).parents[2] / "shared" / "captures" / "deribit"
RECORDED = (
    "options-ws-2021-07-22.txt",
    "2026/raw_option_stream.jsonl",
    "2026/ticker_*_prod.json",
    "2026/trades_perp.json",
)
FRAMES = 4096  # 2 MB: more than the inner caches hold
SIMULATED_OPTIONS = 8
CLOCK_MS = 1_800_000_000_000
MESSAGE = re.compile(r'\{"jsonrpc".*"method":"subscription".*\}')
REAL = re.compile(r"(?<=[:\[,])(-?\d)(\d*)\.(\d+)")  # ids and times have no point
LEVEL = re.compile(r'(\["(?:new|change|delete)",)([\d.]+)')


@dataclass(frozen=True, slots=True)
class Corpus:
    origin: str  # recorded, simulated
    frames: list[bytes]

    def of(self, channel: str) -> list[bytes]:
        """Those of one kind of channel: ticker, book, trades."""
        return [frame for frame in self.frames if b'"channel":"%s.' % channel.encode() in frame]

    def instruments(self) -> list[str]:
        names = re.findall(rb'"instrument_name":"([^"]+)"', b"".join(self.frames))
        return sorted({name.decode() for name in names})


def write(path: Path, frames: list[bytes]) -> Path:
    """As native/bench/frames.h reads them."""
    path.write_bytes(b"".join(struct.pack("<I", len(frame)) + frame for frame in frames))
    return path


def load(size: Size) -> Corpus:
    """The same seed gives the same frames."""
    chance = random.Random(size.seed)
    recorded = list(_chained(_recorded()))
    templates = recorded or list(_chained(_simulated(size.seed)))
    frames: list[bytes] = []
    while len(frames) < size.of(FRAMES, 256):
        digits = "".join(chance.sample("123456789", 9))
        prices = str.maketrans("123456789", digits)
        frames += [_drawn(text, chance, prices).encode() for text in templates]
    return Corpus("recorded" if recorded else "simulated", frames[: size.of(FRAMES, 256)])


def simulated(seed: int) -> list[bytes]:
    """The simulator's frames as it sends them: one cycle of some options, which may be repeated."""
    return [text.encode() for text in _chained(_simulated(seed))]


def _recorded() -> Iterator[str]:
    for pattern in RECORDED:
        for path in sorted(CAPTURES.glob(pattern)):
            for line in path.read_text("utf-8").splitlines():
                if found := MESSAGE.search(line):
                    yield found[0]


def _simulated(seed: int) -> Iterator[str]:
    """One cycle of some options: tickers, books from their snapshot on, trades."""
    venue = Venue(Settings(market=parse_market(f"ETH={SIMULATED_OPTIONS}"), seed=seed))
    options = [item for item in venue.instruments.values() if item.kind == "option"]
    for item in options:
        for name in (f"ticker.{item.name}.100ms", f"book.{item.name}.100ms", f"trades.{item.name}.100ms"):
            channel = venue.channel(name)
            assert channel is not None
            if (first := venue.first_message(channel, 0, 0, CLOCK_MS)) is not None:
                yield payload_of(first.frame).decode()
            strip = venue.strip(channel)
            for begin, end in itertools.pairwise(strip.start.tolist()):
                yield payload_of(bytes(strip.payload[begin:end])).decode()


def _chained(texts: Iterator[str]) -> Iterator[str]:
    """Without book changes that follow nothing: a recording may begin in the middle of a book."""
    last: dict[str, int] = {}
    for text in texts:
        data = json.loads(text)["params"]["data"]
        if "change_id" in data:
            if last.get(data["instrument_name"]) != data.get("prev_change_id") and "prev_change_id" in data:
                continue
            last[data["instrument_name"]] = data["change_id"]
        yield text


def _drawn(text: str, chance: random.Random, prices: dict[int, int]) -> str:
    if '"channel":"book.' in text:
        return LEVEL.sub(lambda found: found[1] + found[2].translate(prices), text)
    return REAL.sub(lambda found: _real(found, chance), text)


def _real(found: re.Match[str], chance: random.Random) -> str:
    """The same number of digits; the first one and a fraction of nothing but zeros stay."""
    whole = "".join(chance.choice("0123456789") for _ in found[2])
    if not found[3].strip("0"):
        return f"{found[1]}{whole}.{found[3]}"
    zeros = len(found[3]) - len(found[3].lstrip("0"))
    fraction = "".join(chance.choice("0123456789") for _ in found[3][zeros + 1 :])
    return f"{found[1]}{whole}.{'0' * zeros}{chance.choice('123456789')}{fraction}"
