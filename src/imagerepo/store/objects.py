"""The seam: what imagerepo asks of an object store, and what it may rely on.

One contract suite (tests/contracts/) runs over every backend. Names are checked at the door by
`names.check`, both the ones given and the ones a listing returns (others are left out, unless asked for).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, Protocol, Self


@dataclass(frozen=True)
class Properties:
    """What may differ between backends."""

    scheme: str
    listing_may_lag: bool
    """A listing may miss what was just written, or show what is gone."""
    knows_md5: bool
    """`stat` gives the MD5 without reading the object."""
    expires: bool
    """`expires_after` is honoured."""
    signs_urls: bool
    keeps_media_type: bool
    """`get` and `stat` give the media type that `put` was told."""


@dataclass(frozen=True)
class ObjectInfo:
    """What a store says of one object. `size` in bytes; `md5` as 32 hex digits where the backend knows it."""

    name: str
    size: int
    modified: datetime
    md5: str | None = None
    media_type: str | None = None


class ObjectReader(Protocol):
    """An open object: read to the end, or closed early. Use it as a context manager.

    `read` raises StoreUnavailable when the body ends before its announced length: never a short read
    that looks whole.
    """

    info: ObjectInfo

    def read(self, size: int = -1, /) -> bytes: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class ObjectStore(Protocol):
    """Eight methods. All are safe to call from several threads at once.

    Errors: ObjectNotFound (get, stat), StoreUnavailable (any: a repeat may succeed), StoreRefused
    (any: a definite no), InDoubt (put, delete, create_exclusive: the answer was lost; it may apply
    now, later or never), InvalidName (any, before anything is sent).
    """

    properties: Properties

    def put(
        self,
        name: str,
        body: BinaryIO,
        *,
        media_type: str,
        md5: str | None = None,
        expires_after: float | None = None,
    ) -> ObjectInfo:
        """Write the whole object, or nothing: no reader ever sees half of it.

        `body` is seekable and read from its current position to its end. With `md5` (32 hex digits),
        a body that is something else is StoreRefused and nothing is stored. Returning means that the
        store holds exactly these bytes (Swift: 201 with their MD5). Sending the same again is fine.
        `expires_after` in seconds; where `properties.expires` is false it is left out of account.
        """
        ...

    def get(self, name: str, *, newest: bool = False, byte_range: tuple[int, int] | None = None) -> ObjectReader:
        """Open an object. `newest` asks every replica, `byte_range` is first and last byte, inclusive.

        A range that begins beyond the end is StoreRefused; one that ends beyond it is cut.
        `info.size` is the size of the whole object.
        """
        ...

    def stat(self, name: str, *, newest: bool = False) -> ObjectInfo:
        """What the store says of an object, or of a name taken with `create_exclusive`."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete each; one that is absent is fine."""
        ...

    def list(self, prefix: str, *, after: str = "", foreign: bool = False) -> Iterator[ObjectInfo]:
        """Objects whose names begin with `prefix` and sort after `after`, sorted by code point. May lag.

        With `foreign`, those too whose names the grammar refuses, as far as the backend can see them below the
        repository's place: they can be named to a person, and nothing else can be done with them here.
        """
        ...

    def create_exclusive(self, name: str) -> bool:
        """Take a name (of the form names.epoch): true for one caller at most, ever, and false for all others.

        A caller who asks alone gets it; of several at once perhaps none does (Swift with replicas), and the
        name is taken all the same. InDoubt when the answer is lost: ask again; false then counts as a loss.
        """
        ...

    def signed_url(self, name: str, *, seconds: float) -> str | None:
        """A URL that reads the object for so long without credentials, or None."""
        ...

    def close(self) -> None: ...
