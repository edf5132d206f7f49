"""This process's children that decode images, as /proc shows them."""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE_SECONDS = 30


def workers(of: int | str = "self") -> list[int]:
    """The ids of the processes that decode for this one (or for the process `of`)."""
    lists = Path(f"/proc/{of}/task").glob("*/children")
    children = {int(pid) for one in lists for pid in one.read_text().split()}
    return [pid for pid in children if b"imagerepo.store.worker" in _read(pid, "cmdline").split(b"\0")]


def busy_worker(of: int | str = "self") -> int:
    """Wait for one that uses the processor."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        before = {pid: _ticks(pid) for pid in workers(of)}
        time.sleep(0.05)  # the time over which its use of the processor is measured
        for pid, ticks in before.items():
            if _ticks(pid) - ticks >= 3:
                return pid
    raise AssertionError("no process began to work")


def is_gone(pid: int) -> bool:
    """Whether the process has ended, be it that nobody has waited for it yet."""
    state = _read(pid, "stat").rpartition(b")")[2].split()
    return not state or state[0] == b"Z"


def resident_bytes() -> int:
    """The memory that this process has now."""
    return int(_read("self", "statm").split()[1]) * 4096


def _ticks(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12]) if fields else 0


def _read(pid: int | str, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
