"""Whether a store answers at all, asked for somebody who can't wait long."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet

from imagerepo.errors import ObjectNotFound, StoreError
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore

WAIT_SECONDS = 3.0
FRESH_SECONDS = 2.0
"""An answer is good for so long: however often one asks, the store is not asked more often."""
NOBODYS = names.base("0" * 64)
"""A name that no image has: SHA-256 of nothing known."""


class Reach:
    """Asks a store for an image that nobody has. `close` it; a question under way is not waited for."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, "reach")
        self._asked: Future[str | None] | None = None
        self._asked_at = 0.0

    def trouble(self) -> str | None:
        """Why the store can't be reached, or None. Answers within WAIT_SECONDS."""
        asked = self._asked
        if asked is None or (asked.done() and time.monotonic() - self._asked_at > FRESH_SECONDS):
            self._asked_at = time.monotonic()
            asked = self._asked = self._thread.submit(self._ask)
        try:
            return asked.result(WAIT_SECONDS)
        except NotYet:
            return f"the object store does not answer within {WAIT_SECONDS:.0f} seconds"

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ask(self) -> str | None:
        try:
            self._store.stat(NOBODYS)
        except ObjectNotFound:
            return None
        except StoreError as error:
            return f"the object store fails: {error}"
        return None
