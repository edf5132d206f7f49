"""Starts that could lose data, on a disk or a store that is not what it must be: they are refused, and say why."""

from __future__ import annotations

import pytest

from imagerepo.durability import chain
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.testing.faulty import FaultyStore
from tests.durability.damaging import damage
from tests.durability.node import A, B, C, NewNode, Node


def test_a_disk_ahead_of_what_the_store_shows_refuses_to_start(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    newest = node.writer.state.final.name
    node.die()
    store.delete([newest])
    with pytest.raises(Damaged, match="old copy"):
        node.start()


def test_an_empty_store_is_no_first_start_for_a_disk_with_a_history(new_node: NewNode) -> None:
    node = new_node().start()
    node.commit(A)
    node.die()
    node.store = Door(MemoryStore())
    with pytest.raises(Damaged, match="the store is empty"):
        node.start()


def test_another_repositorys_store_is_refused(new_node: NewNode) -> None:
    node, other = new_node().start(), new_node()
    node.die()
    other.store = Door(MemoryStore())
    other.start().commit(A)
    other.die()
    node.store = other.store
    with pytest.raises(Damaged, match="another repository"):
        node.start()


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_lost_record_stops_the_start_and_is_named(node: Node, store: FaultyStore, number: int) -> None:
    for ident in (A, B, C):
        node.commit(ident)
    last = names.parse(node.writer.state.final.name)
    assert isinstance(last, names.Record) and last.seq == 3
    still_listed = list(store.list(names.DB))
    lost = names.record(last.epoch, last.writer, number)
    node.lose_disk()
    store.delete([lost])
    store.list = lambda prefix, **_: iter(still_listed)
    with pytest.raises(Damaged, match=rf"^{lost} is absent") as refused:
        node.start()
    assert refused.value.name == lost


def test_a_lost_owner_stops_the_start_and_is_named(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    node.lose_disk()
    store.delete([names.owner(1)])
    with pytest.raises(Damaged, match=rf"^{names.owner(1)} is absent"):
        node.start()


@pytest.mark.parametrize("what", ["record", "part"])
def test_a_damaged_chain_is_named_and_nothing_is_served(node: Node, store: FaultyStore, what: str) -> None:
    node.commit(A)
    headers = list(node.writer.snapshots())
    name = headers[0].name if what == "record" else headers[-1].parts[0].name
    damage(store, name)
    node.lose_disk()
    with pytest.raises(Damaged, match=name):
        node.start()


def test_a_missing_part_is_named(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    part = list(node.writer.snapshots())[-1].parts[0].name
    store.delete([part])
    node.lose_disk()
    with pytest.raises(Damaged, match=part):
        node.start()


def test_the_walk_refuses_a_parent_whose_bytes_changed(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    headers = list(node.writer.snapshots())
    wrong = headers[0].parent.model_copy(update={"digest": "0" * 64})
    with pytest.raises(Damaged, match="was linked"):
        chain.follow(store, wrong, Patience())
