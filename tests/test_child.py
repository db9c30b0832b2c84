"""How a process is started: in a session of its own, with the configuration, and without secrets that it has no use
for.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from patience import PATIENCE_S
from tickbay.config import Config, Feeds, Heal, HealthPort, Metrics, Timescale, Web
from tickbay.rule import Select
from tickbay.supervisor.child import Child, process_names
from tickbay.supervisor.machine import ThisMachine, secrets_of, spawn_process

SECRETS = {
    "DB_PASSWORD": "canary",
    "DERIBIT_API_KEY": "canary",
    "DERIBIT_API_SECRET_FILE": "/canary",
    "TICKBAY_TOP_TOKEN": "canary",
    "NOTIFY_SOCKET": "/run/canary",
    "WATCHDOG_USEC": "1",
}


VENUES = {"DERIBIT_API_KEY", "DERIBIT_API_SECRET_FILE"}


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("feed-1", VENUES),
        ("feed-1a", VENUES),
        ("journal", set()),
        ("universe", set()),
        ("writer-questdb", {"DB_PASSWORD"}),
    ],
)
def test_each_process_gets_only_its_own_secrets_and_nobody_the_supervisors_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, held: set[str]
) -> None:
    """The interpreter is replaced by a program that tells how it was called (setproctitle overwrites what /proc
    says).
    """
    interpreter = tmp_path / "python"
    interpreter.write_text(
        '#!/bin/sh\nenv > "$TOLD.env"\necho "$@" > "$TOLD.arguments"\nreadlink /proc/self/fd/0 > "$TOLD.in"\n'
    )
    interpreter.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    env = {"PATH": os.environ["PATH"], "TOLD": str(tmp_path / "told")} | SECRETS
    process = spawn_process(tmp_path / "t.toml", env)(name)
    assert os.getsid(process.pid) == process.pid, "the end of our terminal is not the end of it"
    assert process.wait(PATIENCE_S) == 0
    variables = {line.partition("=")[0] for line in (tmp_path / "told.env").read_text().splitlines()}
    assert variables & {*VENUES, "DB_PASSWORD", "TICKBAY_TOP_TOKEN"} == held
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & variables and "TOLD" in variables
    arguments = (tmp_path / "told.arguments").read_text()
    assert arguments == f"-P -m tickbay process {name} --config {tmp_path}/t.toml\n"
    assert (tmp_path / "told.in").read_text() == "/dev/null\n"


def test_a_process_is_told_of_its_own_credentials_and_not_of_their_directory(tmp_path: Path) -> None:
    """systemd's LoadCredential: one directory has the secrets of all."""
    for name in ("db_password", "deribit_api_key", "deribit_api_secret"):
        (tmp_path / name).write_text("canary")
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert secrets_of("writer-timescale", env) == {"DB_PASSWORD_FILE": str(tmp_path / "db_password")}
    assert secrets_of("feed-2", env) == {
        "DERIBIT_API_KEY_FILE": str(tmp_path / "deribit_api_key"),
        "DERIBIT_API_SECRET_FILE": str(tmp_path / "deribit_api_secret"),
    }
    assert secrets_of("universe", env) == secrets_of("journal", env) == {}


def test_the_processes_are_those_of_the_configuration() -> None:
    config = Config(feeds=Feeds(count=2), timescale=Timescale(enabled=False))
    names = process_names(config)
    assert names[:4] == ["journal", "universe", "feed-1", "feed-2"]
    assert names[-1] == "metrics" and "healer" in names
    assert "healer" not in process_names(replace(config, heal=Heal(enabled=False)))
    quiet = replace(config, metrics=Metrics(enabled=False), health=HealthPort(enabled=False), web=Web(enabled=False))
    assert process_names(quiet) == names[:-1]
    assert "writer-timescale" in process_names(Config())
    no_books = replace(config, select=(Select(channels=("ticker", "trades")), Select(channels=("book",))))
    assert "checker" not in process_names(no_books), "there is nothing to compare"


def test_a_child_that_never_ran_is_not_adopted(tmp_path: Path) -> None:
    child = Child("feed-1", ThisMachine(tmp_path, spawn_process(None, {})), time.monotonic)
    assert not child.adopt() and not child.running and child.pid == 0
