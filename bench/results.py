"""bench/RESULTS.md: one section per benchmark, replaced when it is measured anew."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias

FILE = Path(__file__).with_name("RESULTS.md")


def machine(*packages: str) -> str:
    """One sentence: cores, versions, and the load while it was measured."""
    versions = [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}"]
    versions += [f"{package} {version(package)}" for package in packages]
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    return f"{os.cpu_count()} cores ({_processor()}), shared; {', '.join(versions)}; load average at the end: {load}."


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.machine()


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


Target: TypeAlias = tuple[str, float, Literal["≤", "≥"], float]
"""What was measured, its value, and its bound."""


def targets(measured: Sequence[Target]) -> str:
    """A sentence that tells which targets were hit."""
    said = [
        f"{what} {value:.2f}, {bound} {limit:g} wanted: {'hit' if _holds(value, bound, limit) else '**missed**'}"
        for what, value, bound, limit in measured
    ]
    return f"Targets: {'; '.join(said)}."


def all_hit(measured: Sequence[Target]) -> bool:
    return all(_holds(value, bound, limit) for _, value, bound, limit in measured)


def _holds(value: float, bound: str, limit: float) -> bool:
    return value <= limit if bound == "≤" else value >= limit


def section(title: str, command: str, *paragraphs: str) -> str:
    return "\n\n".join([f"## {title}: `{command}`", *paragraphs]) + "\n"


def publish(text: str, *, write: bool) -> None:
    """Print a section, and with `write` put it into the file, in the place of the one with its title."""
    print(text)
    if not write:
        return
    title = text.partition(": `")[0]
    sections = re.split(r"^(?=## )", FILE.read_text(), flags=re.MULTILINE)
    kept = [section.rstrip() for section in sections if not section.startswith(f"{title}: `")]
    FILE.write_text("\n\n".join([*kept, text]))
