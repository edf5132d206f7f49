"""Delivering a base: byte for byte as it was uploaded, straight from the store."""

from __future__ import annotations

import hashlib

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from imagerepo.api import streaming
from imagerepo.api.ranges import Span
from imagerepo.api.representation import media_type
from imagerepo.api.streaming import Body
from imagerepo.catalogue.models import Image
from imagerepo.durability import damage
from imagerepo.errors import DamagedBase, ObjectNotFound, StoreRefused
from imagerepo.sessions.service import current
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectReader
from imagerepo.wording import counted


def deliver(request: Request, image: Image, headers: dict[str, str]) -> HttpResponseBase:
    """200, 206 or 304 with the base of `image`.

    Raises RangeNotSatisfiable, PreconditionFailed, StoreUnavailable, and DamagedBase where the store has
    other bytes or none.
    """
    check_sound(image)
    headers |= streaming.headers_of(image.ident, media_type(image))
    known = streaming.not_needed(request, headers)
    if known is not None:
        return known
    if request.method == "HEAD":
        _look(image)
        return streaming.head(image.byte_size, headers)
    span = streaming.span_of(request, image.byte_size, headers)
    if span is not None:
        return streaming.part(_open(image, span), span, image.byte_size, headers)
    body = Body(_open(image), image.byte_size, _Checker(image).check)
    return streaming.whole(body, image.byte_size, headers)


def check_sound(image: Image) -> None:
    """Raise DamagedBase where the base was found damaged when it was last read whole: a part would not show it."""
    found = damage.of(current().writer.disk, image.ident)
    if found is not None:
        raise DamagedBase(f"the base of {image.ident} was found {found.kind} at {found.found_at:%Y-%m-%dT%H:%M:%SZ}")


class _Checker:
    """Sees all of a base's bytes go by, and holds the last of them back if they are not what its name says.

    They would stay in caches for a year.
    """

    def __init__(self, image: Image) -> None:
        self._image, self._left, self._digest = image, image.byte_size, hashlib.sha256()

    def check(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self._left -= len(chunk)
        if not self._left and self._digest.hexdigest() != self._image.ident:
            raise DamagedBase(f"the stored base of {self._image.ident} is not what its name says")


def _open(image: Image, span: Span | None = None) -> ObjectReader:
    """The stored base, checked as far as the store's word goes."""
    try:
        reader = current().manager.base(image.ident, byte_range=span)
    except StoreRefused:
        _look(image)  # of a base cut short, the range may lie beyond the end
        raise
    try:
        _compare(reader.info, image)
    except DamagedBase:
        reader.close()
        raise
    return reader


def _look(image: Image) -> None:
    """Raise DamagedBase unless the store says that it has the base."""
    try:
        _compare(current().store.stat(names.base(image.ident)), image)
    except ObjectNotFound:
        raise DamagedBase(f"the store has lost the base of {image.ident}") from None


def _compare(info: ObjectInfo, image: Image) -> None:
    if info.size != image.byte_size:
        size = counted(info.size, "byte")
        raise DamagedBase(f"the stored base of {image.ident} has {size}, not {image.byte_size:,}")
    if info.md5 is not None and info.md5 != bytes(image.md5).hex():
        raise DamagedBase(f"the stored base of {image.ident} has the MD5 {info.md5}: it was overwritten")
