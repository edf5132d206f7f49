"""The runner: of all workers of a data folder, the one that holds its lock carries plans out.

It also lives without a plan: marks that somebody left must be held, and cleared in their time; the objects of what was
purged must go, and history behind the horizon; and bases are due to be read again. When its process dies, another one
goes on from the plan's checkpoint.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

from django.db import connection

from imagerepo.catalogue.models import Purged
from imagerepo.durability.locks import FileLock, acquire
from imagerepo.durability.settle import Stopped
from imagerepo.errors import Fenced, StoreError
from imagerepo.reconcile import history, planning, purge
from imagerepo.reconcile.applying import Applying
from imagerepo.reconcile.deletion import Clock, Deleter
from imagerepo.reconcile.fixity import Fixity
from imagerepo.reconcile.plans import Plan, Plans, State
from imagerepo.sessions.service import Service

LOOK_SECONDS = 0.5
RETRY_SECONDS = 5.0
"""Until what broke off is tried again."""
TRIES = 5
"""How often a plan may break off at one checkpoint, before it has failed."""
HISTORY_SECONDS = 3600.0
"""How often it is looked whether history has grown beyond its horizon."""
KEPT_SECONDS = 7 * 86400.0
"""How long a plan is kept after its last change."""

log = logging.getLogger(__name__)


class Runner:
    """One thread of a worker: `start` and `stop` it. `clock` is the deletions'."""

    def __init__(self, service: Service, *, clock: Clock = time.monotonic) -> None:
        self._service, self._clock = service, clock
        self._plans = Plans(service.writer.disk)
        self._lock: FileLock | None = None
        self._deleter: Deleter | None = None
        self._fixity: Fixity | None = None
        self._broken: tuple[Plan, int] | None = None
        self._not_before = 0.0
        self._purge_not_before = self._fixity_not_before = self._history_not_before = 0.0
        self._thread = threading.Thread(target=self._run, name="reconcile", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it. What is under way stays at its checkpoint, for the next one."""
        self._service.stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Do what there is to do now, if this is the one to do it. Raises Fenced and Stopped."""
        if self._service.writer.fenced or not self._holds():
            return
        assert self._deleter is not None  # noqa: S101  # whoever holds the lock has one
        self._deleter.clear_settled()
        self._carry_out_purges(self._deleter)
        self._end_history()
        self._check_fixity()
        plan = self._next()
        if plan and time.monotonic() >= self._not_before:
            self._carry_out(plan, self._deleter)

    def release(self) -> None:
        """Let another one do it."""
        if self._deleter:
            self._deleter.close()
            self._deleter = None
        if self._lock:
            self._lock.release()
            self._lock = None

    def _run(self) -> None:
        while not self._service.stop.wait(LOOK_SECONDS):
            try:
                self.look()
            except (Stopped, Fenced):
                continue
            except Exception:
                log.exception("reconcile broke off; it is tried again")
                self._service.stop.wait(RETRY_SECONDS)
        self.release()
        connection.close()

    def _holds(self) -> bool:
        if self._lock is None:
            self._lock = acquire(self._service.writer.disk.reconcile_lock, wait=False)
        if self._lock and self._deleter is None:
            # Made under the lock: marks that it finds are somebody's who is dead by now.
            self._deleter = Deleter(
                self._service.store,
                self._service.writer,
                settling_seconds=self._service.config.delete_settle_seconds,
                clock=self._clock,
            )
        return self._lock is not None

    def _carry_out_purges(self, deleter: Deleter) -> None:
        if time.monotonic() >= self._purge_not_before and Purged.objects.filter(gone=False).exists():
            left = purge.carry_out(self._service.store, deleter)
            self._purge_not_before = time.monotonic() + RETRY_SECONDS if left else 0.0

    def _end_history(self) -> None:
        kept = self._service.config.history_seconds
        if kept and time.monotonic() >= self._history_not_before:
            self._history_not_before = time.monotonic() + HISTORY_SECONDS
            history.forget(self._service.writer, history.horizon_at(timedelta(seconds=kept)), actor="history")

    def _check_fixity(self) -> None:
        if time.monotonic() < self._fixity_not_before:
            return
        service = self._service
        try:
            if self._fixity is None:
                self._fixity = Fixity(service.store, service.writer.disk, days=service.config.fixity_days)
            self._fixity.look()
        except StoreError as error:
            log.warning("the bases can't be checked now: %s", error)
            self._fixity_not_before = time.monotonic() + RETRY_SECONDS

    def _next(self) -> Plan | None:
        """The plan to be gone on with; those that nobody needs any more are taken away meanwhile."""
        for plan in self._plans.all():
            if plan.under_way:
                return plan
            if self._plans.age(plan) > KEPT_SECONDS:
                self._forget(plan)
        return None

    def _forget(self, plan: Plan) -> None:
        with self._plans.changing():
            if self._plans.find(plan.id) == plan:
                self._plans.remove(plan)

    def _carry_out(self, plan: Plan, deleter: Deleter) -> None:
        try:
            if plan.state == State.PLANNING:
                planning.carry_out(self._service, self._plans, plan)
            else:
                self._apply(plan, deleter)
        except Fenced:
            raise
        except Exception as error:
            log.warning("plan %s broke off: %s", plan.id, error, exc_info=True)
            self._note_failure(plan, error)

    def _apply(self, plan: Plan, deleter: Deleter) -> None:
        applying = Applying(self._service, deleter, self._plans)
        try:
            applying.run(plan)
        finally:
            applying.close()

    def _note_failure(self, before: Plan, error: Exception) -> None:
        """Wait a little; a plan that does not get on any more has failed."""
        self._not_before = time.monotonic() + RETRY_SECONDS
        now = self._plans.find(before.id)
        tries = self._broken[1] + 1 if self._broken and self._broken[0] == now else 1
        self._broken = (now, tries)
        if tries >= TRIES:
            self._plans.save(now.having(state=State.FAILED, reason=f"it broke off {tries} times: {error}"))
