"""deploy/docker as Compose understands it, without anybody's .env. Unavailable where there is no Compose."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from servers.docker import compose_program

FOLDER = Path(__file__).parents[1] / "deploy" / "docker"
GROUP = "4321"  # SECRETS_GID


def configured(**env: str) -> subprocess.CompletedProcess[str]:
    """`docker compose config` of the folder as it is in the repository."""
    command = [compose_program(), "--env-file", "/dev/null", "config", "--format", "json"]
    bare = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    return subprocess.run(command, cwd=FOLDER, env=bare | env, capture_output=True, text=True, check=False)


def composed(**env: str) -> dict[str, Any]:
    """All of it, of every profile; `env` is what .env would have."""
    done = configured(**{"SECRETS_GID": GROUP, "COMPOSE_PROFILES": "*"} | env)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found
