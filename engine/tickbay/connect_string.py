"""QuestDB's connect string, as its clients take it: `http::addr=host:9000;username=u;password=p;`. Pure; used by
config.py.

Only what means the same to us is taken: what would have to be ignored is refused, so that nobody believes in it.
https://questdb.com/docs/clients/configuration-string/
"""

from __future__ import annotations

import re

from tickbay.errors import ConfigError

SCHEMES = {"http": "off", "https": "on"}  # → questdb.tls
KEYS = {"username": "user", "password": "password", "token": "token", "tls_roots": "ca_file"}
SECRETS = ("password", "token")
ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^][:;,/@=\s]+))(?::([0-9]{1,5}))?")
# How we use the protocol anyway.
FIXED = {"auto_flush": ("off",), "protocol_version": ("2", "auto"), "tls_verify": ("on",)}


def parse(text: str, origin: str) -> dict[str, str]:
    """Keys of [questdb] and their texts. ConfigError, which never shows a value: it may be a secret."""
    scheme, found, rest = text.strip().partition("::")
    if not found or scheme not in SCHEMES:
        raise ConfigError(f"{origin}: expected http::addr=host:port;… or https::…")
    settings = {"tls": SCHEMES[scheme]}
    seen: set[str] = set()
    for key, value in _pairs(rest, origin):
        if key in seen:
            raise ConfigError(f"{origin}: {_shown(key, seen)} is set twice")
        if key == "addr":
            settings["host"], settings["port"] = _address(value, origin)
        elif key in KEYS:
            settings[KEYS[key]] = value
        elif key not in FIXED:
            known = ", ".join(["addr", *KEYS, *FIXED])
            raise ConfigError(f"{origin}: {_shown(key, seen)} cannot be set here; known are {known}")
        elif value not in FIXED[key]:
            raise ConfigError(f"{origin}: {key} can only be {' or '.join(FIXED[key])}")
        seen.add(key)
    return settings


def _address(value: str, origin: str) -> tuple[str, str]:
    """Host and port. Not shown when it is none: with one semicolon too many, the password is part of it."""
    found = ADDRESS.fullmatch(value)
    if found is None:
        raise ConfigError(f"{origin}: addr: expected one host:port, or [IPv6]:port")
    return found[1] or found[2], found[3] or "9000"


def _shown(key: str, seen: set[str]) -> str:
    """A key in a message. Behind a secret it may be the rest of one, whose semicolon was not written twice."""
    return key if key in KEYS or (key.isidentifier() and not seen.intersection(SECRETS)) else "one of the keys"


def without_secrets(text: str) -> str:
    """The same for who must not know the password. What cannot be parsed is left out as a whole."""
    scheme, _, rest = text.strip().partition("::")
    try:
        pairs = [f"{key}={value.replace(';', ';;')};" for key, value in _pairs(rest, "") if key not in SECRETS]
    except ConfigError:
        return ""
    return f"{scheme}::{''.join(pairs)}"


def _pairs(text: str, origin: str) -> list[tuple[str, str]]:
    """`key=value;` again and again; a semicolon in a value is written twice."""
    pairs = []
    for part in text.replace(";;", "\0").split(";"):
        if part:
            key, found, value = part.partition("=")
            if not found:
                raise ConfigError(f"{origin}: expected key=value; for each setting")
            pairs.append((key.strip(), value.replace("\0", ";")))
    return pairs
