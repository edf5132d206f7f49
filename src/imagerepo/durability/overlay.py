"""The newest version of each page that deltas changed: what a restore lays over a base.

The walk back finds the newest delta first, so a page is kept where it is first met, in a scratch file, and each page
of the database is written once. It comes to what applying the deltas one by one would: a page that any of them cut
off is lost, though a later one may have grown the file again.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from imagerepo.durability.deltas import unpack
from imagerepo.durability.records import Header
from imagerepo.errors import DiskFails
from imagerepo.files import sync


class Overlay:
    """What lies between a base, which is not known yet, and `end`. Any number of threads may lay it.

    `page_count`: pages of the base that no delta cut off, if it has so many.
    """

    def __init__(self, scratch: Path, end: Header) -> None:
        self._scratch, self._file = scratch, scratch.open("w+b")
        self._end, self.page_count = end, end.page_count
        self._places: dict[int, int] = {}
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._file.close()
        self._scratch.unlink()

    def add(self, header: Header, payload: bytes) -> None:
        """Take the delta before those that were taken. Raises Damaged where it is not what its header says."""
        self.page_count = min(self.page_count, header.page_count)
        for number, page in unpack(header, payload):
            if number not in self._places and number <= self.page_count:
                self._places[number] = self._size
                self._size += self._file.write(page)
        self._file.flush()

    def lay(self, buffer: memoryview, offset: int) -> memoryview:
        """Lay the newest pages over the base's bytes from `offset` on. Gives those that were not cut off."""
        size = self._end.page_size
        for number in range(offset // size + 1, (offset + len(buffer) - 1) // size + 2):
            if number in self._places:
                self._lay_page(number, buffer, (number - 1) * size - offset)
        return buffer[: max(0, self.page_count * size - offset)]

    def _lay_page(self, number: int, buffer: memoryview, at: int) -> None:
        """A page may lie across a border, and so begin before the buffer, or end behind it."""
        begin, end = max(0, at), at + self._end.page_size
        part, place = buffer[begin:end], self._places[number] + begin - at
        if os.preadv(self._file.fileno(), [part], place) != len(part):
            raise DiskFails(f"{self._scratch} is shorter than what was written to it")

    def finish(self, database: Path, *, laid_on: int) -> None:
        """Bring a file of `laid_on` pages that it was laid on, and of others of the base, to `end`, and fsync it."""
        size, done = self._end.page_size, min(laid_on, self.page_count)
        with database.open("r+b") as file:
            file.truncate(self.page_count * size)
            for number in sorted(number for number in self._places if number > done):
                page = memoryview(bytearray(size))
                self._lay_page(number, page, 0)
                file.seek((number - 1) * size)
                file.write(page)
            file.truncate(self._end.page_count * size)
        sync(database)
