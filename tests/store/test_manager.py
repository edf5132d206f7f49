"""Derivatives: found or made, once, from a base that is what its name says."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from imagerepo.config import Config
from imagerepo.errors import (
    Busy,
    DamagedBase,
    LargerThanBase,
    ObjectNotFound,
    StoreUnavailable,
    TooCostlyToMake,
)
from imagerepo.store import names
from imagerepo.store.manager import SHARE_OF_THREADS, Manager
from imagerepo.store.memory import MemoryStore
from imagerepo.store.names import Variant
from imagerepo.testing import images
from imagerepo.testing.faulty import FaultyStore
from imagerepo.testing.images import Picture
from tests.store import children
from tests.waiting import until

NewManager = Callable[..., Manager]
SMALL = Variant(48, 32, "webp")


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def new_manager(store: FaultyStore, tmp_path: Path) -> Iterator[NewManager]:
    made: list[Manager] = []

    def new(**settings: object) -> Manager:
        made.append(Manager(Config(data_dir=tmp_path, **settings), store))  # type: ignore[arg-type]
        return made[-1]

    yield new
    for manager in made:
        manager.close()


@pytest.fixture
def manager(new_manager: NewManager) -> Manager:
    return new_manager()


def put(store: FaultyStore, picture: Picture) -> str:
    ident = hashlib.sha256(picture.data).hexdigest()
    store.put(names.base(ident), io.BytesIO(picture.data), media_type=f"image/{picture.format}")
    return ident


def read(manager: Manager, ident: str, picture: Picture, variant: Variant) -> bytes:
    with manager.derivative(ident, picture, variant) as reader:
        return reader.read()


def calls(store: FaultyStore, op: str, name: str) -> int:
    return store.calls.count((op, name))


@contextmanager
def storing_hangs(store: FaultyStore) -> Iterator[threading.Event]:
    """From now on each PUT hangs until this ends; gives what is set once one does."""
    stuck, released = threading.Event(), threading.Event()
    put_object = store.put

    def hanging(name: str, *args: object, **options: object) -> object:
        stuck.set()
        released.wait(60)
        return put_object(name, *args, **options)  # type: ignore[arg-type]

    store.put = hanging  # type: ignore[method-assign,assignment]
    try:
        yield stuck
    finally:
        released.set()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_base_comes_as_it_was_stored(manager: Manager, store: FaultyStore) -> None:
    picture = images.good("jpeg")
    ident = put(store, picture)
    with manager.base(ident) as reader:
        assert reader.read() == picture.data
    with manager.base(ident, byte_range=(2, 5)) as reader:
        assert reader.read() == picture.data[2:6]


def test_a_lost_base_is_damage(manager: Manager) -> None:
    with pytest.raises(DamagedBase, match="lost"):
        manager.base("0" * 64)
    with pytest.raises(DamagedBase, match="lost"):
        manager.derivative("0" * 64, images.good("jpeg"), SMALL)


def test_a_derivative_is_made_stored_and_found_again(manager: Manager, store: FaultyStore) -> None:
    picture = images.good("jpeg")
    ident = put(store, picture)
    with manager.derivative(ident, picture, SMALL) as reader:
        first, info = reader.read(), reader.info
    assert Image.open(io.BytesIO(first)).size == (48, 32)

    manager.wait_until_stored()
    name = names.derivative(ident, SMALL)
    stored = store.stat(name)
    assert (info.name, info.size, info.md5, info.media_type) == (
        name, stored.size, stored.md5, stored.media_type,
    )  # fmt: skip
    assert info.media_type == "image/webp"

    assert read(manager, ident, picture, SMALL) == first
    assert calls(store, "get", names.base(ident)) == 1, "not made a second time"


def test_a_derivative_that_was_deleted_is_made_again(manager: Manager, store: FaultyStore) -> None:
    picture = images.good("png")
    ident = put(store, picture)
    first = read(manager, ident, picture, SMALL)
    manager.wait_until_stored()
    store.delete([names.derivative(ident, SMALL)])
    assert read(manager, ident, picture, SMALL) == first


def test_what_many_threads_ask_for_is_made_once(manager: Manager, store: FaultyStore) -> None:
    picture = images.good("jpeg large, turned, with EXIF")
    ident = put(store, picture)
    variant = Variant(800, 1200, "webp")
    gate = threading.Barrier(24)

    def ask(_: int) -> bytes:
        gate.wait()
        return read(manager, ident, picture, variant)

    with ThreadPoolExecutor(24) as threads:
        answers = set(threads.map(ask, range(24)))
    assert len(answers) == 1
    assert calls(store, "get", names.base(ident)) == 1
    manager.wait_until_stored()
    assert calls(store, "put", names.derivative(ident, variant)) == 1


def test_what_was_made_while_one_looked_for_it_is_not_made_again(manager: Manager, store: FaultyStore) -> None:
    picture = images.good("jpeg")
    ident = put(store, picture)
    looked, answered = threading.Event(), threading.Event()
    get = store.get

    def slow_to_say_no(name: str, **options: object) -> object:
        if name == names.derivative(ident, SMALL) and not looked.is_set():
            looked.set()
            answered.wait(60)
            raise ObjectNotFound(f"{name}: there was none", op="get", name=name)
        return get(name, **options)  # type: ignore[arg-type]

    store.get = slow_to_say_no  # type: ignore[method-assign,assignment]
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(read, manager, ident, picture, SMALL)
        looked.wait(60)
        first = read(manager, ident, picture, SMALL)
        manager.wait_until_stored()
        answered.set()
        assert slow.result() == first
    assert calls(store, "get", names.base(ident)) == 1


def test_the_error_of_the_one_that_makes_it_is_everyones(manager: Manager, store: FaultyStore) -> None:
    picture = images.good("png")
    ident = put(store, picture)
    store.fail("get", "unavailable", name=names.base(ident), times=1000)
    gate = threading.Barrier(8)

    def ask(_: int) -> None:
        gate.wait()
        with pytest.raises(StoreUnavailable):
            read(manager, ident, picture, SMALL)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))
    store.heal()
    assert read(manager, ident, picture, SMALL)


def test_different_derivatives_are_made_side_by_side(manager: Manager, store: FaultyStore) -> None:
    picture = images.good("jpeg")
    ident = put(store, picture)
    variants = [Variant(width, 20, "png") for width in range(20, 40)]
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda variant: read(manager, ident, picture, variant), variants))
    assert [Image.open(io.BytesIO(answer)).width for answer in answers] == list(range(20, 40))


def test_too_many_at_once_are_told_to_come_again(new_manager: NewManager, store: FaultyStore) -> None:
    manager = new_manager(derivative_workers=1, reading_threads=20)
    picture = images.photograph(3000, 2000)
    ident = put(store, picture)
    admitted = int(20 * SHARE_OF_THREADS)
    variants = [Variant(1000 + extra, 1000, "webp") for extra in range(3 * admitted)]
    gate = threading.Barrier(len(variants))

    def ask(variant: Variant) -> bool:
        gate.wait()
        try:
            return bool(read(manager, ident, picture, variant))
        except Busy:
            return False

    with ThreadPoolExecutor(len(variants)) as threads:
        answered = list(threads.map(ask, variants))
    assert answered.count(True) >= admitted
    assert answered.count(False) > 0
    assert read(manager, ident, picture, variants[0]), "and those who come again are answered"


@pytest.mark.parametrize("fault", ["unavailable", "refused", "cut-before", "cut-after"])
def test_a_store_that_takes_nothing_delays_and_fails_no_answer(
    manager: Manager, store: FaultyStore, tmp_path: Path, fault: str
) -> None:
    picture = images.good("jpeg")
    ident = put(store, picture)
    store.fail("put", fault, times=1000)  # type: ignore[arg-type]
    first = read(manager, ident, picture, SMALL)
    manager.wait_until_stored()
    assert read(manager, ident, picture, SMALL) == first
    manager.wait_until_stored()
    assert files(tmp_path) == []


def test_a_store_that_hangs_while_storing_holds_up_nobody(new_manager: NewManager, store: FaultyStore) -> None:
    picture = images.good("jpeg")
    ident = put(store, picture)
    manager = new_manager()
    with storing_hangs(store) as stuck:
        first = read(manager, ident, picture, SMALL)
        assert stuck.wait(30)
        assert read(manager, ident, picture, SMALL) == first
        assert calls(store, "get", names.base(ident)) == 1, "answered from this disk meanwhile"
    manager.wait_until_stored()
    assert read(manager, ident, picture, SMALL) == first


def test_what_waited_too_long_to_be_stored_is_not_kept(new_manager: NewManager, store: FaultyStore) -> None:
    """A purge has looked for it for the last time by then."""
    picture, late = images.good("jpeg"), Variant(24, 16, "webp")
    ident = put(store, picture)
    manager = new_manager(store_timeout_seconds=0.05, delete_settle_seconds=0.4)
    with storing_hangs(store) as stuck:
        read(manager, ident, picture, SMALL)
        assert stuck.wait(30)
        read(manager, ident, picture, late)
        waited_from = time.monotonic()
        until(lambda: time.monotonic() - waited_from > 0.4)
    manager.wait_until_stored()
    assert calls(store, "put", names.derivative(ident, SMALL)) == 1
    assert calls(store, "put", names.derivative(ident, late)) == 0
    read(manager, ident, picture, late)
    manager.wait_until_stored()
    assert calls(store, "put", names.derivative(ident, late)) == 1, "made anew it is"


def test_a_store_that_can_not_say_whether_it_has_one_gets_it_made(manager: Manager, store: FaultyStore) -> None:
    picture = images.good("jpeg")
    ident = put(store, picture)
    store.fail("get", "unavailable", name=names.derivative(ident, SMALL), times=1000)
    assert read(manager, ident, picture, SMALL)


def test_nothing_is_made_of_a_base_that_is_not_what_its_name_says(
    manager: Manager, store: FaultyStore, tmp_path: Path
) -> None:
    picture = images.good("jpeg")
    ident = put(store, picture)
    rotten = bytearray(picture.data)
    rotten[-20] ^= 1
    store.put(names.base(ident), io.BytesIO(rotten), media_type="image/jpeg")
    with pytest.raises(DamagedBase, match=hashlib.sha256(rotten).hexdigest()):
        manager.derivative(ident, picture, SMALL)
    with pytest.raises(ObjectNotFound):
        store.stat(names.derivative(ident, SMALL))
    assert files(tmp_path) == []


def test_what_a_base_can_not_have_is_refused_before_the_store_is_asked(manager: Manager, store: FaultyStore) -> None:
    with pytest.raises(LargerThanBase):
        manager.derivative("0" * 64, images.good("jpeg"), Variant(97, 64, "jpg"))
    assert store.calls == []


def test_a_derivative_that_costs_too_much_time_is_refused(new_manager: NewManager, store: FaultyStore) -> None:
    manager = new_manager(decode_seconds=0.5)
    picture = images.photograph(7000, 6000)
    ident = put(store, picture)
    with pytest.raises(TooCostlyToMake):
        manager.derivative(ident, picture, Variant(7000, 6000, "webp"))
    assert read(manager, ident, picture, Variant(40, 30, "jpg"))


def test_one_whose_process_is_killed_while_it_writes_leaves_no_file(
    manager: Manager, store: FaultyStore, tmp_path: Path
) -> None:
    picture = images.photograph(10_000, 9_000)
    ident = put(store, picture)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(manager.derivative, ident, picture, Variant(10_000, 9_000, "png"))
        writer = children.busy_worker()
        until(lambda: answer.done() or any(path.parent.name != ".incoming" for path in files(tmp_path)))
        assert not answer.done()
        os.kill(writer, signal.SIGKILL)
        with pytest.raises(TooCostlyToMake):
            answer.result()
    assert files(tmp_path) == []


def test_one_that_brings_its_process_down_is_made_again_with_care(
    new_manager: NewManager, store: FaultyStore, tmp_path: Path
) -> None:
    manager = new_manager(derivative_workers=1)
    picture = images.photograph(4000, 3000)
    ident = put(store, picture)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(read, manager, ident, picture, Variant(3999, 2999, "webp"))
        os.kill(children.busy_worker(), signal.SIGSEGV)
        assert Image.open(io.BytesIO(answer.result())).size == (3999, 2999)
    manager.wait_until_stored()
    assert files(tmp_path) == []


def test_a_preview_of_a_staged_base_is_not_kept(manager: Manager, store: FaultyStore, tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    staged.write_bytes(images.good("png").data)
    with manager.preview(staged, images.good("png"), SMALL) as reader:
        assert files(tmp_path) == [staged]
        assert Image.open(io.BytesIO(reader.read())).size == (48, 32)
    manager.wait_until_stored()
    assert store.calls == []


def test_closing_leaves_neither_files_nor_processes(
    new_manager: NewManager, store: FaultyStore, tmp_path: Path
) -> None:
    before = children.workers()
    manager = new_manager()
    picture = images.good("jpeg")
    ident = put(store, picture)
    read(manager, ident, picture, SMALL)
    manager.close()
    assert files(tmp_path) == []
    assert children.workers() == before


def test_what_a_killed_server_left_behind_is_removed_by_the_next(new_manager: NewManager, tmp_path: Path) -> None:
    dead = tmp_path / "scratch" / "derivatives-4194304-left"  # Linux gives no process such a number
    dead.mkdir(parents=True)
    (dead / "left").write_bytes(b"x")
    new_manager()
    assert not dead.exists()
