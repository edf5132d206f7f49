"""Make one derivative from a base that the intake has judged. Runs in a worker process (worker.py).

libvips decodes and shrinks in one pass, with a fraction of the memory; Pillow reads what libvips can't, or
sees otherwise than the intake did. From then on both go one way: cut, resize in sRGB, turn, encode. Nothing
of a base's metadata reaches the derivative.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("VIPS_CONCURRENCY", "1")  # read when libvips is loaded: images run in parallel instead

import pyvips
from PIL import Image

from imagerepo.errors import DamagedBase
from imagerepo.store.decode import open_image, orientation
from imagerepo.store.formats import GIF, JPEG, PNG, TIFF, WEBP, ImageFormat, sniff
from imagerepo.store.names import Format, Variant

JPEG_QUALITY = 85
"""PageSpeed Insights calls JPEGs above it wasteful."""

WEBP_QUALITY = 80
"""Between libwebp's default, 75, and where its files outgrow JPEG's."""

AVIF_QUALITY = 60
"""avifenc's default."""

AVIF_SPEED = 8
"""Of 0 to 10: a derivative is made while somebody waits."""

JP2_RATIO = 20
"""Compression to a twentieth: visually lossless on photographs."""

WHITE = 255
"""What shows through where the format has no transparency."""

pyvips.block_untrusted_set(True)
pyvips.cache_set_max(0)

_VIPS_READS = (JPEG, PNG, WEBP, TIFF, GIF)
_VIPS_DEPTHS = ("uchar", "ushort")
_SEEN_ALIKE = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I;16B")
"""Pillow's modes that libvips reads as the same colours; it takes YCbCr TIFFs for RGB, for one."""

_EXIF_TURNS = {
    1: (0, False),
    2: (0, True),
    3: (180, False),
    4: (180, True),
    5: (270, True),
    6: (90, False),
    7: (90, True),
    8: (270, False),
}


def render(path: Path, target: Path, variant: Variant, *, careful: bool) -> None:
    """Write the derivative of the base at `path` to `target`.

    `careful` leaves libvips' decoders out. Raises DamagedBase if the base is no image.
    """
    format = sniff(path)
    if format is None:
        raise DamagedBase("the stored base is no image")
    image = None if careful else _resized_by_vips(path, format, variant)
    if image is None:
        image = _resized(_read_by_pillow(path, format), variant).copy_memory()
    image = _turned(image, variant.rotation, mirrored=variant.mirrored)
    _ENCODERS[variant.format](_in_quality(image, variant), target)


def _resized_by_vips(path: Path, format: ImageFormat, variant: Variant) -> Any:
    """The cut and resized image, or None where libvips can't read the base as the intake did."""
    if format not in _VIPS_READS:
        return None
    try:
        header = pyvips.Image.new_from_file(str(path))
        with open_image(path, format) as opened:
            turn = _EXIF_TURNS[orientation(opened)]
            if not _sees_alike(header, opened):
                return None
        if variant.region is None:
            return _thumbnail(path, header, turn, variant)
        return _resized(_turned(header.copy_memory(), *turn), variant).copy_memory()
    except pyvips.Error:
        return None


def _sees_alike(header: Any, opened: Image.Image) -> bool:
    """Whether libvips understands the image as Pillow does, which judged it."""
    return (
        header.format in _VIPS_DEPTHS
        and opened.mode in _SEEN_ALIKE
        and bool(header.hasalpha()) == opened.has_transparency_data
    )


def _thumbnail(path: Path, header: Any, turn: tuple[int, bool], variant: Variant) -> Any:
    """Shrink while decoding, then turn: that is what makes large JPEGs cheap."""
    width, height = variant.width, variant.height
    if _is_sideways(turn):
        width, height = height, width
    small = pyvips.Image.thumbnail(str(path), width, height=height, **_resize_options(header))
    return _turned(small.copy_memory(), *turn)


def _resized(image: Any, variant: Variant) -> Any:
    """Cut the region and resize it to the exact size, in sRGB."""
    if variant.region is not None:
        region = variant.region
        image = image.crop(region.left, region.top, region.width, region.height)
    return image.thumbnail_image(variant.width, height=variant.height, **_resize_options(image))


