"""HTTP to a QuestDB server: lines in, statements and their rows, and what its answers mean for who must act.

One connection, kept alive; the server closes one that was idle for some seconds, so what fails on a connection that was
used before is tried once more on a new one. That may send lines twice, which changes nothing (SINK-2). Passwords and
tokens never leave here in a message. Used by questdb.py and what belongs to it; not thread-safe.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

from tickbay.config import Questdb
from tickbay.errors import SinkDown, SinkParked, SinkRefused
from tickbay.sinks.connection import is_local, one_line

TIMEOUT_S = 30.0
Lines: TypeAlias = bytes | memoryview | Iterable[bytes | memoryview]
_CHUNKED = {"Transfer-Encoding": "chunked"}
_NOTHING: Mapping[str, str] = {}
_BOUNDARY = b"tickbay-1f0c6ad2b7e94d53"  # in no text that is sent: one line of 24 such characters after two dashes
_FORM = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY.decode()}"}
_PATIENT = {"Statement-Timeout": "3600000"}  # ms; a day of rows takes longer than the usual minute
EXPORT_BYTES = 1 << 20
TIME_PATTERN = "yyyy-MM-ddTHH:mm:ss.SSSUUUNNNZ"
ANSWER_BYTES_MAX = 64 << 20
# An answer of 500 that is about a row all the same: what a symbol may not hold.
_ROW_AT_FAULT = re.compile(r"invalid UTF-?8", re.IGNORECASE)
# Of what a statement is refused for, what goes by itself.
_BUSY = re.compile(r"timeout|timed out|busy|lock|cancelled|too many|not ready|starting", re.IGNORECASE)


class QuestdbServer:
    """The server that `settings` name. Connects when it is first used."""

    def __init__(self, settings: Questdb) -> None:
        self._settings = settings
        self._headers = _authorization(settings)
        self._connection: http.client.HTTPConnection | None = None

    def send(self, lines: Lines) -> None:
        """Write lines of one table, all or none of them. Pieces are of the chunked coding already, and may be asked for
        twice. SinkDown (it may have happened), SinkRefused (with the line,
        if the server names it), SinkParked."""
        status, answer = self._ask("POST", "/write?precision=n", lines)
        if status == 204:
            return
        told = _json(answer)
        message = one_line(str(told.get("message", f"HTTP {status}")).removeprefix("failed to parse line protocol:"))
        if status == 400 or (status == 500 and _ROW_AT_FAULT.search(message)):
            line = told.get("line")
            raise SinkRefused(message, line=line if isinstance(line, int) else None)
        raise SinkDown(f"HTTP {status}: {message}")

    def query(self, sql: str) -> list[list[Any]]:
        """The rows of a statement, none for one that has none. SinkDown; SinkRefused with what the server says of it;
        SinkParked."""
        status, answer = self._ask("GET", f"/exec?query={quote(sql)}")
        told = _json(answer)
        if status == 200 and "error" not in told:
            rows = told.get("dataset", [])
            assert isinstance(rows, list)
            return rows
        message = one_line(str(told.get("error", f"HTTP {status}")))
        if status >= 500 or _BUSY.search(message):
            raise SinkDown(message)
        raise SinkRefused(message)

    def export(self, sql: str) -> Iterator[bytes]:
        """The rows of a SELECT as CSV, in pieces, however long it takes. Errors as of query()."""
        self.close()  # what is begun here may not be tried again in the middle
        connection = self._connect()
        try:
            connection.request("GET", f"/exp?query={quote(sql)}", headers=self._headers | _PATIENT)
            with connection.getresponse() as answer:
                if answer.status != 200:
                    self._raise_for(answer.status)
                    raise SinkDown(one_line(str(_json(answer.read(ANSWER_BYTES_MAX)).get("error", answer.status))))
                while piece := answer.read(EXPORT_BYTES):
                    yield piece
        except (OSError, http.client.HTTPException) as error:
            raise SinkDown(f"{self._settings.host}:{self._settings.port}: {_reason(error)}") from None
        finally:
            connection.close()

    def load(self, table: str, csv: bytes, *, times: Sequence[str]) -> None:
        """Add rows of CSV, with a line of names, to a table; `times` are its columns of times, the designated one
        first. All or none. SinkDown, SinkRefused, SinkParked."""
        columns = [{"name": name, "type": "TIMESTAMP_NS", "pattern": TIME_PATTERN} for name in times]
        form = b"".join(
            b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
            % (_BOUNDARY, name, name, data)
            for name, data in ((b"schema", json.dumps(columns).encode()), (b"data", csv))
        )
        path = f"/imp?name={table}&timestamp={times[0]}&fmt=json&forceHeader=true&atomicity=abort"
        status, answer = self._ask("POST", path, form + b"--%s--\r\n" % _BOUNDARY, _FORM)
        told = _json(answer)
        bad = sum(int(column.get("errors", 0)) for column in told.get("columns", []))
        if status != 200 or told.get("status") != "OK" or told.get("rowsRejected") or bad:
            raise SinkRefused(one_line(str(told.get("status", f"HTTP {status}"))), table=table)

    def _ask(
        self, method: str, path: str, body: Lines | None = None, headers: Mapping[str, str] = _NOTHING
    ) -> tuple[int, bytes]:
        used = self._connection is not None
        try:
            try:
                status, answer = self._exchange(method, path, body, headers)
            except (ConnectionError, http.client.RemoteDisconnected):
                if not used:
                    raise
                self.close()
                status, answer = self._exchange(method, path, body, headers)
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise SinkParked(f"{error.verify_message}: install its certificate authority as questdb.ca_file") from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise SinkDown(f"{self._settings.host}:{self._settings.port}: {_reason(error)}") from None
        self._raise_for(status)
        return status, answer

    def _raise_for(self, status: int) -> None:
        if status in (401, 403):
            raise SinkParked(f"HTTP {status}: check questdb.user and the password, or the token")
        if status in (404, 405):
            where = f"{self._settings.host}:{self._settings.port}"
            raise SinkParked(f"{where} is no QuestDB (HTTP {status}): check questdb.port")

    def _exchange(self, method: str, path: str, body: Lines | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        pieces = body is not None and not isinstance(body, (bytes, memoryview))
        try:
            all_headers = self._headers | (_CHUNKED if pieces else {}) | dict(headers)
            self._connection.request(method, path, body=body, headers=all_headers)
        except (BrokenPipeError, ConnectionResetError):
            # It has ended the connection before it had all of the body: its answer may lie there, and says why.
            answer = self._early_answer()
        else:
            answer = self._connection.getresponse()
        with answer:  # it holds the socket, also where it is not read to its end
            data = answer.read(ANSWER_BYTES_MAX + 1)
            if len(data) > ANSWER_BYTES_MAX:
                raise http.client.HTTPException(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
            if answer.length:  # read() of so many bytes does not say that there were fewer
                raise http.client.IncompleteRead(data, answer.length)
        if answer.will_close:
            self.close()
        return answer.status, data

    def _early_answer(self) -> http.client.HTTPResponse:
        assert self._connection is not None
        try:
            return self._connection.getresponse()
        except (http.client.HTTPException, ValueError) as error:
            raise ConnectionResetError(str(error)) from None

    def _connect(self) -> http.client.HTTPConnection:
        settings = self._settings
        if not uses_tls(settings):
            return http.client.HTTPConnection(settings.host, settings.port, timeout=TIMEOUT_S)
        try:
            context = ssl.create_default_context()
            if settings.ca_file is not None:
                context.load_verify_locations(settings.ca_file)
        except OSError as error:
            raise SinkParked(f"questdb.ca_file {settings.ca_file}: {_reason(error)}") from None
        return http.client.HTTPSConnection(settings.host, settings.port, timeout=TIMEOUT_S, context=context)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def uses_tls(settings: Questdb) -> bool:
    """Always for another machine, unless the operator says that the way there is safe."""
    return settings.tls == "on" or (settings.tls == "" and not is_local(settings.host))


def _authorization(settings: Questdb) -> dict[str, str]:
    if settings.token:
        return {"Authorization": f"Bearer {settings.token}"}
    if settings.user:
        return {"Authorization": f"Basic {b64encode(f'{settings.user}:{settings.password}'.encode()).decode()}"}
    return {}


def _json(answer: bytes) -> dict[str, Any]:
    """The object in an answer; an empty one where there is none, as in an error of a proxy."""
    try:
        told = json.loads(answer)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return one_line(text or type(error).__name__)
