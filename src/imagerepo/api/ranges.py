"""`Range: bytes=…` (RFC 9110, section 14): which part of an object a client asks for."""

from __future__ import annotations

import re

from imagerepo.api.requests import RangeNotSatisfiable

MAX_RANGES = 16
_FROM = re.compile(r"([0-9]{1,18})-([0-9]{0,18})")
_LAST = re.compile(r"-([0-9]{1,18})")

Span = tuple[int, int]
"""First and last byte, inclusive."""


def span_asked(header: str, size: int) -> Span | None:
    """The one part of `size` bytes that `header` asks for; None: the whole.

    A malformed header counts for nothing, as the RFC has it. Several ranges are one where they touch; else
    the answer is the whole, which the RFC allows: parts of their own would cost a request of the store each,
    and nobody reads images so. Raises RangeNotSatisfiable.
    """
    unit, _, text = header.partition("=")
    specs = [spec.strip() for spec in text.split(",") if spec.strip()]
    if unit.strip().lower() != "bytes" or not 0 < len(specs) <= MAX_RANGES:
        return None
    bounds = [_bounds(spec, size) for spec in specs]
    if None in bounds:
        return None
    spans = sorted((first, min(last, size - 1)) for first, last in filter(None, bounds) if first < size)
    if not spans:
        raise RangeNotSatisfiable(f"{header[:100]}: there are {size} bytes", size=size)
    return _joined(spans)


def _bounds(spec: str, size: int) -> Span | None:
    """What one range says of an object of `size` bytes, perhaps beyond its end; None if it is malformed."""
    if match := _LAST.fullmatch(spec):
        return max(0, size - int(match[1])), size - 1 if int(match[1]) else -1
    match = _FROM.fullmatch(spec)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    return (first, last) if first <= last or not match[2] else None


def _joined(spans: list[Span]) -> Span | None:
    """The span that all sorted `spans` are together, or None if they leave gaps."""
    first, end = spans[0]
    for begin, last in spans[1:]:
        if begin > end + 1:
            return None
        end = max(end, last)
    return first, end
