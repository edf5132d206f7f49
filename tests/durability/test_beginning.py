"""A first start begins a repository only where there is none: not beside images or records that somebody has."""

from __future__ import annotations

import io
import tempfile

import pytest

from imagerepo.errors import Damaged
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.store.objects import ObjectStore
from tests.durability.node import A, NewNode


def put(store: ObjectStore, name: str, content: bytes = b"x") -> None:
    store.put(name, io.BytesIO(content), media_type="x/y")


@pytest.mark.parametrize("name", [names.base(A), f"{names.base(A)}-10x10.png"])
def test_images_without_a_chain_are_no_place_to_begin(new_node: NewNode, store: ObjectStore, name: str) -> None:
    put(store, name)
    with pytest.raises(Damaged, match=f"there is {name}.*IMAGEREPO_SNAPSHOT_URL"):
        new_node().start()
    assert [info.name for info in store.list(names.DB)] == [names.owner(1)]


def test_records_of_epochs_that_are_gone_are_no_place_to_begin(new_node: NewNode, store: ObjectStore) -> None:
    """As after somebody deleted the epochs, or copied objects only; and the oldest owners were pruned."""
    node = new_node().start()
    node.commit(A)
    node.lose_disk()
    node.start()
    node.lose_disk()
    without_epochs = Door(MemoryStore())
    for info in store.list(names.DB):
        if isinstance(names.parse(info.name), names.Record):
            with store.get(info.name) as reader:
                put(without_epochs, info.name, reader.read())
    node.store = without_epochs
    with pytest.raises(Damaged, match=r"there is db/2-.*no chain of snapshots"):
        node.start()


def test_an_empty_store_is_where_a_repository_begins(new_node: NewNode) -> None:
    assert new_node().start().commit(A).revision == 1


def test_a_start_needs_no_temporary_folder(new_node: NewNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would fail there with the epoch claimed, and so the server before it fenced, for nothing."""
    monkeypatch.setattr(tempfile, "tempdir", "/absent")
    node = new_node().start()
    node.die()
    assert node.start().commit(A).revision == 1
