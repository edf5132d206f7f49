"""Derivatives that are made already: on this disk until the store has them, in the store from then on.

Storing is done by a thread, one after the other. It never delays an answer, and its failures cost only that
the derivative will be made again.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imagerepo.errors import ImagerepoError, ObjectNotFound, StoreError
from imagerepo.store.objects import ObjectInfo, ObjectReader, ObjectStore
from imagerepo.store.reading import FileReader

MAX_WAITING = 64
"""Derivatives that wait to be stored. More are answered, and not kept."""
SHARE_OF_SETTLING = 0.5
"""Of the settling time a derivative may wait to be stored; storing it has the rest."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """A derivative in a file of this disk."""

    path: Path
    info: ObjectInfo

    def open(self) -> ObjectReader:
        """Raises FileNotFoundError once it is stored."""
        return FileReader(self.info, self.path.open("rb"), self.info.size)


class DerivativeCache:
    """What is made, by name. Safe for several threads; `close` ends its own.

    `settling_seconds`: after that time a purge looks for the last time for what was on its way to the store. So what
    has waited for long here is not stored any more.
    """

    def __init__(self, store: ObjectStore, settling_seconds: float) -> None:
        self._store, self._most_wait = store, SHARE_OF_SETTLING * settling_seconds
        self._waiting: dict[str, Made] = {}
        self._queue: queue.Queue[tuple[Made, float] | None] = queue.Queue(MAX_WAITING)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_storing, name="derivative-cache", daemon=True)
        self._thread.start()

    def find(self, name: str) -> ObjectReader | None:
        """The derivative, open; None where there is none, or where the store can't say."""
        made = self._waiting.get(name)
        try:
            return made.open() if made else self._store.get(name)
        except FileNotFoundError:  # stored this moment
            return self._find_stored(name)
        except ObjectNotFound:
            return None
        except StoreError as error:
            _log.warning("%s is made again: the store does not answer: %s", name, error)
            return None

    def keep(self, made: Made) -> ObjectReader:
        """Take over the file: open it for the caller, and store it in a while."""
        reader = made.open()
        self._waiting[made.info.name] = made
        try:
            self._queue.put_nowait((made, time.monotonic()))
        except queue.Full:
            _log.warning("%s is not kept: %s others wait to be stored", made.info.name, MAX_WAITING)
            self._forget(made)
        return reader

    def wait_until_stored(self) -> None:
        """Return when nothing waits any more."""
        self._queue.join()

    def close(self) -> None:
        """Finish the one that is being stored, and forget those that wait."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join()

    def _find_stored(self, name: str) -> ObjectReader | None:
        try:
            return self._store.get(name)
        except StoreError:
            return None

    def _keep_storing(self) -> None:
        while True:
            waiting = self._queue.get()
            try:
                if waiting is None:
                    return
                if not self._closing.is_set():
                    self._put_in_time(*waiting)
            finally:
                if waiting is not None:
                    self._forget(waiting[0])
                self._queue.task_done()

    def _put_in_time(self, made: Made, since: float) -> None:
        if time.monotonic() - since > self._most_wait:
            _log.warning("%s is not kept: it waited too long to be stored", made.info.name)
        else:
            self._put(made)

    def _put(self, made: Made) -> None:
        try:
            with made.path.open("rb") as body:
                info = made.info
                self._store.put(info.name, body, media_type=str(info.media_type), md5=info.md5)
        except (ImagerepoError, OSError) as error:
            _log.warning("%s is not kept: %s", made.info.name, error)

    def _forget(self, made: Made) -> None:
        made.path.unlink(missing_ok=True)
        if self._waiting.get(made.info.name) is made:
            del self._waiting[made.info.name]


def describe(path: Path, name: str, media_type: str) -> Made:
    """The derivative in the file at `path`, with its size and MD5."""
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return Made(path, ObjectInfo(name, path.stat().st_size, datetime.now(UTC), md5, media_type))
