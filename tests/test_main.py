"""The command line: one help per command, errors in one line, and nothing imported that is not used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tickbay import __version__
from tickbay.__main__ import COMMANDS


def tickbay(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tickbay", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)


def test_help_lists_every_command_but_the_internal_one() -> None:
    done = tickbay("--help")
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ") and line[4] != " "]
    assert {name for name in COMMANDS if name != "process"} | {"version"} == set(listed) - {"COMMAND"}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command: str) -> None:
    done = tickbay(command, "--help")
    assert done.returncode == 0 and f"usage: tickbay {command}" in done.stdout and done.stderr == ""


def test_the_version_is_the_packages() -> None:
    assert tickbay("version").stdout == tickbay("--version").stdout == f"tickbay {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("ups",), "invalid choice: 'ups'"),
        (("up", "--confg", "x"), "unrecognized arguments: --confg"),
    ],
)
def test_a_wrong_command_line_is_status_2(arguments: tuple[str, ...], expected: str) -> None:
    done = tickbay(*arguments)
    assert done.returncode == 2 and expected in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("up",), ("status",), ("restart", "feed-1"), ("process", "feed-1")])
def test_a_wrong_setting_is_one_line_and_status_2(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "t.toml").write_text("[venue]\nsilent = 3\n")
    done = tickbay(*command, "--config", str(tmp_path / "t.toml"))
    assert done.returncode == 2
    assert done.stderr == f"tickbay {command[0]}: {tmp_path}/t.toml: unknown key venue.silent: did you mean silent_s?\n"


def test_a_directory_that_cannot_be_used_is_one_line_and_status_2(tmp_path: Path, shm_dir: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "t.toml").write_text(f'data_dir = "{tmp_path}/file/data"\nrun_dir = "{shm_dir}"\n')
    done = tickbay("up", "--config", str(tmp_path / "t.toml"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "data_dir" in done.stderr and "set another data_dir" in done.stderr


def test_the_configuration_of_this_directory_is_found(tmp_path: Path) -> None:
    (tmp_path / "tickbay.toml").write_text("zzz = 1\n")
    done = tickbay("status", cwd=tmp_path)
    assert done.returncode == 2 and "tickbay.toml: unknown key zzz" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("feed-9",), "no process is called 'feed-9': did you mean feed-"),
        ((), "name the processes to restart, or give --all; there are journal, writer-timescale, universe, feed-1"),
        (("feed-1",), "start one with tickbay up"),
    ],
)
def test_a_restart_that_cannot_be_is_one_line(
    tmp_path: Path, shm_dir: Path, arguments: tuple[str, ...], expected: str
) -> None:
    (tmp_path / "t.toml").write_text(f'run_dir = "{shm_dir}"\n')
    done = tickbay("restart", *arguments, "--config", str(tmp_path / "t.toml"))
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1 and expected in done.stderr


def test_who_reads_only_the_beginning_causes_no_complaint(tmp_path: Path) -> None:
    command = f"{sys.executable} -m tickbay status --config {tmp_path}/t.toml | head -c 1"
    (tmp_path / "t.toml").write_text(f'run_dir = "{tmp_path}"\n')
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "t" and done.stderr == ""


def test_a_quick_command_does_not_load_what_it_does_not_use() -> None:
    program = (
        "import sys; from tickbay.__main__ import main\n"
        "try: main(['status', '--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('aiohttp', 'psycopg', 'uvloop') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
