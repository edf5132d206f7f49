"""Delivering a derivative: from the store's cache, or made now."""

from __future__ import annotations

import hashlib
from tempfile import SpooledTemporaryFile
from typing import IO

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from imagerepo.api import streaming
from imagerepo.api.streaming import CHUNK_BYTES, Body
from imagerepo.catalogue.models import Image
from imagerepo.errors import Busy
from imagerepo.sessions.service import current
from imagerepo.store.names import Variant
from imagerepo.store.objects import ObjectReader
from imagerepo.store.variants import MEDIA_TYPES

MEMORY_BYTES = 1 << 20
"""A larger derivative lies in a temporary file while it is delivered."""


def deliver(request: Request, image: Image, variant: Variant, headers: dict[str, str]) -> HttpResponseBase:
    """200, 206 or 304 with the derivative. Raises what the manager's `derivative` does, and RangeNotSatisfiable.

    Its bytes are gone through before the answer begins: the tag must be theirs, as a derivative that was
    evicted may be made anew by another version of the service, and the two must not be mixed.
    """
    with current().manager.derivative(image.ident, image, variant) as reader:
        copy, digest = _copied(reader)
    headers |= streaming.headers_of(digest, MEDIA_TYPES[variant.format])
    try:
        return _answer(request, copy, reader.info.size, headers)
    except BaseException:
        copy.close()
        raise


def _answer(request: Request, copy: IO[bytes], size: int, headers: dict[str, str]) -> HttpResponseBase:
    known = streaming.not_needed(request, headers)
    span = streaming.span_of(request, size, headers)
    if known is not None or request.method == "HEAD":
        copy.close()
        return known or streaming.head(size, headers)
    if span is not None:
        copy.seek(span[0])
        return streaming.part(copy, span, size, headers)
    return streaming.whole(Body(copy, size), size, headers)


def _copied(reader: ObjectReader) -> tuple[IO[bytes], str]:
    """All that `reader` gives, in a file of this process that has no name, and its SHA-256 in hex."""
    digest = hashlib.sha256()
    copy = SpooledTemporaryFile(MEMORY_BYTES, dir=str(current().config.data_dir))  # noqa: SIM115  # the answer closes it
    try:
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            copy.write(chunk)
    except OSError:
        copy.close()
        raise Busy("no room on the server's disk to deliver an image; try again in a while") from None
    except BaseException:
        copy.close()
        raise
    copy.seek(0)
    return copy, digest.hexdigest()
