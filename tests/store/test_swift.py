"""What only Swift does: containers, prefixes, listings in pages, tokens, and connections that fail."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest
import requests

from imagerepo.config import Config
from imagerepo.errors import InDoubt, ObjectNotFound, StoreRefused, StoreUnavailable
from imagerepo.store import attempts, names, swift
from imagerepo.store.backends import open_store
from imagerepo.store.door import Door
from imagerepo.store.objects import ObjectStore
from imagerepo.store.swift import SwiftStore
from imagerepo.store.swift_auth import Access, Credentials, credentials_of
from imagerepo.testing.swift import Swift
from imagerepo.testing.swift_conf import POWERLESS_KEY, POWERLESS_USER
from imagerepo.testing.wire import Wire

IDENT = "cd" * 32
BASE = names.base(IDENT)
TIMEOUT_SECONDS = 1.0
IN_TIME_SECONDS = 5.0
"""A silence, and the pauses and quick answers around it."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PAUSES_SECONDS", (0.01, 0.01, 0.01))


@pytest.fixture
def wire(swift: Swift) -> Iterator[Wire]:
    with Wire(swift.ports["proxy"]) as wire:
        yield wire


@pytest.fixture
def direct(swift: Swift, container: str) -> Iterator[ObjectStore]:
    """The store without the wire, to see what really happened."""
    with opened(swift, container) as store:
        yield store


@pytest.fixture
def wired(swift: Swift, container: str, wire: Wire, direct: ObjectStore) -> Iterator[ObjectStore]:
    """A store behind `wire`, signed in, with a container that exists."""
    direct.put(BASE, io.BytesIO(b"what was there"), media_type="image/png")
    with through(wire, swift, container) as store:
        store.stat(BASE)
        yield store


@contextmanager
def opened(
    swift: Swift,
    container: str,
    prefix: str = "",
    *,
    environ: dict[str, str] | None = None,
    credentials: Credentials | None = None,
    timeout: float = 30.0,
) -> Iterator[ObjectStore]:
    credentials = credentials or credentials_of(environ or swift.environ)
    store = Door(SwiftStore(container, prefix, credentials, timeout=timeout))
    yield store
    store.close()


def through(wire: Wire, swift: Swift, container: str) -> AbstractContextManager[ObjectStore]:
    environ = swift.environ | {"ST_AUTH": f"http://127.0.0.1:{wire.port}/auth/v1.0"}
    return opened(swift, container, environ=environ, timeout=TIMEOUT_SECONDS)


def put(store: ObjectStore, name: str, content: bytes = b"content") -> None:
    store.put(name, io.BytesIO(content), media_type="image/png")


def read(store: ObjectStore, name: str) -> bytes:
    with store.get(name, newest=True) as reader:
        return reader.read()


@contextmanager
def in_time() -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < IN_TIME_SECONDS


class TestContainer:
    def test_before_anything_is_written_all_is_absent_and_nothing_fails(self, direct: ObjectStore) -> None:
        with pytest.raises(ObjectNotFound):
            direct.stat(BASE)
        with pytest.raises(ObjectNotFound):
            direct.get(BASE)
        direct.delete([BASE])
        assert list(direct.list("")) == []

    def test_an_epoch_may_be_taken_before_any_object_is_written(self, direct: ObjectStore) -> None:
        assert direct.create_exclusive("epochs/1")
        assert list(direct.list("")) == []

    def test_two_prefixes_in_one_container_are_two_repositories(self, swift: Swift, container: str) -> None:
        places = [(container, ""), (container, "a"), (container, "a/b"), (container, "a-b"), (f"{container}-a", "b")]
        with ExitStack() as stack:
            stores = [stack.enter_context(opened(swift, *place)) for place in places]
            for number, store in enumerate(stores):
                put(store, BASE, str(number).encode())
                assert store.create_exclusive("epochs/1")
            for number, store in enumerate(stores):
                assert read(store, BASE) == str(number).encode()
                assert [info.name for info in store.list("")] == [BASE]
                assert not store.create_exclusive("epochs/1")

    def test_a_url_opens_it_with_the_credentials_of_the_environment(
        self, swift_environ: dict[str, str], container: str
    ) -> None:
        store = open_store(f"swift://{container}/of/mine", config=Config())
        put(store, BASE)
        assert [info.name for info in store.list("")] == [BASE]
        store.close()


