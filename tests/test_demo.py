"""`tickbay demo`: what it started ends with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from patience import wait_for
from simulator import ENGINE
from tickbay.config import load
from tickbay.demo import own_folder
from tickbay.embedded_questdb import EmbeddedQuestdb
from tickbay.errors import ConfigError
from tickbay.health import read_report

STOP_S = 60.0
FEEDS = 4
UNREAD_S = 2.0  # more than the audit takes for granted


def pid_of(process: str, file: Path) -> int:
    report = read_report(load(file, os.environ).run_dir, process)
    assert report is not None
    return report.identity.pid


def test_a_second_demo_leaves_the_folder_of_the_first_alone_and_no_demo_empties_what_none_has_made(
    tmp_path: Path,
) -> None:
    with own_folder(tmp_path, "sim") as folder:
        (folder / "ledger").mkdir()
        with pytest.raises(ConfigError, match=f"another demo runs in {folder}"), own_folder(tmp_path, "sim"):
            pass
        assert (folder / "ledger").exists()
    with own_folder(tmp_path, "sim") as folder:
        assert not (folder / "ledger").exists(), "the ledger tells of one run"
    with own_folder(tmp_path, "deribit") as folder:
        (folder / "engine").mkdir()
    with own_folder(tmp_path, "deribit") as folder:
        assert (folder / "engine").exists(), "a live record is never removed"
    photos = tmp_path / "volume" / "sim"
    photos.mkdir(parents=True)
    (photos / "photo").touch()
    with pytest.raises(ConfigError, match="was made by no demo: move it away"), own_folder(photos.parent, "sim"):
        pass
    assert (photos / "photo").exists()


@pytest.mark.slow
def test_when_its_terminal_is_closed_all_that_it_started_stops_in_order(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tickbay", "demo", "--dir", str(tmp_path)]
    said, log = tmp_path / "said", tmp_path / "sim" / "engine.log"
    with said.open("wb") as output:
        demo = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONPATH": str(ENGINE)},
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # were these tests run under nohup
        )
    with demo:
        try:
            wait_for(lambda: log.exists() and log.read_text().count('"session_live"') >= FEEDS, "live feeds")
            feed = pid_of("feed-1", tmp_path / "sim" / "tickbay.toml")
            os.kill(feed, signal.SIGSTOP)  # a busy machine: at the end much of what was sent is not read yet
            time.sleep(UNREAD_S)
            demo.send_signal(signal.SIGHUP)  # what the kernel sends then
            wait_for(lambda: "stopping: " in said.read_text(), "the demo to stop")
            time.sleep(UNREAD_S / 2)
            os.kill(feed, signal.SIGCONT)
            demo.wait(STOP_S)
        finally:
            demo.terminate()  # not kill: it stops its servers
    assert "captured in" in said.read_text() and said.read_text().endswith("0 different: OK\n"), said.read_text()
    assert "in doubt" not in said.read_text(), "the feeds had read all that was sent"
    assert '"supervisor","event":"process_stopped"' in log.read_text()
    assert not (tmp_path / "sim" / "postgres" / "db" / "postmaster.pid").exists()


@pytest.mark.slow
def test_when_it_is_killed_its_engine_ends_in_order_and_the_next_one_begins_from_nothing(tmp_path: Path) -> None:
    """The engine and the simulator went on, for ever."""
    log, config = tmp_path / "sim" / "engine.log", tmp_path / "sim" / "tickbay.toml"
    with (tmp_path / "said").open("wb") as output:
        demo = subprocess.Popen(
            [sys.executable, "-m", "tickbay", "demo", "--dir", str(tmp_path)],
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONPATH": str(ENGINE)},
        )
    try:
        wait_for(lambda: log.exists() and log.read_text().count('"session_live"') >= FEEDS, "live feeds")
        settings, said = load(config, os.environ), log.open()
    finally:
        demo.kill()
        demo.wait()
    with said, own_folder(tmp_path, "sim"):
        assert not settings.run_dir.exists() and not log.exists()
        assert '"supervisor","event":"process_stopped"' in said.read()
    with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.1", urlsplit(settings.venue.ws_url).port)):
        pass


@pytest.mark.slow
def test_with_both_databases_it_captures_into_both_and_audits_both_and_the_journal(tmp_path: Path) -> None:
    try:
        EmbeddedQuestdb(tmp_path / "tried")
    except ConfigError as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [sys.executable, "-m", "tickbay", "demo", "--dir", tmp_path, "--sinks", "timescale,questdb", "--seconds", "5"],
        env=os.environ | {"PYTHONPATH": str(ENGINE)},
        capture_output=True,
        text=True,
        timeout=STOP_S * 2,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    of_postgres, of_questdb = done.stdout.partition("captured in ")[2].split("in QuestDB:")
    assert "option_quotes" in of_postgres and "option_quotes" in of_questdb
    verdicts = [line for line in done.stdout.splitlines() if "0 lost, 0 twice, 0 different" in line]
    assert len(verdicts) == 3 and all(line.endswith(": OK") for line in verdicts), done.stdout
