"""What the answers of a QuestDB mean for who must act: a fake one for what a real one cannot be made to show, and real
ones behind TLS, with a password, and standing still."""

from __future__ import annotations

import datetime
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rows import made
from servers.fake_questdb import Behaviour, FakeQuestdb, answer, cut, drip
from servers.fault_proxy import FaultProxy
from servers.questdb import QuestdbServer as RealServer
from servers.questdb import running
from test_link import certificate
from tickbay.__main__ import main
from tickbay.config import Questdb
from tickbay.errors import SinkDown, SinkParked, SinkRefused
from tickbay.record import Kind
from tickbay.sinks.columns import TABLES
from tickbay.sinks.lines import bodies
from tickbay.sinks.questdb_server import ANSWER_BYTES_MAX, QuestdbServer
from tickbay.sinks.sink import Chunk

LINE = b"book_changes,stream=a seq=1i 1n\n"
REFUSED = b'{"code":"invalid","message":"failed to parse line protocol:errors on line 2","line":2}'
NOW_NS = time.time_ns()


def asked(*behaviours: Behaviour, early: bool = False, body: object = LINE) -> Exception | None:
    """What becomes of a send()."""
    with FakeQuestdb(*behaviours, early=early) as fake:
        server = QuestdbServer(Questdb(port=fake.port))
        try:
            server.send(body)  # type: ignore[arg-type]  # bytes or a body
        except (SinkDown, SinkRefused, SinkParked) as error:
            return error
        finally:
            server.close()
    return None


