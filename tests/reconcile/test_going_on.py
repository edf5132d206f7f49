"""What breaks off is gone on with: after a death, a store that fails, a start."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from imagerepo.catalogue.models import Condemned
from imagerepo.durability import damage
from imagerepo.errors import Damaged, StoreUnavailable
from imagerepo.reconcile import carrying, orders, purge
from imagerepo.reconcile.findings import Action, Code, Finding
from imagerepo.reconcile.plans import State
from imagerepo.reconcile.rows import CHUNK
from imagerepo.reconcile.runner import Runner
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.store.objects import ObjectInfo
from imagerepo.testing.faulty import FOR_GOOD, Fault, Op
from tests.reconcile.drift import ORPHAN, X, Y, Z, ident_of, put, put_derivative
from tests.reconcile.repairing import Repairing, names_of, repairing


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What broke off is tried again at once."""
    monkeypatch.setattr(carrying, "RETRY_SECONDS", 0.0)


def test_whoever_holds_the_lock_works_and_after_its_death_the_next(repair: Repairing) -> None:
    put(repair.repository.store, ORPHAN)
    repair.runner.look()
    other = Runner(repair.repository.service, clock=repair.clock)
    plan = orders.plan(repair.repository.service.writer.disk)
    other.look()
    assert repair.plans.find(plan.id).state == State.PLANNING
    repair.runner.release()
    other.look()
    assert repair.plans.find(plan.id).state == State.READY
    other.release()


