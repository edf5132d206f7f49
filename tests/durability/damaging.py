"""A store that changes a byte of what it holds."""

from __future__ import annotations

import io

from imagerepo.store.objects import ObjectStore


def damage(store: ObjectStore, name: str, *, last: bool = False) -> None:
    """Change one byte of an object: the one in its middle, or the `last`."""
    with store.get(name) as reader:
        content = bytearray(reader.read())
    content[-1 if last else len(content) // 2] ^= 1
    store.put(name, io.BytesIO(bytes(content)), media_type="x/y")
