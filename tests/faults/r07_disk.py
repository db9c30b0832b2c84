"""R7: every call of the journal to the disk fails once, with EIO and with ENOSPC (real code, files that fail); and the
whole engine on a real file system that is full while the database is away."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

from disk_errors import fail_each_call
from faults.figure import Outcome
from faults.rig import folders
from simulator import ENGINE

ASKED = "EIO and ENOSPC at every call once, a full disk under the engine: 0 SIGBUS, loss = counted gap, resumes in 5 s"
SIZE, SIZE_DEEP = 3, 100  # how often the disk is filled
RESUME_S = 5.0


def run(size: int, seed: int) -> Outcome:
    with folders() as (_, memory):
        calls = sum(fail_each_call(memory, error) for error in (errno.EIO, errno.ENOSPC))
    program = Path(__file__).with_name("full_disk.py")
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, str(program), str(size), str(seed)],
        env=os.environ | {"PYTHONPATH": str(ENGINE)},
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, f"{program.name} ended with {done.returncode}"
    told = json.loads(done.stdout.splitlines()[-1])
    return Outcome(
        f"{calls} calls failed in turn: 0 lost; disk full {size} times: {told['lost']} lost, {told['twice']} twice of "
        f"{told['rows']:,} rows, {told['known']:,} in known gaps of which overflows counted {told['counted']:,}, "
        f"{told['restarts']} restarts, resumed in {told['resumed_s']:.1f} s at most",
        good=told["good"] and told["known"] == told["counted"] > 0 and told["resumed_s"] <= RESUME_S,
    )
