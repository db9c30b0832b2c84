"""QuestDB's connect string, as its clients take it: `http::addr=host:9000;username=u;password=p;`. Pure; used by
config.py.

Only what means the same to us is taken: what would have to be ignored is refused, so that nobody believes in it.
https://questdb.com/docs/clients/configuration-string/
"""

from __future__ import annotations

from tickbay.errors import ConfigError

SCHEMES = {"http": "off", "https": "on"}  # → questdb.tls
KEYS = {"username": "user", "password": "password", "token": "token", "tls_roots": "ca_file"}
SECRETS = ("password", "token")
# How we use the protocol anyway.
FIXED = {"auto_flush": ("off",), "protocol_version": ("2", "auto"), "tls_verify": ("on",)}


def parse(text: str, origin: str) -> dict[str, str]:
    """Keys of [questdb] and their texts. ConfigError, which never shows a value: it may be a secret."""
    scheme, found, rest = text.strip().partition("::")
    if not found or scheme not in SCHEMES:
        raise ConfigError(f"{origin}: expected http::addr=host:port;… or https::…")
    settings = {"tls": SCHEMES[scheme]}
    for key, value in _pairs(rest, origin):
        if key == "addr":
            host, _, port = value.rpartition(":") if ":" in value.split("]")[-1] else (value, "", "9000")
            settings["host"], settings["port"] = host.strip("[]"), port
        elif key in KEYS:
            settings[KEYS[key]] = value
        elif key not in FIXED:
            known = ", ".join(["addr", *KEYS, *FIXED])
            raise ConfigError(f"{origin}: {key} cannot be set here; known are {known}")
        elif value not in FIXED[key]:
            raise ConfigError(f"{origin}: {key} can only be {' or '.join(FIXED[key])}")
    return settings


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
