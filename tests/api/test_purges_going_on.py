"""Purges that are not durable when they are answered: they go on, and take nothing with them that came since."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from imagerepo.catalogue.models import Image, Purged
from imagerepo.config import get_config
from imagerepo.reconcile import history
from imagerepo.reconcile.runner import Runner
from imagerepo.sessions import staging
from imagerepo.store import names
from imagerepo.testing.faulty import FOR_GOOD
from tests.api.caller import Caller, as_json, ident_of, picture, problem
from tests.inprocess import Repository
from tests.waiting import until


@pytest.fixture
def runner(repository: Repository) -> Iterator[Runner]:
    runner = Runner(repository.service)
    yield runner
    runner.release()


@contextmanager
def impatience(repository: Repository, monkeypatch: pytest.MonkeyPatch, *, seconds: float = 0.3) -> Iterator[None]:
    """Who asks for something to be committed is answered after `seconds` at most, whatever came of it."""
    with monkeypatch.context() as patch:
        patch.setattr(repository.service, "config", get_config().model_copy(update={"commit_wait_seconds": seconds}))
        yield


@pytest.fixture
def purged_in_doubt(
    repository: Repository, admin: Caller, stranger: Caller, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], int]:
    """Ask for a purge whose removal becomes durable after its answer; the last revision that shows the image."""

    def purge(ident: str) -> int:
        at = int(stranger("GET", "/api/v1/images").json()["revision"])
        repository.store.fail("put", "unavailable", name="db/", times=FOR_GOOD)
        with impatience(repository, monkeypatch):
            refused = problem(admin("POST", f"/api/v1/images/{ident}/purge"), 503, "commit-unfinished")
        assert "It goes on, and the purge when it is live" in refused["detail"]
        repository.store.heal()
        until(lambda: stranger("GET", f"/api/v1/images/{ident}").status_code == 410)
        assert stranger("GET", f"/images/{ident}?at={at}").status_code == 200
        return at

    return purge


def noted(admin: Caller, ident: str) -> int:
    """How many purges of it the audit tells of."""
    did = admin("GET", "/api/v1/audit?action=purge").json()["results"]
    return [entry["subject"] for entry in did].count(ident)


def test_a_purge_whose_removal_becomes_durable_after_its_answer_goes_on_by_itself(
    repository: Repository,
    ann: Caller,
    admin: Caller,
    stranger: Caller,
    runner: Runner,
    purged_in_doubt: Callable[[str], int],
) -> None:
    ident = ann.live()
    at = purged_in_doubt(ident)
    for _ in range(2):
        runner.look()
        problem(stranger("GET", f"/images/{ident}?at={at}"), 410, "gone")
        assert not list(repository.store.list(names.base(ident)))
        assert noted(admin, ident) == 1


def test_a_purge_that_is_asked_for_again_before_it_went_on_is_one(
    ann: Caller, admin: Caller, stranger: Caller, runner: Runner, purged_in_doubt: Callable[[str], int]
) -> None:
    ident = ann.live()
    at = purged_in_doubt(ident)
    assert admin("POST", f"/api/v1/images/{ident}/purge").status_code == 202
    problem(stranger("GET", f"/images/{ident}?at={at}"), 410, "gone")
    runner.look()
    assert noted(admin, ident) == 1


def test_of_what_is_added_again_before_a_purge_went_on_only_what_was_before_goes(
    ann: Caller, stranger: Caller, runner: Runner, purged_in_doubt: Callable[[str], int]
) -> None:
    data = picture()
    ident = ann.live(data)
    at = purged_in_doubt(ident)
    ann.live(data)
    for _ in range(2):
        runner.look()
        problem(stranger("GET", f"/images/{ident}?at={at}"), 410, "gone")
        assert stranger("GET", f"/images/{ident}").content == data
        assert len(stranger("GET", f"/api/v1/images/{ident}/history").json()["results"]) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_purge_that_goes_on_does_not_take_a_later_one_for_done(
    repository: Repository,
    ann: Caller,
    stranger: Caller,
    runner: Runner,
    purged_in_doubt: Callable[[str], int],
    when: str,
) -> None:
    data = picture()
    ident = ann.live(data)
    first = purged_in_doubt(ident)
    ann.live(data)
    second = repository.open_session(purges=ident)
    staging.stage_removal(second, ident)
    if when == "after":
        assert repository.commit(second).state == "live"
    runner.look()
    if when == "before":
        assert repository.commit(second).state == "live"
        runner.look()
    for at in (first, int(second.base_revision)):
        problem(stranger("GET", f"/images/{ident}?at={at}"), 410, "gone")


def test_a_purge_goes_on_beside_whoever_commits_the_image_meanwhile(
    repository: Repository,
    ann: Caller,
    bob: Caller,
    stranger: Caller,
    runner: Runner,
    purged_in_doubt: Callable[[str], int],
) -> None:
    data = picture()
    ident = ann.live(data)
    before, after = bob.open(), ann.open()
    bob("PATCH", f"{before}/images/{ident}", **as_json({"title": "before"}))
    at = purged_in_doubt(ident)
    ann.add(after, data)
    repository.store.fail("put", "unavailable", name=names.base(ident), times=FOR_GOOD)
    repository.store.fail("stat", "unavailable", name=names.base(ident), times=FOR_GOOD)
    ann("POST", f"{after}/commit", headers={"Prefer": "respond-async"})
    runner.look()
    problem(stranger("GET", f"/api/v1/images/{ident}?at={at}"), 410, "gone")
    assert bob.changes(before) == {}
    repository.store.heal()
    until(lambda: ann("GET", after).json()["state"] == "live")
    assert stranger("GET", f"/images/{ident}").content == data


@pytest.mark.parametrize("instead", ["an update", "another removal"])
def test_a_purge_whose_session_somebody_made_into_something_else_forgets_nothing(
    repository: Repository, ann: Caller, admin: Caller, stranger: Caller, runner: Runner, instead: str
) -> None:
    ident = ann.live()
    given_back = repository.open_session(purges=ident)
    staging.stage_removal(given_back, ident)
    staging.discard(given_back, ident)
    if instead == "an update":
        staging.stage_metadata(given_back, ident, {"title": "kept"})
    else:
        staging.stage_removal(given_back, ann.live())
    assert repository.commit(given_back).state == "live"
    shown = stranger("GET", f"/api/v1/images/{ident}/history").json()["results"]
    runner.look()
    assert stranger("GET", f"/api/v1/images/{ident}/history").json()["results"] == shown
    assert noted(admin, ident) == 0


def test_a_purge_waits_for_whoever_commits_what_was_staged_before_it(
    repository: Repository, ann: Caller, stranger: Caller, runner: Runner, purged_in_doubt: Callable[[str], int]
) -> None:
    ident, other, session = ann.live(), picture(), ann.open()
    ann("PATCH", f"{session}/images/{ident}", **as_json({"title": "before"}))
    ann.add(session, other)
    at = purged_in_doubt(ident)
    repository.store.fail("put", "unavailable", name=names.base(ident_of(other)), times=FOR_GOOD)
    ann("POST", f"{session}/commit", headers={"Prefer": "respond-async"})
    runner.look()
    assert stranger("GET", f"/api/v1/images/{ident}?at={at}").status_code == 200
    repository.store.heal()
    until(lambda: ann("GET", session).json()["state"] == "open")  # in conflict with the removal
    runner.look()
    problem(stranger("GET", f"/api/v1/images/{ident}?at={at}"), 410, "gone")
    assert ann.changes(session) == {ident_of(other): "add"}


def test_what_is_staged_since_stays(
    ann: Caller, stranger: Caller, runner: Runner, purged_in_doubt: Callable[[str], int]
) -> None:
    data = picture()
    ident, session = ann.live(data), ann.open()
    purged_in_doubt(ident)
    ann.add(session, data)
    runner.look()
    assert ann.commit(session)["counts"]["add"] == 1
    assert stranger("GET", f"/images/{ident}").content == data


@pytest.mark.parametrize("added_again", [True, False])
def test_whoever_still_waits_for_a_purge_takes_down_what_was_added_again_and_notes_nothing_twice(
    repository: Repository,
    ann: Caller,
    admin: Caller,
    stranger: Caller,
    runner: Runner,
    added_again: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = picture()
    ident = ann.live(data)
    publish = repository.service.committer.publish

    def late(work: Callable[[], bool], *, wait: float) -> bool | None:
        """The removal is live: others are quicker now."""
        monkeypatch.undo()
        if added_again:
            ann.live(data)
        runner.look()
        return publish(work, wait=wait)

    monkeypatch.setattr(repository.service.committer, "publish", late)
    assert admin("POST", f"/api/v1/images/{ident}/purge").status_code == 202
    problem(stranger("GET", f"/images/{ident}"), 410, "gone")
    assert noted(admin, ident) == (2 if added_again else 1)


@pytest.mark.parametrize("by", ["itself", "an admin"])
def test_what_history_forgot_before_its_purge_went_on_answers_410_all_the_same(
    repository: Repository,
    ann: Caller,
    admin: Caller,
    stranger: Caller,
    runner: Runner,
    purged_in_doubt: Callable[[str], int],
    by: str,
) -> None:
    ident = ann.live()
    at = purged_in_doubt(ident)
    writer = repository.service.writer
    list(history.forget(writer, at + 1, actor="admin"))
    assert not Image.objects.filter(ident=ident).exists()
    if by == "an admin":
        assert admin("POST", f"/api/v1/images/{ident}/purge").status_code == 202
    runner.look()
    assert problem(stranger("GET", f"/images/{ident}"), 410, "gone")["revision"] == at + 1


def test_a_purge_that_the_store_does_not_take_yet_is_answered_in_time_and_goes_on(
    repository: Repository, ann: Caller, admin: Caller, stranger: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    ident, path = ann.live(), ann.open()
    assert ann("DELETE", f"{path}/images/{ident}").status_code == 204
    ann.commit(path)
    repository.store.fail("put", "unavailable", name="db/", times=FOR_GOOD)
    with impatience(repository, monkeypatch):
        refused = problem(admin("POST", f"/api/v1/images/{ident}/purge"), 503, "store-unavailable")
    assert "goes on" in refused["detail"]
    assert "goes on" in stranger("GET", refused["type"]).text, "its page says no more than that nothing was changed"
    repository.store.heal()
    until(lambda: Purged.objects.filter(ident=ident).exists())
    assert admin("POST", f"/api/v1/images/{ident}/purge").status_code == 202
    problem(stranger("GET", f"/images/{ident}"), 410, "gone")


@pytest.mark.parametrize("live", [True, False])
def test_a_purge_that_gets_its_turn_after_its_answer_leaves_what_was_staged_since(
    repository: Repository,
    ann: Caller,
    admin: Caller,
    stranger: Caller,
    runner: Runner,
    monkeypatch: pytest.MonkeyPatch,
    live: bool,
) -> None:
    data, turn, over = picture(), threading.Event(), threading.Event()
    ident, before, since = ann.live(data), ann.open(), ann.open()
    at = int(stranger("GET", "/api/v1/images").json()["revision"])
    ann("PATCH", f"{before}/images/{ident}", **as_json({"title": "before"}))
    if not live:
        path = ann.open()
        ann("DELETE", f"{path}/images/{ident}")
        ann.commit(path)
    publish = repository.service.committer.publish

    def behind_others(work: Callable[[], bool], *, wait: float) -> bool | None:
        def in_turn() -> bool:
            turn.wait(30)
            try:
                return work()
            finally:
                over.set()

        return publish(in_turn, wait=wait)

    with impatience(repository, monkeypatch, seconds=3.0 if live else 0.3):  # a removal is durable in time
        monkeypatch.setattr(repository.service.committer, "publish", behind_others)
        problem(admin("POST", f"/api/v1/images/{ident}/purge"), 503, "store-unavailable")
    ann.add(since, data)
    turn.set()
    assert over.wait(30)
    runner.look()
    problem(stranger("GET", f"/images/{ident}?at={at}"), 410, "gone")
    assert (ann.changes(before), ann.changes(since)) == ({}, {ident: "add"})
    assert noted(admin, ident) == 1
