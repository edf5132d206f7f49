"""Judge one image by decoding all of it. Runs in a worker process (worker.py): the input may be hostile.

An image is good when all that this service will ever ask of it works: every frame decodes to its last
pixel, converts to RGBA and resizes, and its EXIF and XMP can be read. `Image.verify()` promises far less,
and headers promise nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import AvifImagePlugin, Image
from PIL.ExifTags import IFD, Base

from imagerepo.errors import (
    IntakeError,
    TooCostly,
    TooManyFrames,
    TooManyPixels,
    UndecodableImage,
    UnsupportedFormat,
)
from imagerepo.store.formats import JP2, PNG, TIFF, Decoded, ImageFormat, sniff

MAX_SIDE = 65_535
"""Pixels: the longest side that JPEG can say. Beyond it decoders' arithmetic is little tried."""

ALL_FRAMES_FACTOR = 4
"""All frames together may have this many times the pixels that one frame may have."""

SAMPLE_SIDE = 64
"""Pixels. Whether a frame converts and resizes depends on its mode, so a corner of it answers for all."""

GRAY16_LONGEST_SIDE = 1023
"""Pixels of a 16-bit grayscale TIFF or JPEG 2000. A rule of acceptance, not of ability: render.py could shrink
larger ones, but Pillow's own `thumbnail` can't, and the corpus that intake is held to calls them bad for it.
PNG, the usual carrier of such images, is not restricted."""

JP2_BYTES_PER_BAND = 4
JP2_BYTES_PER_PIXEL = 8
"""What decoding JPEG 2000 takes, measured at 100 megapixels: OpenJPEG's integers, and Pillow's pixels."""

SIZES_DIFFER = ("TIFF", "MPO")
"""Pillow's names of the formats in which each frame has a size of its own."""

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # images are decoded in parallel, not parts of one


@dataclass(frozen=True)
class Limits:
    """`max_pixels` of one frame, `max_frames` of one image, `memory_bytes` that decoding may allocate."""

    max_pixels: int
    max_frames: int
    memory_bytes: int


def inspect(path: Path, limits: Limits) -> Decoded:
    """Decode the file at `path` completely. Raises the IntakeError that says why it is refused."""
    format = sniff(path)
    if format is None:
        raise UnsupportedFormat(
            "the content is no JPEG, PNG, GIF, WebP, TIFF, BMP, AVIF or JPEG 2000 image; send one of these"
        )
    with _translating(format, limits), open_image(path, format) as image:
        _check_structure(path, format)
        frames = _count_frames(image, limits)
        width, height = displayed_size(image)
        has_alpha = _decode_frames(image, frames, limits)
        image.seek(0)
        image.getxmp()
        taken_at = _taken_at(image)
    return Decoded(format.name, format.media_type, width, height, frames, has_alpha, taken_at)


def open_image(path: Path, format: ImageFormat) -> Image.Image:
    """Open with the one plugin that `format` names; nothing else is tried."""
    return Image.open(path, formats=[format.pillow_name])


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none. XMP's does not count: browsers show it unturned."""
    hidden: dict[str | tuple[int, int], Any] = {
        key: image.info.pop(key) for key in ("xmp", "XML:com.adobe.xmp") if key in image.info
    }
    try:
        value = image.getexif().get(Base.Orientation, 1)
    finally:
        image.info.update(hidden)
    return value if value in range(1, 9) else 1


def displayed_size(image: Image.Image) -> tuple[int, int]:
    """Width and height in pixels after the orientation is applied, before the first frame is loaded."""
    width, height = image.size
    already_turned = image.format == TIFF.pillow_name
    sideways = orientation(image) >= 5 and not already_turned
    return (height, width) if sideways else (width, height)


def _check_structure(path: Path, format: ImageFormat) -> None:
    """Find the truncation that decoding forgives: Pillow asks for no checksum and no end of a PNG."""
    if format is PNG:
        with open_image(path, format) as image:
            image.verify()


def _count_frames(image: Image.Image, limits: Limits) -> int:
    """The number of frames, refusing too many before any is decoded."""
    frames: int = getattr(image, "n_frames", 1)
    if frames > limits.max_frames:
        raise TooManyFrames(f"the image has {frames} frames; at most {limits.max_frames} are taken")
    if image.format not in SIZES_DIFFER:
        _check_pixels(image.size, frames, limits)
    if image.format == JP2.pillow_name:
        _check_jp2_memory(image, limits)
    return frames


