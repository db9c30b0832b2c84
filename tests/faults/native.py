"""Programs of native/, built under a sanitizer and run: a finding ends them with another status than 0."""

from __future__ import annotations

import subprocess
from pathlib import Path

NATIVE = Path(__file__).parent.parent.parent / "native"


def run_native(program: str, *arguments: object, sanitizer: str) -> str:
    """What it printed. AssertionError with the end of its words where it found something, or cannot be built."""
    built = f"build/{sanitizer}/{program}"
    for command in (["make", "--no-print-directory", f"SAN={sanitizer}", built], [f"./{built}", *map(str, arguments)]):
        done = subprocess.run(command, cwd=NATIVE, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
    return done.stdout
