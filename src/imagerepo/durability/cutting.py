"""Cutting: from the database as it stands to a record in the outbox, complete and fsynced."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from imagerepo.durability import deltas
from imagerepo.durability.outbox import Entry, Outbox
from imagerepo.durability.pages import Cut, Pages
from imagerepo.durability.records import Frozen, Header, Link, Part, Position, encode
from imagerepo.store import names
from imagerepo.store.reading import hash_all
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


def cut_delta(pages: Pages, outbox: Outbox, place: Place, since: Position) -> Entry:
    """Put the pages changed since `since` into the outbox, as one record.

    Raises Doubtful where the log does not provably continue from there, and OSError where the disk is
    full: then nothing is owed.
    """
    with step("snapshot.cut"):
        outbox.sweep()
        with effect("pages.delta"):
            delta = pages.delta(since)
        with outbox.scratch() as payload:
            for piece in deltas.pack(delta.pages):
                payload.write(piece)
            payload.seek(0)
            payload_digest, payload_bytes = hash_all(payload)
            header = _header(
                place,
                delta.cut,
                kind="delta",
                following=delta.following,
                payload_digest=payload_digest,
                payload_bytes=payload_bytes,
            )
            payload.seek(0)
            return outbox.add(header, encode(header), payload)


def cut_base(pages: Pages, outbox: Outbox, scratch: Path, place: Place) -> Entry:
    """Copy the database as it stands, compress it in parts, and put its record into the outbox.

    Raises Doubtful, Damaged and DiskFails as `Pages.base` does, and OSError where the disk is full: then
    nothing is owed.
    """
    with step("snapshot.cut"):
        outbox.sweep()
        target = scratch / "base.sqlite3"
        try:
            with effect("pages.base"):
                cut = pages.base(target)
            parts, database_digest = write_parts(target, outbox, place.epoch, place.writer)
        finally:
            target.unlink(missing_ok=True)
        header = _header(place, cut, kind="base", following=cut.position, payload_digest=database_digest, parts=parts)
        return outbox.add(header, encode(header))


def _header(place: Place, cut: Cut, **rest: Any) -> Header:
    return Header(
        **place.model_dump(),
        created_at=datetime.now(UTC),
        page_size=cut.page_size,
        page_count=cut.page_count,
        position=cut.position,
        **rest,
    )


def write_parts(database: Path, outbox: Outbox, epoch: int, writer: str) -> tuple[tuple[Part, ...], str]:
    """Compress a database file into the outbox, in parts. Gives them, and the SHA-256 of the file."""
    whole = hashlib.sha256()
    parts = []
    size = database.stat().st_size
    with database.open("rb") as file:
        for offset in range(0, size, PART_BYTES):
            part_size = min(PART_BYTES, size - offset)
            part_digest, stored = _compress(file, part_size, whole, outbox)
            name = names.part(epoch, writer, part_digest)
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
