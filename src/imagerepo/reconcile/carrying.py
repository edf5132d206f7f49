"""Carrying plans out, one after another, from wherever each stands; those that nobody needs any more are forgotten.

The making of plans that read bases, which takes hours, is one row; all else is another, and waits for none of it.
"""

from __future__ import annotations

import logging
import time

from imagerepo.errors import Fenced
from imagerepo.reconcile import planning
from imagerepo.reconcile.applying import Applying
from imagerepo.reconcile.asking import FOR_NOW
from imagerepo.reconcile.deletion import Deleter
from imagerepo.reconcile.plans import Plan, Plans, State
from imagerepo.sessions.service import Service

RETRY_SECONDS = 5.0
"""Until a plan that broke off is gone on with."""
TRIES = 5
"""How often a plan may break off at one checkpoint, before it has failed. For a store without answer it waits."""
KEPT_SECONDS = 7 * 86400.0
"""How long a plan is kept after its last change."""

log = logging.getLogger(__name__)


class Carrier:
    """Makes plans that read bases, where it is the `reading` one; the other makes the rest, and applies all.

    One process of a data folder at a time has these two.
    """

    def __init__(self, service: Service, deleter: Deleter, *, reading: bool) -> None:
        self._service, self._deleter, self._reading = service, deleter, reading
        self._plans = Plans(service.writer.disk)
        self._broken: tuple[Plan, int] | None = None
        self._not_before = 0.0

    def look(self) -> None:
        """Carry out the plan that is next, to its end. Raises Fenced."""
        plan = self._next()
        if plan and time.monotonic() >= self._not_before:
            self._carry_out(plan)

    def _next(self) -> Plan | None:
        """The plan to be gone on with; those that nobody needs any more are taken away meanwhile."""
        for plan in self._plans.all():
            if plan.under_way:
                if _reads(plan) == self._reading:
                    return plan
            elif not self._reading and self._plans.age(plan) > KEPT_SECONDS:
                self._forget(plan)
        return None

    def _forget(self, plan: Plan) -> None:
        with self._plans.changing():
            if self._plans.find(plan.id) == plan:
                self._plans.remove(plan)

    def _carry_out(self, plan: Plan) -> None:
        try:
            if plan.state == State.PLANNING:
                planning.carry_out(self._service, self._plans, plan.having(reason=None))
            else:
                self._apply(plan.having(reason=None))
        except Fenced:
            raise
        except FOR_NOW as error:
            log.warning("plan %s waits for the store: %s", plan.id, error)
            self._wait(plan, error)
        except Exception as error:
            log.warning("plan %s broke off: %s", plan.id, error, exc_info=True)
            self._note_failure(plan, error)

    def _apply(self, plan: Plan) -> None:
        applying = Applying(self._service, self._deleter, self._plans)
        try:
            applying.run(plan)
        finally:
            applying.close()

    def _wait(self, before: Plan, error: Exception) -> None:
        """Go on later, however long the store does not answer; whoever asks for the plan is told why."""
        self._not_before = time.monotonic() + RETRY_SECONDS
        now = self._plans.find(before.id)
        if now.reason is None:
            self._plans.save(now.having(reason=f"it waits for the store: {error}"))

    def _note_failure(self, before: Plan, error: Exception) -> None:
        """Wait a little; a plan that does not get on any more has failed."""
        self._not_before = time.monotonic() + RETRY_SECONDS
        now = self._plans.find(before.id).having(reason=None)
        tries = self._broken[1] + 1 if self._broken and self._broken[0] == now else 1
        self._broken = (now, tries)
        if tries >= TRIES:
            self._plans.save(now.having(state=State.FAILED, reason=f"it broke off {tries} times: {error}"))


def _reads(plan: Plan) -> bool:
    """Whether bases are read for what is to be done next."""
    return plan.state == State.PLANNING and plan.percent > 0
