"""Fetching a base: its parts come several at once, each to its place in one file, which is synced meanwhile.

What a part unpacks to goes through one small buffer, so that neither memory nor the time to get it grows with the
part's size (measured: half the time of unpacking a megabyte at once; bench/restore.py).
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeAlias, cast

import zstandard

from imagerepo.durability.records import Header, Manifest, Part
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged, ImagerepoError, Missing, ObjectNotFound
from imagerepo.files import sync
from imagerepo.store.objects import ObjectReader, ObjectStore
from imagerepo.testing.failpoints import effect, step

FETCH_THREADS = 4
_PACKED_BYTES, _UNPACKED_BYTES = 1 << 17, 1 << 18
"""Read and written at once."""

Base: TypeAlias = Header | Manifest
"""What says where a whole database lies: a record of that kind, or the manifest that stands in for one."""
Progress: TypeAlias = Callable[[int, int], None]
"""Called with bytes of the database written, and of all."""


Lay: TypeAlias = Callable[[memoryview, int], memoryview]
"""Called with the base's bytes from an offset on, which it may change. Gives what is to be written there."""


def unseen(_done: int, _total: int) -> None:
    """The progress that nobody looks at."""


def unchanged(buffer: memoryview, _offset: int) -> memoryview:
    """The base as it is."""
    return buffer


def fetch(store: ObjectStore, base: Base, target: Path, patience: Patience, progress: Progress, lay: Lay) -> None:
    """Make `target` the database as of `base`, with what `lay` lays over it, durably; its folder is not synced.

    Every part is checked by its digest. Raises Damaged, and Missing where a part is gone.
    """
    total = base.page_count * base.page_size
    _check_parts(base, total)
    meter = _Meter(total, progress)
    with effect("file.write restoring"), target.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, total)  # a full disk is known now; and blocks land side by side
    with ThreadPoolExecutor(1) as syncing, ThreadPoolExecutor(FETCH_THREADS) as fetching:

        def fetch_one(part: Part) -> Future[None]:
            _fetch_part(store, base, part, target, patience, meter, lay)
            return syncing.submit(sync, target)

        for synced in list(fetching.map(fetch_one, base.parts)):
            synced.result()  # a disk tells of a failure once: this is the time to listen


class _Meter:
    """Adds up what several threads write, and tells of it."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress = 0, total, progress
        self._adding = threading.Lock()
        progress(0, total)

    def add(self, size: int) -> None:
        with self._adding:
            self._done += size
            self._progress(self._done, self._total)


def _check_parts(base: Base, total: int) -> None:
    """Each byte comes from one part: so the parts' digests prove the whole."""
    end = 0
    for part in base.parts:
        if part.offset != end:
            raise Damaged(f"the parts that {base.name} names do not make one file", name=base.name)
        end += part.size
    if end != total:
        raise Damaged(f"the parts that {base.name} names make {end} bytes, not {total}", name=base.name)


def _fetch_part(
    store: ObjectStore, base: Base, part: Part, target: Path, patience: Patience, meter: _Meter, lay: Lay
) -> None:
    try:
        with step("restore.part"), effect("file.write part"):
            patience.ask(lambda: _write_part(store, part, target, meter, lay))
    except ObjectNotFound:
        raise Missing(f"{part.name} is missing: {base.name} needs it", name=base.name) from None
    except Damaged as error:
        raise Damaged(f"{error}; {base.name} needs it", name=base.name) from None


class _Hashed:
    """A reader whose bytes are hashed on the way."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader, self._digest = reader, hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._reader.read(size)
        self._digest.update(chunk)
        return chunk

    def digest_of_all(self) -> str:
        """Reads what is left, too."""
        while self.read(_PACKED_BYTES):
            pass
        return self._digest.hexdigest()


def _write_part(store: ObjectStore, part: Part, target: Path, meter: _Meter, lay: Lay) -> None:
    left = part.size
    buffer = memoryview(bytearray(_UNPACKED_BYTES))
    try:
        with store.get(part.name, newest=True) as reader, target.open("r+b") as file:
            file.seek(part.offset)
            hashed = _Hashed(reader)
            unpacked = zstandard.ZstdDecompressor().stream_reader(cast(IO[bytes], hashed), read_size=_PACKED_BYTES)
            while left >= 0 and (size := _read_into(buffer, unpacked, part)):
                file.write(lay(buffer[: min(size, left)], part.offset + part.size - left))  # the rest is not its place
                left -= size
                meter.add(size)
            if hashed.digest_of_all() != part.digest or left:
                raise Damaged(f"{part.name} is damaged: its bytes are not what its name says")
    except ImagerepoError:
        meter.add(left - part.size)  # it is read again, perhaps
        raise


def _read_into(buffer: memoryview, unpacked: zstandard.ZstdDecompressionReader, part: Part) -> int:
    try:
        return unpacked.readinto(buffer)
    except zstandard.ZstdError as error:
        raise Damaged(f"{part.name} is damaged: {error}") from None