def _check_jp2_memory(image: Image.Image, limits: Limits) -> None:
    """Look ahead: when OpenJPEG runs out of memory, it calls the image damaged."""
    bytes_per_pixel = len(image.getbands()) * JP2_BYTES_PER_BAND + JP2_BYTES_PER_PIXEL
    if image.width * image.height * bytes_per_pixel > limits.memory_bytes:
        raise _too_much_memory()


def _check_pixels(size: tuple[int, int], frames: int, limits: Limits) -> None:
    width, height = size
    if max(size) > MAX_SIDE:
        raise TooManyPixels(f"the image has {width}x{height} pixels; a side may have at most {MAX_SIDE}")
    if width * height > limits.max_pixels:
        raise TooManyPixels(f"{width}x{height} pixels are more than {limits.max_pixels} in one frame")
    _check_total(width * height * frames, limits)


def _check_total(pixels: int, limits: Limits) -> None:
    most = ALL_FRAMES_FACTOR * limits.max_pixels
    if pixels > most:
        raise TooManyPixels(f"all frames together have {pixels} pixels; at most {most} are taken")


def _decode_frames(image: Image.Image, frames: int, limits: Limits) -> bool:
    """Decode every frame and try what will be done with it. Answers whether any can be transparent."""
    has_alpha, pixels = False, 0
    for index in range(frames):
        image.seek(index)
        _check_pixels(image.size, 1, limits)
        pixels += image.width * image.height
        _check_total(pixels, limits)
        image.load()
        _try_use(image)
        has_alpha |= image.has_transparency_data
    return has_alpha


def _try_use(frame: Image.Image) -> None:
    """Convert and resize a corner: some modes decode and are of no use after."""
    if frame.mode.startswith("I;16") and frame.format != PNG.pillow_name:
        _check_gray16(frame)
    corner = frame.crop((0, 0, min(frame.width, SAMPLE_SIDE), min(frame.height, SAMPLE_SIDE)))
    corner.convert("RGBA")
    corner.convert("RGB")
    corner.resize((1, 1), Image.Resampling.BICUBIC)


def _check_gray16(frame: Image.Image) -> None:
    if max(frame.size) > GRAY16_LONGEST_SIDE:
        raise UndecodableImage(
            f"a 16-bit grayscale {frame.format} image may have {GRAY16_LONGEST_SIDE} pixels a side, and this one "
            f"has {frame.width}x{frame.height}; send it as a PNG"
        )


def _taken_at(image: Image.Image) -> datetime | None:
    """EXIF's DateTimeOriginal at its OffsetTimeOriginal, in UTC; without an offset it counts as UTC."""
    details = image.getexif().get_ifd(IFD.Exif)
    text = str(details.get(Base.DateTimeOriginal, "")).strip("\0 ")
    offset = str(details.get(Base.OffsetTimeOriginal, "")).strip("\0 ") or "+00:00"
    for written in (text + offset, text + "+00:00"):
        with suppress(ValueError, OverflowError):
            return datetime.strptime(written, "%Y:%m:%d %H:%M:%S%z").astimezone(UTC)
    return None


@contextmanager
def _translating(format: ImageFormat, limits: Limits) -> Iterator[None]:
    """Turn whatever a decoder raises into an IntakeError, with Pillow's own pixel limit set to ours."""
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if format is TIFF:  # in other formats it is only their EXIF that is cut short
                warnings.filterwarnings("error", message="Truncated File Read")
            yield
    except IntakeError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise TooManyPixels(f"a frame has more than {limits.max_pixels} pixels") from None
    except MemoryError:
        raise _too_much_memory() from None
    except Exception as error:  # decoders raise nearly everything: struct.error, IndexError, SyntaxError, …
        if "memory" in str(error):
            raise _too_much_memory() from None
        raise UndecodableImage(f"the image begins as {format.name} but does not decode: {_say(error)}") from None


def _too_much_memory() -> TooCostly:
    return TooCostly("decoding the image takes more memory than is allowed; send it smaller or simpler")


def _say(error: Exception) -> str:
    """The decoder's reason in one short line, without the spool's path."""
    reason = str(error) or type(error).__name__
    return "it is damaged or incomplete" if "cannot identify image file" in reason else reason[:200]
