"""What was written, in order: from it a store that fails knows old copies, and what a listing may get wrong."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Copy = TypeVar("Copy")

LAGGING_WRITES = 4
"""A listing that lags misses so many of the names written last."""


class History(Generic[Copy]):
    """Each name's newest copy and the one before it. Safe to use from several threads."""

    def __init__(self) -> None:
        self._newest: dict[str, Copy] = {}
        self._older: dict[str, Copy] = {}
        self._written: list[str] = []
        self._lock = threading.Lock()

    def wrote(self, name: str, copy: Copy) -> None:
        with self._lock:
            self._keep_older(name)
            self._newest[name] = copy
            self._written.append(name)

    def deleted(self, name: str) -> None:
        with self._lock:
            self._keep_older(name)

    def older(self, name: str) -> Copy | None:
        """The copy that a replica may still have: of before the name was last overwritten or deleted."""
        with self._lock:
            return self._older.get(name)

    def gone(self) -> dict[str, Copy]:
        """What was deleted and not written again."""
        with self._lock:
            return {name: copy for name, copy in self._older.items() if name not in self._newest}

    def lately(self) -> set[str]:
        """Names that a listing may not show yet."""
        with self._lock:
            return set(self._written[-LAGGING_WRITES:])

    def _keep_older(self, name: str) -> None:
        if name in self._newest:
            self._older[name] = self._newest.pop(name)
