"""What is shipped is known, and no secret lies in the repository: the tools of requirements/audit.lock (`make sbom`,
`make secret-scan`) do what they are for."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "build" / "audit" / "bin"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (TOOLS.parent / ".ready").exists(), reason="build/audit is not there: `make sbom` makes it"),
]


def make(target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", target], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_sbom_has_every_locked_package_with_its_version_and_hashes() -> None:
    done = make("sbom")
    assert done.returncode == 0, done.stderr
    bom = json.loads((ROOT / "build" / "sbom.cdx.json").read_text())
    assert (bom["bomFormat"], bom["metadata"]["component"]["name"]) == ("CycloneDX", "tickbay")
    locked = set(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", (ROOT / "requirements" / "run.lock").read_text(), re.M))
    listed = {(each["name"].lower(), each["version"]) for each in bom["components"]}
    assert listed == locked and len(locked) > 10
    assert all(each["externalReferences"][0]["hashes"] for each in bom["components"])


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout: what is in the repository cannot be told")
def test_no_file_of_the_repository_has_a_secret() -> None:
    done = make("secret-scan")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scan_sees_every_kind_of_secret(tmp_path: Path) -> None:
    """A rule that sees nothing holds always. They are put together here, or this file would be found."""
    secrets = [
        "-----BEGIN " + "RSA PRIVATE KEY-----",
        "key = AKIA" + "IOSFODNN7EXAMPLQ",
        "token: ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx",
        "https://me:" + "hunter2hunter2@example.org/",
        "telegram 110201543:" + "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsawx",
    ]
    file = tmp_path / "settings.txt"
    file.write_text("\n".join(secrets))
    disabled = re.findall(r"\w+(?:String|Detector)\b", (ROOT / "Makefile").read_text())
    assert len(disabled) == 3, "as `make secret-scan` does it"
    arguments = [argument for plugin in disabled for argument in ("--disable-plugin", plugin)]
    command = [TOOLS / "detect-secrets-hook", "--no-verify", *arguments, file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.findall(r"settings\.txt:(\d+)", done.stdout) == ["1", "2", "3", "4", "5"], done.stdout
