"""Which rings there are: the journal process makes, keeps and removes them ("Sequences and epochs" in ARCHITECTURE.md).

A ring that is whole and of this boot is kept, whatever became of its producer, so that nothing in it is lost;
otherwise a new one goes on behind what the journal has. A ring that no feed of the configuration writes any more is
drained, then removed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tickbay import legs, ring
from tickbay._native import ring_file_size
from tickbay.config import Config
from tickbay.cursor import Position
from tickbay.errors import ConfigError, RingFault
from tickbay.identity import Identity
from tickbay.journal.recovery import Missing, Recovered
from tickbay.record import DTYPES, LAYOUTS, Kind, feed_kinds, parse_stream, stream_name

OWN_GAPS = stream_name("journal", Kind.GAP)  # what the journal itself lost
SUFFIX = ".ring"


def wanted_streams(config: Config) -> dict[str, Kind]:
    """Every stream that some process of this configuration writes."""
    kinds = feed_kinds(config.tick_kinds)
    sources = [*legs.feeds(config), *legs.pairs(config)]
    streams = {stream_name(source, kind): kind for source in sources for kind in kinds}
    for kind in (Kind.INSTRUMENT, Kind.GAP):
        streams[stream_name("universe", kind)] = kind
    if config.heal.enabled:
        for kind in (Kind.TRADE, Kind.GAP):
            streams[stream_name("healer", kind)] = kind
    streams[OWN_GAPS] = Kind.GAP
    return streams


def slots_of(config: Config, kind: Kind) -> int:
    return int(getattr(config.ring, kind.name.lower()))


@dataclass(slots=True)
class Source:
    """One ring, as the journal drains it."""

    stream: str
    kind: Kind
    ring: ring.Ring
    record_size: int = field(init=False)
    layout: int = field(init=False)

    def __post_init__(self) -> None:
        self.record_size = DTYPES[self.kind].itemsize
        self.layout = LAYOUTS[self.kind]

    @property
    def pending(self) -> int:
        """Records published but not durable."""
        return self.ring.head - 1 - self.ring.durable

    @property
    def fill(self) -> float:
        """How much of the ring its producer cannot overwrite, 0 to 1."""
        return self.pending / self.ring.capacity

    def producer_lives(self) -> bool:
        identity = self.ring.identity()
        return (
            identity.producer_pid != 0
            and Identity(identity.producer_pid, identity.producer_start_time, identity.boot_id).alive()
        )


class RingSet:
    """Every ring of run_dir, found or made. `sources` is what the journal drains."""

    def __init__(self, directory: Path, config: Config, boot_id: str) -> None:
        self._directory = directory
        self.wanted = wanted_streams(config)
        self._config = config
        self._boot_id = boot_id
        self.sources: dict[str, Source] = {}
        for path in sorted(directory.iterdir()):
            self._find(path)

    def _find(self, path: Path) -> None:
        if path.suffix != SUFFIX:
            return
        try:
            _, kind = parse_stream(path.stem)
            found = ring.Ring.attach(path, kind)
            identity = found.identity()
        except (ValueError, RingFault):
            path.unlink()  # not whole or of another version: what it held cannot be read
            return
        if identity.boot_id != self._boot_id or identity.stream != path.stem:
            found.close()
            path.unlink()
            return
        self.sources[path.stem] = Source(path.stem, kind, found)

    @property
    def fill(self) -> float:
        """Of the fullest ring."""
        return max((source.fill for source in self.sources.values()), default=0.0)

    def path(self, stream: str) -> Path:
        return self._directory / f"{stream}{SUFFIX}"

    @property
    def epoch(self) -> int:
        """The greatest epoch of any ring found; 0 where there are none."""
        return max((source.ring.epoch()[0] for source in self.sources.values()), default=0)

    def strangers(self, last: Mapping[str, Position], epoch: int) -> list[str]:
        """Streams whose ring does not fit what the journal has (`last` of each stream, in `epoch`): one of the two
        is not what the other knew. They need a new epoch, so that no sequence means two records."""
        return [
            stream
            for stream, source in self.sources.items()
            if stream in last and last[stream].seq > 0 and not _fits(source.ring, last[stream], epoch)
        ]

    def begin_epoch(self, recovered: Recovered, epoch: int) -> list[Missing]:
        """Give every kept ring the `epoch` (a new one, greater than all), and tell it what the journal already has
        of it (JRNL-2: recovery has synced that). Returns what a ring had called durable and the journal has lost."""
        missing = []
        for stream, source in self.sources.items():
            durable = source.ring.durable
            last = recovered.last.get(stream)
            if last is not None and _fits(source.ring, last, recovered.epoch):
                durable = last.seq
            elif last is not None and last.seq < durable:
                from_ns = recovered.last_ns.get(stream, recovered.written_ns)
                missing.append(Missing(stream, source.kind, last.seq + 1, durable, 0, from_ns, 0))
            source.ring.set_epoch(epoch, durable + 1)
            source.ring.set_durable(durable)
        return missing

    def go_on(self, last: Mapping[str, Position]) -> None:
        """The same epoch goes on, after a clean end: tell every kept ring what the journal has of it."""
        for stream, source in self.sources.items():
            if stream in last and last[stream].seq > source.ring.durable:
                source.ring.set_durable(last[stream].seq)

    def make(self, last: Mapping[str, Position], epoch: int) -> list[str]:
        """Make the rings that are wanted and missing; returns their streams. ConfigError where there is no space."""
        missing = self._missing()
        for stream, kind in missing.items():
            first_seq = last.get(stream, Position(0, 0)).seq + 1
            path = self.path(stream)
            try:
                ring.create(
                    path,
                    kind,
                    slots_of(self._config, kind),
                    stream=stream,
                    boot_id=self._boot_id,
                    epoch=epoch,
                    first_seq=first_seq,
                )
            except RingFault as error:
                raise ConfigError(str(error)) from error
            self.sources[stream] = Source(stream, kind, ring.Ring.attach(path, kind))
        return list(missing)

    def _missing(self) -> dict[str, Kind]:
        return {stream: kind for stream, kind in self.wanted.items() if stream not in self.sources}

    def check_space(self) -> None:
        """All of make() at once, before its first: half of the rings are of no use to anybody. ConfigError says what
        to do.
        """
        missing = self._missing()
        sizes = {kind: ring_file_size(kind, slots_of(self._config, kind)) for kind in set(missing.values())}
        wrong = sorted(kind.name.lower() for kind, size in sizes.items() if size == 0)
        if wrong:
            raise ConfigError(f"ring.{wrong[0]} must be a power of two, at least 512")
        needed = sum(sizes[kind] for kind in missing.values())
        disk = os.statvfs(self._directory)
        free = disk.f_bavail * disk.f_frsize
        if needed > free:
            raise ConfigError(
                f"no space for rings: {needed:,} bytes needed in {self._directory}, {free:,} free: "
                "enlarge that tmpfs, or set smaller rings ([ring]), fewer feeds (feeds.count) or another run_dir"
            )

    def retire(self) -> list[str]:
        """Remove rings that nobody wants, nobody writes and that are drained; returns their streams."""
        gone = [
            stream
            for stream, source in self.sources.items()
            if stream not in self.wanted and source.pending == 0 and not source.producer_lives()
        ]
        for stream in gone:
            self.path(stream).unlink(missing_ok=True)
            self.sources.pop(stream).ring.close()
        return gone

    def close(self) -> None:
        for source in self.sources.values():
            source.ring.close()


def _fits(found: ring.Ring, last: Position, epoch: int) -> bool:
    """Whether a kept ring and the journal tell of the same records: the journal ends within the ring, and the ring
    has the journal's epoch, or one that was begun right there but of which nothing was written before the process
    died.
    """
    ring_epoch, first_seq = found.epoch()
    return found.durable <= last.seq < found.head and (ring_epoch == epoch or first_seq == last.seq + 1)
