"""How we connect, and who must act on what goes wrong."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tickbay.config import Timescale
from tickbay.embedded import EmbeddedServer
from tickbay.errors import SinkDown, SinkParked, SinkRefused
from tickbay.sinks.connection import connect, conninfo_of, is_local, judge


@pytest.mark.parametrize(
    ("host", "sslmode", "expected"),
    [
        ("127.0.0.1", "", "prefer"),
        ("localhost", "", "prefer"),
        ("/run/postgresql", "", "prefer"),
        ("::1", "", "prefer"),
        ("db.example.org", "", "verify-full"),
        ("192.168.1.5", "", "verify-full"),
        ("127.0.0.1.example.org", "", "verify-full"),
        ("db.example.org", "require", "require"),
    ],
)
def test_a_server_elsewhere_is_verified_in_full_unless_told_otherwise(host: str, sslmode: str, expected: str) -> None:
    assert conninfo_to_dict(conninfo_of(Timescale(host=host, sslmode=sslmode)))["sslmode"] == expected


def test_a_name_that_only_begins_like_this_machine_is_elsewhere() -> None:
    assert is_local("localhost")
    assert not is_local("localhost.example.org")
    assert not is_local("10.0.0.1")


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        ("08006", SinkDown),
        ("53100", SinkDown),  # disk full
        ("53300", SinkDown),
        ("57P01", SinkDown),
        ("57P03", SinkDown),
        ("57014", SinkDown),  # our own timeout
        ("40001", SinkDown),
        ("40P01", SinkDown),
        ("55P03", SinkDown),
        ("25006", SinkDown),
        ("XX000", SinkDown),
        ("22021", SinkRefused),
        ("22P03", SinkRefused),
        ("23502", SinkRefused),
        ("23514", SinkRefused),
        ("P0001", SinkRefused),
        ("42703", SinkParked),
        ("42P01", SinkParked),
        ("42501", SinkParked),
        ("28P01", SinkParked),
        ("3D000", SinkParked),
        ("3F000", SinkParked),
    ],
)
def test_the_sqlstate_says_who_must_act(state: str, verdict: type[Exception]) -> None:
    error = psycopg.errors.lookup(state)("something")
    assert type(judge(error)) is verdict


def test_a_refused_copy_names_its_line(postgres_server: EmbeddedServer) -> None:
    with psycopg.connect(postgres_server.conninfo()) as connection:
        connection.execute("CREATE TEMPORARY TABLE t (a text)")
        row = b"\0\1\0\0\0\1"
        with (
            pytest.raises(psycopg.Error) as caught,
            connection.cursor().copy("COPY t FROM STDIN (FORMAT binary)") as copy,
        ):
            copy.write(b"PGCOPY\n\377\r\n\0" + bytes(8) + row + b"a" + row + b"\xff" + b"\377\377")
    refused = judge(caught.value, "t")
    assert isinstance(refused, SinkRefused)
    assert (refused.sqlstate, refused.table, refused.line) == ("22021", "t", 2)


def test_nothing_in_a_session_waits_for_ever(postgres_server: EmbeddedServer) -> None:
    with connect(postgres_server.conninfo(), name="test") as connection:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            value = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            assert value is not None
            assert value[0] not in ("0", "")
        assert connection.execute("SHOW application_name").fetchone() == ("tickbay test",)
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
