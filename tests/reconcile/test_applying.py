"""Plans: made, applied, refused, gone on with after a death."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from imagerepo.catalogue.models import AuditEntry, Condemned, Revision
from imagerepo.durability.gate import write
from imagerepo.errors import ApplyUnderWay, PlanNotFound, PlanNotReady, StalePlan, StoreUnavailable, TooLargeAShare
from imagerepo.reconcile import carrying, orders, purge
from imagerepo.reconcile.findings import Action, Code, Finding
from imagerepo.reconcile.plans import State
from imagerepo.reconcile.rows import CHUNK
from imagerepo.reconcile.runner import Runner
from imagerepo.sessions import expiry
from imagerepo.sessions.models import UploadSession
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.store.objects import ObjectInfo
from imagerepo.testing.faulty import FOR_GOOD
from tests.reconcile.drift import ident_of, put, put_derivative
from tests.reconcile.pausing import in_thread
from tests.reconcile.repairing import Repairing, repairing
from tests.sessions.workers import stage
from tests.waiting import until

X, Y, Z, ORPHAN = b"an image", b"another image", b"a third", b"an orphan"


@pytest.fixture
def repair(tmp_path: Path) -> Iterator[Repairing]:
    with repairing(tmp_path) as repair:
        yield repair


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What broke off is tried again at once."""
    monkeypatch.setattr(carrying, "RETRY_SECONDS", 0.0)


def names_of(repair: Repairing, prefix: str = "images/") -> set[str]:
    return {info.name for info in repair.repository.store.list(prefix)}


def test_everything_one_sided_goes_and_a_second_plan_finds_nothing(repair: Repairing) -> None:
    repair.add(X, Y, Z)
    repair.lose(ident_of(Y))
    store = repair.repository.store
    put(store, ORPHAN)
    put_derivative(store, ORPHAN)
    put_derivative(store, X)
    abandoned = repair.repository.open_session()
    repair.repository.service.spool.path(abandoned.key, ident_of(X)).parent.mkdir()
    with write():
        expiry.end(abandoned, "abort")
    before = names_of(repair)
    plan = repair.plan()
    assert (plan.state, plan.actionable) == (State.READY, 4)
    assert plan.counts == {"orphan-base": 1, "orphan-derivative": 1, "missing-base": 1, "stale-spool": 1}
    assert names_of(repair) == before, "a plan changes nothing"
    plan = repair.apply(plan)
    assert plan.state == State.DONE
    assert plan.outcomes == {"deleted": 3, "removed": 1}
    assert names_of(repair) == {names.base(ident_of(X)), names.base(ident_of(Z)), *before} - {
        name for name in before if ident_of(ORPHAN) in name
    }
    assert repair.live() == {ident_of(X), ident_of(Z)}
    again = repair.plan()
    assert (again.actionable, [finding.action for finding in repair.findings(again)]) == (0, [Action.NONE])


def test_rows_go_by_a_revision_like_any_other(repair: Repairing) -> None:
    repair.add(X, Y)
    repair.lose(ident_of(Y))
    repair.apply(repair.plan())
    revision = Revision.objects.get(number=2)
    assert (revision.owner, revision.removed) == ("reconcile", 1)
    assert "lost" in revision.title
    did = {(entry.action, entry.actor) for entry in AuditEntry.objects.all()}
    assert did >= {("reconcile", "an-admin"), ("commit", "reconcile")}


def test_a_base_that_came_back_is_not_removed(repair: Repairing) -> None:
    repair.add(X, Y)
    repair.lose(ident_of(Y))
    plan = repair.plan()
    put(repair.repository.store, Y)
    assert repair.apply(plan).outcomes == {"removed": 0}
    assert repair.live() == {ident_of(X), ident_of(Y)}
    assert Revision.objects.count() == 1


def test_what_was_written_again_meanwhile_stays(tmp_path: Path) -> None:
    with repairing(tmp_path, grace_seconds="1") as repair:
        repair.add(X)
        store = repair.repository.store
        put(store, ORPHAN)
        put_derivative(store, ORPHAN)
        until(lambda: repair.plan().actionable == 2)
        plan = repair.plans.all()[-1]
        put(store, ORPHAN)
        put_derivative(store, ORPHAN)
        assert repair.apply(plan).outcomes == {"young": 2}


