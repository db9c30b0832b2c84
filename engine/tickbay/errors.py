"""The errors of tickbay, classed by who must act. They carry data; `str()` is one line that says what to do."""

from __future__ import annotations


class TickbayError(Exception):
    """Anything that tickbay raises on purpose."""


class ConfigError(TickbayError):
    """The operator must change something (a setting, a directory, a port). The process exits with status 2."""


class VenueDown(TickbayError):
    """The venue cannot be reached or ended the connection: reconnect."""


class VenueFault(TickbayError):
    """The venue sent what it should not: keep the bytes, resynchronise."""

    def __init__(self, reason: str, *, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code  # the venue's error code, 0 where there is none


class ControlDown(TickbayError):
    """The control socket of another process does not answer: it is not running, or hangs."""


class ControlRefused(TickbayError):
    """What another process asked over the control socket cannot be done."""


class RingFault(TickbayError):
    """A ring file is missing, of another layout, or has no space: the journal makes rings, so wait for it, then give
    up.
    """


class JournalFault(TickbayError):
    """The journal's files are damaged or cannot be written."""


class SinkDown(TickbayError):
    """The database is away or busy: retry the same batch."""


class SinkSuspended(SinkDown):
    """The database takes rows and does not show them, for a person to mend."""

    def __init__(self, reason: str, *, tables: int) -> None:
        super().__init__(reason)
        self.tables = tables


class SinkRefused(TickbayError):
    """The database refused a row of this batch: split the batch and quarantine the row."""

    def __init__(self, reason: str, *, sqlstate: str = "", table: str = "", line: int | None = None) -> None:
        super().__init__(reason)
        self.sqlstate = sqlstate
        self.table = table
        self.line = line  # of the COPY that was refused, from 1; None where the database did not say


class SinkParked(TickbayError):
    """The operator must act on the database (password, missing database, another schema); the journal goes on."""


class BackupFault(TickbayError):
    """A backup is damaged, or would lose what the one before has."""
