"""What several test files need."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def shm_dir() -> Iterator[Path]:
    """A private folder on a tmpfs (where rings live), or the ordinary temporary folder on a machine without one."""
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="tickbay-test-", dir=shm if shm.is_dir() else None))
    yield folder
    shutil.rmtree(folder)
