"""The faulty store fails as it was told, at the call it was told, and no more once it is healed."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from imagerepo.errors import InDoubt, ObjectNotFound, StoreError, StoreRefused, StoreUnavailable
from imagerepo.store import names
from imagerepo.store.memory import MemoryStore
from imagerepo.testing.faulty import APPLIES_TO, FAULTS, FOR_GOOD, OPS, Fault, FaultyStore, Op
from tests.waiting import until

NAME, OTHER, THIRD = (names.base(digit * 64) for digit in "abc")
EPOCH = names.epoch(1)
CALLS: dict[Op, Callable[[FaultyStore], object]] = {
    "put": lambda store: put(store, NAME, b"new"),
    "get": lambda store: read(store, NAME),
    "stat": lambda store: store.stat(NAME, newest=True).size,
    "delete": lambda store: store.delete([NAME]),
    "list": lambda store: listed(store),
    "create_exclusive": lambda store: store.create_exclusive(EPOCH),
}
CASES = [(op, fault) for fault in FAULTS for op in APPLIES_TO[fault]]


@pytest.fixture
def inner() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(inner: MemoryStore) -> FaultyStore:
    return FaultyStore(inner, hang_seconds=0.05)


def put(store: FaultyStore | MemoryStore, name: str, content: bytes) -> None:
    store.put(name, io.BytesIO(content), media_type="image/png")


def read(store: FaultyStore | MemoryStore, name: str) -> bytes:
    with store.get(name, newest=True) as reader:
        return reader.read()


def listed(store: FaultyStore | MemoryStore) -> list[str]:
    return [info.name for info in store.list("")]


def outcome(store: FaultyStore, op: Op) -> object:
    """What the call gives, or the kind of its error."""
    try:
        return CALLS[op](store)
    except StoreError as error:
        return type(error)


def test_every_operation_and_every_fault_is_in_the_table() -> None:
    assert set(APPLIES_TO) == set(FAULTS)
    assert {op for ops in APPLIES_TO.values() for op in ops} == set(OPS) == set(CALLS)


@pytest.mark.parametrize(("op", "fault"), CASES)
def test_it_fails_at_the_call_it_was_told_and_at_no_other(op: Op, fault: Fault) -> None:
    sound, failing = overwritten_once(), overwritten_once()
    failing.fail(op, fault, call=2)
    differ = [outcome(sound, op) != outcome(failing, op) for _ in range(3)]
    taken_already = (op, fault) == ("create_exclusive", "accepted")
    assert differ == [False, not taken_already, False]


def overwritten_once() -> FaultyStore:
    store = FaultyStore(MemoryStore(), hang_seconds=0.01)
    for content in (b"old and long", b"now"):
        put(store, NAME, content)
    return store


@pytest.mark.parametrize("op", ["put", "delete", "create_exclusive"])
@pytest.mark.parametrize(
    ("fault", "applied", "when_delivered"),
    [
        ("cut-before", 0, 0),
        ("cut-after", 1, 1),
        ("late", 0, 1),
        ("hang", 0, 1),
        ("unavailable", 0, 0),
        ("refused", 0, 0),
    ],
)
def test_a_write_applies_when_its_fault_says(
    store: FaultyStore, inner: MemoryStore, op: Op, fault: Fault, applied: bool, when_delivered: bool
) -> None:
    put(inner, NAME, b"old")
    definite = {"unavailable": StoreUnavailable, "refused": StoreRefused}
    store.fail(op, fault)
    with pytest.raises(definite.get(fault, InDoubt)):
        CALLS[op](store)
    assert has_applied(inner, op) == applied
    store.deliver()
    assert has_applied(inner, op) == when_delivered


def has_applied(inner: MemoryStore, op: Op) -> bool:
    if op == "create_exclusive":
        with suppress(ObjectNotFound):
            return bool(inner.stat(EPOCH))
        return False
    return listed(inner) == [] if op == "delete" else read(inner, NAME) == b"new"


@pytest.mark.parametrize("fault", ["late", "hang"])
def test_a_late_claim_takes_the_epoch_from_whoever_comes_after(store: FaultyStore, fault: Fault) -> None:
    store.fail("create_exclusive", fault)
    with pytest.raises(InDoubt):
        store.create_exclusive(EPOCH)
    with pytest.raises(ObjectNotFound):
        store.stat(EPOCH)
    store.deliver()
    assert store.create_exclusive(EPOCH) is False


def test_an_accepted_put_is_in_doubt_and_not_carried_out(store: FaultyStore, inner: MemoryStore) -> None:
    store.fail("put", "accepted")
    with pytest.raises(InDoubt):
        put(store, NAME, b"new")
    store.deliver()
    assert listed(inner) == []


def test_an_accepted_claim_is_a_loss_and_the_epoch_is_nobodys(store: FaultyStore) -> None:
    store.fail("create_exclusive", "accepted")
    assert store.create_exclusive(EPOCH) is False
    assert store.create_exclusive(EPOCH) is False


@pytest.mark.parametrize("newest", [False, True])
def test_a_stale_copy_is_that_of_before_it_was_overwritten(store: FaultyStore, newest: bool) -> None:
    put(store, NAME, b"old and long")
    put(store, NAME, b"new")
    store.fail("get", "stale", times=2)
    store.fail("stat", "stale")
    with store.get(NAME, newest=newest) as reader:
        assert reader.read() == b"old and long"
    with store.get(NAME, newest=newest, byte_range=(4, 6)) as reader:
        assert reader.read() == b"and"
    assert store.stat(NAME, newest=newest).size == 12
    assert read(store, NAME) == b"new"


def test_a_replica_may_still_show_what_was_deleted(store: FaultyStore) -> None:
    put(store, NAME, b"old")
    store.delete([NAME])
    store.fail("get", "stale")
    assert read(store, NAME) == b"old"
    with pytest.raises(ObjectNotFound):
        read(store, NAME)


def test_a_name_written_once_has_no_stale_copy_and_is_never_absent(store: FaultyStore) -> None:
    put(store, NAME, b"once")
    store.create_exclusive(EPOCH)
    store.fail("get", "stale")
    store.fail("stat", "stale", times=3)
    for call in (lambda: read(store, NAME), lambda: store.stat(NAME), lambda: store.stat(EPOCH)):
        with pytest.raises(StoreUnavailable):
            call()
    with pytest.raises(ObjectNotFound):
        store.stat(OTHER)


def test_a_lagging_listing_misses_what_was_written_last(store: FaultyStore) -> None:
    written = [names.owner(number) for number in range(1, 8)]
    for name in written:
        put(store, name, b"content")
    store.fail("list", "lagging")
    assert listed(store) == written[:3]
    assert listed(store) == written


def test_a_phantom_listing_shows_what_was_deleted_and_what_never_was(store: FaultyStore) -> None:
    for name in (NAME, OTHER, THIRD):
        put(store, name, b"content")
    store.delete([NAME, OTHER])
    put(store, OTHER, b"again")
    store.fail("list", "phantom", times=3)
    shown = listed(store)
    assert shown == sorted(shown)
    assert {NAME, OTHER, THIRD} < set(shown)
    assert shown.count(OTHER) == 1
    assert next(store.list("images/", after=OTHER)).name == THIRD
    assert [info.name for info in store.list("images/a")] == [NAME]


def test_a_truncated_body_is_never_taken_for_whole(store: FaultyStore) -> None:
    put(store, NAME, b"0123456789")
    store.fail("get", "truncated", times=2)
    with store.get(NAME) as reader, pytest.raises(StoreUnavailable):
        reader.read()
    with store.get(NAME) as reader:
        assert reader.info.size == 10
        assert reader.read(5) == b"01234"
        with pytest.raises(StoreUnavailable):
            reader.read(5)


def test_calls_are_counted_by_operation_and_beginning_of_the_name(store: FaultyStore) -> None:
    store.fail("put", "refused", name=NAME, call=2)
    put(store, OTHER, b"not counted")
    put(store, NAME, b"the first")
    store.stat(NAME)
    with pytest.raises(StoreRefused):
        put(store, NAME, b"the second")
    put(store, NAME, b"the third")


def test_orders_for_one_call_are_carried_out_one_after_another(store: FaultyStore) -> None:
    put(store, NAME, b"content")
    store.fail("stat", "unavailable")
    store.fail("stat", "refused")
    for expected in (StoreUnavailable, StoreRefused):
        with pytest.raises(expected):
            store.stat(NAME)
    assert store.stat(NAME).size == 7


def test_what_fails_for_good_fails_until_it_is_healed(store: FaultyStore) -> None:
    store.fail("put", "refused", times=FOR_GOOD)
    for _ in range(100):
        with pytest.raises(StoreRefused):
            put(store, NAME, b"content")
    store.heal()
    put(store, NAME, b"content")


def test_a_fault_that_an_operation_cannot_have_is_told(store: FaultyStore) -> None:
    with pytest.raises(ValueError, match="get can't fail so: late"):
        store.fail("get", "late")


def test_what_hangs_fails_at_its_time_limit(store: FaultyStore) -> None:
    store.fail("stat", "hang")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        store.stat(NAME)
    assert time.monotonic() - begun >= 0.05


@pytest.mark.parametrize("release", [FaultyStore.heal, FaultyStore.close])
def test_what_hangs_is_released(inner: MemoryStore, release: Callable[[FaultyStore], None]) -> None:
    store = FaultyStore(inner, hang_seconds=60)
    store.fail("put", "hang")
    heard: list[object] = []
    caller = threading.Thread(target=lambda: heard.append(outcome(store, "put")))
    caller.start()
    until(lambda: store.calls)
    assert caller.is_alive()
    release(store)
    caller.join(10)
    assert heard == [InDoubt]


def test_it_is_found_where_one_looks_for_it() -> None:
    import imagerepo.testing

    assert imagerepo.testing.FaultyStore is FaultyStore
