"""What the store still has of purged images: deleted as often as it takes, until nothing can bring it back.

delete base and derivatives ─▶ the settling time ─▶ once more ─▶ `gone`

A listing may lag, and a derivative that was being made when its image was purged is stored after that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TypeAlias

from imagerepo.catalogue.models import Purged
from imagerepo.durability.gate import write
from imagerepo.errors import ObjectNotFound, StoreError
from imagerepo.reconcile import rows
from imagerepo.reconcile.deletion import Clock, Deleter, Outcome
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore

_Purge: TypeAlias = tuple[str, datetime]
"""An image may be purged, added again, and purged again."""

log = logging.getLogger(__name__)


class Remains:
    """Deletes them. Another one, made after a death, waits for the whole settling time again.

    `settling_seconds`: how long a request to the store, or a derivative on its way there, can be under way at most.
    """

    def __init__(self, store: ObjectStore, deleter: Deleter, *, settling_seconds: float, clock: Clock) -> None:
        self._store, self._deleter = store, deleter
        self._settling, self._clock = settling_seconds, clock
        self._deleted: dict[_Purge, float] = {}

    def delete(self) -> int:
        """Delete what is due; of how many images something is left that has to be tried again. Raises Fenced."""
        return sum(not self._done_for_now(purged) for purged in Purged.objects.filter(gone=False))

    def _done_for_now(self, purged: Purged) -> bool:
        key, now = (purged.ident, purged.purged_at), self._clock()
        since = self._deleted.get(key)
        if since is not None and now - since <= self._settling:
            return True
        nothing_left = self._delete(purged.ident)
        if (since is not None and nothing_left) or rows.merged([purged.ident]):
            self._note_gone(key)
        elif nothing_left:
            self._deleted[key] = now
        else:
            return False
        return True

    def _note_gone(self, key: _Purge) -> None:
        ident, purged_at = key
        with write():
            Purged.objects.filter(ident=ident, purged_at=purged_at).update(gone=True)
        self._deleted.pop(key, None)

    def _delete(self, ident: str) -> bool:
        """Whether nothing is left, as far as the store tells, and nobody has staged it again."""
        try:
            outcome = self._deleter.delete([ident], grace=timedelta(0))[ident]
            delete_derivatives(self._store, ident)
        except StoreError as error:
            log.warning("image %s is purged, and not yet gone from the store: %s", ident, error)
            return False
        return outcome in (Outcome.DELETED, Outcome.ABSENT) and not rows.referred_to([ident])


def has_objects(store: ObjectStore, ident: str) -> bool:
    """Whether the store has its base, whatever a listing says, or lists a derivative of it. Raises StoreError."""
    try:
        store.stat(names.base(ident), newest=True)
    except ObjectNotFound:
        return any(_derivatives(store, ident))
    return True


def delete_derivatives(store: ObjectStore, ident: str) -> int:
    """Delete every cached derivative that is listed; they are made again when somebody asks. Raises StoreError."""
    listed = list(_derivatives(store, ident))
    store.delete(listed)
    return len(listed)


def _derivatives(store: ObjectStore, ident: str) -> Iterator[str]:
    return (info.name for info in store.list(f"{names.base(ident)}-"))
