"""Cutting: from the database as it stands to a record in the outbox, complete and fsynced."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import zstandard

from imagerepo.durability.outbox import Entry, Outbox
from imagerepo.durability.pages import Pages
from imagerepo.durability.records import Frozen, Header, Link, Part, encode
from imagerepo.store import names
from imagerepo.testing.failpoints import effect, step

PART_BYTES = 64 << 20
"""Of the database, in one part: what a restore has to hold in memory, and repeat when a read fails."""
ZSTD_LEVEL = 3
_CHUNK = 1 << 20


class Place(Frozen):
    """Where in the chain a record goes, and what it makes live."""

    repository: str
    epoch: int
    writer: str
    seq: int
    sequence: int
    parent: Link | None
    head: int
    head_after: int


def cut_base(pages: Pages, outbox: Outbox, scratch: Path, place: Place) -> Entry:
    """Copy the database as it stands, compress it in parts, and put its record into the outbox.

    Raises Doubtful and Damaged as `Pages.base` does, and OSError where the disk is full: then nothing
    is owed.
    """
    with step("snapshot.cut"):
        outbox.sweep()
        target = scratch / "base.sqlite3"
        try:
            with effect("pages.base"):
                cut = pages.base(target)
            parts, database_digest = _write_parts(target, outbox, place)
        finally:
            target.unlink(missing_ok=True)
        header = Header(
            **place.model_dump(),
            kind="base",
            created_at=datetime.now(UTC),
            page_size=cut.page_size,
            page_count=cut.page_count,
            payload_digest=database_digest,
            position=cut.position,
            parts=parts,
        )
        return outbox.add(header, encode(header))


def _write_parts(database: Path, outbox: Outbox, place: Place) -> tuple[tuple[Part, ...], str]:
    whole = hashlib.sha256()
    parts = []
    size = database.stat().st_size
    with database.open("rb") as file:
        for offset in range(0, size, PART_BYTES):
            part_size = min(PART_BYTES, size - offset)
            part_digest, stored = _compress(file, part_size, whole, outbox)
            name = names.part(place.epoch, place.writer, part_digest)
            parts.append(Part(name=name, digest=part_digest, offset=offset, size=part_size, stored=stored))
    return tuple(parts), whole.hexdigest()


def _compress(file: BinaryIO, size: int, whole: hashlib._Hash, outbox: Outbox) -> tuple[str, int]:
    """Compress the next `size` bytes into the outbox. Gives the digest and the size of what was stored."""
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj(size=size)
    digest = hashlib.sha256()
    stored = 0
    unnamed = outbox.part_path("new")
    with effect("file.write part"), unnamed.open("wb") as part:
        while size:
            chunk = file.read(min(_CHUNK, size))
            size -= len(chunk)
            whole.update(chunk)
            packed = compressor.compress(chunk) + (b"" if size else compressor.flush())
            digest.update(packed)
            stored += part.write(packed)
        part.flush()
        os.fsync(part.fileno())
        unnamed.replace(outbox.part_path(digest.hexdigest()))
    return digest.hexdigest(), stored
