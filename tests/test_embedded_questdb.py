"""What `make run SINKS=questdb` downloads is what we know, or it is not run."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tickbay import embedded_questdb
from tickbay.errors import ConfigError

MAVEN = """#!/bin/sh
for argument; do case "$argument" in -DoutputDirectory=*) folder=${argument#*=};; esac; done
printf 'something else' > "$folder/questdb-VERSION.jar"
"""


def test_a_jar_of_another_content_is_refused_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maven = tmp_path / "mvn"
    maven.write_text(MAVEN.replace("VERSION", embedded_questdb.VERSION))
    maven.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="is not the one known here"):
        embedded_questdb.jar()
    assert list(tmp_path.rglob("*.jar")) == []
