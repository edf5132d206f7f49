"""Sizes of derivatives, worked out to exact pixels before a name is built: equal results share one object."""

from __future__ import annotations


def fit(width: int, height: int, box_width: int, box_height: int) -> tuple[int, int]:
    """The largest size in the image's proportions that the box holds; all in pixels.

    Never larger than the image itself; sides are rounded half up and are at least 1. Exact: no floats.
    """
    if width <= box_width and height <= box_height:
        return width, height
    if box_width * height <= box_height * width:
        return box_width, max(1, _divide(height * box_width, width))
    return max(1, _divide(width * box_height, height)), box_height


def _divide(numerator: int, denominator: int) -> int:
    """The quotient, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)
