"""Uploads on the local disk: streamed in, hashed on the way, kept until their session ends.

<folder>/.incoming/<random>            being received, or received and not yet judged
<folder>/<session key>/<ident>         staged in a session

Whatever goes wrong, no file stays behind: the writer that fails removes its own.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from imagerepo.errors import SpoolFull, TooLarge, TruncatedBody
from imagerepo.files import sync
from imagerepo.store.reading import Readable

CHUNK_BYTES = 1 << 18
_INCOMING = ".incoming"
_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Spooled:
    """A complete upload at `path`: its SHA-256 and MD5 in hex, its size in bytes."""

    path: Path
    ident: str
    md5: str
    size: int

    def sync(self) -> None:
        """Bring the bytes to the disk, so that keeping them later, under a lock, is quick. Raises SpoolFull."""
        with _translating_disk_full():
            sync(self.path)

    def discard(self) -> None:
        """Remove the file. Once it is kept, or gone, there is nothing to do."""
        self.path.unlink(missing_ok=True)


class SpoolWriter:
    """Takes an upload chunk by chunk. Ends with `finish`, or else leaves no file.

    Every method that raises has removed the file before. Not for several threads at once.
    """

    def __init__(self, path: Path, *, limit: int, length: int | None) -> None:
        self._path, self._limit, self._length = path, limit, length
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._size = 0
        with _translating_disk_full():
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._open = True

    def write(self, chunk: bytes) -> None:
        """Raises TooLarge as soon as the limit is passed, SpoolFull when the disk is."""
        try:
            self._write(chunk)
        except BaseException:
            self.abort()
            raise

    def finish(self) -> Spooled:
        """Close the file. Raises TruncatedBody if fewer bytes came than were announced."""
        if self._length is not None and self._size != self._length:
            self.abort()
            raise TruncatedBody(f"the body ended after {self._size} of {self._length} announced bytes; send it again")
        self._close()
        return Spooled(self._path, self._sha256.hexdigest(), self._md5.hexdigest(), self._size)

    def abort(self) -> None:
        """Forget the upload. May be called at any time and more than once; after `finish` it does nothing."""
        if self._open:
            self._close()
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _write(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._limit:
            raise TooLarge(f"the image has more than {self._limit} bytes, which is the most that is taken")
        self._sha256.update(chunk)
        self._md5.update(chunk)
        rest = memoryview(chunk)
        with _translating_disk_full():
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def _close(self) -> None:
        self._open = False
        os.close(self._fd)


class Spool:
    """One folder of uploads. Safe for several threads and processes, except `clear`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / _INCOMING
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)

    def receive(self, source: Readable | Iterable[bytes], *, limit: int, length: int | None) -> Spooled:
        """Stream `source` to a file. `limit` and `length` (as announced) in bytes.

        Raises TooLarge (at once when it is announced so), TruncatedBody, SpoolFull, or what `source` raises.
        """
        if length is not None and length > limit:
            raise TooLarge(f"the image is announced with {length} bytes; at most {limit} are taken")
        with self.open_writer(limit=limit, length=length) as writer:
            for chunk in _chunks(source, length):
                writer.write(chunk)
            return writer.finish()

    def open_writer(self, *, limit: int, length: int | None = None) -> SpoolWriter:
        """For callers whose chunks are pushed to them."""
        return SpoolWriter(self._incoming / secrets.token_hex(16), limit=limit, length=length)

    def keep(self, spooled: Spooled, session_key: str) -> Path:
        """Make the upload part of a session, durably on this disk. Keeping the same bytes twice is fine."""
        target = self.path(session_key, spooled.ident)
        with _translating_disk_full():
            target.parent.mkdir(exist_ok=True, mode=0o700)
            sync(spooled.path)
            spooled.path.rename(target)
            sync(target.parent)
            sync(self._folder)
        return target

    def path(self, session_key: str, ident: str) -> Path:
        """Where a session's upload is, or would be."""
        return self._session_folder(session_key) / _checked(ident)

    def drop(self, session_key: str, ident: str) -> None:
        """Remove one upload of a session; absent is fine."""
        self.path(session_key, ident).unlink(missing_ok=True)

    def drop_session(self, session_key: str) -> None:
        """Remove all uploads of a session; absent is fine."""
        shutil.rmtree(self._session_folder(session_key), ignore_errors=True)

    def sessions(self) -> list[str]:
        """Keys of sessions of which there are uploads, or a folder for them."""
        return sorted(entry.name for entry in self._folder.iterdir() if entry.is_dir() and _KEY.fullmatch(entry.name))

    def clear(self, sessions: Collection[str] = ()) -> None:
        """At the start, with nobody else at work: remove half-received uploads and all other sessions'."""
        for entry in self._folder.iterdir():
            if entry.name not in sessions:
                shutil.rmtree(entry, ignore_errors=True)
        self._incoming.mkdir(exist_ok=True, mode=0o700)

    def _session_folder(self, session_key: str) -> Path:
        return self._folder / _checked(session_key)


def _chunks(source: Readable | Iterable[bytes], length: int | None) -> Iterator[bytes]:
    """Chunks of `source`, never asking a reader for more than was announced: a socket would block."""
    if not hasattr(source, "read"):
        yield from source
        return
    left = length
    while left is None or left > 0:
        chunk = source.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
        if not chunk:
            return
        left = None if left is None else left - len(chunk)
        yield chunk


def _checked(part: str) -> str:
    if not _KEY.fullmatch(part):
        raise ValueError(f"{part!r} is no session key or ident: it could lead out of the spool")
    return part


@contextmanager
def _translating_disk_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SpoolFull("there is no room for uploads on the server's disk; try again later") from error
        raise
