"""Pictures for tests, drawn and not stored: good ones of every format, and what must be refused.

`GOOD` and `BAD` are by name; each is drawn when first asked for. `strategies.images` draws others.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyvips
from PIL import Image, ImageDraw
from PIL.ExifTags import GPS, IFD, Base

from imagerepo import errors
from imagerepo.testing.forged import ftyp, png_claiming, uniform_gif

TAKEN_AT = "2021:07:14 18:30:00"
TAKEN_OFFSET = "+02:00"
TAKEN = "2021-07-14T18:30:00+02:00"
"""The two above, as RFC 3339 has it."""
SERIAL_NUMBER = "SN-4711-0815"
CREATOR = "A. Photographer"

EACH_FORMAT = ("jpeg", "png", "gif", "webp", "tiff", "bmp", "avif", "jp2")


@dataclass(frozen=True)
class Picture:
    """`data` and what an intake must find in it. Sizes in pixels, as displayed; `taken_at` in RFC 3339."""

    data: bytes
    format: str
    width: int
    height: int
    frames: int = 1
    has_alpha: bool = False
    taken_at: str | None = None

    @property
    def ident(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Refused:
    """`data` and the error that refuses it."""

    data: bytes
    error: type[errors.IntakeError]


def draw(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A picture with smooth areas, edges and, with an alpha channel, a transparent left half."""
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    flat = Image.new("L", (width, height), (seed * 67) % 256)
    image = Image.merge("RGB", (across, down, flat))
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width // 2, height // 2), fill=(255, 255, 0))
    if mode in ("RGBA", "LA"):
        image.putalpha(across.point(lambda value: 0 if value < 128 else 255))
    return image.convert(mode)


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    """`format` is one of the catalogue's, or Pillow's own name."""
    buffer = io.BytesIO()
    image.save(buffer, {"jp2": "JPEG2000"}.get(format, format), **options)
    return buffer.getvalue()


def exif(orientation: int = 1, *, when: str = TAKEN_AT, offset: str | None = TAKEN_OFFSET) -> Image.Exif:
    """What a camera writes: when, where, and which camera."""
    tags = Image.Exif()
    tags[Base.Orientation] = orientation
    details = tags.get_ifd(IFD.Exif)
    details[Base.DateTimeOriginal] = when
    if offset is not None:
        details[Base.OffsetTimeOriginal] = offset
    details[Base.BodySerialNumber] = SERIAL_NUMBER
    place = tags.get_ifd(IFD.GPSInfo)
    place[GPS.GPSLatitudeRef], place[GPS.GPSLatitude] = "N", (47.0, 22.0, 10.0)
    place[GPS.GPSLongitudeRef], place[GPS.GPSLongitude] = "E", (8.0, 32.0, 30.0)
    return tags


