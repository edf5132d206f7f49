"""What the seam promises, sentence by sentence, of every backend."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagerepo.errors import InvalidName, ObjectNotFound, StoreError, StoreRefused
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from tests.contracts.objects import BASE, RECORD, SMALL, WRITER, is_absent, listed, md5_of, put, read
from tests.waiting import until


class TestPut:
    @pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 3_000_001])
    def test_what_was_put_is_got_byte_for_byte(self, store: ObjectStore, size: int) -> None:
        content = bytes(range(256)) * (size // 256 + 1)
        put(store, BASE, content[:size])
        assert read(store, BASE) == content[:size]

    def test_the_body_is_read_from_where_it_stands(self, store: ObjectStore) -> None:
        body = io.BytesIO(b"header and content")
        body.seek(11)
        assert store.put(BASE, body, media_type="image/png").size == 7
        assert read(store, BASE) == b"content"

    def test_a_second_put_replaces_the_first(self, store: ObjectStore) -> None:
        put(store, SMALL, b"the first, longer one")
        put(store, SMALL, b"the second")
        assert read(store, SMALL) == b"the second"
        assert store.stat(SMALL).size == 10

    def test_the_same_may_be_sent_again(self, store: ObjectStore) -> None:
        for _ in range(2):
            store.put(RECORD, io.BytesIO(b"same"), media_type="application/octet-stream", md5=md5_of(b"same"))
        assert read(store, RECORD) == b"same"

    def test_a_body_that_is_not_what_its_md5_says_is_refused_and_not_stored(self, store: ObjectStore) -> None:
        with pytest.raises(StoreRefused):
            store.put(BASE, io.BytesIO(b"something"), media_type="image/png", md5=md5_of(b"something else"))
        with pytest.raises(ObjectNotFound):
            store.stat(BASE)
        assert listed(store) == []

    def test_a_wrong_md5_leaves_what_was_there(self, store: ObjectStore) -> None:
        put(store, BASE, b"old")
        with pytest.raises(StoreRefused):
            store.put(BASE, io.BytesIO(b"new"), media_type="image/png", md5=md5_of(b"neither"))
        assert read(store, BASE) == b"old"

    def test_a_body_that_breaks_off_leaves_nothing(self, store: ObjectStore) -> None:
        class Broken(io.BytesIO):
            breaks = False

            def read(self, size: int | None = -1, /) -> bytes:
                if self.breaks and (size == -1 or self.tell() >= 100_000):
                    raise RuntimeError("the disk under it is gone")
                return super().read(size)

        body = Broken(bytes(200_000))
        body.breaks = True
        with pytest.raises(RuntimeError):
            store.put(BASE, body, media_type="image/png", md5=md5_of(bytes(200_000)))
        with pytest.raises(ObjectNotFound):
            store.stat(BASE)
        put(store, BASE, b"and the store goes on")
        assert read(store, BASE) == b"and the store goes on"

    def test_it_answers_what_is_stored(self, store: ObjectStore) -> None:
        told = store.put(BASE, io.BytesIO(b"image"), media_type="image/webp")
        assert (told.name, told.size) == (BASE, 5)
        assert abs(told.modified - datetime.now(UTC)) < timedelta(minutes=5)

    def test_no_reader_ever_sees_half_of_it(self, store: ObjectStore) -> None:
        contents = {bytes([digit]) * (400_000 + digit) for digit in range(2)}
        put(store, SMALL, min(contents))
        with ThreadPoolExecutor(2) as writers:
            writing = [writers.submit(put, store, SMALL, content) for content in list(contents) * 5]
            while not all(write.done() for write in writing):
                assert read(store, SMALL) in contents
        for write in writing:
            write.result()

    def test_an_object_that_expires_is_gone_in_time_where_the_backend_can(self, store: ObjectStore) -> None:
        store.put(SMALL, io.BytesIO(b"for a while"), media_type="image/png", expires_after=3)
        assert read(store, SMALL) == b"for a while"
        if store.properties.expires:
            until(lambda: is_absent(store, SMALL))


class TestGet:
    def test_an_absent_object_is_not_found(self, store: ObjectStore) -> None:
        for newest in (False, True):
            with pytest.raises(ObjectNotFound):
                store.get(BASE, newest=newest)

    def test_it_is_read_in_pieces_to_its_end(self, store: ObjectStore) -> None:
        put(store, BASE, b"0123456789")
        with store.get(BASE, newest=True) as reader:
            assert [reader.read(4), reader.read(4), reader.read(4), reader.read(4)] == [
                *(b"0123", b"4567", b"89"),
                b"",
            ]
            assert reader.read() == b""

    @pytest.mark.parametrize(
        ("byte_range", "expected"),
        [((0, 0), b"0"), ((2, 4), b"234"), ((0, 9), b"0123456789"), ((7, 100), b"789"), ((9, 9), b"9")],
    )
    def test_a_range_is_first_and_last_byte_inclusive_and_cut_at_the_end(
        self, store: ObjectStore, byte_range: tuple[int, int], expected: bytes
    ) -> None:
        put(store, BASE, b"0123456789")
        with store.get(BASE, byte_range=byte_range) as reader:
            assert reader.info.size == 10
            assert reader.read() == expected
            assert reader.read() == b""

    @pytest.mark.parametrize("byte_range", [(10, 10), (11, 20), (3, 2), (-1, 2)])
    def test_a_range_that_does_not_begin_in_it_is_refused(
        self, store: ObjectStore, byte_range: tuple[int, int]
    ) -> None:
        put(store, BASE, b"0123456789")
        with pytest.raises(StoreRefused):
            store.get(BASE, byte_range=byte_range)

    def test_an_empty_object_has_no_range(self, store: ObjectStore) -> None:
        put(store, BASE, b"")
        with pytest.raises(StoreRefused):
            store.get(BASE, byte_range=(0, 0))

    def test_a_reader_may_be_closed_early_and_left_open_beside_other_calls(self, store: ObjectStore) -> None:
        content = bytes(2_000_000)
        put(store, BASE, content)
        reader = store.get(BASE)
        assert reader.read(10) == content[:10]
        assert read(store, BASE) == content
        assert reader.read(10) == content[:10]
        reader.close()
        assert read(store, BASE) == content

    def test_what_is_got_was_whole_when_opened_though_it_is_replaced(self, store: ObjectStore) -> None:
        put(store, SMALL, b"a" * 1_000_000)
        with store.get(SMALL) as reader:
            begin = reader.read(10)
            put(store, SMALL, b"b" * 1_000_000)
            assert begin + reader.read() == b"a" * 1_000_000
        assert read(store, SMALL) == b"b" * 1_000_000


class TestStat:
    def test_it_says_what_the_store_knows(self, store: ObjectStore) -> None:
        put(store, BASE, b"image", media_type="image/webp")
        with store.get(BASE) as reader:
            infos = [reader.info, store.stat(BASE), store.stat(BASE, newest=True), next(store.list("images/"))]
        for info in infos:
            assert (info.name, info.size) == (BASE, 5)
            assert info.md5 == (md5_of(b"image") if store.properties.knows_md5 else None)
            assert info.media_type == ("image/webp" if store.properties.keeps_media_type else None)
            assert abs(info.modified - datetime.now(UTC)) < timedelta(minutes=5)

    def test_an_absent_object_is_not_found(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectNotFound) as error:
            store.stat(BASE)
        assert error.value.name == BASE

    def test_it_answers_for_epochs_too(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectNotFound):
            store.stat("epochs/1", newest=True)
        store.create_exclusive("epochs/1")
        for newest in (False, True):
            assert store.stat("epochs/1", newest=newest).name == "epochs/1"


class TestDelete:
    def test_what_is_deleted_is_not_found_or_listed(self, store: ObjectStore) -> None:
        for name in (BASE, SMALL, RECORD):
            put(store, name, b"content")
        store.delete(name for name in (BASE, RECORD))
        assert is_absent(store, BASE)
        assert is_absent(store, RECORD)
        assert listed(store) == [SMALL]

    def test_what_is_absent_is_fine(self, store: ObjectStore) -> None:
        store.delete([BASE])
        put(store, SMALL, b"content")
        store.delete([BASE, SMALL, SMALL])
        assert is_absent(store, SMALL)

    def test_nothing_is_deleted_when_one_name_is_wrong(self, store: ObjectStore) -> None:
        put(store, BASE, b"content")
        with pytest.raises(InvalidName):
            store.delete([BASE, "images/wrong"])
        assert read(store, BASE) == b"content"


class TestCreateExclusive:
    def test_the_first_takes_it_and_no_other_ever(self, store: ObjectStore) -> None:
        assert store.create_exclusive("epochs/1") is True
        assert store.create_exclusive("epochs/1") is False
        assert store.create_exclusive("epochs/1") is False
        assert store.create_exclusive("epochs/2") is True

    def test_of_twenty_at_once_one_wins(self, store: ObjectStore) -> None:
        with ThreadPoolExecutor(20) as claimants:
            won = list(claimants.map(lambda _: store.create_exclusive("epochs/7"), range(20)))
        assert won.count(True) == 1

    @pytest.mark.parametrize("name", [BASE, RECORD, names.owner(1)])
    def test_only_epochs_are_taken(self, store: ObjectStore, name: str) -> None:
        with pytest.raises(InvalidName):
            store.create_exclusive(name)
        assert is_absent(store, name)

    def test_an_epoch_is_not_an_object(self, store: ObjectStore) -> None:
        store.create_exclusive("epochs/1")
        refused: list[Callable[[], object]] = [
            lambda: put(store, "epochs/1", b"content"),
            lambda: store.get("epochs/1"),
            lambda: store.delete(["epochs/1"]),
            lambda: store.signed_url("epochs/1", seconds=1),
        ]
        for call in refused:
            with pytest.raises(InvalidName):
                call()
        assert store.create_exclusive("epochs/1") is False


@pytest.mark.parametrize("name", ["", "images/x", f"../{BASE}", f"/{BASE}", f"{BASE}-064x64.jpg", "epochs/0"])
def test_a_name_outside_the_grammar_is_refused_everywhere(store: ObjectStore, name: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: put(store, name, b"content"),
        lambda: store.get(name),
        lambda: store.stat(name),
        lambda: store.delete([name]),
        lambda: store.create_exclusive(name),
        lambda: store.signed_url(name, seconds=1),
    ]
    for call in calls:
        with pytest.raises(InvalidName):
            call()
    assert listed(store) == []


def test_an_object_has_a_signed_url_where_the_backend_can(store: ObjectStore) -> None:
    put(store, BASE, b"content")
    assert (store.signed_url(BASE, seconds=60) is not None) == store.properties.signs_urls


def test_all_may_be_called_from_several_threads_at_once(store: ObjectStore) -> None:
    def use(number: int) -> bool:
        name = names.record(1, WRITER, number)
        content = str(number).encode() * 10_000
        put(store, name, content)
        kept = read(store, name) == content and store.stat(name).size == len(content)
        store.delete([name])
        return kept and is_absent(store, name)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, range(32)))
    assert listed(store) == []


def test_it_may_be_closed_twice(store: ObjectStore) -> None:
    put(store, BASE, b"content")
    store.close()
    store.close()


some_names = st.sampled_from([BASE, SMALL, RECORD, names.owner(1), names.FIXITY])
changes = st.lists(st.tuples(some_names, st.none() | st.binary(max_size=20)), max_size=12)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(changes=changes)
def test_after_any_changes_it_holds_what_a_dict_would(
    store: ObjectStore, changes: list[tuple[str, bytes | None]]
) -> None:
    expected: dict[str, bytes] = {}
    store.delete([info.name for info in store.list("")])
    for name, content in changes:
        if content is None:
            store.delete([name])
            expected.pop(name, None)
        else:
            put(store, name, content)
            expected[name] = content
    assert {info.name: info.size for info in store.list("")} == {
        name: len(content) for name, content in expected.items()
    }
    assert {name: read(store, name) for name in expected} == expected


def test_every_error_of_a_store_says_what_failed_on_which_name(store: ObjectStore) -> None:
    with pytest.raises(StoreError) as error:
        store.get(BASE)
    assert (error.value.op, error.value.name) == ("get", BASE)
    assert BASE in str(error.value)
