"""Epochs: one writer's reign each. A claim is the exclusive creation of the next number.

Numbers have no gaps and claims are never deleted, so "is there a newer one?" is one question about
the next number, and the newest is found by halving.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from imagerepo.durability import lookup
from imagerepo.durability.settle import Patience, settle
from imagerepo.errors import Damaged, Fenced, ObjectNotFound, StoreError
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.failpoints import step


def exists(store: ObjectStore, epoch: int, patience: Patience) -> bool:
    """Whether `epoch` was claimed; asks until it knows."""
    return lookup.exists(store, names.epoch(epoch), patience)


def check_newest(store: ObjectStore, epoch: int, patience: Patience) -> None:
    """Raise Fenced where a newer epoch than `epoch` was claimed."""
    if exists(store, epoch + 1, patience):
        raise Fenced(
            f"another server took over this repository: epoch {epoch + 1} exists, this one is {epoch}. "
            "This server may only read; stop it, or restart it to take over again."
        )


@contextmanager
def reading(store: ObjectStore, epoch: int, patience: Patience) -> Iterator[None]:
    """While the chain below `epoch` is read: what is missing there may have been pruned by a newer server.

    Raises Fenced in place of Damaged where one took over.
    """
    try:
        yield
    except Damaged:
        check_newest(store, epoch, patience)
        raise


def claim(store: ObjectStore, patience: Patience) -> int:
    """Take the next epoch and return its number."""
    with step("start.claim"):
        number = first_unclaimed(store, patience)
        while not _create(store, number, patience):
            number += 1
        return number


def first_unclaimed(store: ObjectStore, patience: Patience) -> int:
    """The epoch that the next start would claim; the chain is of one before it."""
    return 1 + lookup.how_many(store, names.epoch, patience, first=1)


def _create(store: ObjectStore, number: int, patience: Patience) -> bool:
    """True: ours. False: somebody else's, or our own whose answer was lost: then it is nobody's."""
    for attempt in patience.tries():
        try:
            won = store.create_exclusive(names.epoch(number))
        except StoreError as error:
            patience.failed(error)
        else:
            patience.answered(attempt)
            return won
    raise AssertionError("tries() never ends")


def become_owner(store: ObjectStore, epoch: int, writer: str, patience: Patience) -> bool:
    """Write who reigns in `epoch`. False where another writer's id stands there.

    Exclusive creation has one winner; this shows most cases where a partition gave it two.
    """
    with step("start.owner"):
        if owner(store, epoch, patience) not in (None, writer):
            return False
        try:
            settle(store, names.owner(epoch), writer.encode(), patience=patience)
        except Damaged:
            return False
        return owner(store, epoch, patience) == writer


def owner(store: ObjectStore, epoch: int, patience: Patience) -> str | None:
    """The id of the writer that reigned in `epoch`, or None where its owner was never written."""
    try:
        return lookup.content(store, names.owner(epoch), patience).decode()
    except ObjectNotFound:
        return None
