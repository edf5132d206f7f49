"""How numbers are told to people."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """So many things: "1 byte", "2,000 bytes"."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
