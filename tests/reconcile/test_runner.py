"""The runner's threads: a plan that takes hours holds nobody up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone

from imagerepo.catalogue.models import Condemned, Purged
from imagerepo.durability import damage
from imagerepo.reconcile import duties, orders, purge
from imagerepo.reconcile.plans import State
from imagerepo.sessions.models import UploadSession
from imagerepo.store import names
from imagerepo.testing.faulty import FOR_GOOD
from tests.reconcile.drift import ident_of, put, put_derivative
from tests.reconcile.repairing import Repairing, names_of, repairing
from tests.sessions.workers import stage
from tests.waiting import until

LIVE, ORPHAN, UNWANTED = b"it is live", b"an orphan", b"it is taken down"


@pytest.fixture
def repair(tmp_path: Path) -> Iterator[Repairing]:
    with repairing(tmp_path / "data", fixity_days="0.000001") as repair:
        yield repair


@pytest.fixture
def in_doubt(repair: Repairing) -> Repairing:
    """The DELETE of an orphan is in doubt: its mark stands until the clock moves on."""
    repair.add(LIVE, UNWANTED)
    put(repair.repository.store, ORPHAN)
    repair.repository.store.fail("delete", "late", name="images/")
    assert repair.apply(repair.plan()).outcomes == {"in-doubt": 1}
    assert Condemned.objects.count() == 1
    return repair


def test_while_a_plan_reads_for_hours_marks_settle_commits_go_on_and_purged_images_go(in_doubt: Repairing) -> None:
    repair, repository = in_doubt, in_doubt.repository
    store, disk = repository.store, repository.service.writer.disk
    store.hang_seconds = 600.0
    store.fail("get", "hang", name="images/", times=FOR_GOOD)
    repair.runner.start()
    try:
        plan = orders.plan(disk, percent=100)
        until(lambda: any(op == "get" for op, _ in store.calls))
        session = stage(repository.service.spool, ORPHAN)
        repository.service.committer.commit(session, wait=0.2)
        assert UploadSession.objects.get(pk=session.pk).state == "committing"
        repair.clock.now += 1
        until(lambda: UploadSession.objects.get(pk=session.pk).state == "live")
        purge.purge(repository.service, ident_of(UNWANTED), actor="an-admin")
        until(lambda: names.base(ident_of(UNWANTED)) not in names_of(repair))
        repair.clock.now += 1
        until(lambda: Purged.objects.get().gone)
        assert repair.plans.find(plan.id).state == State.PLANNING
        store.heal()
        until(lambda: repair.plans.find(plan.id).state == State.READY)
    finally:
        store.heal()
        repair.runner.stop()


def test_a_session_that_nobody_asks_for_expires_and_protects_nothing(
    repair: Repairing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "RETRY_SECONDS", 0.0)
    repository = repair.repository
    repair.add(LIVE, UNWANTED)
    purge.purge(repository.service, ident_of(UNWANTED), actor="an-admin")
    session = stage(repository.service.spool, UNWANTED)
    repair.runner.look()
    assert not Purged.objects.get().gone
    UploadSession.objects.filter(pk=session.pk).update(expires_at=timezone.now())
    repair.die()

    def is_gone() -> bool:
        repair.runner.look()
        repair.clock.now += 1
        return bool(Purged.objects.get().gone)

    until(is_gone)
    assert UploadSession.objects.get(pk=session.pk).state == "expired"
    assert repository.spooled() == set()
    assert names_of(repair) == {names.base(ident_of(LIVE))}


def test_history_that_ends_takes_its_bases_with_it(tmp_path: Path) -> None:
    with repairing(tmp_path / "data", history_seconds="1") as repair:
        repair.add(LIVE, UNWANTED)
        put_derivative(repair.repository.store, UNWANTED)
        repair.remove(ident_of(UNWANTED))

        def ends() -> bool:
            repair.runner.look()
            return names_of(repair) == {names.base(ident_of(LIVE))}

        until(ends)
        assert repair.live() == {ident_of(LIVE)}
        assert repair.plan().found == 0


def test_while_a_plan_reads_for_hours_another_is_made_and_applied(repair: Repairing) -> None:
    repair.add(LIVE)
    put(repair.repository.store, ORPHAN)
    store, disk = repair.repository.store, repair.repository.service.writer.disk
    store.hang_seconds = 600.0
    store.fail("get", "hang", name="images/", times=FOR_GOOD)
    repair.runner.start()
    try:
        deep = orders.plan(disk, percent=100)
        until(lambda: any(op == "get" for op, _ in store.calls))
        quick = orders.plan(disk)
        until(lambda: repair.plans.find(quick.id).state == State.READY)
        repair.order(quick, force=True)
        until(lambda: repair.plans.find(quick.id).state == State.DONE)
        assert names_of(repair) == {names.base(ident_of(LIVE))}
        assert repair.plans.find(deep.id).state == State.PLANNING
        store.heal()
        until(lambda: repair.plans.find(deep.id).state == State.READY)
    finally:
        store.heal()
        repair.runner.stop()


def test_while_a_plan_is_applied_bases_are_read(repair: Repairing) -> None:
    repair.add(LIVE)
    put(repair.repository.store, ORPHAN)
    store, disk = repair.repository.store, repair.repository.service.writer.disk
    plan = repair.plan()
    put(store, b"it is rot!", names.base(ident_of(LIVE)))
    store.hang_seconds = 600.0
    store.fail("delete", "hang", name="images/", times=FOR_GOOD)
    repair.order(plan, force=True)
    repair.runner.start()
    try:
        until(lambda: damage.of(disk, ident_of(LIVE)) is not None)
        assert repair.plans.find(plan.id).state == State.APPLYING
        store.heal()
        until(lambda: repair.plans.find(plan.id).state == State.DONE)
    finally:
        store.heal()
        repair.runner.stop()
