"""Requests that wait for a session's commit: woken when it is settled, and not by asking all the time.

Fifty requests that each ask for their row twenty times a second take more of the processor than their commits.
So whoever settles sessions in this process says so with `look`, which asks once for all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from imagerepo.sessions.models import State, UploadSession

UNDER_WAY = (State.COMMITTING, State.MERGED)


class Waiters:
    """Who waits for which session, by its primary key. Safe for several threads."""

    def __init__(self) -> None:
        self._waiting: dict[threading.Event, int] = {}
        self._lock = threading.Lock()

    @contextmanager
    def waiting(self, pk: int) -> Iterator[threading.Event]:
        """An event that is set when the session may be settled. Clear it, look at the row, and wait again."""
        event = threading.Event()
        with self._lock:
            self._waiting[event] = pk
        try:
            yield event
        finally:
            with self._lock:
                del self._waiting[event]

    def look(self) -> None:
        """Wake those whose sessions are settled. Call it when some may be."""
        with self._lock:
            waiting = dict(self._waiting)
        if not waiting:
            return
        under_way = set(UploadSession.objects.filter(state__in=UNDER_WAY).values_list("pk", flat=True))
        for event, pk in waiting.items():
            if pk not in under_way:
                event.set()

    def wake_all(self) -> None:
        """There is other news, for everybody."""
        with self._lock:
            waiting = list(self._waiting)
        for event in waiting:
            event.set()
