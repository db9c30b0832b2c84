"""The catalogue of log events, and how one is written. The only way anything is logged.

One event is one line on stderr: JSON, or for a person on a terminal. Repeats within REPEAT_S are counted, not
written. Secrets are blanked out. A log that nobody reads, or that is gone, never holds a process up: the line is
dropped and counted. Used by every process; never in the per-tick path.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, IntEnum, unique

import orjson

from tickbay.event_file import EventFile
from tickbay.terminal import printable

REPEAT_S = 10.0  # the same event again within this time is only counted
REPEATS_MAX = 256  # different events remembered for that; the oldest goes first
LINE_BYTES_MAX = 4096  # PIPE_BUF: a pipe that polls writable takes so many at once, without blocking
TEXT_MAX = 600  # characters of one field; what others sent us may be long


class Level(IntEnum):
    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an event says: how bad it is, one sentence for a person, and the names of its fields."""

    level: Level
    sentence: str
    fields: str = ""


@unique
class Event(Enum):
    """Every event. Its name in lower case is what the log shows; tests check that no call uses other fields."""

    # any process
    PROCESS_STARTED = Meaning(Level.INFO, "process started", "version")
    PROCESS_STOPPING = Meaning(Level.INFO, "asked to stop", "signal")
    PROCESS_STOPPED = Meaning(Level.INFO, "process ended", "uptime_s")
    PROCESS_FAILED = Meaning(Level.ERROR, "process failed", "error where")
    PROCESS_REFUSED = Meaning(Level.ERROR, "cannot run as configured", "error")
    RUN_DIR_NOT_TMPFS = Meaning(
        Level.WARNING, "run_dir is not on a tmpfs: the rings write to a disk", "path filesystem"
    )

    # supervisor
    SUPERVISOR_READY = Meaning(Level.INFO, "all processes run", "processes startup_s")
    CHILD_STARTED = Meaning(Level.INFO, "started a process", "child pid")
    CHILD_ADOPTED = Meaning(Level.INFO, "adopted a living process", "child pid")
    CHILD_EXITED = Meaning(Level.ERROR, "a process died and will be replaced", "child pid status restart_s")
    CHILD_HUNG = Meaning(Level.ERROR, "a process has stopped reporting: killing it", "child pid silent_s")
    CHILD_LEAVING = Meaning(Level.INFO, "asked a process to end", "child pid reason")
    CHILD_UNSTARTABLE = Meaning(Level.ERROR, "a process cannot be started", "child error restart_s")
    RESTARTS_EXCESSIVE = Meaning(
        Level.ERROR, "a process keeps dying: degraded; still restarting it", "child restarts window_s"
    )
    RESTARTS_CALMED = Meaning(Level.INFO, "a process that kept dying runs again", "child")
    STOP_OVERDUE = Meaning(Level.ERROR, "a process did not stop in time: killing it", "child pid")
    STOP_FORCED = Meaning(Level.WARNING, "asked to stop a second time: killing what still runs", "processes")

    # feed
    PAST_UNREADABLE = Meaning(Level.ERROR, "the journal cannot be read: when this feed last ran is not known", "error")
    SESSION_CONNECTED = Meaning(Level.INFO, "connected to the venue", "url conn")
    SESSION_LIVE = Meaning(Level.INFO, "every channel is settled", "channels live took_s")
    SESSION_LOST = Meaning(Level.ERROR, "no connection to the venue: reconnecting", "reason losses wait_s")
    SESSION_HASTY = Meaning(Level.ERROR, "the venue says that there were too many requests: pausing", "reason")
    REPLY_STRANGE = Meaning(Level.WARNING, "the venue answered a request that was never sent", "reason")
    LOGGED_IN = Meaning(Level.INFO, "logged in at the venue", "expires_s")
    LOGIN_FAILED = Meaning(
        Level.ERROR, "no login: trying again, with 100ms in place of raw until then", "reason wait_s"
    )
    LOGIN_DENIED = Meaning(
        Level.ERROR,
        "the venue does not accept this DERIBIT_API_KEY and DERIBIT_API_SECRET: recording continues without a login,"
        " with 100ms in place of raw; correct them and restart",
        "reason",
    )
    RAW_AGAIN = Meaning(Level.INFO, "logged in: reconnecting for the unthrottled channels", "")
    RAW_REFUSED = Meaning(Level.WARNING, "unthrottled channels need a login: recording 100ms instead", "reason")
    CHANNEL_UNKNOWN = Meaning(Level.ERROR, "a channel was assigned that the venue does not have", "reason")
    CHANNEL_REFUSED = Meaning(
        Level.ERROR, "the venue refuses a channel: retrying at longer intervals", "channel reason refusals"
    )
    CHANNEL_SILENT = Meaning(Level.WARNING, "a channel is silent: subscribing to it again", "channel wait_s")
    BOOK_BROKEN = Meaning(Level.WARNING, "a book lost its chain: subscribing to it again", "channel wait_s")
    FRAME_UNDECODABLE = Meaning(Level.ERROR, "a frame could not be decoded: it is in quarantine", "bytes kept file")
    MESSAGE_UNKNOWN = Meaning(Level.DEBUG, "a message of a kind that is not recorded", "bytes")
    RING_OVERFLOW = Meaning(Level.ERROR, "the journal does not keep up: records are lost", "kind")
    RING_OVERFLOWED = Meaning(Level.WARNING, "the journal keeps up again", "kind lost")
    CLOCK_OFF = Meaning(
        Level.WARNING,
        "this machine's clock differs from the venue's: recorded times are not corrected",
        "offset_ms error_ms",
    )
    CLOCK_RIGHT = Meaning(Level.INFO, "this machine's clock agrees with the venue's again", "offset_ms error_ms")
    CLOCK_STEPPED = Meaning(Level.WARNING, "this machine's clock was set", "step_ms")
    GAPS_PENDING = Meaning(Level.ERROR, "gap records are waiting for space in their ring", "pending")
    ASSIGNMENT_CHANGED = Meaning(Level.INFO, "the assignment of channels changed", "version channels")
    ASSIGNMENT_UNREADABLE = Meaning(Level.ERROR, "the assignment cannot be read: keeping the last one", "error")

    # universe
    UNIVERSE_FETCHED = Meaning(Level.DEBUG, "instruments fetched", "instruments took_s")
    UNIVERSE_STALE = Meaning(
        Level.WARNING, "the venue's instruments cannot be fetched: using the last known ones", "error age_s"
    )
    UNIVERSE_UNKNOWN = Meaning(Level.ERROR, "the venue's instruments cannot be fetched and none are known yet", "error")
    UNIVERSE_CHANGED = Meaning(Level.INFO, "the universe changed", "version instruments channels listed ended")
    UNIVERSE_OVERFLOW = Meaning(
        Level.ERROR, "more channels than the feeds have room for: raise feeds.count or select fewer", "refused capacity"
    )
    UNIVERSE_EMPTY = Meaning(Level.ERROR, "the rules select no instrument", "rules")
    INSTRUMENT_REFUSED = Meaning(Level.ERROR, "an instrument cannot be recorded", "instrument reason")
    ANNOUNCED = Meaning(Level.INFO, "the venue announces", "what instrument")
    ANNOUNCEMENT_STRANGE = Meaning(Level.WARNING, "an announcement that cannot be understood", "error")
    STATE_UNKNOWN = Meaning(
        Level.WARNING, "an instrument state that is not known: recorded as it is", "instrument state"
    )
    ASSIGNMENT_LOST = Meaning(Level.ERROR, "the last assignment cannot be read: making a new one", "error")
    ASSIGNMENT_REFUSED = Meaning(Level.ERROR, "a feed refuses its assignment", "feed error")
    INSTRUMENT_RING_FULL = Meaning(
        Level.WARNING, "instrument records are waiting for the journal: trying again", "pending"
    )

    # merger
    MERGER_STATE_LOST = Meaning(
        Level.ERROR, "the merger's state cannot be read: continuing from what is published", "file"
    )

    # journal
    JOURNAL_OPENED = Meaning(Level.INFO, "the journal is open", "epoch clean segments rings_kept took_s")
    JOURNAL_TORN = Meaning(
        Level.WARNING, "the journal's end was damaged: cut off and kept aside", "segment offset bytes kept"
    )
    JOURNAL_DAMAGED = Meaning(Level.ERROR, "a segment of the journal is damaged: see tickbay gaps", "segment")
    JOURNAL_HOLE = Meaning(Level.ERROR, "records are missing in the journal", "stream first last segment")
    JOURNAL_WIPED = Meaning(
        Level.ERROR, "the journal is empty, although databases have stored records from it: was it removed?"
    )
    JOURNAL_UNREADABLE = Meaning(Level.ERROR, "the journal cannot be opened: trying again", "directory error")
    JOURNAL_FULL = Meaning(
        Level.ERROR, "no space for the journal: new records wait in memory; free some space", "directory segment error"
    )
    JOURNAL_WRITE_FAILED = Meaning(
        Level.ERROR, "writing to the journal failed: continuing in a new segment", "directory segment error"
    )
    JOURNAL_RESUMED = Meaning(Level.INFO, "the journal writes again", "directory segment")
    JOURNAL_UPKEEP_FAILED = Meaning(Level.WARNING, "journal housekeeping failed (no data affected)", "directory error")
    JOURNAL_DROPPED = Meaning(
        Level.ERROR, "journal full: deleted records that a database had not stored yet", "sink stream records first"
    )
    JOURNAL_RING_REMOVED = Meaning(Level.INFO, "removed the ring of a feed that is not configured any more", "stream")
    JOURNAL_LEFT_OPEN = Meaning(Level.INFO, "the journal stops: what still comes stays in memory", "reason")

    # metrics
    PORT_TAKEN = Meaning(Level.ERROR, "cannot listen: trying again", "error")

    # checker
    BOOK_DISAGREES = Meaning(
        Level.WARNING,
        "a book's best prices differ from the ticker's: subscribing to it again",
        "feed instrument detail",
    )
    CHECK_UNSAVED = Meaning(
        Level.ERROR, "the checker's books cannot be saved: it would know fewer after a restart", "error"
    )

    # healer
    HOLE_HEALED = Meaning(Level.INFO, "trades that were missing have been fetched", "feed cause instrument trades")
    HOLE_UNHEALED = Meaning(Level.WARNING, "missing trades could not be fetched", "feed cause instrument trades")
    HEAL_DOWN = Meaning(Level.WARNING, "past trades cannot be fetched now: trying again", "error missing")
    HEAL_REFUSED = Meaning(Level.WARNING, "the venue refuses a request for past trades", "error missing")
    HEAL_UNSAVED = Meaning(
        Level.ERROR, "what the healer knows cannot be saved: it would read more after a restart", "error"
    )
    HEAL_FORGOT = Meaning(
        Level.ERROR,
        "the journal deleted trades before the healer read them: what was missing among them stays missing",
        "holes",
    )

    # writer
    SCHEMA_STEP = Meaning(Level.INFO, "applied a step of the schema", "step")
    SINK_OPENED = Meaning(Level.INFO, "the database is ready", "server edition schema")
    SINK_NOTE = Meaning(Level.WARNING, "the database lacks a feature", "note")
    SINK_DOWN = Meaning(Level.ERROR, "the database is unavailable: the journal keeps what comes", "error retry_s")
    SINK_PARKED = Meaning(
        Level.ERROR, "the database needs an operator: see the error; the journal keeps what comes", "error retry_s"
    )
    SINK_BACK = Meaning(Level.INFO, "rows flow into the database again", "down_s")
    SINK_REWOUND = Meaning(Level.WARNING, "rows are sent again in case the database lost them", "why minutes")
    SINK_MAINTAINED = Meaning(Level.INFO, "maintained partitions and retention", "done")
    CURSOR_MOVED = Meaning(Level.WARNING, "another writer uses our cursor: reading it again", "error")
    ROWS_QUARANTINED = Meaning(
        Level.ERROR, "the database refused rows: they are in its table quarantine", "rows reasons"
    )
    WRITER_HOLE = Meaning(
        Level.ERROR, "the journal does not have records that were to be stored", "stream first last cause"
    )
    WRITER_UNREADABLE = Meaning(Level.ERROR, "a stream of the journal cannot be read by this version", "stream error")
    WRITER_DISK = Meaning(Level.ERROR, "the disk of the journal or of the cursors fails: trying again", "error retry_s")


