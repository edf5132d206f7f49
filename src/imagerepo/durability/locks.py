"""File locks (flock) between threads and processes; a holder's death releases them.

Each lock opens the file anew, so threads of one process exclude each other too. Descriptors are
close-on-exec: a child that inherited one by fork would hold the lock after its parent's death.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imagerepo.durability.settle import Stopped

LOOK_SECONDS = 0.1
"""How soon whoever waits for a lock notices that it is to stop."""


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
def exclusive(path: Path, *, stop: threading.Event | None = None) -> Iterator[None]:
    """Hold the lock on `path` alone, waiting for it. Raises Stopped where `stop` is set meanwhile."""
    lock = _taken(path, stop) if stop else acquire(path)
    assert lock is not None  # noqa: S101  # wait=True never answers None
    try:
        yield
    finally:
        lock.release()


def _taken(path: Path, stop: threading.Event) -> FileLock:
    lock = acquire(path, wait=False)
    if lock:
        return lock
    waiting = _Waiting(path)
    try:
        while not stop.is_set():
            if lock := waiting.look(LOOK_SECONDS):
                return lock
        raise Stopped
    finally:
        waiting.end()


class _Waiting:
    """A thread that waits for a lock, as nothing else ends a wait in the kernel, and to ask again and again would
    leave the lock to others who hold it nearly all the time. `end` it: then it lets go of what nobody took."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changing, self._acquired = threading.Lock(), threading.Event()
        self._lock: FileLock | None = None
        self._ended = False
        threading.Thread(target=self._wait, name=f"wait for {path.name}", daemon=True).start()

    def look(self, seconds: float) -> FileLock | None:
        """The lock, which is the caller's from then on, once it is there."""
        self._acquired.wait(seconds)
        with self._changing:
            lock, self._lock = self._lock, None
            return lock

    def end(self) -> None:
        with self._changing:
            self._ended = True
            if self._lock:
                self._lock.release()

    def _wait(self) -> None:
        lock = acquire(self._path)
        assert lock is not None  # noqa: S101  # wait=True never answers None
        with self._changing:
            if self._ended:
                lock.release()
            else:
                self._lock = lock
        self._acquired.set()
