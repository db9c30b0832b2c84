"""What several test files need."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Here, not imported where they are wanted: a module that imports a fixture has one of its own, and with it a server of
# its own to the end of the session.
pytest_plugins = ("servers.postgres", "servers.questdb", "servers.timescale")
SERVERS = {"postgres_server", "questdb_server", "timescale_server"}

# A test's QuestDB lives for a minute: most of its CPU was Java's, which compiled it for a long life.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

# Half a minute and more each, the longest first. They begin, so that no worker is alone with one of them at the end.
LONGEST = (
    "test_simulation", "test_container", "test_backup", "test_end_to_end", "test_healing", "test_systemd",
    "test_certificate_end_to_end", "test_pairs", "test_faults", "test_two_sinks_end_to_end", "test_bench",
    "test_questdb", "test_demo", "test_supervisor", "test_universe_alive", "test_two_sinks", "test_scripted_day",
    "test_questdb_server", "test_every_channel", "test_package", "test_prometheus", "test_stuck_journal",
    "test_upstream_faults", "test_decode",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts a database is slow: its start alone takes longer than a hundred of the other tests."""
    rank = {stem: place for place, stem in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))
    with_server = {item.path for item in items if isinstance(item, pytest.Function) and SERVERS & {*item.fixturenames}}
    for item in items:
        module = item.getparent(pytest.Module)
        imports = module is not None and any(_of_a_server(value) for value in vars(module.obj).values())
        if imports or item.path in with_server:
            item.add_marker(pytest.mark.slow)


def _of_a_server(value: object) -> bool:
    return str(getattr(value, "__module__", "")).startswith("servers.")


@pytest.fixture
def shm_dir() -> Iterator[Path]:
    """A private folder on a tmpfs (where rings live), or the ordinary temporary folder on a machine without one."""
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="tickbay-test-", dir=shm if shm.is_dir() else None))
    yield folder
    shutil.rmtree(folder)
