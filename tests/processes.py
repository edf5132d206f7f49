"""The processes of a server, as the kernel lists them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from imagerepo.testing.servers import Server


def workers(server: Server) -> list[int]:
    return [pid for pid in children_of(server.pid) if "spawn_main" in command_line(pid)]


def children_of(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")  # a child belongs to the thread that started it
    with suppress(FileNotFoundError):
        return [int(child) for children in lists for child in children.read_text().split()]
    return []


def descendants(pid: int) -> list[int]:
    children = children_of(pid)
    return children + [deeper for child in children for deeper in descendants(child)]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return ""
