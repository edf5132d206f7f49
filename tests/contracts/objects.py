"""Names of objects, and the shortest ways to put, read and list them."""

from __future__ import annotations

import hashlib
import io

from imagerepo.errors import ObjectNotFound
from imagerepo.store import names
from imagerepo.store.names import Variant
from imagerepo.store.objects import ObjectStore

WRITER = "00ff00ff00ff00ff"
IDENT = "ab" * 32
BASE = names.base(IDENT)
SMALL = names.derivative(IDENT, Variant(64, 64, "jpg"))
RECORD = names.record(1, WRITER, 0)


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def put(store: ObjectStore, name: str, content: bytes, *, media_type: str = "image/png") -> None:
    store.put(name, io.BytesIO(content), media_type=media_type)


def read(store: ObjectStore, name: str, *, byte_range: tuple[int, int] | None = None) -> bytes:
    with store.get(name, byte_range=byte_range) as reader:
        return reader.read()


def listed(store: ObjectStore, prefix: str = "", *, after: str = "") -> list[str]:
    return [info.name for info in store.list(prefix, after=after)]


def is_absent(store: ObjectStore, name: str) -> bool:
    try:
        store.stat(name)
    except ObjectNotFound:
        return True
    return False
