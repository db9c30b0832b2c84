"""What is shipped: the wheel, its compiled module, and the locked dependencies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tickbay import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def run(*command: str | Path, cwd: Path) -> str:
    outcome = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, without a network and with the build tools of this environment."""
    pytest.importorskip("Cython", reason="the build tools of requirements/dev.lock are not installed")
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    ignored = shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__", "build")
    for name in ("engine", "native", "schema"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The folder of a new virtual environment with the wheel in it; the dependencies are lent by this environment."""
    folder = wheel.parent / "venv"
    venv.create(folder, with_pip=True)
    options = ["--no-index", "--no-deps", "--disable-pip-version-check"]
    run(folder / "bin" / "pip", "install", *options, wheel, cwd=wheel.parent)
    (packages,) = folder.glob("lib/python*/site-packages")
    lent = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "lent.pth").write_text("\n".join(lent))
    return folder


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_schema_step_and_nothing_else(wheel: Path) -> None:
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    engine, schema = ROOT / "engine" / "tickbay", ROOT / "schema"
    shipped = [path for path in engine.rglob("*") if path.is_file() and path.suffix not in (".pyc", ".so")]
    expected = {f"tickbay/{path.relative_to(engine)}" for path in shipped}
    expected |= {f"tickbay/_schema/{path.relative_to(schema)}" for path in schema.rglob("*.sql")}
    (compiled,) = (name for name in files if name.endswith(".so"))
    assert re.fullmatch(r"tickbay/_native\.[^/]*\.so", compiled)
    assert files == expected | {compiled}


@pytest.mark.slow
def test_the_wheel_has_its_licence_and_its_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    (metadata,) = (archive.read(name).decode() for name in names if name.endswith("METADATA"))
    assert f"Version: {__version__}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (entries,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert "tickbay = tickbay.__main__:main" in entries


@pytest.mark.slow
def test_the_compiled_module_is_hardened_and_keeps_its_assertions(wheel: Path) -> None:
    (compiled,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so"))
    library = Path(zipfile.ZipFile(wheel).extract(compiled, wheel.parent))
    content = library.read_bytes()
    assert b"__assert_fail" in content, "compiled with NDEBUG"
    assert b"__stack_chk_fail" in content
    assert re.search(rb"__\w+_chk\0", content.replace(b"__stack_chk_fail", b"")), "compiled without fortify"
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed: relro and now are not checked")
    described = run("readelf", "--wide", "--dynamic", "--program-headers", library, cwd=wheel.parent)
    assert "GNU_RELRO" in described and re.search(r"\(FLAGS(_1)?\).*NOW", described)
    assert not re.search(r"GNU_STACK.* RWE ", described)


@pytest.mark.slow
def test_the_command_works_where_only_the_wheel_is_installed(installed: Path, tmp_path: Path) -> None:
    command = installed / "bin" / "tickbay"
    assert __version__ in run(command, "--version", cwd=tmp_path)
    assert "schema" in run(command, "--help", cwd=tmp_path)
    program = (
        "import tickbay, tickbay._native, tickbay.schema as schema\n"
        "print(tickbay.__file__, tickbay._native.__file__, *map(str, schema.DIRECTORIES[:1]))\n"
    )
    for place in run(installed / "bin" / "python", "-c", program, cwd=tmp_path).split():
        assert Path(place).is_relative_to(installed) and Path(place).exists()


# -------- dependencies


def names(lines: list[str]) -> set[str]:
    return {re.split(r"[\[=<>;! ]", line)[0].lower() for line in lines}


@pytest.mark.parametrize("lock", ["run", "dev", "audit", "build"])
def test_every_locked_dependency_has_its_hashes_and_no_place(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    blocks = re.findall(r"^\S.*(?:\n    .*)*", text, re.M)
    assert len(blocks) > 5
    for block in blocks:
        assert re.match(r"[a-z0-9-]+==\S+ ", block), block
        assert block.count("--hash=sha256:") >= 1, block
    assert "://" not in text and "index-url" not in text and "find-links" not in text


def test_the_locks_cover_what_the_project_asks_for() -> None:
    project = PROJECT["project"]
    locks = [(ROOT / "requirements" / f"{lock}.lock").read_text() for lock in ("run", "dev")]
    run_lock, dev_lock = (names(re.findall(r"^\S.*", text, re.M)) for text in locks)
    extras = project["optional-dependencies"]
    assert names(project["dependencies"]) <= run_lock <= dev_lock
    assert names([*extras["dev"], *extras["embedded"]]) - {"tickbay"} <= dev_lock
    assert names(PROJECT["build-system"]["requires"]) <= dev_lock


def test_the_binding_is_built_against_the_websocket_library_it_runs_with() -> None:
    """native/_native.pyx is compiled against picows' .pxd: another version of it at run time could crash."""
    (built,) = (line for line in PROJECT["build-system"]["requires"] if line.startswith("picows"))
    assert re.fullmatch(r"picows==[\d.]+", built)
    assert built in PROJECT["project"]["dependencies"]
    for lock in ("run", "dev"):
        assert re.search(rf"^{re.escape(built)} ", (ROOT / "requirements" / f"{lock}.lock").read_text(), re.M)


def test_every_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    (listed,) = re.findall(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.M)
    lines = listed.splitlines()
    assert len(lines) == len(PROJECT["project"]["dependencies"])
    assert [line for line in lines if not re.search(r"# \w.{10,}", line)] == []
