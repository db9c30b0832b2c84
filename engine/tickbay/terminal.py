"""Text that others sent us, on a person's terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """What a venue or a database sent must not move the cursor of the person who reads it."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
