"""A write whose answer is lost is settled by reading it back; nothing is ever sent twice with other bytes."""

import io
import threading
from pathlib import Path

import pytest

from imagerepo.durability.settle import Patience, Stopped, settle
from imagerepo.errors import Damaged, StoreRefused
from imagerepo.store import names
from imagerepo.store.memory import MemoryStore
from imagerepo.testing.faulty import FOR_GOOD, Fault, FaultyStore

NAME = names.record(1, "0123456789abcdef", 7)


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "record"
    path.write_bytes(b"the record")
    return path


class Newer(Exception):
    """A newer epoch was found."""


def finds_newer() -> None:
    raise Newer


def content(store: FaultyStore) -> bytes:
    with store.get(NAME) as reader:
        return reader.read()


@pytest.mark.parametrize("fault", ["cut-before", "cut-after", "unavailable", "refused", "late"])
def test_it_holds_the_bytes_after_any_single_fault(store: FaultyStore, body: Path, fault: Fault) -> None:
    store.fail("put", fault)
    settle(store, NAME, body, patience=Patience())
    store.deliver()
    assert content(store) == b"the record"


def test_a_lost_answer_is_settled_without_a_second_put(store: FaultyStore, body: Path) -> None:
    store.fail("put", "cut-after")
    settle(store, NAME, body, patience=Patience())
    assert [op for op, _ in store.calls] == ["put", "get"]


def test_it_looks_for_a_newer_epoch_before_it_sends_again(store: FaultyStore, body: Path) -> None:
    store.fail("put", "cut-before")
    with pytest.raises(Newer):
        settle(store, NAME, body, patience=Patience(), before_retry=finds_newer)
    assert [op for op, _ in store.calls] == ["put", "get"]


def test_it_looks_for_a_newer_epoch_while_the_store_does_not_say_what_it_holds(store: FaultyStore, body: Path) -> None:
    store.fail("put", "cut-after")
    store.fail("get", "unavailable", times=FOR_GOOD)
    with pytest.raises(Newer):
        settle(store, NAME, body, patience=Patience(), before_retry=finds_newer)
    assert [op for op, _ in store.calls] == ["put", "get"]


def test_other_bytes_under_the_name_stop_it(store: FaultyStore, body: Path) -> None:
    store.put(NAME, io.BytesIO(b"another record"), media_type="x/y")
    store.fail("put", "cut-before")
    with pytest.raises(Damaged, match="other bytes"):
        settle(store, NAME, body, patience=Patience())
    assert content(store) == b"another record"


def test_it_goes_on_until_stopped_and_reports_why(store: FaultyStore, body: Path) -> None:
    stop, reasons = threading.Event(), []

    def report(reason: str) -> None:
        reasons.append(reason)
        if len(reasons) == 3:
            stop.set()

    store.fail("put", "refused", times=100)
    with pytest.raises(Stopped):
        settle(store, NAME, body, patience=Patience(stop=stop, report=report))
    assert "403" in reasons[0]


def test_a_start_is_told_a_refusal_at_once(store: FaultyStore, body: Path) -> None:
    store.fail("put", "refused")
    with pytest.raises(StoreRefused):
        settle(store, NAME, body, patience=Patience(refusals_end=True))


def test_trouble_ends_with_the_first_answer(store: FaultyStore, body: Path) -> None:
    heard: list[str] = []
    patience = Patience(report=lambda _: heard.append("failed"), recovered=lambda: heard.append("recovered"))
    store.fail("put", "unavailable", times=1)
    settle(store, NAME, body, patience=patience)
    assert heard == ["failed", "recovered"]
