"""Upkeep: one thread a worker, and one worker at a time, restores the newest snapshot beside.

Two things ask for that, and one restore serves both: a drill, on its schedule, and a base, when the deltas
since the last one have grown heavy.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from datetime import UTC, datetime

from imagerepo.durability import bases, drill, healing
from imagerepo.durability.locks import acquire
from imagerepo.durability.settle import Patience, Stopped
from imagerepo.durability.writer import Writer
from imagerepo.errors import DurabilityError, Fenced, StoreError
from imagerepo.store.objects import ObjectStore

LOOK_SECONDS = 5.0
FIRST_DRILL_SECONDS = 300.0
"""After the start, at the earliest: a server has better things to do at first."""
RETRY_SECONDS = 900.0
"""Until what failed is tried again, drill or base: it reads a whole database each time."""
SPREAD = 0.2
"""Servers that were started together don't drill together: each waits up to so much longer."""

log = logging.getLogger(__name__)


class Upkeep:
    """A thread that makes a base whenever one is due, and a drill every `drill_seconds` (0: never)."""

    def __init__(self, writer: Writer, images: ObjectStore, stop: threading.Event, *, drill_seconds: float) -> None:
        self._writer, self._images, self._stop = writer, images, stop
        self._every = drill_seconds * random.uniform(1, 1 + SPREAD)  # noqa: S311
        self._not_before = time.monotonic() + min(self._every, FIRST_DRILL_SECONDS * random.uniform(1, 2))  # noqa: S311
        self._failed = self._healed = -RETRY_SECONDS
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(min(LOOK_SECONDS, self._every or LOOK_SECONDS)):
            try:
                if not self._writer.fenced:
                    self._look()
            except (Stopped, Fenced):
                return
            except Exception:
                log.exception("the restore beside broke off; it is tried again")
                self._failed = time.monotonic()

    def _look(self) -> None:
        if not self._is_due():
            return
        lock = acquire(self._writer.disk.bases_lock, wait=False)
        if lock is None:
            return
        try:
            if self._is_due():  # another worker may have done it just now
                self._restore_beside()
        finally:
            lock.release()

    def _is_due(self) -> bool:
        return self._base_is_due() or self._base_heals() or self._drill_is_due()

    def _base_is_due(self) -> bool:
        recently = time.monotonic() - self._failed < RETRY_SECONDS
        return not recently and bases.is_due(self._writer.state.weight)

    def _base_heals(self) -> bool:
        """Whether one is wanted after a chain that could not be restored: at once, but not again and again."""
        recently = time.monotonic() - self._healed < RETRY_SECONDS
        return not recently and healing.wants_manifest(self._writer.disk)

    def _drill_is_due(self) -> bool:
        if not self._every or time.monotonic() < self._not_before:
            return False
        last = drill.last(self._writer.disk)
        if last is None:
            return True
        age = abs((datetime.now(UTC) - last.at).total_seconds())
        return age > (self._every if last.whole else min(self._every, RETRY_SECONDS))

    def _restore_beside(self) -> None:
        """A drill, and of what it restored a base, if one is due."""
        if bases.settle(self._writer):
            return
        if self._base_heals():
            self._healed = time.monotonic()
        patience = Patience(stop=self._stop, most_questions=drill.QUESTIONS)
        result = drill.run(bases.restored(self._writer, patience), self._images, patience, use=self._make_base)
        drill.note(self._writer.disk, result)
        if not result.whole:
            self._failed = time.monotonic()

    def _make_base(self, found: bases.Restored) -> None:
        """If one is due, or wanted for what is damaged. What fails here is none of the drill's."""
        if not (self._base_is_due() or found.passed_over or healing.wants_manifest(self._writer.disk)):
            return
        try:
            bases.put(self._writer, found)
        except Fenced:
            raise
        except (DurabilityError, StoreError, OSError):
            log.exception("the newest snapshot can be restored, but no base was made of it; it is tried again")
            self._failed = time.monotonic()