def test_what_was_staged_meanwhile_stays(repair: Repairing) -> None:
    repair.add(X)
    put(repair.repository.store, ORPHAN)
    put_derivative(repair.repository.store, ORPHAN)
    plan = repair.plan()
    session = stage(repair.repository.service.spool, ORPHAN)
    assert repair.apply(plan).outcomes == {"protected": 2}
    repair.repository.commit(session)
    assert ident_of(ORPHAN) in repair.live()
    assert names.base(ident_of(ORPHAN)) in names_of(repair)


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


def test_an_image_that_is_changed_during_the_repair_is_left_to_the_next_plan(
    repair: Repairing, monkeypatch: pytest.MonkeyPatch
) -> None:
    repair.add(X, Y, Z)
    repair.lose(ident_of(Y), ident_of(Z))
    plan = repair.order(repair.plan(), force=True)
    store = repair.repository.store
    changed = []

    def stat(name: str, *, newest: bool = False) -> object:
        if name == names.base(ident_of(Z)) and not changed:
            changed.append(in_thread(lambda: repair.describe(ident_of(Z), "changed")))
        return type(store).stat(store, name, newest=newest)

    monkeypatch.setattr(store, "stat", stat)
    assert repair.done(plan).state == State.DONE
    monkeypatch.undo()
    repair.apply(repair.plan())
    assert repair.live() == {ident_of(X)}


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
            orders.apply(repair.repository.service.writer, key, actor="an-admin")


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


def test_a_store_that_fails_for_long_fails_the_plan(
    repair: Repairing, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagerepo.durability.settle.FIRST_PAUSE_SECONDS", 0.001)
    repair.add(X)
    repair.repository.store.fail("stat", "refused", name="images/", times=FOR_GOOD)
    plan = repair.plan()
    assert plan.state == State.FAILED
    assert "403" in (plan.reason or "")
    repair.repository.store.heal()
    assert repair.plan().state == State.READY


def test_a_store_that_fails_for_a_while_is_asked_again(
    repair: Repairing, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagerepo.durability.settle.FIRST_PAUSE_SECONDS", 0.001)
    repair.add(X)
    repair.repository.store.fail("list", "unavailable", times=3)
    assert repair.plan().state == State.READY


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


def test_a_plan_is_on_disk_as_it_is_told(repair: Repairing) -> None:
    repair.add(X)
    put(repair.repository.store, ORPHAN)
    plan = repair.plan()
    folder = repair.repository.folder / "reconcile" / plan.id
    assert json.loads((folder / "plan.json").read_text())["state"] == "ready"
    (line,) = (folder / "findings.jsonl").read_text().splitlines()
    assert json.loads(line).keys() == {"code", "ident", "object", "action", "detail"}
    assert plan.summary["progress"] == {"stage": "ready", "done": 1, "total": 1}


def test_a_start_goes_on_with_what_the_one_before_began(tmp_path: Path) -> None:
    store = Door(MemoryStore())
    with repairing(tmp_path, store=store) as repair:
        repair.add(X)
        put(repair.repository.store, ORPHAN)
        plan = repair.order(repair.plan())
    with repairing(tmp_path, store=store) as repair:
        assert repair.done(plan).outcomes == {"deleted": 1}


@pytest.mark.parametrize("key", ["session", "other"])
def test_uploads_of_open_sessions_stay(repair: Repairing, key: str) -> None:
    session = repair.repository.open_session()
    folder = repair.repository.folder / "spool" / (session.key if key == "session" else "0" * 32)
    folder.mkdir()
    (folder / ident_of(X)).write_bytes(X)
    plan = repair.apply(repair.plan())
    assert folder.exists() == (key == "session")
    assert plan.counts == ({} if key == "session" else {"stale-spool": 1})
    assert UploadSession.objects.count() == 1


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


def test_foreign_objects_are_never_touched(tmp_path: Path) -> None:
    backend = MemoryStore()
    with repairing(tmp_path, store=Door(backend)) as repair:
        repair.add(X)
        for name in ("images/notes.txt", "somebody/else", f"{names.base(ident_of(X))}.bak"):
            backend.put(name, io.BytesIO(b"?"), media_type="text/plain")
        plan = repair.apply(repair.plan())
        assert plan.counts == {"foreign-object": 3}
        assert len([info for info in backend.list("") if not names.is_name(info.name)]) == 3
