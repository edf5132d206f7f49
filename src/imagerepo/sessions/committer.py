"""The committer: carries commits on, whether or not anybody waits for them.

A worker process has one. Uploads run in threads of their own; one lane thread does the rest, also for
the other workers' sessions. A worker that dies leaves its commits to the others: each holds a lock on a
file of its name, and a session whose worker's lock is free is taken over.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import Any, TypeVar

from django.db import connection

from imagerepo.config import Config
from imagerepo.durability import healing
from imagerepo.durability.gate import write
from imagerepo.durability.locks import FileLock, acquire
from imagerepo.durability.records import Header, Manifest
from imagerepo.durability.settle import Patience, Stopped
from imagerepo.durability.upkeep import Upkeep
from imagerepo.durability.writer import Writer
from imagerepo.errors import Fenced, StoreError, StoreUnavailable
from imagerepo.failures import of_the_disk
from imagerepo.sessions import commit as steps
from imagerepo.sessions import lane, merge, tally
from imagerepo.sessions.bases import Keeper
from imagerepo.sessions.counting import counts
from imagerepo.sessions.models import State, UploadSession, brought
from imagerepo.sessions.waiters import UNDER_WAY, Waiters
from imagerepo.store.objects import ObjectStore
from imagerepo.store.spool import Spool

log = logging.getLogger(__name__)
T = TypeVar("T")

TICK_SECONDS = 0.5
"""How soon another worker's death, or its waiting session, is noticed."""
FALLBACK_SECONDS = 0.5
"""How soon a request notices that another worker finished the commit that it joined."""
UPLOAD_SHARE = 0.8
"""Of the commit's waiting time: after it a base that can't be stored is given up, so that the request
still hears of it."""


