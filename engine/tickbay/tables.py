"""Tables of a TOML file → frozen dataclasses, with types and bounds checked. Pure; used by config.py only.

The dataclass is the description: its annotations give the types, `Annotated[..., Bounds | Words]` the bounds. What
does not fit is a ConfigError in one line: the file, the key, what was expected and, for an unknown key, the nearest
one.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tickbay.errors import ConfigError

Table = TypeVar("Table")
TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number may be, both ends included."""

    low: float
    high: float
    power_of_two: bool = False

    def refusal(self, value: float) -> str:
        """What `value` should have been, or an empty string."""
        if not self.low <= value <= self.high:
            return f"{self.low:.15g} to {self.high:.15g}"
        if self.power_of_two and int(value) & (int(value) - 1):
            return "a power of two"
        return ""


class OneOf:
    """The numbers that a number may be."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers

    def refusal(self, value: int) -> str:
        """What `value` should have been, or an empty string."""
        return "" if value in self._numbers else "one of " + ", ".join(map(str, self._numbers))


@dataclass(frozen=True, slots=True)
class Words:
    """The words that a text, or each text of a list, may be."""

    words: tuple[str, ...]

    def refusal(self, value: str | tuple[str, ...]) -> str:
        """What `value` should have been, or an empty string."""
        values = (value,) if isinstance(value, str) else value
        return "" if set(values) <= set(self.words) else "one of " + ", ".join(word or '""' for word in self.words)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where values come from: named in messages; relative paths start at `directory`."""

    name: str
    directory: Path


def build(cls: type[Table], table: Mapping[str, object], prefix: str, origin: Origin) -> Table:
    """An instance of the dataclass `cls` from `table`; absent keys keep their defaults. `prefix` names the table
    ("venue.").
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            raise ConfigError(f"{origin.name}: unknown key {prefix}{key}{nearest(key, list(hints))}")
        values[key] = convert(value, hints[key], prefix + key, origin)
    return cls(**values)


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint to append to a message about an unknown word."""
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else "; known are " + ", ".join(known)


def convert(value: object, hint: Any, key: str, origin: Origin) -> object:
    """`value`, as the TOML parser gave it, as what the annotation `hint` asks for."""
    if typing.get_origin(hint) is typing.Annotated:
        hint, limit = typing.get_args(hint)
        result = convert(value, hint, key, origin)
        if refusal := limit.refusal(result):
            raise ConfigError(f"{origin.name}: {key} = {_shown(value)}: expected {refusal}")
        return result
    if isinstance(hint, types.UnionType):  # only "Path | None"; TOML has no null, so an empty text is none
        if value == "":
            return None
        hint = typing.get_args(hint)[0]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return build(hint, value, f"{key}.", origin)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        item = typing.get_args(hint)[0]
        return tuple(convert(each, item, f"{key}[{number}]", origin) for number, each in enumerate(value))
    if hint is Path and isinstance(value, str):
        return origin.directory / value if value else Path()
    if hint is float and type(value) in (int, float):
        return float(typing.cast("float", value))
    if hint in TYPE_NAMES and type(value) is hint:  # `type() is`, because True is an int too
        return value
    raise ConfigError(f"{origin.name}: {key} = {_shown(value)}: expected {_expected(hint)}")


def convert_text(text: str, hint: Any, key: str, origin: Origin) -> object:
    """The text of an environment variable as what `hint` asks for."""
    plain = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    value: object = text
    try:
        if plain is bool:
            value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                text.strip().lower()
            ]
        elif plain in (int, float):
            value = plain(text)
        elif typing.get_origin(plain) is tuple:
            value = [each.strip() for each in text.split(",") if each.strip()]
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{origin.name}: {key} = {_shown(text)}: expected {_expected(plain)}") from error
    return convert(value, hint, key, origin)


def _expected(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return "a table"
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return "tables ([[…]])" if dataclasses.is_dataclass(item) else f"a list, each {TYPE_NAMES[item]}"
    return TYPE_NAMES[hint]


def _shown(value: object) -> str:
    """A value in a message: short, on one line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
