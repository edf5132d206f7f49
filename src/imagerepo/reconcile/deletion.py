"""How a base is deleted. Nothing else in imagerepo deletes one; the rule and its model are in docs/reconcile.md.

look ─▶ condemn: a mark, in the transaction that sees no row, durable and final
  ─▶ no newer epoch, and the object as it was ─▶ DELETE ─▶ clear the mark

A DELETE without an answer may still apply. Only time settles it: its mark is cleared once no request sent by
then can be under way any more. Until a mark is cleared, a commit that adds the image waits (sessions/commit.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias, TypeVar

from django.utils import timezone

from imagerepo.catalogue.models import Condemned
from imagerepo.durability.gate import write
from imagerepo.durability.writer import Writer
from imagerepo.errors import InDoubt, ObjectNotFound, StoreError
from imagerepo.reconcile.rows import referred_to
from imagerepo.sessions import lane
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectStore
from imagerepo.testing.failpoints import step

BATCH = 200
"""Bases condemned by one record. A commit that adds one of them waits until the whole batch is sent."""
GUARD_SHARE = 0.25
"""Of the settling time: how long ago a newer epoch may have been seen absent when a DELETE is sent, and how
long the DELETE may take."""

log = logging.getLogger(__name__)
T = TypeVar("T")
Clock: TypeAlias = Callable[[], float]


class Outcome(StrEnum):
    DELETED = "deleted"
    ABSENT = "absent"
    PROTECTED = "protected"
    """A row refers to it: staged, merged, live or retained."""
    YOUNG = "young"
    """Written or rewritten within the grace period."""
    IN_DOUBT = "in-doubt"
    """A DELETE was sent, and its answer is lost. Commits that add it wait until it can't apply any more."""
    FAILED = "failed"
    """The store refused, or did not answer before anything was sent."""


class _NothingToCondemn(Exception):
    """Rolls the transaction back, so that nothing is shipped."""


