"""Objects of the store asked for by name, with patience: their newest copy, or whether they are there."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress

from imagerepo.durability.settle import Patience
from imagerepo.errors import ObjectNotFound
from imagerepo.store.objects import ObjectStore

_CHUNK_BYTES = 1 << 20


def content(store: ObjectStore, name: str, patience: Patience) -> bytes:
    """All bytes of an object. Raises ObjectNotFound."""

    def ask() -> bytes:
        whole = io.BytesIO()  # its bytes are handed out without a copy, whose like a large record has no room for
        with store.get(name, newest=True) as reader:
            while chunk := reader.read(_CHUNK_BYTES):
                whole.write(chunk)
        return whole.getvalue()

    return patience.ask(ask)


def exists(store: ObjectStore, name: str, patience: Patience) -> bool:
    """Whether there is such an object, or such an epoch; asks until it knows."""
    with suppress(ObjectNotFound):
        patience.ask(lambda: store.stat(name, newest=True))
        return True
    return False


def how_many(store: ObjectStore, name: Callable[[int], str], patience: Patience, *, first: int = 0) -> int:
    """How many of `name(first)`, `name(first + 1)`… are there, which have no gaps: found by doubling, then halving."""
    high = 1
    while exists(store, name(first + high - 1), patience):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if exists(store, name(first + middle - 1), patience) else (low, middle)
    return low
