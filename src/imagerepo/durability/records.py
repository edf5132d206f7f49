"""The record: one snapshot as an object. docs/format.md describes it byte by byte.

    magic (8 bytes) | header length (4 bytes, big-endian) | header (JSON) | payload

A record of kind `base` has no payload; its header lists the parts that together are the database.
A record's digest is the SHA-256 of the whole object, and the link to a parent is its name and digest.
"""

from __future__ import annotations

import hashlib
import struct
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imagerepo.errors import Damaged
from imagerepo.store import names
from imagerepo.store.reading import Readable

MAGIC = b"imgrepo\x01"
FORMAT = 1
PREFIX_BYTES = len(MAGIC) + 4
MAX_HEADER_BYTES = 16 << 20

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[int, Field(ge=0)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Position(Frozen):
    """A place in SQLite's write-ahead log: frames 1…`frame` of the generation `salts`.

    `checksum` is that frame's running checksum (frame 0: the log header's); both in hex.
    """

    salts: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    frame: Number
    checksum: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Link(Frozen):
    """A record by name and by the SHA-256 of its bytes."""

    name: str
    digest: Digest


class Part(Frozen):
    """`size` bytes of the database from `offset`, zstd-compressed to `stored` bytes of SHA-256 `digest`."""

    name: str
    digest: Digest
    offset: Number
    size: Number
    stored: Number


class Header(Frozen):
    """What a record says of itself.

    `seq` counts within its epoch, `sequence` along the whole chain. `head` is the live revision in the
    snapshot's rows, `head_after` the one that is live once the record is final (recovery flips to it).
    `payload_digest` is the SHA-256 of the whole database for a base, of the payload otherwise.
    `following` is where in the log the next delta begins: `position`, unless the log was begun anew.
    """

    format: int = FORMAT
    repository: str
    kind: Literal["base", "delta"]
    epoch: Annotated[int, Field(ge=1)]
    writer: str
    seq: Number
    sequence: Number
    created_at: datetime
    page_size: Number
    page_count: Number
    head: Number
    head_after: Number
    payload_digest: Digest
    position: Position
    following: Position
    parent: Link | None
    parts: tuple[Part, ...] = ()
    payload_bytes: Number = 0

    @property
    def name(self) -> str:
        return names.record(self.epoch, self.writer, self.seq)

    @property
    def summary(self) -> dict[str, Any]:
        """What people are told of a snapshot; `bytes` as stored."""
        return _summary(self, self.kind)

    @property
    def stored_bytes(self) -> int:
        """What the snapshot takes in the store, without its header."""
        return self.payload_bytes + sum(part.stored for part in self.parts)


class Manifest(Frozen):
    """A base made in the background: the whole database as of the record `of`, which is `seq` of this epoch.

    `number` counts the epoch's manifests from 0. The rest is as in Header.
    """

    format: int = FORMAT
    repository: str
    epoch: Annotated[int, Field(ge=1)]
    writer: str
    number: Number
    of: Link
    seq: Number
    sequence: Number
    created_at: datetime
    page_size: Number
    page_count: Number
    head_after: Number
    payload_digest: Digest
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        return names.manifest(self.epoch, self.writer, self.number)

    @property
    def summary(self) -> dict[str, Any]:
        """As of a Header."""
        return _summary(self, "base")

    @property
    def stored_bytes(self) -> int:
        return sum(part.stored for part in self.parts)


def _summary(snapshot: Header | Manifest, kind: str) -> dict[str, Any]:
    return {
        "sequence": snapshot.sequence,
        "epoch": snapshot.epoch,
        "kind": kind,
        "revision": snapshot.head_after,
        "bytes": snapshot.stored_bytes,
        "created_at": snapshot.created_at,
    }


H = TypeVar("H", Header, Manifest)


def encode(header: Header | Manifest, payload: bytes = b"") -> bytes:
    """The bytes of a record, or of a manifest."""
    text = header.model_dump_json().encode()
    return MAGIC + struct.pack(">I", len(text)) + text + payload


def decode(content: bytes, *, name: str) -> tuple[Header, bytes]:
    """Header and payload of the record `name`. Raises Damaged where it is not one, or not that one."""
    text, payload = _split(content, name)
    return _read_header(Header, text, name), payload


def decode_manifest(content: bytes, *, name: str) -> Manifest:
    """The manifest `name`. Raises Damaged where it is not one, or not that one."""
    return _read_header(Manifest, _split(content, name)[0], name)


def read_head(file: Readable) -> bytes:
    """A record's bytes up to its payload, which nobody needs to know what it says of itself."""
    prefix = file.read(PREFIX_BYTES)
    return prefix + file.read(min(_header_bytes(prefix), MAX_HEADER_BYTES))


def _header_bytes(content: bytes) -> int:
    (length,) = struct.unpack_from(">I", content, len(MAGIC)) if len(content) >= PREFIX_BYTES else (0,)
    return int(length)


def _split(content: bytes, name: str) -> tuple[bytes, bytes]:
    if content[: len(MAGIC)] != MAGIC:
        raise Damaged(f"{name} is not a record of imagerepo: it begins with {content[:8]!r}", name=name)
    length = _header_bytes(content)
    text = content[PREFIX_BYTES : PREFIX_BYTES + length]
    if len(text) != length or not length or length > MAX_HEADER_BYTES:
        raise Damaged(f"{name} is cut short: its header has {len(text)} of {length} bytes", name=name)
    return text, content[PREFIX_BYTES + length :]


def _read_header(kind: type[H], text: bytes, name: str) -> H:
    try:
        header = kind.model_validate_json(text)
    except ValidationError as error:
        version = _format_of(text)
        if version not in (None, FORMAT):
            raise Damaged(f"{name} has format {version}; this imagerepo reads {FORMAT}: use a newer one") from None
        raise Damaged(f"{name} has a damaged header: {error.errors()[0]['msg']}", name=name) from None
    if header.format != FORMAT:
        raise Damaged(f"{name} has format {header.format}; this imagerepo reads {FORMAT}: use a newer one")
    if header.name != name:
        raise Damaged(f"{name} says that it is {header.name}", name=name)
    return header


class _Versioned(BaseModel):
    format: int


def _format_of(text: bytes) -> int | None:
    try:
        return _Versioned.model_validate_json(text).format
    except ValidationError:
        return None


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def link(header: Header, content: bytes) -> Link:
    return Link(name=header.name, digest=digest(content))
