"""A delta's payload: the changed pages, in the order of their numbers, compressed.

zstd( number of pages (4 bytes, big-endian) | each page's number (4 bytes each) | each page )
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import zstandard

from imagerepo.durability.records import Header, digest
from imagerepo.errors import Damaged

ZSTD_LEVEL = 3
_NUMBER_BYTES = 4


def pack(pages: Mapping[int, bytes | memoryview]) -> bytes:
    """The payload of these pages, by number."""
    numbers = sorted(pages)
    head = struct.pack(f">I{len(numbers)}I", len(numbers), *numbers)
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(head + b"".join(pages[number] for number in numbers))


def unpack(header: Header, payload: bytes) -> dict[int, memoryview]:
    """The pages of a payload. Raises Damaged where it is not what the header says."""
    if digest(payload) != header.payload_digest:
        raise Damaged(
            f"the payload of {header.name} is damaged: its digest differs from the header's", name=header.name
        )
    raw = memoryview(zstandard.ZstdDecompressor().decompress(payload))
    (count,) = struct.unpack_from(">I", raw)
    numbers = struct.unpack_from(f">{count}I", raw, _NUMBER_BYTES)
    start, size = _NUMBER_BYTES * (1 + count), header.page_size
    if len(raw) != start + count * size:
        raise Damaged(
            f"{header.name} was not cut as it should be: it has not {count} pages of {size}", name=header.name
        )
    return {number: raw[start + index * size : start + (index + 1) * size] for index, number in enumerate(numbers)}
