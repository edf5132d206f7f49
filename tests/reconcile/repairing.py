"""A repository whose drift is found and repaired, each look of the runner made by the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagerepo.catalogue import queries
from imagerepo.reconcile import orders
from imagerepo.reconcile.findings import Finding
from imagerepo.reconcile.plans import Plan, Plans, State
from imagerepo.reconcile.runner import Runner
from imagerepo.sessions.models import UploadSession
from imagerepo.sessions.staging import stage_metadata, stage_removal
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from tests.inprocess import Repository, running
from tests.sessions.workers import stage

NO_GRACE = {"grace_seconds": "0.000001", "store_timeout_seconds": "0.1", "delete_settle_seconds": "0.8"}


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Repairing:
    """One repository and its runner: `runner` may be replaced, as if its process had died."""

    def __init__(self, repository: Repository) -> None:
        self.repository, self.clock = repository, Clock()
        self.plans = Plans(repository.service.writer.disk)
        self.runner = Runner(repository.service, clock=self.clock)

    def die(self) -> None:
        """The runner's process dies; another one is there."""
        self.runner.release()
        self.runner = Runner(self.repository.service, clock=self.clock)

    def plan(self, *, percent: float = 0.0) -> Plan:
        return self.done(orders.plan(self.repository.service.writer.disk, percent=percent))

    def order(self, plan: Plan, *, force: bool = False) -> Plan:
        return orders.apply(self.repository.service.writer.disk, plan.id, actor="an-admin", force=force)

    def apply(self, plan: Plan, *, force: bool = True) -> Plan:
        return self.done(self.order(plan, force=force))

    def done(self, plan: Plan) -> Plan:
        """Look until the plan is no longer under way."""
        for _ in range(50):
            self.runner.look()
            plan = self.plans.find(plan.id)
            if plan.state not in (State.PLANNING, State.APPLYING):
                return plan
        raise AssertionError(f"it does not end: {plan}")

    def findings(self, plan: Plan) -> list[Finding]:
        return [finding for _, finding in self.plans.findings(plan)]

    def add(self, *contents: bytes) -> UploadSession:
        """Commit images."""
        return self.repository.commit(stage(self.repository.service.spool, *contents))

    def remove(self, ident: str) -> None:
        session = self.repository.open_session()
        stage_removal(session, ident)
        self.repository.commit(session)

    def describe(self, ident: str, title: str) -> None:
        """Commit another title of a live image."""
        session = self.repository.open_session()
        stage_metadata(session, ident, {"title": title})
        self.repository.commit(session)

    def lose(self, *idents: str) -> None:
        """Let the store lose bases."""
        self.repository.store.delete([names.base(ident) for ident in idents])

    def live(self) -> set[str]:
        return {str(version.image.ident) for version in queries.live(queries.head())}


@contextmanager
def repairing(folder: Path, *, store: ObjectStore | None = None, **settings: str) -> Iterator[Repairing]:
    with running(folder, store=store, **(NO_GRACE | settings)) as repository:
        made = Repairing(repository)
        try:
            yield made
        finally:
            made.runner.release()


def names_of(repair: Repairing, prefix: str = "images/") -> set[str]:
    return {info.name for info in repair.repository.store.list(prefix)}
