"""A connection to PostgreSQL, and what its errors mean for who must act.

The password is never in a message or an error that leaves here: psycopg's errors carry the connection and with it the
password, so ours are raised without them as a cause.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import make_conninfo

from tickbay.config import Timescale, is_loopback
from tickbay.errors import SinkDown, SinkParked, SinkRefused

CONNECT_TIMEOUT_S = 10
# A writer that is stopped or cut off in the middle of a transaction holds the cursor's row: the server ends it after
# this.
STATEMENT_TIMEOUT_S = 30
IDLE_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 20
# Creating a hypertable or dropping a year of chunks may take long; nothing waits for it.
DDL_TIMEOUT_S = 600
TCP_TIMEOUT_MS = 20_000
MESSAGE_MAX = 300  # characters of a server's message that we pass on

# SQLSTATE class or code → who must act (databases.md of the design;
# https://www.postgresql.org/docs/current/errcodes-appendix.html).
REFUSED = ("22", "23", "44", "P0001")  # a row: bisect
PARKED = ("28", "3D", "3F", "42", "0A", "0L", "0P", "2B", "57P04")  # the operator
# 42 has a few that only say that another session was faster or busy.
RETRIED = ("42P05", "42P06", "42P07", "42710")

# When connecting, libpq gives text and no SQLSTATE; a server that speaks another language is retried instead of
# parked, with its words shown all the same.
_PARKED_TEXT = re.compile(
    r"password authentication failed|no password supplied|authentication failed|no pg_hba\.conf entry"
    r"|is not permitted to log in"
    r"|(database|role) \"[^\"]*\" does not exist|permission denied for database|does not support SSL"
    r"|certificate verify failed|root certificate file|server certificate for|invalid (sslmode|connection option|port)"
)
_LINE = re.compile(r"\bCOPY (\S+), line (\d+)")


def is_local(host: str) -> bool:
    """Is this machine meant: a loopback address, its name, or a Unix socket's directory?"""
    return not host or host.startswith(("/", "@")) or is_loopback(host)


def conninfo_of(settings: Timescale) -> str:
    """libpq's connection string. Holds the password: not for logs."""
    sslmode = settings.sslmode or ("prefer" if is_local(settings.host) else "verify-full")
    return make_conninfo(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password or None,
        dbname=settings.dbname,
        sslmode=sslmode,
    )


@contextmanager
def translated(table: str = "") -> Iterator[None]:
    """Turn psycopg's errors into SinkDown, SinkRefused or SinkParked. `table` is where the rows were going."""
    try:
        yield
    except psycopg.Error as error:
        raise judge(error, table) from None


def connect(conninfo: str, *, name: str, statement_timeout_s: int = STATEMENT_TIMEOUT_S) -> psycopg.Connection:
    """A session with timeouts on everything that could wait for ever. SinkDown, SinkParked."""
    options = (
        f"-c statement_timeout={statement_timeout_s}s -c lock_timeout={LOCK_TIMEOUT_S}s"
        f" -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_S}s -c timezone=UTC -c client_min_messages=error"
    )
    with translated():
        return psycopg.connect(
            conninfo,
            application_name=f"tickbay {name}",
            options=options,
            connect_timeout=CONNECT_TIMEOUT_S,
            keepalives=1,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=TCP_TIMEOUT_MS,
            client_encoding="utf8",
            prepare_threshold=None,  # a pooler between us and the server may give us another's session
        )


def judge(error: psycopg.Error, table: str = "") -> SinkDown | SinkRefused | SinkParked:
    """Who must act, by SQLSTATE; what is not known is retried, and shown."""
    state = error.sqlstate or ""
    message = one_line(error.diag.message_primary or str(error))
    if not state:
        return SinkParked(f"{message}: {_advice(message)}") if _PARKED_TEXT.search(message) else SinkDown(message)
    told = f"{message} (SQLSTATE {state})"
    if state.startswith(REFUSED):
        named = _LINE.search(error.diag.context or "")
        return SinkRefused(message, sqlstate=state, table=table, line=int(named[2]) if named else None)
    if state.startswith(PARKED) and state not in RETRIED:
        return SinkParked(f"{told}: {_advice(message, state)}")
    return SinkDown(told)


def one_line(text: str) -> str:
    """A server's message as one line of bounded length."""
    return " ".join(text.split())[:MESSAGE_MAX]


def _advice(message: str, state: str = "") -> str:
    """What the operator can do about what parks a sink."""
    if state == "3D000" or re.search(r"database \"[^\"]*\" does not exist", message):
        return "create it with createdb, or set timescale.dbname"
    if state.startswith("28") or "authentication" in message or "role" in message or "password" in message:
        return "check timescale.user and the password"
    if "certificate" in message or "SSL" in message:
        return "install the server's certificate authority, or set timescale.sslmode"
    if state == "42501" or "permission denied" in message:
        return "grant it, or run `tickbay schema apply` as the owner"
    if state.startswith(("42", "3F")):
        return "the tables are not what the schema says: see `tickbay schema status`"
    return "the database cannot take this: see the server's log"