@pytest.mark.parametrize(
    ("behaviour", "error", "told"),
    [
        (answer(500, b'{"message":"out of memory"}'), SinkDown, "HTTP 500: out of memory"),
        (answer(500, b"<html>" + b"x" * 10_000 + b"</html>"), SinkDown, "HTTP 500"),
        (answer(429), SinkDown, "HTTP 429"),
        (answer(503, b"busy", more="Retry-After: 1\r\n"), SinkDown, "HTTP 503"),
        (answer(302, more="Location: http://elsewhere/\r\n"), SinkDown, "HTTP 302"),
        (answer(400, REFUSED), SinkRefused, "errors on line 2"),
        (answer(400, b'{"line":"x","message":17}'), SinkRefused, "17"),
        (answer(401), SinkParked, "check questdb.user and the password"),
        (answer(403), SinkParked, "check questdb.user and the password"),
        (answer(404), SinkParked, "is no QuestDB"),
        (cut(b""), SinkDown, ""),
        (cut(b"HTTP/1.1 20"), SinkDown, ""),
        (cut(b"HTTP/1.1 400 X\r\nContent-Length: 100\r\n\r\n{"), SinkDown, "IncompleteRead"),
        (cut(b"SSH-2.0-OpenSSH_9.2\r\n"), SinkDown, "SSH"),
        (cut(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"), SinkDown, ""),
        (cut(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"), SinkDown, ""),
        (drip(b"HTTP/1.1 500 X\r\nX: " + b"y" * 1000, seconds=1.0), SinkDown, "HTTP 500"),
    ],
)
def test_an_answer_says_who_must_act(behaviour: Behaviour, error: type[Exception], told: str) -> None:
    found = asked(behaviour)
    assert type(found) is error, found
    assert told in str(found)
    assert "\n" not in str(found) and len(str(found)) < 500


def test_the_line_of_the_status_is_enough_of_an_acknowledgement() -> None:
    """It is sent when the rows are kept; what is cut off behind it says nothing more."""
    assert asked(cut(b"HTTP/1.1 204 OK\r\nContent-Le")) is None


def test_the_line_that_is_refused_is_known() -> None:
    found = asked(answer(400, REFUSED))
    assert isinstance(found, SinkRefused) and found.line == 2


def test_an_endless_answer_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickbay.sinks.questdb_server.ANSWER_BYTES_MAX", 1000)
    found = asked(answer(500, b"x" * 100_000))
    assert isinstance(found, SinkDown) and "more than 1000 bytes" in str(found)
    assert ANSWER_BYTES_MAX < 1 << 30


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickbay.sinks.questdb_server.TIMEOUT_S", 0.3)
    found = asked(lambda connection, _first: time.sleep(1))
    assert isinstance(found, SinkDown) and "timed out" in str(found)


def test_what_fails_on_a_used_connection_is_sent_once_more_whole() -> None:
    """The server ends a connection that was idle; a body of pieces begins anew (SINK-2)."""
    records = made(Kind.BOOK, 5000, at_ns=NOW_NS)
    table = next(table for table in TABLES if table.name == "book_changes")
    chunk = Chunk("feed-1.book", Kind.BOOK, 7, records)
    with FakeQuestdb(answer(204), cut(b""), answer(204)) as fake:
        server = QuestdbServer(Questdb(port=fake.port))
        server.send(LINE)
        for body in bodies([(table, [(chunk, records)])]):
            server.send(body)
            assert body.rows == 5000
        server.close()
    assert fake.bodies[0] == LINE
    assert fake.bodies[1] == fake.bodies[2] and fake.bodies[2].count(b"\n") >= 5000


def test_a_refusal_that_comes_before_the_body_is_all_there_is_understood() -> None:
    """A proxy that wants no more ends the connection in the middle of a large body, and says why first."""
    large = [b"2000000\r\n", b"x" * (32 << 20)]
    found = asked(cut(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"), early=True, body=large)
    # What was not read makes the kernel reset the connection; then the answer may be lost, and the server is down.
    assert isinstance(found, SinkParked | SinkDown)


# ---------------------------------------------------------------- real servers


@pytest.fixture(scope="module")
def locked() -> Iterator[RealServer]:
    """It wants a user and a password."""
    with running(http__user="tick", http__password="canary-right") as server:
        yield server


def config_of(folder: Path, lines: str) -> Path:
    file = folder / "tickbay.toml"
    file.write_text(
        f'data_dir = "{folder}/data"\nrun_dir = "{folder}/run"\n[timescale]\nenabled = false\n'
        f"[questdb]\nenabled = true\n{lines}\n"
    )
    return file


@pytest.mark.slow
def test_a_server_behind_tls_is_verified(tmp_path: Path, questdb: RealServer) -> None:
    pair = certificate(tmp_path, "proxy", "127.0.0.1")
    with FaultProxy(questdb.port, pair) as proxy:
        settings = Questdb(port=proxy.port, tls="on", ca_file=pair[0])
        server = QuestdbServer(settings)
        assert server.query("SELECT 1") == [[1]]
        server.close()
        with pytest.raises(SinkParked, match="ca_file"):
            QuestdbServer(replace(settings, ca_file=None)).query("SELECT 1")
        with pytest.raises(SinkDown):
            QuestdbServer(replace(settings, tls="off")).query("SELECT 1")


@pytest.mark.slow
def test_the_schema_command_makes_and_checks_the_tables(
    tmp_path: Path, questdb: RealServer, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config_of(tmp_path, f"port = {questdb.port}")
    assert main(["schema", "status", "--config", str(file)]) == 1
    assert "steps to apply: tickbay schema apply" in capsys.readouterr().out
    assert main(["schema", "apply", "--config", str(file)]) == 0
    assert "applied 002_records" in capsys.readouterr().out
    assert main(["schema", "status", "--config", str(file)]) == 0
    assert re.fullmatch(r"qdb: schema version (\d+) of \1 \(QuestDB 9\.[\d.]+\)\n", capsys.readouterr().out)
    questdb.query("ALTER TABLE book_changes DROP COLUMN side")
    while "side" in {row[0] for row in questdb.query("SHOW COLUMNS FROM book_changes")}:
        time.sleep(0.05)
    assert main(["schema", "status", "--config", str(file)]) == 1
    assert "wrong: book_changes.side is missing, should be SYMBOL" in capsys.readouterr().out


@pytest.mark.slow
def test_a_wrong_password_is_one_line_that_says_so(
    tmp_path: Path, locked: RealServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = config_of(tmp_path, f'port = {locked.port}\nuser = "tick"')
    monkeypatch.setenv("QUESTDB_PASSWORD", "canary-wrong")
    assert main(["schema", "status", "--config", str(file)]) == 1
    printed = capsys.readouterr()
    assert printed.err == "tickbay schema: HTTP 401: check questdb.user and the password, or the token\n"
    monkeypatch.setenv("QUESTDB_PASSWORD", "canary-right")
    assert main(["schema", "apply", "--config", str(file)]) == 0
    assert "canary" not in capsys.readouterr().out


def test_a_token_is_sent_as_the_bearer_s() -> None:
    heads: list[bytes] = []

    class Watching(FakeQuestdb):
        def _head(self, connection):  # type: ignore[no-untyped-def]  # as the one that it watches
            heads.append(super()._head(connection))
            return heads[-1]

    with Watching(answer(204)) as fake:
        server = QuestdbServer(Questdb(port=fake.port, user="tick", password="other", token="canary-token"))
        server.send(LINE)
        server.close()
    assert b"Authorization: Bearer canary-token\r\n" in heads[0]
    assert b"other" not in heads[0]


@pytest.mark.slow
def test_a_server_that_stands_still_is_down_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickbay.sinks.questdb_server.TIMEOUT_S", 0.5)
    with running() as real:
        server = QuestdbServer(real.settings)
        assert server.query("SELECT 1") == [[1]]
        assert real._process is not None
        real._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, real._process.pid, os.WSTOPPED | os.WNOWAIT)  # one of its threads may still answer
        began = time.monotonic()
        with pytest.raises(SinkDown, match="timed out"):
            server.query("SELECT 1")
        assert time.monotonic() - began < datetime.timedelta(minutes=1).total_seconds()
        real._process.send_signal(signal.SIGCONT)
        assert server.query("SELECT 1") == [[1]]
        server.close()


def test_a_sink_is_parked_before_the_first_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It failed: the folder of the cursors was not there."""
    file = config_of(tmp_path, "")
    assert main(["sink", "--config", str(file), "park", "questdb", "--reason", "new disk"]) == 0
    assert capsys.readouterr().out == "questdb: parked; tickbay sink resume questdb ends it\n"
    assert (tmp_path / "data" / "cursors" / "questdb.parked").read_text() == "new disk"
