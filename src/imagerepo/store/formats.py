"""The eight formats that a base may have, how to tell them by content, and what is known of a base."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

HEAD_BYTES = 4096
"""How much of a file decides its format. An `ftyp` box with a thousand brands would still fit."""


@dataclass(frozen=True)
class ImageFormat:
    """`name` is the catalogue's, `pillow_name` that of the plugin which decodes it."""

    name: str
    media_type: str
    pillow_name: str


@dataclass(frozen=True)
class Decoded:
    """What the bytes say. `width` and `height` in pixels, as displayed: EXIF orientation applied.

    `has_alpha`: some frame can be transparent. `taken_at`: EXIF's DateTimeOriginal, where it has one.
    """

    format: str
    media_type: str
    width: int
    height: int
    frames: int
    has_alpha: bool
    taken_at: datetime | None


JPEG = ImageFormat("jpeg", "image/jpeg", "JPEG")
PNG = ImageFormat("png", "image/png", "PNG")
GIF = ImageFormat("gif", "image/gif", "GIF")
WEBP = ImageFormat("webp", "image/webp", "WEBP")
TIFF = ImageFormat("tiff", "image/tiff", "TIFF")
BMP = ImageFormat("bmp", "image/bmp", "BMP")
AVIF = ImageFormat("avif", "image/avif", "AVIF")
JP2 = ImageFormat("jp2", "image/jp2", "JPEG2000")

FORMATS = (JPEG, PNG, GIF, WEBP, TIFF, BMP, AVIF, JP2)
BY_NAME = {format.name: format for format in FORMATS}

_MAGIC = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"\xff\x4f\xff\x51", JP2),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JP2),
)
_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)
_AVIF_BRANDS = {b"avif", b"avis"}


def sniff(path: Path) -> ImageFormat | None:
    """The format that the file's first bytes announce, or None if it is not one of the eight."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    for magic, format in _MAGIC:
        if head.startswith(magic):
            return format
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if _begins_bmp(head):
        return BMP
    return AVIF if _begins_avif(head) else None


def _begins_bmp(head: bytes) -> bool:
    """`BM` alone begins many a text; the size of the second header is one of a few."""
    return head[:2] == b"BM" and len(head) >= 18 and struct.unpack_from("<I", head, 14)[0] in _BMP_HEADER_SIZES


def _begins_avif(head: bytes) -> bool:
    """HEIC shares the box and the general brand `mif1`: only AVIF's own brands count."""
    if head[4:8] != b"ftyp":
        return False
    brands = head[8 : struct.unpack_from(">I", head)[0]]
    return any(brands[at : at + 4] in _AVIF_BRANDS for at in range(0, len(brands), 4))