def test_a_listing_goes_on_over_its_pages(direct: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swift, "LISTING_PAGE", 2)
    for number in range(1, 6):
        put(direct, names.owner(number))
    assert [info.name for info in direct.list("db/")] == [names.owner(number) for number in range(1, 6)]
    assert [info.name for info in direct.list("db/", after=names.owner(2))] == [
        names.owner(number) for number in range(3, 6)
    ]


class TestCredentials:
    def test_a_token_that_has_expired_is_renewed(self, swift: Swift, container: str) -> None:
        class Expired:
            cacert = None
            sign_ins = 0

            def sign_in(self, *, timeout: float) -> Access:
                self.sign_ins += 1
                access = credentials_of(swift.environ).sign_in(timeout=timeout)
                return Access(access.storage_url, "AUTH_tkexpired") if self.sign_ins == 1 else access

        credentials = Expired()
        with opened(swift, container, credentials=credentials) as store:
            put(store, BASE)
            assert read(store, BASE) == b"content"
        assert credentials.sign_ins == 2

    def test_tokens_that_are_never_taken_are_a_refusal(self, swift: Swift, container: str) -> None:
        class Rejected:
            cacert = None

            def sign_in(self, *, timeout: float) -> Access:
                access = credentials_of(swift.environ).sign_in(timeout=timeout)
                return Access(access.storage_url, "AUTH_tkrejected")

        with opened(swift, container, credentials=Rejected()) as store:
            with pytest.raises(StoreRefused, match="credentials"):
                put(store, BASE)
            with pytest.raises(StoreRefused, match="credentials"):
                store.create_exclusive("epochs/1")

    def test_a_wrong_key_is_a_refusal_that_names_the_variables_and_not_the_key(
        self, swift: Swift, container: str
    ) -> None:
        wrong = swift.environ | {"ST_KEY": "not-the-key"}
        with opened(swift, container, environ=wrong) as store:
            for call in (lambda: put(store, BASE), lambda: store.stat(BASE), lambda: list(store.list(""))):
                with pytest.raises(StoreRefused, match=r"test:tester.*401.*ST_USER and ST_KEY") as error:
                    call()
                assert "not-the-key" not in str(error.value)

    def test_a_user_without_rights_is_refused(self, swift: Swift, container: str) -> None:
        powerless = swift.environ | {"ST_USER": POWERLESS_USER, "ST_KEY": POWERLESS_KEY}
        with opened(swift, container, environ=powerless) as store:
            with pytest.raises(StoreRefused, match="role"):
                put(store, BASE)
            with pytest.raises(StoreRefused, match="role"):
                store.create_exclusive("epochs/1")

    def test_a_full_quota_is_a_refusal(self, swift: Swift, container: str, direct: ObjectStore) -> None:
        put(direct, BASE)
        access = credentials_of(swift.environ).sign_in(timeout=10)
        answer = requests.post(
            f"{access.storage_url}/{container}",
            headers={"X-Auth-Token": access.token, "X-Container-Meta-Quota-Bytes": "10"},
            timeout=10,
        )
        assert answer.ok
        with pytest.raises(StoreRefused, match="quota"):
            put(direct, BASE, b"twenty bytes of body")
        assert read(direct, BASE) == b"content"


