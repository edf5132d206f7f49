"""Asking a store about one object, where one that always fails must not hold up all others.

Two things look alike: a store that fails is waited for, an object that fails is noted and passed over. Another object,
read in between, tells them apart. To ask for a HEAD would not do: a store may answer that, and let nobody read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from imagerepo.durability.settle import Patience
from imagerepo.errors import InDoubt, ObjectNotFound, StoreRefused, StoreUnavailable
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.store.reading import hash_object

QUESTIONS = 5
"""How often the store is asked one thing, before the object or the store is taken to fail."""
FOR_NOW = (StoreUnavailable, InDoubt)
"""Failures that say nothing of later."""
FAILURES = (*FOR_NOW, StoreRefused)
"""A refusal may be of one object, too: of a file that only another user may read, say."""

T = TypeVar("T")


@dataclass(frozen=True)
class Failing:
    """The object fails, and the store answers otherwise."""

    why: str


def ask(store: ObjectStore, question: Callable[[], T], patience: Patience) -> T | Failing:
    """The answer to a question about one object, asked until `patience` ends, and once more when the store answers.

    Raises ObjectNotFound, which is an answer, too, and StoreError where the store itself fails or refuses.
    """
    try:
        return patience.ask(question)
    except FAILURES:
        see_that_it_answers(store)
    try:
        return question()  # the store may have failed until a moment ago
    except FAILURES as error:
        see_that_it_answers(store)
        return Failing(str(error))


def see_that_it_answers(store: ObjectStore) -> None:
    """Read something else than a base, if it is there. Raises StoreError."""
    with suppress(ObjectNotFound):
        hash_object(store, names.FIXITY, newest=True)
