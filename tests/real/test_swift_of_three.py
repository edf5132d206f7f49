"""The store on a Swift of three replicas, while one of its object servers is down, or hangs, or lags."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagerepo.errors import ObjectNotFound
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.objects import ObjectStore
from imagerepo.store.swift import SwiftStore
from imagerepo.store.swift_auth import credentials_of
from imagerepo.testing.swift import Swift

IDENTS = [f"{number:064x}" for number in range(8)]
"""Enough that each of the three servers holds the first copy of some."""


@pytest.fixture
def store(swift_of_three: Swift, container: str) -> Iterator[ObjectStore]:
    store = Door(SwiftStore(container, "", credentials_of(swift_of_three.environ), timeout=60.0))
    yield store
    store.close()


@pytest.fixture(params=["object1", "object2", "object3"])
def one_down(swift_of_three: Swift, request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Kills one object server; it is there again after the test."""
    yield lambda: swift_of_three.kill(request.param)
    if not swift_of_three.is_running(request.param):
        swift_of_three.respawn(request.param)


def put(store: ObjectStore, ident: str, content: bytes) -> None:
    info = store.put(names.base(ident), io.BytesIO(content), media_type="image/png")
    assert info.size == len(content)


def read(store: ObjectStore, ident: str) -> bytes:
    with store.get(names.base(ident), newest=True) as reader:
        return reader.read()


def test_what_was_written_before_is_read_while_one_is_down(store: ObjectStore, one_down: Callable[[], None]) -> None:
    for ident in IDENTS:
        put(store, ident, ident.encode())
    one_down()
    for ident in IDENTS:
        assert read(store, ident) == ident.encode()
        assert store.stat(names.base(ident), newest=True).size == 64
    assert [info.name for info in store.list("")] == [names.base(ident) for ident in IDENTS]


def test_what_is_written_and_deleted_while_one_is_down_stays_so_when_it_is_back(
    swift_of_three: Swift, store: ObjectStore, one_down: Callable[[], None], request: pytest.FixtureRequest
) -> None:
    kept, gone = IDENTS[:4], IDENTS[4:]
    for ident in IDENTS:
        put(store, ident, b"old")
    one_down()
    for ident in kept:
        put(store, ident, b"new, and longer")
    store.delete(names.base(ident) for ident in gone)
    assert_newest(store, kept, gone)
    swift_of_three.respawn(request.node.callspec.params["one_down"])
    assert_newest(store, kept, gone)


def assert_newest(store: ObjectStore, kept: list[str], gone: list[str]) -> None:
    for ident in kept:
        assert store.stat(names.base(ident), newest=True).size == 15
        assert read(store, ident) == b"new, and longer"
    for ident in gone:
        with pytest.raises(ObjectNotFound):
            store.stat(names.base(ident), newest=True)
    assert {info.name for info in store.list("")} >= {names.base(ident) for ident in kept}  # it lags: no more


def test_of_twenty_claims_at_once_no_two_win_while_one_is_down(
    store: ObjectStore, one_down: Callable[[], None]
) -> None:
    """Perhaps none does: each replica of the container may have met another claimant first."""
    one_down()
    with ThreadPoolExecutor(20) as claimants:
        won = list(claimants.map(lambda _: store.create_exclusive(names.epoch(1)), range(20)))
    assert won.count(True) <= 1
    assert store.stat(names.epoch(1), newest=True).name == names.epoch(1)
    with pytest.raises(ObjectNotFound):
        store.stat(names.epoch(2), newest=True)
    assert store.create_exclusive(names.epoch(2)) is True
    assert store.create_exclusive(names.epoch(2)) is False


def test_a_server_that_hangs_delays_and_loses_nothing(swift_of_three: Swift, store: ObjectStore) -> None:
    put(store, IDENTS[0], b"old")
    swift_of_three.pause("object2")
    try:
        put(store, IDENTS[0], b"new, and longer")
        assert read(store, IDENTS[0]) == b"new, and longer"
    finally:
        swift_of_three.resume("object2")
