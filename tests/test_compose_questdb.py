"""A real QuestDB, of the version that compose.yaml names, with the environment that it gets there: who may do what.

Its server.conf says the opposite wherever it can, so that what is closed is closed by the environment.
"""

from __future__ import annotations

import base64
import http.client
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import psycopg
import pytest

from composed import composed
from servers.debian import Unavailable
from tickbay.embedded import free_port
from tickbay.embedded_questdb import VERSION, EmbeddedQuestdb
from tickbay.errors import ConfigError

OPEN = {
    "pg.enabled": "true",
    "line.tcp.enabled": "true",
    "line.auto.create.new.tables": "true",
    "http.health.check.authentication.required": "true",
}


@dataclass(frozen=True, slots=True)
class Server:
    http_port: int
    pg_port: int
    line_port: int
    health_port: int
    health_test: list[str]

    def exec(self, sql: str, login: str = "") -> int:
        """The HTTP status of a statement."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=30)
        headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
        try:
            connection.request("GET", f"/exec?query={quote(sql)}", headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def sql(self, login: str, text: str) -> list[tuple[object, ...]]:
        """What the PostgreSQL wire answers."""
        user, password = login.split(":")
        with psycopg.connect(
            host="127.0.0.1", port=self.pg_port, dbname="qdb", user=user, password=password, autocommit=True
        ) as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    try:
        service = composed()["services"]["questdb"]
    except Unavailable as error:
        pytest.skip(str(error))
    assert service["image"] == f"questdb/questdb:{VERSION}"
    folder = tmp_path_factory.mktemp("questdb")
    for name, password in (("questdb_password", "writes"), ("questdb_reader_password", "reads")):
        (folder / name).write_text(f"{password}\n")
    pg_port, line_port = free_port(), free_port()
    where = {"pg.net.bind.to": f"127.0.0.1:{pg_port}", "line.tcp.net.bind.to": f"127.0.0.1:{line_port}"}
    try:
        started = EmbeddedQuestdb(folder / "root", settings=OPEN | where)
    except ConfigError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as environment:
        for name, value in service["environment"].items():
            environment.setenv(name, value.replace("/run/secrets", str(folder)))
        started.start()
    try:
        yield Server(started.port, pg_port, line_port, started.health_port, service["healthcheck"]["test"])
    finally:
        started.stop()


def test_http_wants_the_password_of_the_file_and_knows_no_default(server: Server) -> None:
    assert server.exec("SELECT 1") == 401
    assert server.exec("SELECT 1", "admin:quest") == server.exec("SELECT 1", "tickbay:quest") == 401
    assert server.exec("SELECT 1", "tickbay:writes") == 200


def test_the_second_login_can_read_and_nothing_else(server: Server) -> None:
    server.sql("tickbay:writes", "CREATE TABLE t (ts TIMESTAMP, x INT) TIMESTAMP(ts) PARTITION BY DAY WAL")
    server.sql("tickbay:writes", "INSERT INTO t VALUES ('2026-01-01', 7)")
    assert server.sql("grafana:reads", "SELECT count() FROM t") is not None
    changes = "INSERT INTO t VALUES ('2026-01-02', 8)", "DROP TABLE t", "TRUNCATE TABLE t", "CREATE TABLE u (x INT)"
    for forbidden in changes:
        with pytest.raises(psycopg.Error):
            server.sql("grafana:reads", forbidden)
    for known in ("admin:quest", "user:quest", "grafana:writes", "tickbay:reads"):
        with pytest.raises(psycopg.OperationalError):
            server.sql(known, "SELECT 1")
    assert server.exec("SELECT 1", "grafana:reads") == 401  # of the other wire


def test_the_door_without_a_password_is_shut(server: Server) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.line_port), 5)


def test_the_health_check_of_compose_needs_no_password(server: Server) -> None:
    command = [each.replace("9003", str(server.health_port)) for each in server.health_test[1:]]
    assert subprocess.run(command, timeout=10, check=False).returncode == 0
    closed = [each.replace("9003", str(free_port())) for each in server.health_test[1:]]
    assert subprocess.run(closed, timeout=10, capture_output=True, check=False).returncode != 0
