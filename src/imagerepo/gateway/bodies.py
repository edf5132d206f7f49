"""Receiving one request body: no thread, no more memory than MEMORY_BYTES, and a deadline."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from imagerepo.errors import SpoolFull, TooManyBodies, TooSlow, TruncatedBody

Receive = Callable[[], Awaitable[dict[str, Any]]]

MEMORY_BYTES = 64 * 1024
"""A body up to this size never touches the disk."""


@dataclass(frozen=True)
class Pace:
    """How slowly a body may come: it must be whole by `grace` + its size / `rate`, all along.

    `grace` in seconds, `rate` in bytes per second.
    """

    grace: float
    rate: float

    def deadline(self, received: int) -> float:
        """Seconds after the body's start by which the next bytes must be here."""
        return self.grace + received / self.rate


class Receiver:
    """Receives the bodies of one process, `most` at once, into unnamed files in `folder`."""

    def __init__(self, folder: Path, *, pace: Pace, most: int) -> None:
        self._folder, self._pace, self._most = folder, pace, most
        self._under_way = 0

    async def body(self, receive: Receive, length: int) -> IO[bytes]:
        """The whole body, rewound. The caller closes it, and with that it is gone.

        Raises TooManyBodies, TooSlow, TruncatedBody (the client went away, or announced more than it
        sent) and SpoolFull.
        """
        with self._counted():
            file = self._room(length)
            try:
                await self._fill(file, receive, length)
                file.seek(0)
            except OSError as error:
                file.close()
                raise SpoolFull(f"no room to receive {length} bytes: {error.strerror}") from error
            except BaseException:
                file.close()
                raise
            return file

    def _room(self, length: int) -> IO[bytes]:
        if length <= MEMORY_BYTES:
            return io.BytesIO()
        return tempfile.TemporaryFile(dir=str(self._folder))

    async def _fill(self, file: IO[bytes], receive: Receive, length: int) -> None:
        start, received, more = asyncio.get_running_loop().time(), 0, True
        try:
            async with asyncio.timeout_at(start + self._pace.deadline(0)) as limit:
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        break
                    received += file.write(message.get("body", b""))
                    more = message.get("more_body", False)
                    limit.reschedule(start + self._pace.deadline(received))
        except TimeoutError:
            raise TooSlow(
                f"{received} of {length} bytes came in {self._pace.deadline(received):.0f} seconds; "
                f"send at least {self._pace.rate:.0f} bytes per second"
            ) from None
        if more or received != length:
            raise TruncatedBody(f"{received} of {length} announced bytes came")

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._under_way >= self._most:
            raise TooManyBodies(f"as many uploads as fit ({self._most}) are being received already; try again soon")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
