"""The runner: of all workers of a data folder, the one that holds its lock carries plans out.

It also lives without a plan: marks that somebody left must be held, and cleared in their time; the objects of what was
purged must go, and history behind the horizon; and bases are due to be read again. A plan that reads bases takes hours,
so each of these has a thread of its own, and plans of that kind have one while they are made. When the process dies,
another one goes on from the plan's checkpoint.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

from django.db import connection

from imagerepo.durability.locks import FileLock, acquire
from imagerepo.durability.settle import Stopped
from imagerepo.errors import Fenced
from imagerepo.reconcile.carrying import Carrier
from imagerepo.reconcile.deletion import Clock, Deleter
from imagerepo.reconcile.duties import Checks, Deletions, Expiry, Horizon
from imagerepo.sessions.service import Service

LOOK_SECONDS = 0.5
Job: TypeAlias = Literal["deletions", "sessions", "history", "fixity", "plans", "readings"]
JOBS: tuple[Job, ...] = get_args(Job)
RETRY_SECONDS = 5.0
"""Until what broke off is tried again."""

log = logging.getLogger(__name__)


class Runner:
    """Some threads of a worker: `start` and `stop` them. `clock` is the deletions'."""

    def __init__(self, service: Service, *, clock: Clock = time.monotonic) -> None:
        self._service, self._clock = service, clock
        self._lock: FileLock | None = None
        self._work: _Work | None = None
        self._taking = threading.Lock()
        self._threads = [threading.Thread(target=self._run, name=job, args=[job], daemon=True) for job in JOBS]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End them. What is under way stays at its checkpoint, for the next one."""
        self._service.stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self.release()

    def look(self) -> None:
        """Do all that there is to do now, if this is the one to do it. Raises Fenced and Stopped."""
        for job in JOBS:
            self._look(job)

    def release(self) -> None:
        """Let another one do it. Its threads have ended."""
        if self._work:
            self._work.close()
            self._work = None
        if self._lock:
            self._lock.release()
            self._lock = None

    def _run(self, job: Job) -> None:
        while not self._service.stop.wait(LOOK_SECONDS):
            try:
                self._look(job)
            except (Stopped, Fenced):
                continue
            except Exception:
                log.exception("reconcile broke off; it is tried again")
                self._service.stop.wait(RETRY_SECONDS)
        connection.close()

    def _look(self, job: Job) -> None:
        if not self._service.writer.fenced and (work := self._taken()):
            work.looks[job]()

    def _taken(self) -> _Work | None:
        """The work, where this process holds the lock."""
        with self._taking:
            if self._lock is None:
                self._lock = acquire(self._service.writer.disk.reconcile_lock, wait=False)
            if self._lock and self._work is None:
                self._work = _Work(self._service, self._clock)
            return self._work


class _Work:
    """What the holder of the lock does. Made under the lock: marks that it finds are somebody's who is dead by now."""

    def __init__(self, service: Service, clock: Clock) -> None:
        settling = service.config.delete_settle_seconds
        self._deleter = Deleter(service.store, service.writer, settling_seconds=settling, clock=clock)
        self.looks: dict[Job, Callable[[], None]] = {
            "deletions": Deletions(service, self._deleter, clock=clock).look,
            "sessions": Expiry().look,
            "history": Horizon(service, self._deleter).look,
            "fixity": Checks(service).look,
            "plans": Carrier(service, self._deleter, reading=False).look,
            "readings": Carrier(service, self._deleter, reading=True).look,
        }

    def close(self) -> None:
        self._deleter.close()
