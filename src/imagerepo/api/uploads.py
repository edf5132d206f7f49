"""Receiving one image: to the spool as it comes, checked against what the client said of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rest_framework.request import Request

from imagerepo.api import forms, metadata, parsing
from imagerepo.errors import DigestMismatch, TooLarge
from imagerepo.sessions.metadata import Patch
from imagerepo.sessions.service import current
from imagerepo.store.spool import Spooled


@dataclass(frozen=True)
class Upload:
    """An image in the spool, and what its sender says of it."""

    spooled: Spooled
    filename: str | None
    metadata: Patch


@contextmanager
def raw(request: Request, ident: str) -> Iterator[Upload]:
    """The whole body is the image `ident`. Unless it is kept, its file goes at the end.

    Raises DigestMismatch, InvalidMetadata for its `?filename=`, and what receiving raises.
    """
    wanted, filename = parsing.content_digest(request), _filename(request.query_params.get("filename"))
    length = _checked_length(request, slack=0)
    source = _Body(request)
    spooled = current().spool.receive(source, limit=current().config.max_upload_bytes, length=length)
    try:
        _check(spooled.ident, ident, "the path")
        if wanted is not None:
            _check(spooled.ident, wanted.hex(), "Content-Digest")
        yield Upload(spooled, filename, {})
    finally:
        spooled.discard()


@contextmanager
def form(request: Request) -> Iterator[Upload]:
    """The image is the part `file` of a form. Unless it is kept, its file goes at the end.

    `Content-Digest` may be that of the image, or of the whole body, which is what RFC 9530 means by it.
    """
    wanted = parsing.content_digest(request)
    _checked_length(request, slack=parsing.MAX_FORM_BYTES)
    received = forms.receive(request, current().spool, limit=current().config.max_upload_bytes)
    try:
        if wanted is not None and wanted != received.sha256:
            _check(received.spooled.ident, wanted.hex(), "Content-Digest")
        yield Upload(received.spooled, _filename(received.filename), metadata.patch_of_form(received.fields))
    finally:
        received.spooled.discard()


def _checked_length(request: Request, *, slack: int) -> int:
    """The body's length, refused before a byte of it is read. Raises TooLarge."""
    length, limit = parsing.content_length(request), current().config.max_upload_bytes
    if length > limit + slack:
        raise TooLarge(f"the body has {length} bytes; an image may have {limit}")
    return length


def _filename(text: str | None) -> str | None:
    return None if text is None else str(metadata.patch_of({"filename": text})["filename"])


def _check(ident: str, wanted: str, where: str) -> None:
    if ident != wanted:
        raise DigestMismatch(f"the bytes received have the SHA-256 {ident}; {where} says {wanted}")


@dataclass(frozen=True)
class _Body:
    """The request's body as the spool reads it."""

    request: Request

    def read(self, size: int, /) -> bytes:
        return parsing.read(self.request, size)
