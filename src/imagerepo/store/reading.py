"""Reading objects: hashing one, and one that is open as a file, whole or in part."""

from __future__ import annotations

import hashlib
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from imagerepo.errors import StoreRefused, StoreUnavailable
from imagerepo.store.objects import ObjectInfo, ObjectStore

HASHED_BYTES = 1 << 18
"""Read at once, where an object is only hashed."""


class Readable(Protocol):
    """The one method of a file, or of an ObjectReader, that reading to the end needs."""

    def read(self, size: int, /) -> bytes: ...


class FileReader:
    """The ObjectReader of the next `length` bytes of `file`, which it closes."""

    def __init__(self, info: ObjectInfo, file: BinaryIO, length: int) -> None:
        self.info = info
        self._file = file
        self._left = length

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        try:
            chunk = self._file.read(wanted)
        except OSError as error:
            name = self.info.name
            raise StoreUnavailable(f"get {name}: {error.strerror}", op="get", name=name) from error
        if len(chunk) < wanted:
            raise ended_early(self.info.name, self._left - len(chunk))
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


def ended_early(name: str, missing: int) -> StoreUnavailable:
    return StoreUnavailable(f"{name}: the body ended {missing} bytes early", op="get", name=name)


def hash_object(store: ObjectStore, name: str, *, newest: bool = False) -> tuple[str, int]:
    """The SHA-256 of an object in hex, and how many bytes it has. Raises what `ObjectStore.get` and its reader do."""
    with store.get(name, newest=newest) as reader:
        return hash_all(reader)


def hash_all(source: Readable) -> tuple[str, int]:
    """The SHA-256 of what is left to read in hex, and how many bytes that was."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(HASHED_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def clip(info: ObjectInfo, byte_range: tuple[int, int] | None) -> tuple[int, int]:
    """Where a read begins and how many bytes it has. StoreRefused when it begins beyond the end."""
    if byte_range is None:
        return 0, info.size
    first, last = byte_range
    if first >= info.size:
        raise no_such_range(info.name, byte_range)
    return first, min(last + 1, info.size) - first


def no_such_range(name: str, byte_range: tuple[int, int]) -> StoreRefused:
    return StoreRefused(f"{name}: it has no bytes {byte_range[0]}-{byte_range[1]}", op="get", name=name)
