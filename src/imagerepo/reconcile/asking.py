"""Asking a store about one object, where one that always fails must not hold up all others.

Two things look alike: a store that fails is waited for, an object that fails is noted and passed over. Another object,
read in between, tells them apart. To ask for a HEAD would not do, nor for a name that is absent: a store may answer
that, and let nobody read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeVar

from imagerepo.durability.settle import Patience
from imagerepo.errors import InDoubt, ObjectNotFound, StoreError, StoreRefused, StoreUnavailable
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectStore

QUESTIONS = 5
"""How often the store is asked one thing, before the object or the store is taken to fail."""
FOR_NOW = (StoreUnavailable, InDoubt)
"""Failures that say nothing of later."""
FAILURES = (*FOR_NOW, StoreRefused)
"""A refusal may be of one object, too: of a file that only another user may read, say."""
OTHERS = 3
"""Images, or snapshots, of which one at least can be read where the store answers."""

T = TypeVar("T")


@dataclass(frozen=True)
class Failing:
    """The object fails, and the store answers otherwise."""

    why: str


def ask(store: ObjectStore, name: str, question: Callable[[], T], patience: Patience) -> T | Failing:
    """The answer to a question about the object `name`, asked until `patience` ends, and once more when others answer.

    Raises ObjectNotFound, which is an answer, too, and StoreError where the store itself fails or refuses.
    """
    try:
        return patience.ask(question)
    except FAILURES:
        see_that_it_answers(store, besides=name)
    try:
        return question()  # the store may have failed until a moment ago
    except FAILURES as error:
        see_that_it_answers(store, besides=name)
        return Failing(str(error))


def see_that_it_answers(store: ObjectStore, *, besides: str = "") -> None:
    """Read something that is there: one of a few images, or where there are no others, of the rest. Raises StoreError.

    Images first, as these may fail together, all lying in one folder or on one ring, while the rest can be read.
    """
    for witnesses in (_images(store), _others(store)):
        failed: StoreError | None = None
        for name in witnesses:
            try:
                if name != besides:
                    _read_a_byte(store, name)
                    return
            except ObjectNotFound:
                continue
            except FAILURES as error:
                failed = error
        if failed:
            raise failed


def _images(store: ObjectStore) -> Iterator[str]:
    """A few that are listed, from anywhere: what lies beside one that fails may fail as well."""
    anywhere = names.base(f"{random.getrandbits(256):064x}")
    return _a_few(chain(store.list(names.IMAGES, after=anywhere), store.list(names.IMAGES)))


def _others(store: ObjectStore) -> Iterator[str]:
    return chain([names.FIXITY], _a_few(store.list(names.DB)))


def _a_few(listing: Iterable[ObjectInfo]) -> Iterator[str]:
    """One more than is asked for: what is asked about may be among them."""
    return islice((info.name for info in listing if info.size), OTHERS + 1)


def _read_a_byte(store: ObjectStore, name: str) -> None:
    with store.get(name, newest=True, byte_range=(0, 0)) as reader:
        reader.read()
