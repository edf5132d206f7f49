"""Orders to apply a plan: which are refused, and that each is carried out once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagerepo.catalogue.models import AuditEntry
from imagerepo.errors import ApplyUnderWay, PlanNotFound, PlanNotReady, StalePlan, TooLargeAShare
from imagerepo.reconcile import orders
from imagerepo.reconcile.plans import Plans, State
from imagerepo.testing.faulty import FOR_GOOD
from tests.reconcile.drift import ORPHAN, X, Y, Z, ident_of, put
from tests.reconcile.pausing import in_thread
from tests.reconcile.repairing import Repairing


def test_a_plan_is_stale_once_a_revision_changed_what_it_names(repair: Repairing) -> None:
    repair.add(X, Y)
    repair.lose(ident_of(Y))
    plan = repair.plan()
    repair.add(Z)
    fresh = repair.plan()
    repair.describe(ident_of(Y), "still here?")
    for _ in range(2):
        with pytest.raises(StalePlan):
            repair.order(plan)
        assert repair.plans.find(plan.id).state == State.STALE
    with pytest.raises(StalePlan):
        repair.order(fresh)
    assert repair.live() == {ident_of(X), ident_of(Y), ident_of(Z)}


def test_a_plan_outlives_revisions_that_change_other_images(repair: Repairing) -> None:
    repair.add(X, Y)
    repair.lose(ident_of(Y))
    plan = repair.plan()
    repair.add(Z)
    repair.describe(ident_of(X), "changed")
    assert repair.apply(plan).state == State.DONE
    assert repair.live() == {ident_of(X), ident_of(Z)}


def test_plans_that_nobody_has_written_since_are_not_read_again(repair: Repairing) -> None:
    """Who carries plans out looks at them twice a second, and they are kept for a week."""
    ended, plan = repair.plan(), repair.plan()
    seen = Plans(repair.repository.service.writer.disk)
    assert seen.all() == [ended, plan]
    before = seen.all()
    repair.plans.save(plan.having(reason="changed by another process"))
    after = seen.all()
    assert after[0] is before[0]
    assert after[1].reason == "changed by another process"
    repair.plans.remove(ended)
    assert seen.all() == after[1:]


def test_a_large_share_needs_force(repair: Repairing) -> None:
    contents = [b"image %d" % number for number in range(30)]
    repair.add(*contents)
    repair.lose(*map(ident_of, contents[:20]))
    plan = repair.plan()
    with pytest.raises(TooLargeAShare):
        repair.order(plan)
    assert repair.plans.find(plan.id).state == State.READY
    assert repair.apply(plan, force=True).outcomes == {"removed": 20}


def test_a_store_that_has_nothing_is_a_mistake_and_no_drift(repair: Repairing) -> None:
    repair.add(X, Y)
    repair.lose(ident_of(X), ident_of(Y))
    plan = repair.plan()
    assert plan.state == State.FAILED
    assert "IMAGEREPO_STORE_URL" in (plan.reason or "")
    with pytest.raises(PlanNotReady):
        repair.order(plan)


def test_an_unknown_plan_is_not_found(repair: Repairing) -> None:
    for key in ("", "0" * 16, "../outbox", "x" * 200):
        with pytest.raises(PlanNotFound):
            orders.apply(repair.repository.service.writer.disk, key, actor="an-admin")


def test_one_plan_at_a_time_is_applied_and_each_once(repair: Repairing) -> None:
    repair.add(X, Y)
    repair.lose(ident_of(Y))
    put(repair.repository.store, ORPHAN)
    writer = repair.repository.service.writer
    unfinished = orders.plan(writer.disk)
    with pytest.raises(PlanNotReady):
        repair.order(unfinished)
    first, second = repair.done(unfinished), repair.plan()
    assert repair.order(first).state == State.APPLYING
    assert repair.order(first).state == State.APPLYING
    with pytest.raises(ApplyUnderWay):
        repair.order(second)
    done = repair.done(first)
    assert repair.order(done) == done
    assert AuditEntry.objects.filter(action="reconcile").count() == 1


def test_an_order_is_answered_though_the_store_fails_and_noted_before_anything_is_touched(repair: Repairing) -> None:
    repair.add(X)
    put(repair.repository.store, ORPHAN)
    plan, store = repair.plan(), repair.repository.store
    store.fail("put", "unavailable", name="db/", times=FOR_GOOD)
    assert repair.order(plan).state == State.APPLYING
    assert AuditEntry.objects.filter(action="reconcile").count() == 0
    seen: list[int] = []

    def noting(names: list[str]) -> None:
        seen.append(AuditEntry.objects.filter(action="reconcile", actor="an-admin", subject=plan.id).count())
        type(store).delete(store, names)

    store.heal()
    store.delete = noting
    assert repair.done(plan).outcomes == {"deleted": 1}
    assert seen == [1]


def test_a_plan_is_on_disk_as_it_is_told(repair: Repairing) -> None:
    repair.add(X)
    put(repair.repository.store, ORPHAN)
    plan = repair.plan()
    folder = repair.repository.folder / "reconcile" / plan.id
    assert json.loads((folder / "plan.json").read_text())["state"] == "ready"
    (line,) = (folder / "findings.jsonl").read_text().splitlines()
    assert json.loads(line).keys() == {"code", "ident", "object", "action", "detail", "wanting"}
    assert plan.summary["progress"] == {"stage": "ready", "done": 1, "total": 1}


def test_eight_orders_at_once_make_one_apply(repair: Repairing) -> None:
    repair.add(X)
    put(repair.repository.store, ORPHAN)
    plans = [repair.plan() for _ in range(4)]

    def order(number: int) -> str:
        try:
            return str(in_thread(lambda: repair.order(plans[number % 4])).state)
        except ApplyUnderWay:
            return "refused"

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(order, range(8)))
    assert [plan.state for plan in repair.plans.all()].count(State.APPLYING) == 1
    assert set(answers) == {"applying", "refused"}
