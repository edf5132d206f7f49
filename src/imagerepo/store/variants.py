"""Which derivatives a base can have, and what size each gets. Arithmetic only: no pixel is touched."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import floor
from types import MappingProxyType

from imagerepo.errors import LargerThanBase, TooCostlyToMake
from imagerepo.store.names import Format, Region, Variant

MEDIA_TYPES: Mapping[Format, str] = MappingProxyType(
    {
        "jpg": "image/jpeg",
        "png": "image/png",
        "webp": "image/webp",
        "avif": "image/avif",
        "gif": "image/gif",
        "tif": "image/tiff",
        "jp2": "image/jp2",
    }
)

_LONGEST_SIDE: Mapping[Format, int] = MappingProxyType({"webp": 16_383, "gif": 65_535, "jpg": 65_535})
"""Pixels that a format's own header can say."""


def fit(base_width: int, base_height: int, width: int | None = None, height: int | None = None) -> tuple[int, int]:
    """The largest size with the base's proportions inside `width` by `height`, all in pixels.

    Never larger than the base, rounded half up, at least 1 each way. None leaves a side free. Raises
    ValueError unless all are positive.
    """
    if min(base_width, base_height, width or 1, height or 1) < 1 or 0 in (width, height):
        raise ValueError("widths and heights are 1 or more")
    # A fraction: with floats some halves would be rounded down.
    scale = min(Fraction(1), Fraction(width or base_width, base_width), Fraction(height or base_height, base_height))
    return _scaled(base_width, scale), _scaled(base_height, scale)


def check(variant: Variant, base_width: int, base_height: int) -> None:
    """Whether a base of so many pixels can have this derivative.

    Raises LargerThanBase if the region reaches beyond the base or the size is larger than what is cut,
    TooCostlyToMake if the format can't say that size.
    """
    region = variant.region or Region(0, 0, base_width, base_height)
    if region.left + region.width > base_width or region.top + region.height > base_height:
        raise LargerThanBase(f"the region {region} reaches beyond the base of {base_width}x{base_height} pixels")
    if variant.width > region.width or variant.height > region.height:
        raise LargerThanBase(
            f"{variant.width}x{variant.height} is larger than the {region.width}x{region.height} pixels "
            "that it would be made from"
        )
    longest = _LONGEST_SIDE.get(variant.format)
    if longest is not None and max(variant.width, variant.height) > longest:
        raise TooCostlyToMake(f"a {variant.format} image has at most {longest} pixels a side")


def _scaled(side: int, scale: Fraction) -> int:
    return max(1, floor(side * scale + Fraction(1, 2)))
