"""What several test files need."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Of a minute and more each. They begin, so that no worker is alone with one of them at the end.
LONGEST = (
    "test_simulation", "test_container", "test_pairs", "test_systemd", "test_healing", "test_browser", "test_faults",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts a database is slow: its start alone takes longer than a hundred of the other tests."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)
    for item in items:
        module = item.getparent(pytest.Module)
        if module is not None and any(_of_a_server(value) for value in vars(module.obj).values()):
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