class Deleter:
    """Deletes bases that no row refers to, beside live commits. One process of a data folder at a time has one.

    Several threads of it may call: batches go one after another, as two at once could clear each other's marks.

    `settling_seconds`: how long a request to the store can be under way at most, after it was sent. Marks that
    it finds when it is made are held as long: whoever set them may have sent the DELETE a moment ago.
    """

    def __init__(
        self,
        store: ObjectStore,
        writer: Writer,
        *,
        settling_seconds: float,
        threads: int = 8,
        clock: Clock = time.monotonic,
    ) -> None:
        self._store, self._writer, self._clock = store, writer, clock
        self._settling = settling_seconds
        self._threads = ThreadPoolExecutor(threads, "delete")
        self._guard = _Guard(writer, settling_seconds * GUARD_SHARE, clock)
        self._held: dict[str, float] = {}
        self._working = threading.Lock()
        self._hold(str(ident) for ident in Condemned.objects.values_list("ident", flat=True))

    def close(self) -> None:
        self._threads.shutdown()

    def delete(self, idents: Sequence[str], *, grace: timedelta) -> dict[str, Outcome]:
        """Delete these bases, but for those that are referred to or younger than `grace`; what became of each.

        Returns when each is answered or in doubt. Raises Fenced: then nothing more is sent.
        """
        outcomes: dict[str, Outcome] = {}
        for start in range(0, len(idents), BATCH):
            with self._working:
                outcomes |= self._delete(idents[start : start + BATCH], grace)
        return outcomes

    def clear_settled(self) -> int:
        """Clear the marks of which no DELETE can be under way any more; how many are still held."""
        with self._working:
            now = self._clock()
            settled = [ident for ident, since in self._held.items() if now - since > self._settling]
            self._clear(settled)
            return len(self._held)

    def _delete(self, idents: Sequence[str], grace: timedelta) -> dict[str, Outcome]:
        youngest = datetime.now(UTC) - grace
        seen = dict(zip(idents, self._each(self._look, idents), strict=True))
        outcomes = {ident: _spared(found, youngest) or self._in_doubt(ident) for ident, found in seen.items()}
        condemned = self._condemn([ident for ident in idents if outcomes[ident] is None])
        try:
            sent = self._each(lambda ident: self._send(ident, seen[ident]), condemned)
        finally:
            self._hold(condemned)
        outcomes |= dict(zip(condemned, sent, strict=True))
        self._clear([ident for ident in condemned if outcomes[ident] != Outcome.IN_DOUBT])
        return {ident: outcome or Outcome.PROTECTED for ident, outcome in outcomes.items()}

    def _each(self, what: Callable[[str], T], idents: Iterable[str]) -> list[T]:
        """When it returns or raises, none is under way any more."""
        calls = [self._threads.submit(what, ident) for ident in idents]
        wait(calls, return_when=FIRST_EXCEPTION)
        for call in calls:
            call.cancel()
        wait(calls)
        return [call.result() for call in calls]

    def _look(self, ident: str) -> ObjectInfo | Outcome:
        try:
            return self._store.stat(names.base(ident), newest=True)
        except ObjectNotFound:
            return Outcome.ABSENT
        except StoreError as error:
            log.warning("it is not known whether %s is there, so it stays: %s", ident, error)
            return Outcome.FAILED

    def _in_doubt(self, ident: str) -> Outcome | None:
        """What is held has its mark, and its DELETE may be under way: to ask again ships and sends nothing."""
        return Outcome.IN_DOUBT if ident in self._held else None

    def _condemn(self, idents: Sequence[str]) -> list[str]:
        """Mark those that no row refers to; returns when the marks are final.

        Whatever it raises, a mark may be there by then: they are held.
        """
        condemned: list[str] = []

        def mark() -> None:
            protected = referred_to(idents)
            condemned.extend(ident for ident in idents if ident not in protected)
            if not condemned:
                raise _NothingToCondemn
            now = timezone.now()
            marks = [Condemned(ident=ident, condemned_at=now) for ident in condemned]
            Condemned.objects.bulk_create(marks, ignore_conflicts=True)

        try:
            with step("reconcile.condemn"):
                lane.publish(self._writer, mark)
        except _NothingToCondemn:
            return []
        except BaseException:
            self._hold(condemned)
            raise
        return condemned

    def _send(self, ident: str, seen: ObjectInfo | Outcome) -> Outcome:
        """Look once more, and DELETE, once."""
        found = self._look(ident)
        if isinstance(found, Outcome):
            return found
        if found != seen:
            return Outcome.YOUNG
        with step("reconcile.delete"), self._guard:
            try:
                self._store.delete([names.base(ident)])
            except InDoubt:
                return Outcome.IN_DOUBT
            except StoreError as error:
                log.warning("%s is not deleted: %s", ident, error)
                return Outcome.FAILED
        return Outcome.DELETED

    def _hold(self, idents: Iterable[str]) -> None:
        """See to it that their marks are cleared: once answered, or in time."""
        now = self._clock()
        for ident in idents:
            self._held.setdefault(ident, now)

    def _clear(self, idents: Sequence[str]) -> None:
        if idents:
            with step("reconcile.clear"), write():
                Condemned.objects.filter(ident__in=list(idents)).delete()
        for ident in idents:
            self._held.pop(ident, None)


class _Guard:
    """Entered right before a DELETE: a newer epoch was seen absent a short while ago. Raises Fenced."""

    def __init__(self, writer: Writer, seconds: float, clock: Clock) -> None:
        self._writer, self._seconds, self._clock = writer, seconds, clock
        self._asked: float | None = None
        self._asking = threading.Lock()

    def __enter__(self) -> None:
        with self._asking:
            self._writer.check_writable()
            while self._asked is None or self._clock() - self._asked > self._seconds:
                asked = self._clock()
                self._writer.look_for_newer_epoch()
                self._asked = asked

    def __exit__(self, *_: object) -> None: ...


def _spared(found: ObjectInfo | Outcome, youngest: datetime) -> Outcome | None:
    if isinstance(found, Outcome):
        return found
    return Outcome.YOUNG if found.modified > youngest else None