class TestLostAnswers:
    def test_a_put_whose_answers_are_lost_is_in_doubt_and_was_carried_out(
        self, wire: Wire, wired: ObjectStore, direct: ObjectStore
    ) -> None:
        wire.lose_answers()
        with in_time(), pytest.raises(InDoubt) as error:
            put(wired, BASE, b"new")
        assert error.value.name == BASE
        assert read(direct, BASE) == b"new"

    def test_a_put_whose_first_answer_is_lost_is_sent_again(
        self, wire: Wire, wired: ObjectStore, direct: ObjectStore
    ) -> None:
        wire.lose_answers(times=1)
        put(wired, BASE, b"new" * 100_000)
        assert wire.requests_lost == 1
        assert read(direct, BASE) == b"new" * 100_000

    def test_a_put_without_an_answer_is_in_doubt_in_time(self, wire: Wire, wired: ObjectStore) -> None:
        wire.lose_answers("hang")
        with in_time(), pytest.raises(InDoubt):
            put(wired, BASE, b"new")
        assert wire.requests_lost == 1

    def test_a_delete_whose_answer_is_lost_is_in_doubt_and_not_sent_again(
        self, wire: Wire, wired: ObjectStore, direct: ObjectStore
    ) -> None:
        wire.lose_answers(times=1)
        with in_time(), pytest.raises(InDoubt):
            wired.delete([BASE])
        with pytest.raises(ObjectNotFound):
            direct.stat(BASE)

    def test_a_claim_whose_answer_is_lost_is_in_doubt_and_then_a_loss(self, wire: Wire, wired: ObjectStore) -> None:
        wire.lose_answers(times=1)
        with in_time(), pytest.raises(InDoubt):
            wired.create_exclusive("epochs/1")
        assert wired.create_exclusive("epochs/1") is False

    def test_reads_whose_first_answer_is_lost_are_asked_again(self, wire: Wire, wired: ObjectStore) -> None:
        for call in (lambda: wired.stat(BASE), lambda: read(wired, BASE), lambda: list(wired.list(""))):
            wire.lose_answers(times=1)
            assert call()

    @pytest.mark.parametrize("how", ["cut", "hang"])
    def test_reads_without_an_answer_are_unavailable_in_time(self, wire: Wire, wired: ObjectStore, how: str) -> None:
        wire.lose_answers(how)  # type: ignore[arg-type]
        for call in (lambda: wired.stat(BASE), lambda: wired.get(BASE), lambda: list(wired.list(""))):
            with in_time(), pytest.raises(StoreUnavailable):
                call()

    @pytest.mark.parametrize("how", ["cut", "hang"])
    def test_a_body_that_breaks_off_is_never_taken_for_whole(
        self, wire: Wire, wired: ObjectStore, direct: ObjectStore, how: str
    ) -> None:
        put(direct, BASE, bytes(1_000_000))
        wire.lose_answers(how, after=500_000)  # type: ignore[arg-type]
        with wired.get(BASE) as reader:
            got = 0
            with in_time(), pytest.raises(StoreUnavailable):
                while chunk := reader.read(65536):
                    got += len(chunk)
        assert 0 < got < 1_000_000

    def test_after_a_failure_the_store_goes_on(self, wire: Wire, wired: ObjectStore) -> None:
        wire.lose_answers("hang")
        with pytest.raises(StoreUnavailable):
            wired.stat(BASE)
        wire.heal()
        assert read(wired, BASE) == b"what was there"


class TestNobodyThere:
    def test_nothing_was_sent_so_nothing_is_in_doubt(self, wire: Wire, wired: ObjectStore) -> None:
        wire.hang_up()
        calls = (
            lambda: put(wired, BASE),
            lambda: wired.delete([BASE]),
            lambda: wired.create_exclusive("epochs/1"),
            lambda: wired.stat(BASE),
        )
        for call in calls:
            with in_time(), pytest.raises(StoreUnavailable):
                call()

    @pytest.mark.parametrize("how", ["cut", "hang"])
    def test_a_sign_in_without_an_answer_is_unavailable_in_time(
        self, swift: Swift, container: str, wire: Wire, how: str
    ) -> None:
        wire.lose_answers(how)  # type: ignore[arg-type]
        with through(wire, swift, container) as store:
            for call in (lambda: store.stat(BASE), lambda: put(store, BASE)):
                with in_time(), pytest.raises(StoreUnavailable, match="sign-in"):
                    call()
