"""Bases made in the background: exactly their record, found by number, and never in the way."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import pytest

from imagerepo.durability import bases, manifests
from imagerepo.durability.settle import Patience, Stopped
from imagerepo.durability.state import Weight
from imagerepo.errors import Damaged, Fenced
from imagerepo.sessions import merge
from imagerepo.store import names
from imagerepo.testing.faulty import FOR_GOOD, FaultyStore
from tests.durability.node import A, B, C, D, Node


def reads(store: FaultyStore, work: Callable[[], object]) -> list[str]:
    """Names that `work` read whole."""
    before = len(store.calls)
    work()
    return [name for op, name in store.calls[before:] if op == "get"]


def test_a_restore_goes_back_to_the_newest_base_only(node: Node, store: FaultyStore) -> None:
    for ident in (A, B, C):
        node.commit(ident)
    manifest = bases.make(node.writer)
    node.commit(D)
    node.lose_disk()
    names_read = reads(store, node.start)
    assert node.live() == {A, B, C, D}
    assert manifest.parts[0].name in names_read
    assert [name for name in names_read if "/parts/" in name] == [part.name for part in manifest.parts]


def spoil(store: FaultyStore, name: str) -> None:
    with store.get(name) as reader:
        content = reader.read()
    store.put(name, io.BytesIO(content[:-1] + bytes([content[-1] ^ 1])), media_type="x/y")


@pytest.mark.parametrize("harm", ["a part damaged", "a part lost"])
def test_a_damaged_base_costs_a_start_nothing_and_a_new_one_takes_its_place(
    node: Node, store: FaultyStore, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    node.commit(A)
    bases.make(node.writer)
    node.commit(B)
    damaged = bases.make(node.writer)
    node.commit(C)
    (part,) = damaged.parts
    spoil(store, part.name) if harm == "a part damaged" else store.delete([part.name])
    made, new = bases.ensure(node.writer)
    assert new and made.number == damaged.number + 1
    node.lose_disk()
    assert part.name not in reads(store, node.start)
    assert node.live() == {A, B, C}
    node.lose_disk()
    store.delete([made.name])
    node.start()
    assert node.live() == {A, B, C}
    assert [part.name in record.getMessage() for record in caplog.records if "base before" in record.getMessage()]


def test_a_damaged_base_without_another_before_it_is_named(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    damaged = bases.make(node.writer)
    first = list(node.writer.snapshots())[-1]
    node.lose_disk()
    spoil(store, damaged.parts[0].name)
    spoil(store, first.parts[0].name)
    with pytest.raises(Damaged, match=damaged.parts[0].name):
        node.start()


def test_a_record_behind_the_base_that_cannot_be_had_keeps_nobody_waiting(node: Node, store: FaultyStore) -> None:
    for ident in (A, B, C):
        node.commit(ident)
    behind = list(node.writer.snapshots())[2].name
    bases.make(node.writer)
    node.commit(D)
    node.lose_disk()
    store.fail("get", "unavailable", name=behind, times=FOR_GOOD)
    before = len(store.calls)
    assert node.start().live() == {A, B, C, D}
    assert store.calls[before:].count(("get", behind)) <= 1


def test_a_base_holds_nothing_that_is_not_final(node: Node) -> None:
    node.commit(A)
    node.stage(B)
    merge.merge_waiting()
    bases.make(node.writer)
    node.lose_disk()
    assert node.start().live() == {A}


def test_bases_are_numbered_and_the_newest_that_fits_is_taken(node: Node, store: FaultyStore) -> None:
    made = []
    for ident in (A, B, C):
        node.commit(ident)
        made.append(bases.make(node.writer))
    assert [manifest.number for manifest in made] == [0, 1, 2]
    assert [manifest.seq for manifest in made] == [1, 2, 3]
    epoch, writer = made[0].epoch, made[0].writer
    for up_to, number in ((None, 2), (3, 2), (2, 1), (1, 0)):
        found = manifests.newest(store, epoch, writer, Patience(), up_to=up_to)
        assert found.number == number
    assert manifests.newest(store, epoch, writer, Patience(), up_to=0) is None


def test_a_base_in_doubt_is_sent_again_with_the_same_bytes(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    name = names.manifest(1, node.writer.state.writer, 0)
    stop = threading.Event()
    node.writer.patience._report, node.writer.patience.stop = (lambda _: stop.set()), stop
    store.fail("put", "late", name=name)
    store.fail("get", "unavailable", name=name)
    with pytest.raises(Stopped):
        bases.make(node.writer)
    node.writer.patience = Patience()
    node.commit(B)
    manifest = bases.make(node.writer)
    assert (manifest.number, manifest.seq) == (0, 1)
    store.deliver()
    node.lose_disk()
    assert node.start().live() == {A, B}


def test_two_at_once_make_one(node: Node) -> None:
    node.commit(A)
    made = []
    threads = [threading.Thread(target=lambda: made.append(bases.make(node.writer))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([manifest for manifest in made if manifest]) >= 1
    numbers = [manifest.number for manifest in made if manifest]
    assert numbers == list(range(len(numbers)))


def test_a_fenced_writer_makes_none(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    store.create_exclusive(names.epoch(2))
    with pytest.raises(Fenced):
        bases.make(node.writer)
    assert not [name for op, name in store.calls if op == "put" and "base-" in name]


def test_it_is_due_when_deltas_outweigh_half_of_the_base() -> None:
    mib = 1 << 20
    assert not bases.is_due(Weight(base=0, deltas=8 * mib))
    assert bases.is_due(Weight(base=0, deltas=8 * mib + 1))
    assert not bases.is_due(Weight(base=100 * mib, deltas=50 * mib))
    assert bases.is_due(Weight(base=100 * mib, deltas=50 * mib + 1))


def test_the_weight_of_a_restore_is_known_through_commits_bases_and_restores(node: Node) -> None:
    node.commit(A)
    first = node.writer.state.weight
    node.commit(B)
    second = node.writer.state.weight
    assert first.base == second.base > 0
    assert second.deltas > first.deltas > 0
    manifest = bases.make(node.writer)
    assert node.writer.state.weight == Weight(base=manifest.stored_bytes, deltas=0)
    node.commit(C)
    node.lose_disk()
    node.start()
    weight = node.writer.state.weight
    assert weight.base == manifest.stored_bytes
    assert weight.deltas > 0


def test_a_chain_across_epochs_uses_only_bases_before_the_link(new_node: Callable[[], Node]) -> None:
    """A fenced writer's base of a record that the winner did not take is on no path back."""
    first, second = new_node().start(), new_node()
    first.commit(A)
    bases.make(first.writer)
    first.commit(B)
    second.start()
    second.commit(C)
    first.activate()
    with pytest.raises(Fenced):
        bases.make(first.writer)
    second.activate()
    second.lose_disk()
    assert second.start().live() == {A, B, C}
