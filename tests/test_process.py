"""What every process shares: one of each name, private directories, and how it ends. With real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from patience import PATIENCE_S
from tickbay.config import SECRETS, Config
from tickbay.errors import ConfigError
from tickbay.health import read_report
from tickbay.identity import Identity, is_running, pid_file
from tickbay.process import NAME, Stopping, filesystem, make_directories

# A process whose work is the code in argv[3]; the names of process.py and `context` are there.
PROGRAM = """
import os, sys, time
from pathlib import Path
from tickbay.config import load
from tickbay.errors import ConfigError
from tickbay.process import guarded, running
with running(sys.argv[1], load(Path(sys.argv[2]), os.environ)) as context:
    def work():
        exec(sys.argv[3])
    sys.exit(guarded(context, work))
"""
WAIT = "context.health.beat()\nwhile not context.stopping.wait(0.1): context.health.beat()"


class Here:
    def __init__(self, run_dir: Path, tmp_path: Path) -> None:
        self.run_dir, self.data_dir = run_dir / "run", tmp_path / "data"
        self.file = tmp_path / "t.toml"
        self.file.write_text(f'run_dir = "{self.run_dir}"\ndata_dir = "{self.data_dir}"\n')

    def start(self, work: str, *, name: str = "feed-1") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, name, str(self.file), work]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def started(self, work: str, *, name: str = "feed-1") -> subprocess.Popen[str]:
        process = self.start(work, name=name)
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends and process.poll() is None:
            report = read_report(self.run_dir, name)
            if report is not None and report.identity.pid == process.pid:
                return process
            time.sleep(0.02)
        raise AssertionError(f"it did not start: {process.communicate()}")


@pytest.fixture
def here(shm_dir: Path, tmp_path: Path) -> Here:
    return Here(shm_dir, tmp_path)


def events(stderr: str) -> list[str]:
    return [orjson.loads(line)["event"] for line in stderr.splitlines()]


def test_a_process_has_its_title_its_pid_file_and_private_files(here: Here) -> None:
    process = here.started(WAIT)
    assert Path(f"/proc/{process.pid}/cmdline").read_text().rstrip("\0").startswith("tickbay: feed-1")
    written = pid_file(here.run_dir, "feed-1")
    assert written is not None and written.identity == Identity.of(process.pid) and written.identity.alive()
    for top in (here.run_dir, here.data_dir):
        for path in (top, *top.rglob("*")):
            assert path.stat().st_mode & 0o077 == 0, path
    process.terminate()
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert events(stderr) == ["process_started", "process_stopping", "process_stopped"]
    assert not written.identity.alive()
    report = read_report(here.run_dir, "feed-1")
    assert report is not None and report.state == "stopped"


def test_a_second_process_of_the_same_name_is_refused(here: Here) -> None:
    first = here.started(WAIT)
    second = here.start(WAIT)
    _, stderr = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 1  # running() raised: __main__ makes one line and status 2 of it
    assert f"feed-1 is already running, pid {first.pid} (run_dir" in stderr
    other = here.started(WAIT, name="feed-2")
    assert is_running(here.run_dir, "feed-2") and not is_running(here.run_dir, "feed-3")
    for process in (first, other):
        process.kill()
        process.communicate()
    assert not is_running(here.run_dir, "feed-2")
    again = here.started(WAIT)  # a killed process leaves no lock behind
    again.terminate()
    again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0


def test_a_crash_is_one_line_and_status_1(here: Here) -> None:
    process = here.start("raise ValueError('boom')")
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert events(stderr) == ["process_started", "process_failed"]
    line = orjson.loads(stderr.splitlines()[-1])
    assert line["error"] == "ValueError: boom" and line["where"]
    report = read_report(here.run_dir, "feed-1")
    assert report is not None and (report.state, "boom" in report.last_error) == ("failed", True)


def test_no_secret_of_the_configuration_is_in_a_line_of_the_log(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """What broke: a list of its own that had not every secret."""
    secrets = {name: f"canary-of-{name}" for name in SECRETS if name != "QUESTDB_PASSWORD"}  # a token is instead of it
    for name, secret in secrets.items():
        monkeypatch.setenv(name, secret)
    process = here.start(f"raise ValueError({' '.join(secrets.values())!r})")
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert "ValueError: " + " ".join(["***"] * len(secrets)) in stderr and "canary" not in stderr


def test_what_the_operator_must_change_is_one_line_and_status_2(here: Here) -> None:
    process = here.start("raise ConfigError('data_dir is full: free some space')")
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert events(stderr) == ["process_started", "process_refused"]


def test_a_second_signal_ends_a_process_that_does_not_stop(here: Here) -> None:
    process = here.started("context.health.beat()\nwhile True: time.sleep(0.05)")
    process.send_signal(signal.SIGTERM)
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:  # until it has seen the first
        status = Path(f"/proc/{process.pid}/status").read_text()
        pending = next(line for line in status.splitlines() if line.startswith("ShdPnd"))
        if int(pending.split()[1], 16) == 0:
            break
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.SIGINT


def test_a_terminal_that_goes_away_stops_nothing(here: Here) -> None:
    process = here.started(WAIT)
    process.send_signal(signal.SIGHUP)
    assert process.stderr is not None
    process.stderr.close()  # and nobody reads the log any more
    time.sleep(0.3)
    process.terminate()
    assert process.wait(PATIENCE_S) == 0


def test_stopping_calls_back_once_also_who_comes_late() -> None:
    stopping, called = Stopping(), []
    stopping.add_callback(lambda: called.append("early"))
    assert not stopping.wait(0.0) and not stopping.is_set()
    stopping.set()
    stopping.set()
    stopping.add_callback(lambda: called.append("late"))
    assert called == ["early", "late"]
    assert stopping.wait(60.0)


@pytest.mark.parametrize("name", ["universe", "journal", "feed-1", "feed-30", "writer-timescale"])
def test_these_are_names_of_processes(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "feed", "feed-0", "feed-01", "feed-1/..", "writer-", "writer-A", "supervisor"])
def test_these_are_not(name: str) -> None:
    assert not NAME.fullmatch(name)


# Directories


def config_of(run_dir: Path, data_dir: Path) -> Config:
    return Config(run_dir=run_dir, data_dir=data_dir)


def test_a_directory_that_cannot_be_made_is_named_with_what_to_do(tmp_path: Path, shm_dir: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"data_dir .*file/data: cannot be made: Not a directory: .*another data_dir"):
        make_directories(config_of(shm_dir / "run", tmp_path / "file" / "data"))
    with pytest.raises(ConfigError, match=r"run_dir .*file: cannot be made: .*another run_dir"):
        make_directories(config_of(tmp_path / "file", tmp_path / "data"))


def test_a_run_dir_that_others_could_change_is_closed_to_them(tmp_path: Path, shm_dir: Path) -> None:
    (shm_dir / "run").mkdir(mode=0o755)
    make_directories(config_of(shm_dir / "run", tmp_path / "data"))
    assert (shm_dir / "run").stat().st_mode & 0o777 == 0o700


def test_a_run_dir_behind_a_link_is_refused(tmp_path: Path, shm_dir: Path) -> None:
    """In /dev/shm anybody may put a link at our name."""
    (shm_dir / "theirs").mkdir()
    (shm_dir / "run").symlink_to(shm_dir / "theirs")
    with pytest.raises(ConfigError, match="is not a directory"):
        make_directories(config_of(shm_dir / "run", tmp_path / "data"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
def test_a_run_dir_of_somebody_else_is_refused(tmp_path: Path, shm_dir: Path) -> None:
    (shm_dir / "run").mkdir()
    os.chown(shm_dir / "run", 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        make_directories(config_of(shm_dir / "run", tmp_path / "data"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_data_dir_that_cannot_be_written_is_refused(tmp_path: Path, shm_dir: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="data_dir"):
        make_directories(config_of(shm_dir / "run", tmp_path / "data"))


def test_the_file_system_is_that_of_the_last_mount_over_a_place() -> None:
    mounts = (
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        "2 1 0:5 / /dev rw shared:2 - devtmpfs udev rw\n"
        "3 2 0:6 / /dev/shm rw - tmpfs tmpfs rw\n"
        "4 1 0:7 / /my\\040disk rw - xfs /dev/sdb rw\n"
    )
    assert filesystem(Path("/dev/shm/x"), mounts) == "tmpfs"
    assert filesystem(Path("/dev/shmx"), mounts) == "devtmpfs"
    assert filesystem(Path("/my disk/x"), mounts) == "xfs"
    assert filesystem(Path("/srv"), mounts) == "ext4"


# Identity


def test_a_pid_that_was_given_to_another_process_is_not_us() -> None:
    own = Identity.own()
    assert own.alive()
    reused = Identity(own.pid, own.start_time - 1, own.boot_id)
    assert not reused.alive() and reused.open() is None
    rebooted = Identity(own.pid, own.start_time, "another boot")
    assert not rebooted.alive() and rebooted.open() is None


def test_a_zombie_is_not_alive() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    identity = Identity.of(process.pid)
    assert identity is not None
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.alive() and identity.open() is None and Identity.of(process.pid) is None
    process.wait()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x", "start_time": 1, "boot_id": "b", "fingerprint": ""}'])
def test_a_pid_file_that_is_none_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "pids").mkdir()
    (tmp_path / "pids" / "p.json").write_text(text)
    assert pid_file(tmp_path, "p") is None
