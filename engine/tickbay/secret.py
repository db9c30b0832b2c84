"""A secret, wherever the operator keeps it: a variable, a file that others cannot read, systemd's credential. Asked by
config.py alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from tickbay.errors import ConfigError

SECRET_BYTES_MAX = 4096  # a password file is a line, not a document


def secret_of(variable: str, credential: str, env: Mapping[str, str]) -> str:
    """A secret: the variable, the file that the one with _FILE names, or systemd's credential; "" for none."""
    if env.get(variable) and env.get(f"{variable}_FILE"):
        raise ConfigError(f"environment: {variable} and {variable}_FILE are both set: unset one")
    if secret := env.get(variable):
        return secret
    if named := env.get(f"{variable}_FILE"):
        return _secret(Path(named))
    path = Path(env.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / credential
    return _secret(path) if path.exists() else ""


def _secret(path: Path) -> str:
    """The line in a secret file, which others than its owner and group must not be able to read."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & stat.S_IROTH:
                raise ConfigError(f"{path}: this secret can be read by everyone: chmod o-rwx {path}")
            text = file.read(SECRET_BYTES_MAX + 1)
        if len(text) > SECRET_BYTES_MAX:
            raise ConfigError(f"{path}: a secret of more than {SECRET_BYTES_MAX} bytes: is it the right file?")
        return text.decode().rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{path}: the secret cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the secret is not UTF-8 text") from error
