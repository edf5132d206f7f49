"""The outbox: the exact bytes of the record or manifest under way, fsynced before they are first sent.

There is one at most, and its name is never sent with other bytes. Whoever holds its lock settles it
first. Its parts are complete before it is there; parts without it are waste.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from imagerepo.durability.records import Header, Manifest, Part, decode, decode_manifest, read_head
from imagerepo.errors import Damaged
from imagerepo.files import unlink_durably, write_durably
from imagerepo.store import names
from imagerepo.store.reading import hash_all

MOST_IN_MEMORY_BYTES = 8 << 20
"""Of a payload in the making. Most have less than a megabyte; that of a long outage may have hundreds."""
_CHUNK_BYTES = 1 << 20
_RECORD = ".record"
_PART = ".part"
_SLASH = "!"


@dataclass(frozen=True)
class Entry:
    """What the outbox holds: its bytes lie in `path`, its parts' beside it."""

    header: Header | Manifest
    digest: str
    path: Path

    def part_path(self, part: Part) -> Path:
        return self.path.parent / f"{part.digest}{_PART}"


class Outbox:
    """Used by the holder of its lock alone: the lane's, or that of the bases."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def part_path(self, part_digest: str) -> Path:
        return self._folder / f"{part_digest}{_PART}"

    def scratch(self) -> IO[bytes]:
        """A file without a name, for a payload in the making."""
        return tempfile.SpooledTemporaryFile(MOST_IN_MEMORY_BYTES, dir=str(self._folder))

    def add(self, header: Header | Manifest, content: bytes, payload: IO[bytes] | None = None) -> Entry:
        """Put a record whose parts are written and fsynced already: `content`, and what is left to read of `payload`.

        From here on it is owed to the store.
        """
        if self.pending():
            raise Damaged(f"{self._folder} holds a record already: it must be settled first")
        path = self._folder / f"{header.name.replace('/', _SLASH)}{_RECORD}"
        hashed = hashlib.sha256(content)
        write_durably(path, content, _chunks(payload, hashed) if payload else ())
        return Entry(header, hashed.hexdigest(), path)

    def pending(self) -> Entry | None:
        """The record that is owed, if any. Raises Damaged where the file is not whole."""
        for path in self._records():
            with path.open("rb") as file:
                header = _header(read_head(file), path.name.removesuffix(_RECORD))
                file.seek(0)
                return Entry(header, hash_all(file)[0], path)
        return None

    def owes(self) -> bool:
        """Whether there is one, without reading it."""
        return any(self._records())

    def remove(self, entry: Entry) -> None:
        """Forget a record that is final, or superseded. The record goes before its parts."""
        unlink_durably([entry.path])
        self.sweep()

    def clear(self) -> None:
        """Forget whatever is here."""
        unlink_durably(self._folder.glob(f"*{_RECORD}"))
        self.sweep()

    def sweep(self) -> None:
        """Remove parts and halves of files that no record here names."""
        waste = list(self._waste())
        if waste:
            unlink_durably(waste)

    def _records(self) -> Iterator[Path]:
        return self._folder.glob(f"[!.]*{_RECORD}")

    def _waste(self) -> Iterator[Path]:
        entry = self.pending()
        kept = {entry.path, *map(entry.part_path, entry.header.parts)} if entry else set()
        return (path for path in self._folder.iterdir() if path not in kept)


def _chunks(payload: IO[bytes], hashed: hashlib._Hash) -> Iterator[bytes]:
    """What is left to read of it, hashed on the way."""
    while chunk := payload.read(_CHUNK_BYTES):
        hashed.update(chunk)
        yield chunk


def _header(content: bytes, file_name: str) -> Header | Manifest:
    name = file_name.replace(_SLASH, "/")
    if isinstance(names.parse(name), names.Manifest):
        return decode_manifest(content, name=name)
    return decode(content, name=name)[0]
