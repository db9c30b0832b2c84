"""What systemd is told of the supervisor: ready, alive, stopping (sd_notify(3), `Type=notify`, `WatchdogSec=`).

Without NOTIFY_SOCKET in the environment nothing is sent.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    def __init__(self, env: Mapping[str, str]) -> None:
        self._path = env.get("NOTIFY_SOCKET", "")
        meant_for_us = env.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = env.get("WATCHDOG_USEC", "") if meant_for_us else ""
        # Half of the time that systemd allows is what its manual recommends.
        self.watchdog_s = int(microseconds) / 2e6 if microseconds.isdigit() else 0.0  # 0: no watchdog

    def send(self, state: str) -> None:
        """`state` is lines of NAME=value. A manager that does not listen is no reason to stop capturing."""
        if not self._path:
            return
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
                sock.connect(address)
                sock.send(state.encode())
        except OSError:
            return  # systemd itself reports a service that it hears nothing from
