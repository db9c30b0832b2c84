"""A real browser: Chromium, driven by playwright. That of this machine, else Debian's, unpacked into a cache with all
of its libraries; skipped with the reason where neither can be had.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Error as BrowserError

from servers import debian
from servers.debian import Unavailable, run

INSTALLED = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome")
SUITE = "trixie"
PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core")
PROGRAM = Path("usr") / "lib" / "chromium" / "chromium-headless-shell"
OPTIONS = (  # it runs as whoever runs the tests, perhaps in a container, and asks nobody elsewhere
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


Variables = dict[str, str | float | bool]


def program() -> tuple[Path, Variables]:
    """Chromium's binary, and the variables that it needs beside ours; Unavailable says why there is none."""
    for name in INSTALLED:
        if (found := shutil.which(name)) is not None:
            return Path(found), {}
    final = debian.cache() / f"chromium-{SUITE}"
    root = final if final.is_dir() else _unpack(final)
    libraries = next(root.glob("usr/lib/*/pulseaudio"))  # of one library that looks for it elsewhere
    return root / PROGRAM, {"FONTCONFIG_FILE": str(root / "fonts.conf"), "LD_LIBRARY_PATH": str(libraries)}


def _unpack(final: Path) -> Path:
    """In a folder beside the final one, which is then renamed, so that a half of it is never used."""
    debian.check()
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=final.parent) as name:
        folder = Path(name)
        apt = debian.apt(folder, SUITE)
        run(*apt, "update")
        planned = run(*apt, "-s", "install", *PACKAGES).splitlines()
        run(*apt, "download", *sorted({line.split()[1] for line in planned if line.startswith("Inst ")}), cwd=folder)
        root = folder / "root"
        for package in folder.glob("*.deb"):
            run("dpkg", "-x", str(package), str(root))
        debian.point_at_own_libraries(folder, [root / PROGRAM], root, final)
        (root / "fonts.conf").write_text(f"<fontconfig><dir>{final}/usr/share/fonts</dir></fontconfig>\n")
        try:
            root.rename(final)
        except OSError as error:  # another test session was faster
            if not final.is_dir():
                raise Unavailable(str(error)) from error
    return final


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module, not for a session: while it lives, this thread has a running event loop."""
    try:
        path, variables = program()
        with sync_playwright() as playwright:
            environment: Variables = {**os.environ, **variables}
            browser = playwright.chromium.launch(executable_path=path, args=OPTIONS, env=environment)
            yield browser
            browser.close()
    except (Unavailable, BrowserError) as error:
        pytest.skip(f"no browser: {error}")
