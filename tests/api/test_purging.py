"""Takedown: gone from every revision at once, and from the store soon after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import pytest

from imagerepo.catalogue.models import Image, Purged
from imagerepo.reconcile.deletion import Deleter
from imagerepo.reconcile.remains import Remains
from imagerepo.sessions.models import UploadSession
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectStore
from imagerepo.testing.faulty import FOR_GOOD
from tests.api.caller import Caller, as_json, ident_of, picture, problem
from tests.inprocess import Repository
from tests.reconcile.drift import put, put_derivative
from tests.reconcile.pausing import in_thread
from tests.reconcile.repairing import Clock
from tests.waiting import until


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def remains(repository: Repository, clock: Clock) -> Iterator[Remains]:
    """What deletes the objects of purged images, where requests are under way for 900 seconds at most."""
    deleter = Deleter(repository.store, repository.service.writer, settling_seconds=900, clock=clock)
    yield Remains(repository.store, deleter, settling_seconds=900, clock=clock)
    deleter.close()


def objects(repository: Repository, ident: str) -> set[str]:
    return {info.name for info in repository.store.list(names.base(ident))}


def is_gone(ident: str) -> bool:
    return bool(Purged.objects.get(ident=ident).gone)


def test_no_revision_shows_it_and_its_addresses_answer_410(
    repository: Repository, ann: Caller, admin: Caller, stranger: Caller
) -> None:
    ident = ann.live(title="a secret")
    at = stranger("GET", "/api/v1/images").json()["revision"]
    assert admin("POST", f"/api/v1/images/{ident}/purge").status_code == 202
    for path in (f"/images/{ident}", f"/images/{ident}-2x2.png", f"/images/{ident}/fit?width=2"):
        assert problem(stranger("GET", path), 410, "gone")["revision"] == at + 1
    for path in (f"/api/v1/images/{ident}", f"/api/v1/images/{ident}?at={at}", f"/api/v1/images/{ident}/history"):
        problem(stranger("GET", path), 410, "gone")
    for revision in (at, at + 1):
        listed = stranger("GET", f"/api/v1/images?at={revision}").json()["results"]
        assert ident not in {image["ident"] for image in listed}
    did = admin("GET", "/api/v1/audit?limit=2").json()["results"]
    assert [(entry["action"], entry["subject"]) for entry in did if entry["action"] == "purge"] == [("purge", ident)]


def test_its_objects_go_and_nobody_elses(
    repository: Repository, ann: Caller, admin: Caller, stranger: Caller, remains: Remains
) -> None:
    ident, other = ann.live(), ann.live()
    assert stranger("GET", f"/images/{ident}-2x2.png").status_code == 200
    until(lambda: len(objects(repository, ident)) == 2)
    admin("POST", f"/api/v1/images/{ident}/purge")
    assert remains.delete() == 0
    assert objects(repository, ident) == set()
    assert objects(repository, other) == {names.base(other)}


def test_it_is_repeatable_and_an_unknown_image_is_not_found(admin: Caller, ann: Caller) -> None:
    ident = ann.live()
    for _ in range(2):
        assert admin("POST", f"/api/v1/images/{ident}/purge").status_code == 202
    problem(admin("POST", f"/api/v1/images/{'0' * 64}/purge"), 404, "not-found")
    problem(ann("POST", f"/api/v1/images/{ident}/purge"), 403, "forbidden")


def test_what_came_back_into_the_store_since_goes_when_it_is_purged_again(
    repository: Repository, ann: Caller, admin: Caller, stranger: Caller, remains: Remains, clock: Clock
) -> None:
    data = picture()
    ident = ann.live(data)
    assert admin("POST", f"/api/v1/images/{ident}/purge").status_code == 202
    revision = problem(stranger("GET", f"/images/{ident}"), 410, "gone")["revision"]
    for _ in range(2):
        assert remains.delete() == 0
        clock.now += 901
    assert is_gone(ident)
    put(repository.store, data)  # of a commit that was given up after it
    assert admin("POST", f"/api/v1/images/{ident}/purge").status_code == 202
    assert not is_gone(ident)
    assert remains.delete() == 0
    assert objects(repository, ident) == set()
    assert problem(stranger("GET", f"/images/{ident}"), 410, "gone")["revision"] == revision


@pytest.mark.parametrize("store_has", [put, put_derivative])
def test_what_only_the_store_has_can_be_purged(
    repository: Repository,
    admin: Caller,
    stranger: Caller,
    remains: Remains,
    store_has: Callable[[ObjectStore, bytes], str],
) -> None:
    data = picture()
    ident = ident_of(data)
    store_has(repository.store, data)
    assert admin("POST", f"/api/v1/images/{ident}/purge").status_code == 202
    assert remains.delete() == 0
    assert objects(repository, ident) == set()
    problem(stranger("GET", f"/images/{ident}"), 410, "gone")


def test_a_listing_that_still_shows_a_base_that_is_gone_is_not_believed(repository: Repository, admin: Caller) -> None:
    name = put(repository.store, picture())
    repository.store.delete([name])
    repository.store.fail("list", "phantom", name=name, times=FOR_GOOD)
    try:
        problem(admin("POST", f"/api/v1/{name}/purge"), 404, "not-found")
    finally:
        repository.store.heal()


def test_of_what_nobody_knows_a_store_that_fails_is_told(repository: Repository, admin: Caller) -> None:
    ident = ident_of(picture())
    repository.store.fail("stat", "unavailable", name=names.base(ident))
    problem(admin("POST", f"/api/v1/images/{ident}/purge"), 503, "store-unavailable")
    problem(admin("POST", f"/api/v1/images/{ident}/purge"), 404, "not-found")


def test_what_was_removed_before_is_purged_too(ann: Caller, admin: Caller, stranger: Caller) -> None:
    ident = ann.live()
    session = ann.open()
    ann("DELETE", f"{session}/images/{ident}")
    removed = ann.commit(session)["revision"]
    assert admin("POST", f"/api/v1/images/{ident}/purge").status_code == 202
    assert problem(stranger("GET", f"/images/{ident}?at={removed - 1}"), 410, "gone")["revision"] == removed
    assert not Image.objects.filter(ident=ident).exists()


def test_staged_changes_of_it_go_and_the_session_goes_on(
    repository: Repository, ann: Caller, bob: Caller, admin: Caller
) -> None:
    data = picture()
    session = bob.open()
    bob.add(session, data)
    bob.add(session, picture())
    ident = ident_of(data)
    assert ident in repository.spooled()
    assert admin("POST", f"/api/v1/images/{ident}/purge").status_code == 202
    assert ident not in bob.changes(session) and ident not in repository.spooled()
    assert bob.commit(session)["counts"]["add"] == 1


def test_bytes_that_are_staged_again_while_the_purge_is_shipped_are_kept(
    repository: Repository, ann: Caller, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, store = picture(), repository.store
    session = ann.open()
    ann.add(session, data)

    def put(name: str, body: BinaryIO, **options: Any) -> ObjectInfo:
        if name.startswith(names.DB):
            monkeypatch.undo()
            with ThreadPoolExecutor(1) as threads:
                threads.submit(in_thread, lambda: ann.add(session, data)).result()
        return store.put(name, body, **options)

    monkeypatch.setattr(store, "put", put)
    assert admin("POST", f"/api/v1/images/{ident_of(data)}/purge").status_code == 202
    assert ann.changes(session) == {ident_of(data): "add"}
    assert ident_of(data) in repository.spooled()
    assert ann.commit(session)["counts"]["add"] == 1


def test_a_removal_that_loses_is_made_anew_and_leaves_no_session_behind(
    repository: Repository, ann: Caller, admin: Caller
) -> None:
    ident = ann.live()
    session = ann.open()
    ann("PATCH", f"{session}/images/{ident}", **as_json({"title": "first"}))

    def purge() -> int:
        return admin("POST", f"/api/v1/images/{ident}/purge").status_code

    with ThreadPoolExecutor(1) as threads:
        with repository.service.writer.lane():
            ann("POST", f"{session}/commit", headers={"Prefer": "respond-async"})
            purging = threads.submit(in_thread, purge)
            until(lambda: UploadSession.objects.filter(title=f"purge of {ident}", state="committing").exists())
        assert purging.result() == 202
    removals = UploadSession.objects.filter(title=f"purge of {ident}").order_by("id")
    assert list(removals.values_list("state", flat=True)) == ["aborted", "live"]


def test_added_again_it_is_live_again_and_stays(
    repository: Repository, ann: Caller, admin: Caller, stranger: Caller, remains: Remains
) -> None:
    data = picture()
    ident = ann.live(data)
    admin("POST", f"/api/v1/images/{ident}/purge")
    ann.live(data)
    assert remains.delete() == 0
    assert is_gone(ident)
    assert stranger("GET", f"/images/{ident}").content == data
    assert len(stranger("GET", f"/api/v1/images/{ident}/history").json()["results"]) == 1


def test_while_a_commit_of_it_is_under_way_nothing_happens(
    repository: Repository, ann: Caller, admin: Caller, stranger: Caller
) -> None:
    data = picture()
    session = ann.open()
    ann.add(session, data)
    name = names.base(ident_of(data))
    repository.store.fail("put", "unavailable", name=name, times=FOR_GOOD)
    try:
        ann("POST", f"{session}/commit", headers={"Prefer": "respond-async"})
        problem(admin("POST", f"/api/v1/images/{ident_of(data)}/purge"), 409, "being-committed")
    finally:
        repository.store.heal()
    until(lambda: ann("GET", session).json()["state"] == "live")
    assert stranger("GET", f"/images/{ident_of(data)}").content == data


def test_a_store_that_fails_is_asked_again_later(
    repository: Repository, ann: Caller, admin: Caller, remains: Remains
) -> None:
    ident = ann.live()
    admin("POST", f"/api/v1/images/{ident}/purge")
    repository.store.fail("delete", "unavailable", name=names.base(ident))
    assert remains.delete() == 1
    assert remains.delete() == 0
    assert objects(repository, ident) == set()


def test_what_a_lagging_listing_did_not_show_goes_once_requests_have_settled(
    repository: Repository, ann: Caller, admin: Caller, stranger: Caller, remains: Remains, clock: Clock
) -> None:
    remains.delete()  # what earlier tests purged: it would come first, and a listing lags behind the last changes only
    ident = ann.live()
    stranger("GET", f"/images/{ident}-2x2.png")
    until(lambda: len(objects(repository, ident)) == 2)
    admin("POST", f"/api/v1/images/{ident}/purge")
    repository.store.fail("list", "lagging", name=names.base(ident))
    assert remains.delete() == 0
    assert objects(repository, ident) == {f"{names.base(ident)}-2x2.png"}
    clock.now += 890
    assert remains.delete() == 0
    assert not is_gone(ident), "a derivative may still be on its way"
    clock.now += 11
    assert remains.delete() == 0
    assert is_gone(ident)
    assert objects(repository, ident) == set()


def test_what_is_staged_again_and_given_up_goes(
    repository: Repository, ann: Caller, admin: Caller, remains: Remains, clock: Clock
) -> None:
    data = picture()
    admin("POST", f"/api/v1/images/{ann.live(data)}/purge")
    session = ann.open()
    ann.add(session, data)
    for _ in range(2):
        assert remains.delete() == 1
        clock.now += 901
    assert not is_gone(ident_of(data))
    ann("DELETE", session)
    for _ in range(2):
        assert remains.delete() == 0
        clock.now += 901
    assert is_gone(ident_of(data))
    assert objects(repository, ident_of(data)) == set()


def test_a_purge_is_not_ended_by_the_end_of_the_one_before(
    repository: Repository, ann: Caller, admin: Caller, remains: Remains, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture()
    url = f"/api/v1/images/{ann.live(data)}/purge"
    admin("POST", url)
    remains.delete()
    clock.now += 901
    store = repository.store
    listing = store.list

    def add_and_purge_again(prefix: str, **options: Any) -> Iterator[ObjectInfo]:
        if ident_of(data) not in prefix:  # what an earlier test purged, which may come first
            return listing(prefix, **options)
        monkeypatch.undo()
        ann.live(data)
        admin("POST", url)
        return store.list(prefix, **options)

    monkeypatch.setattr(store, "list", add_and_purge_again)
    remains.delete()
    assert not is_gone(ident_of(data))
    assert objects(repository, ident_of(data)) == {names.base(ident_of(data))}
    for _ in range(2):
        remains.delete()
        clock.now += 901
    assert is_gone(ident_of(data))
    assert objects(repository, ident_of(data)) == set()


def test_derivatives_are_dropped_and_made_again(
    repository: Repository, ann: Caller, admin: Caller, stranger: Caller
) -> None:
    ident = ann.live()
    stranger("GET", f"/images/{ident}-2x2.png")
    until(lambda: len(objects(repository, ident)) == 2)
    assert admin("DELETE", f"/api/v1/images/{ident}/derivatives").status_code == 204
    assert objects(repository, ident) == {names.base(ident)}
    assert stranger("GET", f"/images/{ident}-2x2.png").status_code == 200
    problem(admin("DELETE", f"/api/v1/images/{'0' * 64}/derivatives"), 404, "not-found")
    problem(ann("DELETE", f"/api/v1/images/{ident}/derivatives"), 403, "forbidden")
