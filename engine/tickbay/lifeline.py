"""A child that does not outlive its parent, however that ends: also by `kill -9`, when nobody is left to stop it.

For what is started for a while and by hand (`tickbay demo`). Never for the engine's own processes: SUP-1.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_libc = ctypes.CDLL(None)


def tied(number: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """For Popen's preexec_fn: the child gets that signal when the thread that started it ends."""
    parent = os.getpid()

    def tie() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it has ended before it was asked for
            os.kill(os.getpid(), number)

    return tie
