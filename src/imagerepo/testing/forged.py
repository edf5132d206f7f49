"""Image files written byte by byte, as no encoder would: valid ones that cost more than they weigh, and liars."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator


def uniform_gif(width: int, height: int, frames: int) -> bytes:
    """A whole and valid GIF in one colour, small in bytes however large its frames are."""
    palette = b"\0\0\0\xff\xff\xff"
    screen = struct.pack("<6sHHBBB", b"GIF89a", width, height, 0x80, 0, 0)
    pixels = b"\2" + b"".join(bytes([len(part)]) + part for part in _parts(_lzw_of_zeros(width * height), 255))
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0) + pixels + b"\0"
    return screen + palette + frame * frames + b";"


def _lzw_of_zeros(count: int) -> bytes:
    packed, waiting, filled = bytearray(), 0, 0
    for code, width in _codes_of_zeros(count):
        waiting |= code << filled
        filled += width
        while filled >= 8:
            packed.append(waiting & 0xFF)
            waiting, filled = waiting >> 8, filled - 8
    packed.append(waiting)
    return bytes(packed)


def _codes_of_zeros(count: int) -> Iterator[tuple[int, int]]:
    """Code and its width in bits. Each code after a clear stands for a run that is one longer."""
    clear, end, first_free, last_free = 4, 5, 6, 4095
    free = first_free
    while count:
        yield clear, max(3, free.bit_length())
        free, run = first_free, 0
        while count and free < last_free:
            run = min(run + 1, count)
            yield (0 if run == 1 else run + 4), max(3, free.bit_length())
            free += run > 1
            count -= run
    yield end, max(3, free.bit_length())


def _parts(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int, *, frames: int = 1) -> bytes:
    """A PNG whose header claims a size (and an animation's length) that its few bytes do not have."""
    header = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    animation = _png_chunk(b"acTL", struct.pack(">II", frames, 0)) if frames > 1 else b""
    pixels = _png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + animation + pixels + _png_chunk(b"IEND", b"")


def ftyp(major: bytes, *others: bytes) -> bytes:
    """The first box of an ISO media file of this brand, and nothing in it."""
    brands = major + b"\0\0\0\0" + b"".join(others)
    return struct.pack(">I", len(brands) + 8) + b"ftyp" + brands + bytes(64)
