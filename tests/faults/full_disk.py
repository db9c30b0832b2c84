"""`python full_disk.py ROUNDS SEED`, in a mount namespace of its own (`unshare -rm`): the whole engine with its data on
a small tmpfs, filled to the last byte again and again while the database is away. Prints what r07_disk.py reports.

With the database there a full disk costs nothing: the journal goes on in the segments that the sink has taken.
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from patience import seconds_until, wait_for

sys.path.insert(0, str(Path(__file__).parent.parent))

from faults.overflow import counted_overflow, lost_records
from faults.rig import HASTY, Rig, rigged

RATE = 2000.0  # frames/s
SLOTS = 1024  # per ring: about a second of it
SETTINGS = f"{HASTY}[ring]\nquote = {SLOTS}\nbook = {SLOTS}\n"
DISK_MB = 24
LOSING_S = 2.0  # how long records are lost in a round
PIECE = 64 << 10


def main(rounds: int, seed: int) -> None:
    with rigged(rate=RATE, seed=seed, supervisor=SETTINGS) as rig:
        _mount_data(rig)
        restarts = rig.restarts()
        resumed_s = [_fill_once(rig) for _ in range(rounds)]
        restarts = rig.restarts() - restarts
        verdict = rig.finish()
        counted = counted_overflow(rig)
    told = {
        "good": verdict.good and restarts == 0,
        "rows": verdict.stored,
        "lost": verdict.lost + verdict.holes,
        "twice": verdict.twice,
        "known": verdict.known,
        "counted": counted,
        "restarts": restarts,
        "resumed_s": max(resumed_s),
    }
    print(json.dumps(told))


def _mount_data(rig: Rig) -> None:
    """The engine's data onto a small file system, in small segments."""
    rig.stop()
    data, aside = rig.folder / "data", rig.folder / "data-before"
    data.rename(aside)
    data.mkdir(mode=0o700)
    for segment in (aside / "journal").glob("*.seg"):
        segment.write_bytes(segment.read_bytes().rstrip(b"\0"))  # it has room for minutes
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "tickbay", str(data)], check=True)
    shutil.copytree(aside, data, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.spare*"))
    text = rig.file.read_text()
    rig.file.write_text(text.replace("[journal]\n", "[journal]\nsegment_mb = 1\nretain_hours = 0\n"))
    rig.up()
    rig.wait_flowing()


def _fill_once(rig: Rig) -> float:
    """Fill the disk until records are lost and a while on; seconds from the space's return to the next commit of the
    journal."""
    ballast = rig.folder / "data" / "ballast"
    before = lost_records(rig)
    rig.server.stop("fast")

    def losing() -> bool:
        _fill(ballast)  # what the journal let go of, too
        return all(now > then for now, then in zip(lost_records(rig), before, strict=True))

    wait_for(losing, "every feed to lose records")
    time.sleep(LOSING_S)
    ballast.unlink()
    took_s = seconds_until(lambda: _journal_lives(rig), "the journal to go on")
    rig.server.start()
    rig.wait_flowing()
    return took_s


def _journal_lives(rig: Rig) -> bool:
    report = rig.report("journal")
    return report is not None and report.state == "live" and report.gauges["lag_records"] < SLOTS


def _fill(path: Path) -> None:
    """Whatever the file system still has."""
    with path.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PIECE))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
