"""A delta's payload: the changed pages, in the order of their numbers, compressed.

zstd( number of pages (4 bytes, big-endian) | each page's number (4 bytes each) | each page )
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import zstandard

from imagerepo.durability.records import Header, digest
from imagerepo.errors import Damaged

ZSTD_LEVEL = 3
_NUMBER_BYTES = 4


def pack(pages: Mapping[int, bytes | memoryview]) -> Iterator[bytes]:
    """The payload of these pages, by number, in pieces: of a long log there is no room for a second copy."""
    numbers = sorted(pages)
    head = struct.pack(f">I{len(numbers)}I", len(numbers), *numbers)
    size = len(head) + sum(map(len, pages.values()))
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj(size=size)
    yield compressor.compress(head)
    for number in numbers:
        yield compressor.compress(pages[number])
    yield compressor.flush()


def check(header: Header, payload: bytes) -> None:
    """Raise Damaged where a delta's payload is not the one that its header was written with."""
    if digest(payload) != header.payload_digest:
        raise Damaged(
            f"the payload of {header.name} is damaged: its digest differs from the header's", name=header.name
        )


def unpack(header: Header, payload: bytes) -> Iterator[tuple[int, bytes]]:
    """The pages of a payload with their numbers, one at a time.

    Raises Damaged where it is not what the header says: before the first page, unless it was badly cut.
    """
    check(header, payload)
    try:
        with zstandard.ZstdDecompressor().stream_reader(payload) as unpacked:
            yield from _pages(unpacked, header)
    except (zstandard.ZstdError, struct.error) as error:
        raise Damaged(f"{header.name} was not cut as it should be: {error}", name=header.name) from None


def _pages(unpacked: zstandard.ZstdDecompressionReader, header: Header) -> Iterator[tuple[int, bytes]]:
    (count,) = struct.unpack(">I", unpacked.read(_NUMBER_BYTES))
    numbers = struct.unpack(f">{count}I", unpacked.read(_NUMBER_BYTES * min(count, header.page_count)))
    for number in numbers:
        page = unpacked.read(header.page_size)
        if len(page) < header.page_size:
            raise _other_pages(header, count)
        yield number, page
    if unpacked.read(1):
        raise _other_pages(header, count)


def _other_pages(header: Header, count: int) -> Damaged:
    return Damaged(
        f"{header.name} was not cut as it should be: it has not {count} pages of {header.page_size}", name=header.name
    )
