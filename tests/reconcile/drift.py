"""A store and rows that disagree, made on purpose."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

from imagerepo.store import names
from imagerepo.store.names import Variant
from imagerepo.store.objects import ObjectInfo, ObjectStore
from tests.catalogue import rows

X, Y, Z, ORPHAN = b"an image", b"another image", b"a third", b"an orphan"
"""Images, and bytes that no row refers to."""

SMALL = Variant(4, 3, "jpg")


def ident_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(store: ObjectStore, content: bytes, name: str | None = None) -> str:
    """Write the bytes under their base's name, or another. Gives the name."""
    name = name or names.base(ident_of(content))
    store.put(name, io.BytesIO(content), media_type="image/png")
    return name


def put_derivative(store: ObjectStore, content: bytes) -> str:
    return put(store, b"smaller", names.derivative(ident_of(content), SMALL))


def add_row(content: bytes, revision: int = 1) -> str:
    """A live image as a merge leaves it. Gives its ident."""
    md5 = hashlib.md5(content, usedforsecurity=False).digest()
    rows.add(content.decode(), revision, byte_size=len(content), md5=md5)
    return ident_of(content)


class Shuffled:
    """`store`, whose listing shows things as `order` tells: an index each, so that it may repeat, miss and go back."""

    def __init__(self, store: ObjectStore, order: list[int]) -> None:
        self._store, self._order = store, order
        self.stat, self.get, self.delete = store.stat, store.get, store.delete

    def list(self, prefix: str, *, after: str = "", foreign: bool = False) -> Iterator[ObjectInfo]:
        found = list(self._store.list(prefix, after=after, foreign=foreign))
        return (found[index % len(found)] for index in self._order if found)
