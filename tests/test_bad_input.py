"""What an operator got wrong is answered with one line that says what and what to do, and exit status 2."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from whole_engine import tickbay

NOWHERE = 9  # the port "discard": nothing listens there


def configured(folder: Path, more: str = "") -> Path:
    """An engine that finds neither venue nor database, and what is wrong with its tickbay.toml. Its folders exist."""
    for name in ("data", "run"):
        (folder / name).mkdir(mode=0o700)
    venue = f'[venue]\nws_url = "ws://127.0.0.1:{NOWHERE}"\nrest_url = "http://127.0.0.1:{NOWHERE}"\n'
    file = folder / "tickbay.toml"
    file.write_text(f'data_dir = "data"\nrun_dir = "run"\n{venue}[timescale]\nport = {NOWHERE}\n{more}')
    return file


def on_tmpfs(folder: Path, options: str) -> list[str]:
    """What a command is run by to see a tmpfs of its own at `folder`."""
    mounted = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o {options} tmpfs {folder} && exec "$@"', "sh"]
    if not shutil.which("unshare") or subprocess.run([*mounted, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine gives nobody a mount namespace of his own")
    return mounted


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("cuont = 2", "unknown key feeds.cuont: did you mean count?"),
        ('count = "two"', "feeds.count = 'two': expected a whole number"),
    ],
)
def test_a_wrong_key_or_type_stops_the_start_with_one_line(tmp_path: Path, line: str, answer: str) -> None:
    file = configured(tmp_path, f"[feeds]\n{line}\n")
    assert tickbay("up", "--config", str(file)) == (2, "", f"tickbay up: {file}: {answer}\n")
    assert list((tmp_path / "data").iterdir()) == list((tmp_path / "run").iterdir()) == []


def test_a_run_dir_that_cannot_be_written_stops_the_start_with_one_line(tmp_path: Path) -> None:
    file = configured(tmp_path)
    status, _, said = tickbay("up", "--config", str(file), before=on_tmpfs(tmp_path / "run", "ro"))
    assert status == 2 and len(said.splitlines()) == 1
    assert f"run_dir {tmp_path / 'run'}" in said and "Read-only file system" in said and "another run_dir" in said


@pytest.mark.slow
def test_too_little_space_for_rings_stops_the_start_and_says_how_much_is_needed(tmp_path: Path) -> None:
    file = configured(tmp_path)
    status, _, said = tickbay("up", "--config", str(file), before=on_tmpfs(tmp_path / "run", "size=4m"))
    last = said.splitlines()[-1]
    assert status == 2 and "no space for rings" in last
    assert str(tmp_path / "run" / "rings") in last and "bytes needed" in last and "enlarge" in last


@pytest.mark.parametrize("option", ["--port", "--rest-port"])
def test_a_taken_port_stops_the_simulator_with_one_line(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        free = "--rest-port" if option == "--port" else "--port"
        answer = tickbay("sim", "--instruments", "ETH=10", option, port, free, "0")
    assert answer == (2, "", f"tickbay sim: {option} {port}: Address already in use; give another one\n")
