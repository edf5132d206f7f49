"""What each status of Swift means to the caller, where a real one can't be made to answer it at will."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from imagerepo.errors import InDoubt, ObjectNotFound, StoreError, StoreRefused, StoreUnavailable
from imagerepo.store import attempts, names
from imagerepo.store.door import Door
from imagerepo.store.objects import ObjectStore
from imagerepo.store.swift import SwiftStore
from imagerepo.store.swift_auth import Access
from tests.store.stub import Asked, Told, serving

BASE = names.base("ef" * 32)
MD5 = hashlib.md5(b"content", usedforsecurity=False).hexdigest()
CREATED = Told(201, {"ETag": MD5, "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"})


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PAUSES_SECONDS", (0.0, 0.0, 0.0))


@contextmanager
def answering(*course: Told | int) -> Iterator[tuple[ObjectStore, list[Asked]]]:
    """A store whose requests are answered in turn, the last answer again and again; and what it asked."""
    asked: list[Asked] = []

    def answer(request: Asked) -> Told:
        told = course[min(len(asked), len(course) - 1)]
        asked.append(request)
        return Told(told) if isinstance(told, int) else told

    class Signed:
        cacert = None

        def sign_in(self, *, timeout: float) -> Access:
            return Access(f"{url}/v1/AUTH_test", "token")

    with serving(answer) as url:
        store = Door(SwiftStore("photos", "", Signed(), timeout=10.0))
        yield store, asked
        store.close()


def put(store: ObjectStore) -> object:
    return store.put(BASE, io.BytesIO(b"content"), media_type="image/png")


def delete(store: ObjectStore) -> object:
    return store.delete([BASE])


def stat(store: ObjectStore) -> object:
    return store.stat(BASE)


def get(store: ObjectStore) -> object:
    return store.get(BASE)


def listing(store: ObjectStore) -> object:
    return list(store.list("images/"))


def create(store: ObjectStore) -> object:
    return store.create_exclusive("epochs/1")


def told_in_the_end(call: Callable[[ObjectStore], object], *course: Told | int) -> type[Exception]:
    with answering(*course) as (store, _), pytest.raises(StoreError) as error:
        call(store)
    assert error.value.name
    return error.type


@pytest.mark.parametrize("status", [400, 401, 403, 405, 411, 413, 422, 507])
@pytest.mark.parametrize("call", [put, delete, stat, get, listing, create])
def test_a_definite_no_is_a_refusal(call: Callable[[ObjectStore], object], status: int) -> None:
    assert told_in_the_end(call, status) is StoreRefused


@pytest.mark.parametrize("status", [408, 429, 498, 499, 500, 502, 503, 504])
@pytest.mark.parametrize("call", [stat, get, listing])
def test_a_read_that_failed_for_now_is_unavailable(call: Callable[[ObjectStore], object], status: int) -> None:
    assert told_in_the_end(call, status) is StoreUnavailable


@pytest.mark.parametrize("status", [408, 409, 499, 500, 502, 503, 504])
@pytest.mark.parametrize("call", [put, delete, create])
def test_a_write_that_failed_for_now_may_have_been_carried_out(
    call: Callable[[ObjectStore], object], status: int
) -> None:
    assert told_in_the_end(call, status) is InDoubt


@pytest.mark.parametrize("status", [429, 498])
@pytest.mark.parametrize("call", [put, delete, create])
def test_a_write_that_was_turned_away_was_not_carried_out(call: Callable[[ObjectStore], object], status: int) -> None:
    assert told_in_the_end(call, status) is StoreUnavailable


@pytest.mark.parametrize(("call", "success"), [(delete, 204), (create, 201)])
def test_what_a_second_answer_would_hide_is_not_sent_again(call: Callable[[ObjectStore], object], success: int) -> None:
    with answering(503, success) as (store, asked):
        with pytest.raises(InDoubt):
            call(store)
        assert len(asked) == 1


@pytest.mark.parametrize("call", [put, create])
def test_a_refusal_after_a_lost_answer_proves_nothing(call: Callable[[ObjectStore], object]) -> None:
    assert told_in_the_end(call, 503, 403) is InDoubt


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Told(202, CREATED.headers), id="it lost to a newer timestamp"),
        pytest.param(Told(201, CREATED.headers | {"ETag": "0" * 32}), id="other bytes"),
        pytest.param(Told(201, {"Last-Modified": CREATED.headers["Last-Modified"]}), id="no MD5"),
    ],
)
def test_a_put_has_succeeded_only_on_201_with_the_bodys_md5(answer: Told) -> None:
    assert told_in_the_end(put, answer) is InDoubt


def test_a_claim_that_is_neither_created_nor_accepted_is_in_doubt() -> None:
    assert told_in_the_end(create, 204) is InDoubt


def test_a_put_tells_the_server_the_md5_that_it_must_find() -> None:
    with answering(CREATED) as (store, asked):
        assert put(store)
    assert asked[0].headers["ETag"] == MD5
    assert asked[0].headers["Content-Length"] == "7"


def test_a_put_that_failed_for_now_is_sent_again_whole() -> None:
    with answering(503, 429, CREATED) as (store, asked):
        assert put(store)
    assert [request.body for request in asked] == [b"content"] * 3


def test_a_put_creates_the_container_that_it_lacks() -> None:
    with answering(404, 201, CREATED) as (store, asked):
        put(store)
    assert [request.path for request in asked] == [
        f"/v1/AUTH_test/photos/{BASE}",
        "/v1/AUTH_test/photos",
        f"/v1/AUTH_test/photos/{BASE}",
    ]


def test_a_container_that_stays_away_is_unavailable() -> None:
    assert told_in_the_end(put, 404, 201, 404) is StoreUnavailable


def test_an_account_that_is_not_there_is_a_refusal() -> None:
    assert told_in_the_end(put, 404) is StoreRefused
    assert told_in_the_end(create, 404) is StoreRefused


def test_what_is_absent_is_not_found_and_may_be_deleted_and_listed() -> None:
    assert told_in_the_end(stat, 404) is ObjectNotFound
    assert told_in_the_end(get, 404) is ObjectNotFound
    with answering(404) as (store, _):
        delete(store)
        assert listing(store) == []


@pytest.mark.parametrize(
    "call", [lambda store: store.get(BASE, newest=True), lambda store: store.stat(BASE, newest=True)]
)
def test_newest_asks_every_replica(call: Callable[[ObjectStore], object]) -> None:
    with answering(404) as (store, asked):
        with pytest.raises(ObjectNotFound):
            call(store)
        assert asked[0].headers["X-Newest"] == "true"


def test_an_expiry_is_told_in_whole_seconds_and_at_least_one() -> None:
    for seconds, told in ((0.2, "1"), (1.0, "1"), (61.5, "62")):
        with answering(CREATED) as (store, asked):
            store.put(BASE, io.BytesIO(b"content"), media_type="image/png", expires_after=seconds)
        assert asked[0].headers["X-Delete-After"] == told
