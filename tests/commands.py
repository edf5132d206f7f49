"""What a command shows on a terminal, and what one that fails owes to whoever gave it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def on_a_terminal(run: Callable[[int], T]) -> tuple[T, str]:
    """What `run` gives, which hears the descriptor of a terminal, and what was shown there."""
    terminal, end = os.openpty()
    with ThreadPoolExecutor(1) as reader:
        try:
            shown = reader.submit(_all_of, terminal)
            given = run(end)
        finally:
            os.close(end)
        return given, shown.result()


def _all_of(terminal: int) -> str:
    """Read as it comes: a terminal gives a few kilobytes at a time, and holds no more for long."""
    found = bytearray()
    with suppress(OSError):  # nobody has its other end any more
        while more := os.read(terminal, 1 << 16):
            found += more
    os.close(terminal)
    return found.decode()


def assert_fails(result: subprocess.CompletedProcess[str], status: int, *complaints: str) -> None:
    """With this exit status, and one sentence on stderr."""
    assert (result.returncode, result.stdout) == (status, "")
    assert all(complaint in result.stderr for complaint in complaints), result.stderr
    assert result.stderr.startswith("imagerepo: ")
    assert "Traceback" not in result.stderr