class Committer:
    """Commits sessions in the background. `start` it once; `stop` lets what is sent be answered."""

    def __init__(self, config: Config, store: ObjectStore, spool: Spool, writer: Writer, stop: threading.Event) -> None:
        self._config, self._store, self._spool, self._writer, self._stop = config, store, spool, writer, stop
        self.name = secrets.token_hex(8)
        self._workers = writer.disk.workers
        self._alive: FileLock | None = None
        self._puts = ThreadPoolExecutor(config.store_threads, "put")
        self._sessions = ThreadPoolExecutor(config.store_threads, "upload")
        self._uploads: dict[int, steps.Upload] = {}
        self._aside: list[steps.Upload] = []
        self._wake = threading.Event()
        self._waiters = Waiters()
        self._lane = threading.Thread(target=self._run_lane, name="lane", daemon=True)
        self._shipped, self._shipped_seen = "", time.monotonic()
        self._relief = lane.Relief(writer)
        self._bases = ThreadPoolExecutor(1, "base")
        self._upkeep = Upkeep(writer, store, stop, drill_seconds=config.drill_seconds)

    def start(self) -> None:
        self._workers.mkdir(exist_ok=True)
        self._alive = acquire(self._workers / self.name)
        self._lane.start()
        self._upkeep.start()

    def stop(self) -> None:
        """End the threads. Commits under way stay where they are, for the next start."""
        self._stop.set()
        self._wake.set()
        self._waiters.wake_all()
        if self._lane.is_alive():
            self._lane.join()
        self._upkeep.join()
        self._sessions.shutdown(cancel_futures=True)
        self._bases.shutdown(cancel_futures=True)
        self._puts.shutdown(cancel_futures=True)
        if self._alive:
            (self._workers / self.name).unlink(missing_ok=True)
            self._alive.release()

    def commit(self, session: UploadSession, *, wait: float) -> UploadSession:
        """Commit `session`, or join its commit, and wait for it up to `wait` seconds.

        Gives the row: live (durable), or still committing or merged, and then the commit goes on. Raises
        WrongState, NothingToCommit, Conflicted, CommitFailed, and Fenced.
        """
        self._check_writable(session)
        deadline, begun = time.monotonic() + wait, session.error is not None
        with self._waiters.waiting(session.pk) as settled:
            if not steps.claim(session, steps.new_claim(self.name)):
                settled.set()
            elif session.uploaded:
                self._wake.set()
            else:
                self._begin(session, begun=begun)
            self._await(session, settled, deadline)
        if session.state in UNDER_WAY:
            self._check_writable(session)
            self._give_up_in_trouble(session)
        return steps.answer(session, trouble=self._writer.trouble)

    def _check_writable(self, session: UploadSession) -> None:
        try:
            self._writer.check_writable()
        except Fenced as error:
            error.session, error.state = session.key, str(session.state)
            raise

    def progress(self, session: UploadSession) -> dict[str, Any]:
        """How far the commit is: objects uploaded, of all that it brings. Every worker tells the same."""
        total = counts(session)["add"] if session.state == State.LIVE else brought(session).count()
        under_way = session.state == State.COMMITTING and not session.uploaded
        done = self._uploaded(session, total) if under_way else total
        return {"stage": str(session.state), "done": done, "total": total}

    def _uploaded(self, session: UploadSession, total: int) -> int:
        if done := tally.told(self._workers, session.committer):
            return done
        ended = UploadSession.objects.filter(pk=session.pk, uploaded=True).exists()  # since the row was read
        return total if ended else 0

    def snapshot(self, kind: str, *, wait: float) -> tuple[Header | Manifest, bool] | None:
        """The newest snapshot of that kind, `base` or `delta`, and whether it was made now.

        None: it takes longer than `wait` seconds, and goes on. Raises StoreUnavailable where the store fails.
        """
        if kind == "base":
            return self._wait_for(self._bases.submit(lane.base, self._writer), wait)
        return self._wait_for(self._sessions.submit(lane.snapshot, self._writer), wait)

    def publish(self, work: Callable[[], T], *, wait: float) -> T | None:
        """What `work` gives, which makes a change durable. None: it takes longer than `wait` seconds, and goes on.

        Raises what it raises, and StoreUnavailable where the store fails; then it goes on too.
        """
        return self._wait_for(self._sessions.submit(work), wait)

    def _wait_for(self, work: Future[T], seconds: float) -> T | None:
        try:
            return work.result(seconds)
        except NotYet:
            work.add_done_callback(_tell_of_failure)
        except (Stopped, CancelledError):
            raise StoreUnavailable("the service is stopping") from None
        if trouble := self._writer.disk.trouble():
            raise StoreUnavailable(f"it is not durable yet, and goes on: {trouble.reason}")
        return None

    def _begin(self, session: UploadSession, *, begun: bool) -> None:
        bases = Keeper(self._store, self._spool, self._writer.disk, session.key)
        counting = tally.Tally(self._workers, session.committer)
        self._submit(steps.Upload(session, bases, self._puts, counting, begun=begun))

    def _submit(self, upload: steps.Upload) -> None:
        self._uploads[upload.session.pk] = upload
        self._sessions.submit(self._upload, upload)

    def _upload(self, upload: steps.Upload) -> None:
        try:
            self._run(upload)
        except Stopped:
            return
        except steps.BaseCondemned:
            self._put_aside(upload)
            return
        except Exception as error:
            log.exception("the upload of session %s broke off; it is tried again", upload.session.key)
            self._note(error)
            self._put_aside(upload)
        finally:
            upload.tally.end()
            if self._uploads.get(upload.session.pk) is upload:
                del self._uploads[upload.session.pk]
        self._wake.set()

    def _run(self, upload: steps.Upload) -> None:
        """Carry it out, or give the session back where a base can't be stored."""
        wait = self._config.commit_wait_seconds
        patience = Patience(stop=self._stop, longest_pause_seconds=min(1.0, wait / 20))
        try:
            upload.run(patience, time.monotonic() + UPLOAD_SHARE * wait)
        except StoreError as error:
            detail = f"an image could not be stored: {error}"
            merge.give_back(upload.session, "store-unavailable", detail, claim=upload.claim)

    def _put_aside(self, upload: steps.Upload) -> None:
        """Leave it to a later tick: a thread that waited here would be missing for other sessions."""
        self._aside.append(upload)

    def _note(self, error: Exception) -> None:
        if failure := of_the_disk(error):
            self._writer.note_disk_failure(failure)

    def _await(self, session: UploadSession, settled: threading.Event, deadline: float) -> None:
        """Wait until the session is settled, or nothing will come of it here; `session` is its row then."""
        while True:
            left = deadline - time.monotonic()
            patient = left > 0 and not self._stop.is_set()
            if patient:
                settled.wait(min(left, FALLBACK_SECONDS))
                settled.clear()
            session.refresh_from_db()
            if not patient or session.state not in UNDER_WAY or self._writer.fenced:
                return

    def _give_up_in_trouble(self, session: UploadSession) -> None:
        """At the deadline, with store or disk failing, a session not merged yet goes back: then that is the answer."""
        trouble = self._writer.trouble()
        if trouble and session.state == State.COMMITTING:
            try:
                code = "disk-failing" if self._writer.disk_fails else "store-unavailable"
                merge.give_back(session, code, f"nothing was committed: {'; '.join(trouble)}")
            except Exception as error:
                if of_the_disk(error) is None:
                    raise  # else the disk doesn't take that either, and it goes on

    def _run_lane(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()
            try:
                self._tick()
                if not (self._aside or self._uploads):
                    self._writer.note_disk_failure(None)
                self._waiters.look()
            except (Stopped, Fenced):
                self._waiters.wake_all()
            except Exception as error:
                log.exception("the lane broke off; it is tried again")
                self._note(error)
        connection.close()

    def _tick(self) -> None:
        if self._stop.is_set() or self._writer.fenced:
            return
        self._adopt_orphans()
        looked = self._look_in_time()
        if merge.waiting() or merge.unflipped() or self._writer.owes():
            lane.run(self._writer)
        elif healing.wants_record(self._writer.disk):
            lane.heal(self._writer)
        elif self._relief.due():
            lane.relieve(self._writer)
        elif self._nothing_shipped_for_long():
            self._shipped_seen = time.monotonic()
            lane.ship_staged(self._writer, since=self._shipped)
        elif looked:
            self._writer.disk.clear_trouble()  # of a process that died before it could

    def _look_in_time(self) -> bool:
        """Look for a newer epoch where nobody here has for long: commits look only when they ship something."""
        if time.monotonic() - self._writer.looked <= self._config.epoch_check_seconds:
            return False
        self._writer.look_for_newer_epoch()
        return True

    def _nothing_shipped_for_long(self) -> bool:
        """Whether the last record, of whichever worker, has been the last for the time that is set."""
        final = self._writer.state.final
        if final and final.name != self._shipped:
            self._shipped, self._shipped_seen = final.name, time.monotonic()
        every = self._config.snapshot_seconds
        return bool(every) and time.monotonic() - self._shipped_seen > every

    def _adopt_orphans(self) -> None:
        """Take over the uploads of workers that died, and begin again what was put aside here."""
        for _ in range(len(self._aside)):
            self._submit(self._aside.pop(0))
        unfinished = UploadSession.objects.filter(state=State.COMMITTING, uploaded=False)
        for session in unfinished.exclude(committer__startswith=f"{self.name}-"):
            lock = acquire(self._workers / steps.worker_of(session.committer), wait=False)
            if lock is None:
                continue
            try:
                if self._take_over(session):
                    self._begin(session, begun=True)
            finally:
                lock.release()

    def _take_over(self, session: UploadSession) -> bool:
        before, session.committer = session.committer, steps.new_claim(self.name)
        with write():
            mine = UploadSession.objects.filter(pk=session.pk, state=State.COMMITTING, uploaded=False, committer=before)
            taken = bool(mine.update(committer=session.committer))
        if taken:
            tally.forget(self._workers, before)
        return taken


def _tell_of_failure(making: Future[Any]) -> None:
    """Of a snapshot that nobody waits for any more."""
    if not making.cancelled() and (error := making.exception()) and not isinstance(error, Stopped):
        log.error("what was asked for did not become durable: %s", error)
