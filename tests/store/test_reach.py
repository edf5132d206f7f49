"""A store that answers, fails or hangs, as readiness sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from imagerepo.store import reach
from imagerepo.store.memory import MemoryStore
from imagerepo.store.reach import Reach
from imagerepo.testing.faulty import FaultyStore


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def asking(store: FaultyStore) -> Iterator[Reach]:
    asking = Reach(store)
    yield asking
    asking.close()


def test_a_store_that_says_that_it_has_no_such_image_is_reached(asking: Reach) -> None:
    assert asking.trouble() is None


def test_a_store_that_fails_is_in_trouble_and_says_why(store: FaultyStore, asking: Reach) -> None:
    store.fail("stat", "refused")
    assert "403" in (asking.trouble() or "")


def test_a_store_that_hangs_is_in_trouble_soon(
    store: FaultyStore, asking: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()
    monkeypatch.setattr(reach, "WAIT_SECONDS", 0.1)
    monkeypatch.setattr(store, "stat", lambda *_, **__: hangs.wait(20))
    begun = time.monotonic()
    assert "does not answer" in (asking.trouble() or "")
    assert time.monotonic() - begun < 5
    hangs.set()


def test_the_store_is_not_asked_at_every_question(store: FaultyStore, asking: Reach) -> None:
    for _ in range(20):
        asking.trouble()
    assert len(store.calls) == 1
