"""File locks (flock) between threads and processes; a holder's death releases them.

Each lock opens the file anew, so threads of one process exclude each other too. Descriptors are
close-on-exec: a child that inherited one by fork would hold the lock after its parent's death.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class FileLock:
    """A held lock; `release` it, or let the process end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def is_of(self, path: Path) -> bool:
        """Whether `path` is still the file that is locked."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._fd), path.stat())
        return False

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def acquire(path: Path, *, shared: bool = False, wait: bool = True) -> FileLock | None:
    """Lock `path`, creating it; None where another holds it and `wait` is false.

    A holder may delete the file: whoever waited for it then locks the one that is there since.
    """
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        lock = _lock(path, mode)
        if lock is None or lock.is_of(path):
            return lock
        lock.release()


def _lock(path: Path, mode: int) -> FileLock | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, mode)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return FileLock(fd)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock on `path` alone, waiting for it."""
    lock = acquire(path)
    assert lock is not None  # noqa: S101  # wait=True never answers None
    try:
        yield
    finally:
        lock.release()