def _resize_options(image: Any) -> dict[str, Any]:
    """A CMYK image without a profile gets libvips' own; others without one are taken for sRGB."""
    options = {"size": "force", "no_rotate": True}
    if image.interpretation == "cmyk":
        return {**options, "input_profile": "cmyk", "output_profile": "srgb"}
    # Asked without need, libvips would send every pixel through a profile: 18 s for 100 megapixels.
    return {**options, "output_profile": "srgb"} if image.get_typeof("icc-profile-data") else options


def _turned(image: Any, rotation: int, mirrored: bool) -> Any:
    """Mirror, then rotate clockwise."""
    image = image.fliphor() if mirrored else image
    return image.rot(f"d{rotation}") if rotation else image


def _is_sideways(turn: tuple[int, bool]) -> bool:
    return turn[0] in (90, 270)


def _read_by_pillow(path: Path, format: ImageFormat) -> Any:
    """The first frame as the intake saw it, turned as displayed, its colour profile attached."""
    with open_image(path, format) as opened:
        turn = (0, False) if format is TIFF else _EXIF_TURNS[orientation(opened)]
        opened.load()
        profile = opened.info.get("icc_profile")
        image = _turned(_to_vips(opened), *turn)
    return _with_profile(image, profile) if profile else image


def _to_vips(image: Image.Image) -> Any:
    """Pillow's many modes as one that libvips has: 8 bits of gray, RGB or CMYK, with alpha or without."""
    if image.mode.startswith("I;16"):
        return _of_bytes(image.convert("I"), 1, "int").cast("ushort").copy(interpretation="grey16")
    if image.mode in ("I", "F"):  # measurements: what they range over is all that is known of them
        numbers = _of_bytes(image, 1, "int" if image.mode == "I" else "float")
        return numbers.scaleimage().copy(interpretation="b-w")
    mode = _plain_mode(image)
    bands = len(mode.removesuffix("A")) + mode.endswith("A")
    kinds = {"L": "b-w", "LA": "b-w", "RGB": "srgb", "RGBA": "srgb", "CMYK": "cmyk"}
    plain = image if image.mode == mode else image.convert(mode)
    return _of_bytes(plain, bands, "uchar").copy(interpretation=kinds[mode])


def _plain_mode(image: Image.Image) -> str:
    if image.mode == "CMYK":
        return "CMYK"
    gray = image.mode in ("1", "L", "LA", "La")
    return ("L" if gray else "RGB") + ("A" if image.has_transparency_data else "")


def _of_bytes(image: Image.Image, bands: int, kind: str) -> Any:
    return pyvips.Image.new_from_memory(image.tobytes(), image.width, image.height, bands, kind)


def _with_profile(image: Any, profile: bytes) -> Any:
    image = image.copy()
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return image


def _in_quality(image: Any, variant: Variant) -> Any:
    """Eight bits, of the wanted colours, without transparency where the format or the quality has none."""
    image = image.colourspace("b-w" if image.bands < 3 or variant.quality != "color" else "srgb")
    if image.hasalpha() and (variant.format == "jpg" or variant.quality == "bitonal"):
        image = image.flatten(background=WHITE)
    return image >= 128 if variant.quality == "bitonal" else image


def _to_pillow(image: Any) -> Image.Image:
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[image.bands]
    return Image.frombytes(mode, (image.width, image.height), image.write_to_memory())


def _save_avif(image: Any, target: Path) -> None:
    _to_pillow(image).save(target, "AVIF", quality=AVIF_QUALITY, speed=AVIF_SPEED, max_threads=1)


def _save_jp2(image: Any, target: Path) -> None:
    _to_pillow(image).save(target, "JPEG2000", quality_mode="rates", quality_layers=[JP2_RATIO])


_ENCODERS: dict[Format, Callable[[Any, Path], None]] = {
    "jpg": lambda image, target: image.jpegsave(str(target), Q=JPEG_QUALITY, optimize_coding=True, keep="none"),
    "png": lambda image, target: image.pngsave(str(target), keep="none"),
    "webp": lambda image, target: image.webpsave(str(target), Q=WEBP_QUALITY, keep="none"),
    "gif": lambda image, target: image.gifsave(str(target), keep="none"),
    "tif": lambda image, target: image.tiffsave(str(target), compression="lzw", keep="none"),
    "avif": _save_avif,
    "jp2": _save_jp2,
}
