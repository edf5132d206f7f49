"""What applying a plan does to each finding, and what it leaves alone."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from imagerepo.catalogue.models import AuditEntry, Image, Revision
from imagerepo.durability.gate import write
from imagerepo.errors import ObjectNotFound
from imagerepo.reconcile import spooled
from imagerepo.reconcile.findings import Action
from imagerepo.reconcile.plans import State
from imagerepo.sessions import expiry
from imagerepo.sessions.lifecycle import abort
from imagerepo.sessions.models import UploadSession
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.store.spool import Spool
from imagerepo.testing.faults import FOR_GOOD
from tests.reconcile.drift import ORPHAN, X, Y, Z, ident_of, put, put_derivative
from tests.reconcile.pausing import in_thread
from tests.reconcile.repairing import Repairing, names_of, repairing
from tests.sessions.workers import stage
from tests.waiting import until


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


def test_a_second_plan_finds_nothing_also_where_what_went_is_still_listed(repair: Repairing) -> None:
    repair.add(X)
    store = repair.repository.store
    put(store, ORPHAN)
    put_derivative(store, ORPHAN)
    assert repair.apply(repair.plan()).outcomes == {"deleted": 2}
    store.fail("list", "phantom", name=names.IMAGES, times=FOR_GOOD)
    plan = repair.plan()
    assert (plan.state, plan.found) == (State.READY, 0)
    assert ("list", "phantom") in store.failed


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
    assert repair.apply(plan).outcomes == {"protected": 1}
    assert repair.live() == {ident_of(X), ident_of(Y)}
    assert Revision.objects.count() == 1


def test_a_base_that_came_back_while_the_store_took_no_commit_is_not_removed(
    repair: Repairing, monkeypatch: pytest.MonkeyPatch
) -> None:
    repair.add(X, Y, Z)
    repair.lose(ident_of(Y), ident_of(Z))
    plan = repair.order(repair.plan())
    repository, lost = repair.repository, {names.base(ident_of(Y)), names.base(ident_of(Z))}
    store, stat = repository.store, repository.store.stat
    first_look = iter([True])

    def store_that_fails_after_the_first_look(name: str, *, newest: bool = False) -> object:
        if name in lost and next(first_look, False):
            store.fail("put", "unavailable", name=names.DB, times=FOR_GOOD)
            others.submit(in_thread, lambda: repository.token("press", "reader"))
            until(repository.service.writer.owes)
        return stat(name, newest=newest)

    def mend_once_the_removal_was_given_back() -> None:
        until(lambda: UploadSession.objects.filter(owner="reconcile", error__isnull=False).exists())
        put(store, Y)
        store.heal()

    monkeypatch.setattr("imagerepo.reconcile.removing.WAIT_SECONDS", 0.3)
    monkeypatch.setattr(store, "stat", store_that_fails_after_the_first_look)
    with ThreadPoolExecutor(2) as others:
        mending = others.submit(in_thread, mend_once_the_removal_was_given_back)
        done = repair.done(plan)
        mending.result()
    assert (done.state, done.outcomes) == (State.DONE, {"removed": 1, "changed": 1})
    assert repair.live() == {ident_of(X), ident_of(Y)}


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
    done = repair.done(plan)
    assert (done.state, done.outcomes) == (State.DONE, {"removed": 1, "changed": 1})
    monkeypatch.undo()
    repair.apply(repair.plan())
    assert repair.live() == {ident_of(X)}


def test_an_image_that_is_added_again_while_its_base_is_looked_for_stays(
    repair: Repairing, monkeypatch: pytest.MonkeyPatch
) -> None:
    repair.add(X, Y)
    repair.lose(ident_of(Y))
    plan = repair.order(repair.plan())
    store = repair.repository.store
    again = iter([lambda: repair.remove(ident_of(Y)), lambda: repair.add(Y)])

    def stat(name: str, *, newest: bool = False) -> object:
        try:
            return type(store).stat(store, name, newest=newest)
        except ObjectNotFound:
            for change in again if name == names.base(ident_of(Y)) else ():
                in_thread(change)
            raise

    monkeypatch.setattr(store, "stat", stat)
    assert repair.done(plan).state == State.DONE
    assert repair.live() == {ident_of(X), ident_of(Y)}
    assert names.base(ident_of(Y)) in names_of(repair)


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


class Ending(Spool):
    """A spool whose session ends, and its uploads go, just after the first listing."""

    ending: UploadSession | None = None

    def sessions(self) -> list[str]:
        listed = super().sessions()
        if self.ending:
            abort(self.ending)
            self.ending = None
        return listed


def test_uploads_of_a_session_that_ends_meanwhile_are_no_finding(repair: Repairing) -> None:
    folder = repair.repository.folder / "spool"
    session = stage(repair.repository.service.spool, X)
    (folder / ("0" * 32)).mkdir()
    spool = Ending(folder)
    spool.ending = session
    found = list(spooled.findings(spool, Event()))
    assert UploadSession.objects.get(pk=session.pk).state == "aborted"
    assert [finding.object for finding in found] == [f"spool/{'0' * 32}"]


def test_foreign_objects_are_never_touched(tmp_path: Path) -> None:
    backend = MemoryStore()
    with repairing(tmp_path, store=Door(backend)) as repair:
        repair.add(X)
        for name in ("images/notes.txt", "somebody/else", f"{names.base(ident_of(X))}.bak"):
            backend.put(name, io.BytesIO(b"?"), media_type="text/plain")
        plan = repair.apply(repair.plan())
        assert plan.counts == {"foreign-object": 3}
        assert len([info for info in backend.list("") if not names.is_name(info.name)]) == 3


def test_history_kept_for_less_than_an_hour_is_ended_as_often(tmp_path: Path) -> None:
    with repairing(tmp_path, history_seconds="0.1") as repair:
        repair.add(X, Y)
        repair.runner.look()
        repair.remove(ident_of(Y))
        until(lambda: repair.runner.look() or set(Image.objects.values_list("ident", flat=True)) == repair.live())
