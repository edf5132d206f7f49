"""Objects in this process's memory: the backend of tests that need nothing to outlive them."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from imagerepo.errors import ObjectNotFound, StoreRefused
from imagerepo.store.names import is_epoch
from imagerepo.store.objects import ObjectInfo, ObjectReader, Properties
from imagerepo.store.reading import FileReader, clip


@dataclass(frozen=True)
class _Kept:
    info: ObjectInfo
    content: bytes


class MemoryStore:
    properties = Properties(
        scheme="memory",
        listing_may_lag=False,
        knows_md5=True,
        expires=False,
        signs_urls=False,
        keeps_media_type=True,
    )

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def put(
        self,
        name: str,
        body: BinaryIO,
        *,
        media_type: str,
        md5: str | None = None,
        expires_after: float | None = None,
    ) -> ObjectInfo:
        content = body.read()
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if md5 is not None and md5 != digest:
            raise StoreRefused(f"{name}: the body's MD5 is {digest}, not {md5}", op="put", name=name)
        info = ObjectInfo(name, len(content), datetime.now(UTC), digest, media_type)
        with self._lock:
            self._kept[name] = _Kept(info, content)
        return info

    def get(self, name: str, *, newest: bool = False, byte_range: tuple[int, int] | None = None) -> ObjectReader:
        kept = self._find("get", name)
        begin, length = clip(kept.info, byte_range)
        return FileReader(kept.info, io.BytesIO(kept.content[begin : begin + length]), length)

    def stat(self, name: str, *, newest: bool = False) -> ObjectInfo:
        return self._find("stat", name).info

    def delete(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                self._kept.pop(name, None)

    def list(self, prefix: str, *, after: str = "", foreign: bool = False) -> Iterator[ObjectInfo]:
        with self._lock:
            found = [
                kept.info
                for name, kept in self._kept.items()
                if name.startswith(prefix) and name > after and not is_epoch(name)
            ]
        return iter(sorted(found, key=lambda info: info.name))

    def create_exclusive(self, name: str) -> bool:
        taken = _Kept(ObjectInfo(name, 0, datetime.now(UTC)), b"")
        with self._lock:
            return self._kept.setdefault(name, taken) is taken

    def signed_url(self, name: str, *, seconds: float) -> str | None:
        return None

    def close(self) -> None:
        pass

    def _find(self, op: str, name: str) -> _Kept:
        with self._lock:
            kept = self._kept.get(name)
        if kept is None:
            raise ObjectNotFound(f"{name}: no such object", op=op, name=name)
        return kept
