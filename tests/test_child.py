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

from tickbay.config import Config, Feeds, HealthPort, Metrics, Timescale
from tickbay.supervisor.child import Child, process_names
from tickbay.supervisor.machine import ThisMachine, spawn_process

PATIENCE_S = 30.0
SECRETS = {"DB_PASSWORD": "canary", "NOTIFY_SOCKET": "/run/canary", "WATCHDOG_USEC": "1"}


@pytest.mark.parametrize(("name", "trusted"), [("feed-1", False), ("journal", False), ("writer-timescale", True)])
def test_only_a_writer_gets_the_password_and_nobody_the_supervisors_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, trusted: bool
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
    assert ("DB_PASSWORD" in variables) == trusted
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & variables and "TOLD" in variables
    arguments = (tmp_path / "told.arguments").read_text()
    assert arguments == f"-P -m tickbay process {name} --config {tmp_path}/t.toml\n"
    assert (tmp_path / "told.in").read_text() == "/dev/null\n"


def test_the_processes_are_those_of_the_configuration() -> None:
    config = Config(feeds=Feeds(count=2), timescale=Timescale(enabled=False))
    assert process_names(config) == ["journal", "universe", "feed-1", "feed-2", "metrics"]
    quiet = replace(config, metrics=Metrics(enabled=False), health=HealthPort(enabled=False))
    assert process_names(quiet) == ["journal", "universe", "feed-1", "feed-2"]
    assert "writer-timescale" in process_names(Config())


def test_a_child_that_never_ran_is_not_adopted(tmp_path: Path) -> None:
    child = Child("feed-1", ThisMachine(tmp_path, spawn_process(None, {})), time.monotonic)
    assert not child.adopt() and not child.running and child.pid == 0
