"""This process's children that decode images, as /proc shows them."""

from __future__ import annotations

from pathlib import Path

from tests.waiting import until


def workers(of: int | str = "self") -> list[int]:
    """The ids of the processes that decode for this one (or for the process `of`)."""
    lists = Path(f"/proc/{of}/task").glob("*/children")
    children = {int(pid) for one in lists for pid in one.read_text().split()}
    return [pid for pid in children if b"imagerepo.store.worker" in _read(pid, "cmdline").split(b"\0")]


def busy_worker(of: int | str = "self") -> int:
    """Wait for one that is at a task: what it may allocate is limited as long as it is."""
    return until(lambda: next(filter(_is_limited, workers(of)), 0), tell=lambda: "no process began to work")


def is_gone(pid: int) -> bool:
    """Whether the process has ended, be it that nobody has waited for it yet."""
    state = _read(pid, "stat").rpartition(b")")[2].split()
    return not state or state[0] == b"Z"


def resident_bytes() -> int:
    """The memory that this process has now."""
    return int(_read("self", "statm").split()[1]) * 4096


def _is_limited(pid: int) -> bool:
    data = _read(pid, "limits").partition(b"Max data size")[2].split()
    return bool(data) and data[0] != data[1]


def _read(pid: int | str, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
