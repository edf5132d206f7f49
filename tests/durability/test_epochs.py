"""One winner a number, no gaps, and a loser that knows it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from imagerepo.durability import epochs
from imagerepo.durability.settle import Patience
from imagerepo.errors import Fenced
from imagerepo.store import names
from imagerepo.store.memory import MemoryStore
from imagerepo.testing.faulty import Fault, FaultyStore

PATIENCE = Patience()


def test_twenty_at_once_take_twenty_numbers_without_a_gap() -> None:
    store = MemoryStore()
    with ThreadPoolExecutor(20) as threads:
        claimed = list(threads.map(lambda _: epochs.claim(store, PATIENCE), range(20)))
    assert sorted(claimed) == list(range(1, 21))


@pytest.mark.parametrize(("fault", "ours"), [("cut-after", 2), ("cut-before", 1), ("unavailable", 1)])
def test_a_lost_answer_is_asked_again_and_a_number_in_doubt_is_nobodys(fault: Fault, ours: int) -> None:
    store = FaultyStore(MemoryStore())
    store.fail("create_exclusive", fault)
    assert epochs.claim(store, PATIENCE) == ours
    assert all(epochs.exists(store, number, PATIENCE) for number in range(1, ours + 1))
    assert not epochs.exists(store, ours + 1, PATIENCE)


def test_another_writers_owner_record_means_that_the_epoch_is_lost() -> None:
    store = MemoryStore()
    assert epochs.become_owner(store, 1, "a" * 16, PATIENCE)
    assert not epochs.become_owner(store, 1, "b" * 16, PATIENCE)
    assert epochs.owner(store, 1, PATIENCE) == "a" * 16


def test_a_newer_epoch_fences() -> None:
    store = MemoryStore()
    epochs.claim(store, PATIENCE)
    epochs.check_newest(store, 1, PATIENCE)
    store.create_exclusive(names.epoch(2))
    with pytest.raises(Fenced, match="epoch 2 exists"):
        epochs.check_newest(store, 1, PATIENCE)
