"""A store on which one caller rests before a call, as a thread or a process may at any moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connection

from imagerepo.store.objects import ObjectStore

T = TypeVar("T")
LONGEST_SECONDS = 30.0


class Pause:
    """A rest before one call: `reached` returns when somebody rests there, `end` lets it go on."""

    def __init__(self, op: str, call: int) -> None:
        self.op, self.left = op, call
        self._reached, self._ended = threading.Event(), threading.Event()

    def reached(self) -> None:
        assert self._reached.wait(LONGEST_SECONDS), f"no {self.op} came"

    def end(self) -> None:
        self._ended.set()

    def rest(self) -> None:
        self._reached.set()
        assert self._ended.wait(LONGEST_SECONDS), "the test forgot to end the pause"


class Pausing:
    """`store`, in front of which the caller of one call can be made to rest."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._pause: Pause | None = None

    @contextmanager
    def before(self, op: str, *, call: int = 1) -> Iterator[Pause]:
        """Let the `call`-th `op` from now rest."""
        self._pause = Pause(op, call)
        try:
            yield self._pause
        finally:
            self._pause.end()
            self._pause = None

    def __getattr__(self, op: str) -> Any:
        if (pause := self._pause) and pause.op == op:
            pause.left -= 1
            if pause.left == 0:
                pause.rest()
        return getattr(self._store, op)


def in_thread(what: Callable[[], T]) -> T:
    """Do it with a database connection of this thread, closed at the end."""
    try:
        return what()
    finally:
        connection.close()