class Died(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("call", range(1, 9))
def test_a_death_between_any_two_calls_of_the_store_is_gone_on_from(tmp_path: Path, call: int) -> None:
    with repairing(tmp_path, store=Door(MemoryStore())) as repair:
        repair.add(X, Y, Z)
        repair.lose(ident_of(Y))
        store = repair.repository.store
        put(store, ORPHAN)
        put_derivative(store, ORPHAN)
        plan = repair.order(repair.plan(), force=True)
        left = [call]

        def count(name: str) -> None:
            left[0] -= name.startswith("images/")
            if left[0] == 0:
                raise Died

        inner = store._store
        store._store = Counting(inner, count)  # type: ignore[assignment]
        with suppress(Died):
            repair.done(plan)
        store._store = inner
        repair.die()
        repair.done(plan)
        repair.clock.now += 1
        repair.runner.look()
        assert Condemned.objects.count() == 0
        repair.apply(repair.plan())
        assert repair.plan().actionable == 0
        assert repair.live() == {ident_of(X), ident_of(Z)}
        assert names_of(repair) == {names.base(ident_of(X)), names.base(ident_of(Z))}


class Counting:
    """`store`, each call of which is told first."""

    def __init__(self, store: object, tell: object) -> None:
        self._inner, self._tell = store, tell

    def __getattr__(self, op: str) -> object:
        method = getattr(self._inner, op)
        if op not in ("stat", "delete"):
            return method

        def call(what: object, **options: object) -> object:
            for name in [what] if isinstance(what, str) else list(what):  # type: ignore[call-overload]
                self._tell(name)  # type: ignore[operator]
            return method(what, **options)

        return call


def test_planning_goes_on_from_its_checkpoint(repair: Repairing) -> None:
    contents = [b"orphan %d" % number for number in range(40)]
    for content in contents:
        put(repair.repository.store, content)
    plan = orders.plan(repair.repository.service.writer.disk)
    half = sorted(map(ident_of, contents))[19]
    found = [Finding(Code.ORPHAN_BASE, ident, names.base(ident), Action.DELETE_OBJECT, "")
             for ident in sorted(map(ident_of, contents))[:20]]  # fmt: skip
    plan = repair.plans.append(plan, found, surveyed=half)
    with (repair.repository.folder / "reconcile" / plan.id / "findings.jsonl").open("ab") as file:
        file.write(b'{"code": "a line that was being writ')
    plan = repair.done(plan)
    assert [finding.ident for finding in repair.findings(plan)] == sorted(map(ident_of, contents))
    assert plan.counts == {"orphan-base": 40}


def test_what_was_written_when_planning_broke_off_is_written_anew(tmp_path: Path, impatient: None) -> None:
    objects = MemoryStore()
    with repairing(tmp_path, store=objects) as repair:
        repair.add(X)
        put(objects, b"foreign", "elsewhere/foreign")
        put(objects, ORPHAN)
        plan = orders.plan(repair.repository.service.writer.disk)
        repair.repository.store.fail("list", "unavailable", call=3)
        plan = repair.done(plan)
        assert repair.repository.store.failed, "it did not break off"
        found = {finding.object for finding in repair.findings(plan)}
        assert found == {names.base(ident_of(ORPHAN)), "elsewhere/foreign"}
        assert repair.apply(plan).state == State.DONE


class Breaking(MemoryStore):
    """Its listings break off after so many names."""

    left = math.inf

    def list(self, prefix: str, *, after: str = "", foreign: bool = False) -> Iterator[ObjectInfo]:
        for info in super().list(prefix, after=after, foreign=foreign):
            if self.left <= 0:
                raise StoreUnavailable("the listing broke off", op="list", name=prefix)
            self.left -= 1
            yield info


def test_many_foreign_names_are_told_once_though_the_planning_breaks_off_among_them(
    tmp_path: Path, impatient: None
) -> None:
    backend = Breaking()
    with repairing(tmp_path, store=Door(backend)) as repair:
        repair.add(X, Y, Z)
        foreign = [f"images/!{number:05}" for number in range(3 * CHUNK // 2)]
        for name in foreign:
            backend.put(name, io.BytesIO(b"?"), media_type="text/plain")
        plan = orders.plan(repair.repository.service.writer.disk)
        backend.left = len(foreign) - 1
        repair.runner.look()
        assert repair.findings(repair.plans.find(plan.id)) == []
        backend.left = math.inf
        plan = repair.done(plan)
        assert [finding.object for finding in repair.findings(plan)] == foreign
        assert plan.counts == {"foreign-object": len(foreign)}


def test_a_store_that_refuses_for_good_fails_the_plan(
    repair: Repairing, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagerepo.durability.settle.FIRST_PAUSE_SECONDS", 0.001)
    repair.add(X)
    for op, name in (("stat", names.IMAGES), ("get", "")):
        repair.repository.store.fail(op, "refused", name=name, times=FOR_GOOD)
    plan = repair.plan()
    assert plan.state == State.FAILED
    assert "403" in (plan.reason or "")
    repair.repository.store.heal()
    assert repair.plan().state == State.READY


def look_for_long(repair: Repairing) -> None:
    for _ in range(2 * carrying.TRIES):
        repair.runner.look()


@pytest.mark.parametrize(("op", "percent"), [("list", 0.0), ("get", 100.0)])
def test_a_plan_waits_for_a_store_that_does_not_answer_however_long(
    repair: Repairing, impatient: None, monkeypatch: pytest.MonkeyPatch, op: Op, percent: float
) -> None:
    monkeypatch.setattr("imagerepo.durability.settle.FIRST_PAUSE_SECONDS", 0.001)
    repair.add(X)
    repair.repository.store.fail(op, "unavailable", times=FOR_GOOD)
    plan = orders.plan(repair.repository.service.writer.disk, percent=percent)
    look_for_long(repair)
    waiting = repair.plans.find(plan.id)
    assert waiting.state == State.PLANNING
    assert "waits for the store" in (waiting.reason or "") and "503" in (waiting.reason or "")
    repair.repository.store.heal()
    plan = repair.done(plan)
    assert (plan.state, plan.reason) == (State.READY, None)


def test_without_fixity_too_a_store_that_lets_nobody_read_is_waited_for(
    tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing writes its report then, and of an absent one the store says so."""
    monkeypatch.setattr("imagerepo.durability.settle.FIRST_PAUSE_SECONDS", 0.001)
    with repairing(tmp_path, fixity_days="0") as repair:
        repair.add(X, Y)
        for folder in (names.DB, names.IMAGES):
            repair.repository.store.fail("get", "unavailable", name=folder, times=FOR_GOOD)
        plan = orders.plan(repair.repository.service.writer.disk, percent=100)
        look_for_long(repair)
        waiting = repair.plans.find(plan.id)
        assert waiting.state == State.PLANNING
        assert "waits for the store" in (waiting.reason or "")
        repair.repository.store.heal()
        assert repair.done(plan).found == 0
        assert damage.known(repair.repository.service.writer.disk).damaged == {}


def test_without_fixity_too_one_base_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("imagerepo.durability.settle.FIRST_PAUSE_SECONDS", 0.001)
    with repairing(tmp_path, fixity_days="0") as repair:
        repair.add(X, Y, Z)
        repair.repository.store.fail("get", "unavailable", name=names.base(ident_of(Y)), times=FOR_GOOD)
        plan = repair.plan(percent=100)
        assert (plan.state, plan.counts) == (State.READY, {"corrupt-base": 1})
    caplog.clear()


@pytest.mark.parametrize("when", ["before a HEAD", "before a DELETE"])
def test_an_apply_waits_for_a_store_that_does_not_answer_however_long(
    repair: Repairing, impatient: None, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr("imagerepo.durability.settle.FIRST_PAUSE_SECONDS", 0.001)
    repair.add(X, Y, Z)
    repair.lose(ident_of(Y))
    put(repair.repository.store, ORPHAN)
    put_derivative(repair.repository.store, ORPHAN)
    plan = repair.order(repair.plan(), force=True)
    silent: list[Op] = ["stat", "get", "delete"] if when == "before a HEAD" else ["get", "delete"]
    for op in silent:  # whoever ships a record asks for epochs without end, and what is applied is noted by one first
        repair.repository.store.fail(op, "unavailable", name=names.IMAGES if op == "stat" else "", times=FOR_GOOD)
    look_for_long(repair)
    waiting = repair.plans.find(plan.id)
    assert (waiting.state, waiting.outcomes) == (State.APPLYING, {})
    assert "waits for the store" in (waiting.reason or "")
    repair.repository.store.heal()
    plan = repair.done(plan)
    assert (plan.state, plan.outcomes, plan.reason) == (State.DONE, {"deleted": 2, "removed": 1}, None)


@pytest.mark.parametrize("fault", ["unavailable", "refused"])
def test_one_object_that_fails_for_good_holds_up_no_apply(
    repair: Repairing, impatient: None, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr("imagerepo.durability.settle.FIRST_PAUSE_SECONDS", 0.001)
    repair.add(X, Y, Z)
    repair.lose(ident_of(Y))
    put(repair.repository.store, ORPHAN)
    plan = repair.order(repair.plan(), force=True)
    for ident in (ident_of(ORPHAN), ident_of(Y)):
        repair.repository.store.fail("stat", fault, name=names.base(ident), times=FOR_GOOD)
    plan = repair.done(plan)
    assert (plan.state, plan.outcomes) == (State.DONE, {"failed": 2})
    assert ident_of(Y) in repair.live()


def test_a_chain_that_cannot_be_read_fails_the_plan(
    repair: Repairing, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Iterator[ObjectInfo]:
        raise Damaged("the chain is broken")

    repair.add(X)
    monkeypatch.setattr("imagerepo.durability.ancestry.unreachable", broken)
    plan = repair.plan()
    assert (plan.state, plan.reason) == (State.FAILED, "it broke off 5 times: the chain is broken")


def test_of_a_plan_that_reads_all_a_death_costs_a_few_hundred_reads(repair: Repairing, impatient: None) -> None:
    repair.add(*(b"image %d" % number for number in range(250)))
    store = repair.repository.store
    store.fail("get", "refused", call=211, times=FOR_GOOD)
    plan = orders.plan(repair.repository.service.writer.disk, percent=100)
    repair.runner.look()
    assert repair.plans.find(plan.id).summary["progress"] == {"stage": "planning", "done": 200, "total": 250}
    store.heal()
    store.calls.clear()
    repair.die()
    assert repair.done(plan).state == State.READY
    assert [op for op, name in store.calls if name.startswith(names.IMAGES)].count("get") == 50


@pytest.mark.parametrize("fault", ["unavailable", "refused"])
def test_a_base_that_cannot_be_read_fails_no_plan_that_reads_all(
    repair: Repairing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    monkeypatch.setattr("imagerepo.durability.settle.FIRST_PAUSE_SECONDS", 0.001)
    repair.add(X, Y, Z)
    repair.repository.store.fail("get", fault, name=names.base(ident_of(Y)), times=FOR_GOOD)
    plan = repair.plan(percent=100)
    assert (plan.state, plan.counts, plan.wanting) == (State.READY, {"corrupt-base": 1}, 1)
    assert repair.findings(plan)[0].ident == ident_of(Y)
    assert damage.known(repair.repository.service.writer.disk).damaged[ident_of(Y)].kind == "unreadable"
    repair.repository.store.heal()
    assert repair.plan(percent=100).found == 0
    caplog.clear()


def test_marks_that_somebody_left_are_cleared_without_any_plan(repair: Repairing) -> None:
    repair.add(X)
    put(repair.repository.store, ORPHAN)
    repair.repository.store.fail("delete", "late", name="images/")
    assert repair.apply(repair.plan()).outcomes == {"in-doubt": 1}
    repair.die()
    repair.runner.look()
    assert Condemned.objects.count() == 1
    repair.clock.now += 1
    repair.runner.look()
    assert Condemned.objects.count() == 0


def test_purged_images_go_without_any_plan(repair: Repairing) -> None:
    repair.add(X, Y)
    purge.purge(repair.repository.service, ident_of(Y), actor="an-admin")
    repair.runner.look()
    assert names_of(repair) == {names.base(ident_of(X))}


def test_old_plans_are_forgotten(repair: Repairing) -> None:
    plan, old = repair.plan(), repair.plan()
    path = repair.repository.folder / "reconcile" / old.id / "plan.json"
    os.utime(path, (0, 0))
    repair.runner.look()
    assert [kept.id for kept in repair.plans.all()] == [plan.id]
    assert not path.parent.exists()


def test_a_start_goes_on_with_what_the_one_before_began(tmp_path: Path) -> None:
    store = Door(MemoryStore())
    with repairing(tmp_path, store=store) as repair:
        repair.add(X)
        put(repair.repository.store, ORPHAN)
        plan = repair.order(repair.plan())
    with repairing(tmp_path, store=store) as repair:
        assert repair.done(plan).outcomes == {"deleted": 1}
