"""How many there are of what is numbered without gaps is found by few questions."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from imagerepo.durability import lookup
from imagerepo.durability.settle import Patience
from imagerepo.store import names
from imagerepo.store.memory import MemoryStore
from imagerepo.testing.faulty import FaultyStore

PATIENCE = Patience(most_questions=1)


@given(st.integers(0, 300), st.integers(1, 1 << 40))
def test_they_are_counted_from_the_first_by_few_questions(count: int, first: int) -> None:
    store = FaultyStore(MemoryStore())
    for number in range(first, first + count):
        store.put(names.owner(number), io.BytesIO(b"somebody"), media_type="text/plain")
    store.calls.clear()
    assert lookup.how_many(store, names.owner, PATIENCE, first=first) == count
    assert len(store.calls) <= 2 * max(count, 1).bit_length() + 1
    assert [op for op, _ in store.calls] == ["stat"] * len(store.calls)


def test_epochs_are_asked_for_as_objects_are() -> None:
    store = MemoryStore()
    store.create_exclusive(names.epoch(1))
    assert lookup.exists(store, names.epoch(1), PATIENCE)
    assert not lookup.exists(store, names.epoch(2), PATIENCE)