def xmp(extra: str = "") -> bytes:
    """An XMP packet that names a creator, with `extra` attributes."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:creator="{CREATOR}" {extra}/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def photograph(width: int, height: int, *, orientation: int = 1, format: str = "jpeg") -> Picture:
    """With EXIF, GPS and XMP, stored as `width` by `height` and displayed as `orientation` says."""
    data = encode(draw(width, height), format, exif=exif(orientation), xmp=xmp())
    shown = (height, width) if orientation >= 5 else (width, height)
    # Pillow writes no details of EXIF into a TIFF.
    return Picture(data, format, *shown, taken_at=None if format == "tiff" else TAKEN)


def wide_gamut(width: int, height: int) -> Picture:
    """A JPEG in Display P3, its profile embedded: pure sRGB green is another triple there."""
    green = pyvips.Image.black(width, height).bandjoin([255, 0]).copy(interpretation="srgb").cast("uchar")
    data = green.icc_export(output_profile="p3", depth=8).jpegsave_buffer(Q=95, subsample_mode="off")
    return Picture(bytes(data), "jpeg", width, height)


def _still(format: str, mode: str = "RGB", **options: Any) -> Picture:
    image = draw(96, 64, mode)
    return Picture(encode(image, format, **options), format, 96, 64, has_alpha=mode in ("RGBA", "LA"))


def _animated(format: str, mode: str = "RGB", frames: int = 4, **options: Any) -> Picture:
    first, *rest = [draw(96, 64, mode, seed) for seed in range(1, frames + 1)]
    data = encode(first, format, save_all=True, append_images=rest, **options)
    found = {"mpo": "jpeg"}.get(format, format)
    # WebP's frames are patches on a canvas that may show through.
    return Picture(data, found, 96, 64, frames, has_alpha=mode == "RGBA" or format == "webp")


def _gray16(format: str, **options: Any) -> Picture:
    image = draw(96, 64, "L").convert("I").point(lambda value: value * 257).convert("I;16")
    return Picture(encode(image, format, **options), format, 96, 64)


def pages(sizes: Sequence[tuple[int, int]]) -> Picture:
    """A TIFF with a page of each size."""
    first, *rest = [draw(*size, seed=number) for number, size in enumerate(sizes)]
    return Picture(encode(first, "tiff", save_all=True, append_images=rest), "tiff", *sizes[0], len(sizes))


def _beyond_its_screen() -> Picture:
    """A GIF whose first frame is larger than the screen that its header announces."""
    return Picture(_patched("gif", 6, struct.pack("<HH", 48, 32)), "gif", 96, 64)


_GOOD: dict[str, Callable[[], Picture]] = {
    "jpeg": lambda: _still("jpeg", quality=90),
    "png": lambda: _still("png"),
    "gif": lambda: _still("gif"),
    "webp": lambda: _still("webp", quality=90),
    "tiff": lambda: _still("tiff", compression="tiff_lzw"),
    "bmp": lambda: _still("bmp"),
    "avif": lambda: _still("avif", quality=90),
    "jp2": lambda: _still("jp2"),
    "jpeg large, turned, with EXIF": lambda: photograph(2400, 1600, orientation=6),
    "jpeg gray": lambda: _still("jpeg", "L"),
    "jpeg CMYK": lambda: _still("jpeg", "CMYK"),
    "jpeg progressive": lambda: _still("jpeg", progressive=True),
    "jpeg wide gamut": lambda: wide_gamut(96, 64),
    "jpeg of several pictures (MPO)": lambda: _animated("mpo", frames=2),
    "png with alpha": lambda: _still("png", "RGBA"),
    "png with gray and alpha": lambda: _still("png", "LA"),
    "png with a palette": lambda: _still("png", "P"),
    "png 1-bit": lambda: _still("png", "1"),
    "png 16-bit gray": lambda: _gray16("png"),
    "png animated (APNG)": lambda: _animated("png", "RGBA"),
    "gif animated": lambda: _animated("gif", duration=50, loop=0),
    "gif beyond its screen": _beyond_its_screen,
    "webp with alpha": lambda: _still("webp", "RGBA", lossless=True),
    "webp animated": lambda: _animated("webp"),
    "tiff of several pages": lambda: pages([(96, 64), (64, 96), (32, 32)]),
    "tiff CMYK": lambda: _still("tiff", "CMYK"),
    "tiff YCbCr": lambda: _still("tiff", "YCbCr"),
    "tiff 16-bit gray": lambda: _gray16("tiff"),
    "tiff deflate with alpha": lambda: _still("tiff", "RGBA", compression="tiff_adobe_deflate"),
    "avif with alpha": lambda: _still("avif", "RGBA"),
    "avif animated": lambda: _animated("avif", speed=10),
    "jp2 with alpha": lambda: _still("jp2", "RGBA"),
    "jp2 bare codestream": lambda: _still("jp2", no_jp2=True),
}
GOOD = tuple(_GOOD)


@cache
def good(name: str) -> Picture:
    """The picture of that name, one of GOOD."""
    return _GOOD[name]()


def truncated(name: str) -> bytes:
    """Two thirds of a good picture."""
    data = good(name).data
    return data[: len(data) * 2 // 3]


def _patched(name: str, at: int, patch: bytes) -> bytes:
    data = bytearray(good(name).data)
    data[at : at + len(patch)] = patch
    return bytes(data)


def _bomb_jpeg() -> bytes:
    data = good("jpeg").data
    return _patched("jpeg", data.index(b"\xff\xc0") + 5, struct.pack(">HH", 65_000, 65_000))


def _bomb_tiff() -> bytes:
    """Strips of zeros, deflated a thousandfold."""
    return encode(Image.new("1", (12_000, 12_000)), "tiff", compression="tiff_adobe_deflate")


def _bomb_webp() -> bytes:
    size = struct.pack("<HH", 16_383, 16_383)
    return _patched("webp", good("webp").data.index(b"\x9d\x01\x2a") + 3, size)


def _bomb_avif() -> bytes:
    size = struct.pack(">II", 12_000, 12_000)
    return _patched("avif", good("avif").data.index(b"ispe") + 8, size)


def _bomb_jp2() -> bytes:
    data = good("jp2 bare codestream").data
    size = struct.pack(">II", 60_000, 60_000)
    return _patched("jp2 bare codestream", data.index(b"\xff\x51") + 6, size)


def _broken_xmp() -> bytes:
    return encode(draw(32, 32), "jpeg", xmp=b"<x:xmpmeta><never closed")


_BAD: dict[str, Callable[[], Refused]] = {
    **{
        f"{format} truncated": lambda format=format: Refused(truncated(format), errors.UndecodableImage)  # type: ignore[misc]
        for format in EACH_FORMAT
    },
    **{
        f"{format} of a few bytes": lambda format=format: Refused(  # type: ignore[misc]
            good(format).data[:40], errors.UndecodableImage
        )
        for format in EACH_FORMAT
    },
    "empty": lambda: Refused(b"", errors.UnsupportedFormat),
    "text": lambda: Refused(b"BM is how this text begins, and it is no bitmap.\n", errors.UnsupportedFormat),
    "html": lambda: Refused(b"<!doctype html><script>alert(1)</script>", errors.UnsupportedFormat),
    "svg": lambda: Refused(b'<svg xmlns="http://www.w3.org/2000/svg"/>', errors.UnsupportedFormat),
    "pdf": lambda: Refused(b"%PDF-1.7\n%%EOF\n", errors.UnsupportedFormat),
    "zeros": lambda: Refused(bytes(4096), errors.UnsupportedFormat),
    "heic": lambda: Refused(ftyp(b"heic", b"mif1", b"heic"), errors.UnsupportedFormat),
    "mp4": lambda: Refused(ftyp(b"isom", b"mp42"), errors.UnsupportedFormat),
    "ico": lambda: Refused(encode(draw(32, 32), "ico"), errors.UnsupportedFormat),
    "ppm": lambda: Refused(encode(draw(32, 32), "ppm"), errors.UnsupportedFormat),
    "tga": lambda: Refused(encode(draw(32, 32), "tga"), errors.UnsupportedFormat),
    "avif header alone": lambda: Refused(ftyp(b"avif", b"mif1"), errors.UndecodableImage),
    "png bomb": lambda: Refused(png_claiming(50_000, 50_000), errors.TooManyPixels),
    "png too long": lambda: Refused(png_claiming(70_000, 1), errors.TooManyPixels),
    "png lying about its size": lambda: Refused(png_claiming(5_000, 5_000), errors.UndecodableImage),
    "png of too many frames": lambda: Refused(png_claiming(10, 10, frames=100_000), errors.TooManyFrames),
    "png of many large frames": lambda: Refused(png_claiming(9_000, 9_000, frames=300), errors.TooManyPixels),
    "gif of 300 frames of 81 megapixels": lambda: Refused(uniform_gif(9_000, 9_000, 300), errors.TooManyPixels),
    "gif of 1001 frames": lambda: Refused(uniform_gif(2, 2, 1001), errors.TooManyFrames),
    "gif bomb": lambda: Refused(uniform_gif(12_000, 12_000, 1), errors.TooManyPixels),
    "jpeg bomb": lambda: Refused(_bomb_jpeg(), errors.TooManyPixels),
    "tiff bomb": lambda: Refused(_bomb_tiff(), errors.TooManyPixels),
    "webp bomb": lambda: Refused(_bomb_webp(), errors.TooManyPixels),
    "bmp bomb": lambda: Refused(_patched("bmp", 18, struct.pack("<ii", 60_000, 60_000)), errors.TooManyPixels),
    "avif bomb": lambda: Refused(_bomb_avif(), errors.TooManyPixels),
    "jp2 bomb": lambda: Refused(_bomb_jp2(), errors.TooManyPixels),
    "jpeg with broken XMP": lambda: Refused(_broken_xmp(), errors.UndecodableImage),
}
BAD = tuple(_BAD)


@cache
def bad(name: str) -> Refused:
    """The one of that name, one of BAD."""
    return _BAD[name]()