class Events:
    """Where one process logs. `on_error` is told the sentence of each event of level ERROR (for its health)."""

    def __init__(
        self,
        process: str,
        *,
        level: str = "info",
        format: str = "auto",
        fd: int = 2,
        secrets: Sequence[str] = (),
        on_error: Callable[[str], None] | None = None,
        kept: EventFile | None = None,
    ) -> None:
        self._process = process
        self._level = Level[level.upper()]
        self._human = format == "human" or (format == "auto" and os.isatty(fd))
        self._fd = fd
        self._secrets = tuple(secret for secret in secrets if secret)
        self._on_error = on_error
        self._kept = kept
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._recent: dict[tuple[object, ...], _Recent] = {}
        self._lock = threading.RLock()  # re-entrant: a signal handler may log while its own thread does
        self.dropped = 0  # lines that the log could not take

    def emit(self, event: Event, **fields: object) -> None:
        """Log `event`. The same event with the same texts within REPEAT_S is only counted; the next line says how
        often.
        """
        with self._lock:
            meaning = event.value
            clean = {name: self._clean(value) for name, value in fields.items()}
            if meaning.level >= Level.ERROR and self._on_error is not None:
                self._on_error(_sentence(meaning.sentence, clean))
            if meaning.level < self._level:
                return
            now = time.monotonic()
            key = (event, *(value for value in clean.values() if isinstance(value, str)))
            recent = self._recent.get(key)
            if recent is not None and now - recent.since < REPEAT_S:
                recent.count += 1
                recent.fields = clean
                return
            repeats = self._recent.pop(key).count if recent is not None else 0
            while len(self._recent) >= REPEATS_MAX:
                self._settle(next(iter(self._recent)))
            self._recent[key] = _Recent(now, event, clean)
            self._write(event, clean, repeats)

    def settle(self, *, all: bool = False) -> None:
        """Write the counts of repeats that have ended (or, at the end of the process, of all)."""
        with self._lock:
            now = time.monotonic()
            for key in [key for key, recent in self._recent.items() if all or now - recent.since >= REPEAT_S]:
                self._settle(key)

    def _settle(self, key: tuple[object, ...]) -> None:
        recent = self._recent.pop(key)
        if recent.count:
            self._write(recent.event, recent.fields, recent.count)

    def _clean(self, value: object) -> object:
        """A value as it may be shown: no secret, no endless text, only what JSON knows."""
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return round(value, 6)
        text = str(value).encode(errors="replace").decode()  # a file's name may be no text
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"

    def _write(self, event: Event, fields: dict[str, object], repeats: int) -> None:
        line = self._json_line(event, fields, repeats)
        if len(line) > LINE_BYTES_MAX:
            fields = {"cut": True}
            line = self._json_line(event, fields, repeats)
        if self._kept is not None:
            with suppress(OSError):  # a full tmpfs ends no process; the log itself has the line
                self._kept.append(line)
        if self._human:
            line = self._human_line(event, fields, repeats)
        try:
            writable = any(state & select.POLLOUT for _, state in self._poll.poll(0))
            if not writable or os.write(self._fd, line) != len(line):
                self.dropped += 1
        except OSError:  # the terminal or the reader is gone: capture goes on without a log
            self.dropped += 1

    def _json_line(self, event: Event, fields: dict[str, object], repeats: int) -> bytes:
        now = time.time()
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
        line = {
            "time": when,
            "level": event.value.level.name.lower(),
            "process": self._process,
            "event": event.name.lower(),
        }
        return orjson.dumps(line | ({"repeats": repeats} if repeats else {}) | fields, option=orjson.OPT_APPEND_NEWLINE)

    def _human_line(self, event: Event, fields: dict[str, object], repeats: int) -> bytes:
        level = event.value.level.name.lower()
        text = _sentence(event.value.sentence, fields) + (f" ({repeats} more times)" if repeats else "")
        clock = time.strftime("%H:%M:%S", time.gmtime())
        return f"{clock}Z {level:<7} {self._process:<16} {printable(text)}\n".encode(errors="replace")


@dataclass(slots=True)
class _Recent:
    since: float  # time.monotonic()
    event: Event
    fields: dict[str, object]
    count: int = 0


def _sentence(sentence: str, fields: dict[str, object]) -> str:
    """For a person. An error is a sentence already and needs no name."""
    known = ((name, value) for name, value in fields.items() if value is not None)
    shown = "  ".join(f"{value}" if name == "error" else f"{name}={value}" for name, value in known)
    return f"{sentence}: {shown}" if shown else sentence
