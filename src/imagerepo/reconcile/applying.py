"""Applying a plan: each finding is looked at again, and the one-sided entry deleted. All of it may be repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice

from imagerepo.catalogue.deeds import Deed, entry
from imagerepo.catalogue.models import AuditEntry
from imagerepo.durability.settle import Stopped
from imagerepo.errors import InDoubt, ObjectNotFound, StoreError
from imagerepo.reconcile import removing, spooled
from imagerepo.reconcile.asking import see_that_it_answers
from imagerepo.reconcile.deletion import BATCH, Deleter, Outcome
from imagerepo.reconcile.findings import Action, Code, Finding
from imagerepo.reconcile.plans import Plan, Plans, State
from imagerepo.reconcile.rows import referred_to
from imagerepo.sessions import lane
from imagerepo.sessions.service import Service
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.failpoints import step

THREADS = 8


class Applying:
    """Carries one plan out, from wherever it stands. `close` it."""

    def __init__(self, service: Service, deleter: Deleter, plans: Plans) -> None:
        self._service, self._deleter, self._plans = service, deleter, plans
        self._grace = timedelta(seconds=service.config.grace_seconds)
        self._abandoned = timedelta(seconds=service.config.abandoned_seconds)
        self._threads = ThreadPoolExecutor(THREADS, "apply")
        self._how: dict[Code, Callable[[list[Finding]], Counter[str]]] = {
            Code.ORPHAN_BASE: self._orphan_bases,
            Code.ORPHAN_DERIVATIVE: self._orphan_derivatives,
            Code.STALE_CHAIN: lambda found: self._sweep(service.writer.store, found, self._abandoned),
            Code.STALE_SPOOL: self._spool,
        }

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def run(self, plan: Plan) -> Plan:
        """Objects first, a batch at a time; then the rows of missing bases, by one commit.

        Raises Fenced, StoreError and Stopped; then it can be gone on with.
        """
        plan = self._noted(plan)
        for end, batch in self._batches(plan):
            if self._service.stop.is_set():
                raise Stopped
            outcomes = Counter(plan.outcomes) + self._carry_out(batch)
            applied = plan.applied + sum(finding.action != Action.REMOVE_ROW for finding in batch)
            plan = self._plans.save(plan.having(applied=applied, applied_bytes=end, outcomes=dict(outcomes)))
        plan = removing.remove_rows(self._service, self._plans, plan, self._threads)
        return self._plans.save(plan.having(state=State.DONE, applied=plan.actionable))

    def _noted(self, plan: Plan) -> Plan:
        """The audit log says who asked for it, durably, before anything is touched."""
        if plan.noted:
            return plan

        def note() -> None:
            if not AuditEntry.objects.filter(action=Deed.RECONCILE, subject=plan.id).exists():
                entry(plan.applied_by, Deed.RECONCILE, plan.id, actionable=plan.actionable, force=plan.forced).save()

        lane.publish(self._service.writer, note)
        return self._plans.save(plan.having(noted=True))

    def _batches(self, plan: Plan) -> Iterator[tuple[int, list[Finding]]]:
        """What is left to be done, each batch with the byte of the file after it."""
        found = self._plans.findings(plan, plan.applied_bytes)
        while batch := list(islice(found, BATCH)):
            yield batch[-1][0], [finding for _, finding in batch if finding.actionable]

    def _carry_out(self, batch: Sequence[Finding]) -> Counter[str]:
        """What became of a batch. Raises StoreError where all of one kind failed, as the store does not answer."""
        outcomes: Counter[str] = Counter()
        for code, how in self._how.items():
            found = [finding for finding in batch if finding.code == code]
            became = how(found)
            if _all_failed(became):
                self._see_that_stores_answer()
                became = how(found)  # they may have failed until a moment ago
            if _all_failed(became):
                self._see_that_stores_answer()
            outcomes += became
        return outcomes

    def _see_that_stores_answer(self) -> None:
        for store in (self._service.store, self._service.writer.store):
            see_that_it_answers(store)

    def _orphan_bases(self, found: list[Finding]) -> Counter[str]:
        idents = [finding.ident for finding in found if finding.ident]
        return Counter(map(str, self._deleter.delete(idents, grace=self._grace).values()))

    def _orphan_derivatives(self, found: list[Finding]) -> Counter[str]:
        # No mark is needed: a derivative that goes while its image comes back is made again.
        kept = referred_to(sorted({finding.ident for finding in found if finding.ident}))
        free = [finding for finding in found if finding.ident not in kept]
        return self._sweep(self._service.store, free, self._grace) + _counted(Outcome.PROTECTED, len(found) - len(free))

    def _sweep(self, store: ObjectStore, found: Sequence[Finding], age: timedelta) -> Counter[str]:
        """Delete objects that nothing can need again, unless they are younger than `age`."""
        if not found:
            return Counter()
        before = datetime.now(UTC) - age
        with step("reconcile.sweep"):
            self._service.writer.look_for_newer_epoch()
        names = [finding.object for finding in found if finding.object]
        return Counter(map(str, self._threads.map(lambda name: _swept(store, name, before), names)))

    def _spool(self, found: Iterable[Finding]) -> Counter[str]:
        dropped = [spooled.drop(self._service.spool, finding.object or "") for finding in found]
        gone = sum(dropped)
        return _counted(Outcome.DELETED, gone) + _counted(Outcome.PROTECTED, len(dropped) - gone)


def _swept(store: ObjectStore, name: str, before: datetime) -> Outcome:
    with step("reconcile.sweep"):
        try:
            if store.stat(name, newest=True).modified > before:
                return Outcome.YOUNG
            store.delete([name])
        except ObjectNotFound:
            return Outcome.ABSENT
        except InDoubt:
            return Outcome.IN_DOUBT
        except StoreError:
            return Outcome.FAILED
    return Outcome.DELETED


def _all_failed(outcomes: Counter[str]) -> bool:
    return outcomes.keys() == {str(Outcome.FAILED)}


def _counted(outcome: Outcome, number: int) -> Counter[str]:
    return Counter({str(outcome): number})
