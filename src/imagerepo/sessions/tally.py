"""How far an upload is, for the other workers to read: the length of a sparse file, named by the upload's claim.

<data>/workers/<claim>.done    as many bytes long as images are done; there while the upload is under way

Nothing relies on it. So it is never synced, and a disk that refuses it harms no upload; and what a dead worker left
is of a claim that nobody has any more.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

_SUFFIX = ".done"


class Tally:
    """Counts what one upload has done, from any of its threads. `begin` it, again for each try, and `end` it."""

    def __init__(self, workers: Path, claim: str) -> None:
        self._path = _path(workers, claim)
        self._fd: int | None = None
        self._done = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Nothing is done yet."""
        with self._lock:
            self._done = 0
            with suppress(OSError):
                self._close()
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def add(self) -> None:
        with self._lock:
            self._done += 1
            if self._fd is not None:
                with suppress(OSError):
                    os.ftruncate(self._fd, self._done)

    def end(self) -> None:
        """Tell nobody any more."""
        with self._lock, suppress(OSError):
            self._close()
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def told(workers: Path, claim: str) -> int:
    """How many images are done under that claim, as far as whoever uploads them tells; else none."""
    with suppress(OSError):
        return _path(workers, claim).stat().st_size
    return 0


def forget(workers: Path, claim: str) -> None:
    """Remove what a worker left that died under that claim."""
    with suppress(OSError):
        _path(workers, claim).unlink()


def clear(workers: Path) -> None:
    """At the start, with nobody else at work: remove what dead workers left."""
    with suppress(OSError):
        for left in workers.glob(f"*{_SUFFIX}"):
            left.unlink(missing_ok=True)


def _path(workers: Path, claim: str) -> Path:
    return workers / f"{claim}{_SUFFIX}"
