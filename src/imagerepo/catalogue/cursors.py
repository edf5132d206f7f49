"""Cursors: where a listing goes on, as text that clients hand back unread.

A cursor holds the revision that its listing began at, so that all pages are of one revision, and the
order that its position has a meaning in.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from imagerepo.catalogue.queries import ORDERS, Order, Position

_LAYOUT = struct.Struct(">BQqQ")  # index of the order, revision, microseconds since 1970, image
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = (1 << 63) - 1
"""What an integer column of SQLite holds."""


@dataclass(frozen=True)
class Cursor:
    """The page of the listing at `revision` in `order` that begins beyond `position`."""

    revision: int
    order: Order
    position: Position

    def __str__(self) -> str:
        microseconds = (self.position.added_at - _EPOCH) // timedelta(microseconds=1)
        packed = _LAYOUT.pack(ORDERS.index(self.order), self.revision, microseconds, self.position.image)
        return _text(packed)


def read(text: str) -> Cursor | None:
    """The cursor that `text` is, or None: then this service did not make it."""
    packed = _packed(text)
    if packed is None or len(packed) != _LAYOUT.size:
        return None
    order, revision, microseconds, image = _LAYOUT.unpack(packed)
    if order >= len(ORDERS) or max(revision, image) > _LARGEST:
        return None
    try:
        added_at = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    return Cursor(revision, ORDERS[order], Position(added_at, image))


def of_number(number: int) -> str:
    """A cursor of a listing that is ordered by one whole number, such as the log of revisions."""
    return _text(number.to_bytes(8, "big"))


def read_number(text: str) -> int | None:
    """The number of such a cursor, or None: then this service did not make it."""
    packed = _packed(text)
    if packed is None or len(packed) != 8:
        return None
    number = int.from_bytes(packed, "big")
    return number if number <= _LARGEST else None


def _text(packed: bytes) -> str:
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _packed(text: str) -> bytes | None:
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return packed if _text(packed) == text else None
