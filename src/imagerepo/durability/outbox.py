"""The outbox: the exact bytes of the record under way, fsynced before they are first sent.

There is one record at most, and its name is never sent with other bytes. Whoever holds the lane
settles it first. A record's parts are complete before the record is there; parts without it are waste.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imagerepo.durability.files import unlink_durably, write_durably
from imagerepo.durability.records import Header, Part, decode, digest
from imagerepo.errors import Damaged
from imagerepo.store import names

_RECORD = ".record"
_PART = ".part"


@dataclass(frozen=True)
class Entry:
    """The record in the outbox: its bytes lie in `path`, its parts' beside it."""

    header: Header
    digest: str
    path: Path

    def part_path(self, part: Part) -> Path:
        return self.path.parent / f"{part.digest}{_PART}"


class Outbox:
    """Used by the holder of the lane alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def part_path(self, part_digest: str) -> Path:
        return self._folder / f"{part_digest}{_PART}"

    def add(self, header: Header, content: bytes) -> Entry:
        """Put a record whose parts are written and fsynced already. From here on it is owed to the store."""
        if self.pending():
            raise Damaged(f"{self._folder} holds a record already: it must be settled first")
        path = self._folder / f"{header.epoch}-{header.writer}-{header.seq}{_RECORD}"
        write_durably(path, content)
        return Entry(header, digest(content), path)

    def pending(self) -> Entry | None:
        """The record that is owed, if any. Raises Damaged where the file is not whole."""
        for path in self._folder.glob(f"[!.]*{_RECORD}"):
            epoch, writer, seq = path.name.removesuffix(_RECORD).split("-")
            content = path.read_bytes()
            header, _ = decode(content, name=names.record(int(epoch), writer, int(seq)))
            return Entry(header, digest(content), path)
        return None

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

    def _waste(self) -> Iterator[Path]:
        entry = self.pending()
        kept = {entry.path, *map(entry.part_path, entry.header.parts)} if entry else set()
        return (path for path in self._folder.iterdir() if path not in kept)
