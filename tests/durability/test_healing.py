"""A chain that can't be restored is healed by the live database, while there is one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest

from imagerepo.durability import bases, chain, healing, manifests
from imagerepo.durability.settle import Patience
from imagerepo.durability.upkeep import Upkeep
from imagerepo.durability.writer import Writer
from imagerepo.errors import Damaged
from imagerepo.sessions import lane
from imagerepo.testing.faulty import FaultyStore
from tests.durability.damaging import damage
from tests.durability.node import A, B, C, D, NewNode, Node
from tests.waiting import until

ONCE = Patience(most_questions=1)
HARMS = ["damaged", "lost"]
PLACES = [0, 1, 2]
"""How far behind the newest record."""


def harm(node: Node, store: FaultyStore, how: str, behind: int) -> str:
    """Damage or lose the record that lies so far behind the newest. Gives its name."""
    headers = node.writer.snapshots() if behind else iter([node.writer.state.final])
    name = list(islice(headers, behind + 1))[behind].name
    if how == "lost":
        store.delete([name])
    else:
        damage(store, name, last=True)
    return name


def three_commits(node: Node) -> None:
    for ident in (A, B, C):
        node.commit(ident)


def newest(node: Node, store: FaultyStore) -> chain.Snapshot:
    return chain.follow(store, node.writer.state.final.link, ONCE)


def assert_restored(new_node: NewNode, *idents: str) -> None:
    """A server on an empty disk shows these images."""
    assert new_node().start().live() == set(idents)


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize("behind", PLACES)
def test_whoever_finds_it_lets_the_next_record_be_a_base_and_then_all_is_restored(
    new_node: NewNode, store: FaultyStore, how: str, behind: int
) -> None:
    node = new_node().start()
    three_commits(node)
    name = harm(node, store, how, behind)
    with pytest.raises(Damaged, match=name):
        bases.make(node.writer)
    node.commit(D)
    assert newest(node, store).header.kind == "base"
    bases.make(node.writer)
    assert healing.noted(node.writer.disk) is None
    node.die()
    assert_restored(new_node, A, B, C, D)


@pytest.mark.parametrize("how", HARMS)
def test_a_base_on_demand_heals_at_once(new_node: NewNode, store: FaultyStore, how: str) -> None:
    node = new_node().start()
    three_commits(node)
    harm(node, store, how, behind=0)
    _, made = lane.base(node.writer)
    assert made
    assert healing.noted(node.writer.disk) is None
    node.lose_disk()
    assert_restored(new_node, A, B, C)


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize("ask", [lane.base, lane.snapshot])
def test_so_does_whatever_snapshot_is_asked_for_where_nothing_has_changed(
    new_node: NewNode, store: FaultyStore, how: str, ask: Callable[[Writer], tuple[object, bool]]
) -> None:
    node = new_node().start()
    three_commits(node)
    lane.snapshot(node.writer)
    assert lane.snapshot(node.writer)[1] is False
    harm(node, store, how, behind=0)
    assert ask(node.writer)[1]
    assert newest(node, store).header.kind == "base"
    lane.base(node.writer)
    assert healing.noted(node.writer.disk) is None
    node.lose_disk()
    assert_restored(new_node, A, B, C)


def test_after_it_the_records_are_deltas_again(node: Node, store: FaultyStore) -> None:
    three_commits(node)
    harm(node, store, "damaged", behind=1)
    lane.base(node.writer)
    node.commit(D)
    assert newest(node, store).header.kind == "delta"


def test_a_healed_chain_that_can_not_be_restored_either_is_healed_again(node: Node, store: FaultyStore) -> None:
    three_commits(node)
    for _ in range(2):
        harm(node, store, "damaged", behind=0)
        with pytest.raises(Damaged):
            bases.make(node.writer)
        lane.heal(node.writer)
        assert newest(node, store).header.kind == "base"
    assert healing.wants_manifest(node.writer.disk)


def test_what_a_restore_finds_that_began_before_the_base_asks_for_no_other(node: Node, store: FaultyStore) -> None:
    three_commits(node)
    error, end = Damaged(harm(node, store, "damaged", behind=1)), node.writer.state.final.sequence
    for _ in range(2):
        with node.writer.lane():
            healing.note(node.writer.disk, error, end)
        lane.heal(node.writer)
    assert node.writer.state.final.sequence == end + 1


def test_where_no_base_can_be_cut_commits_go_on_as_before(node: Node, store: FaultyStore) -> None:
    three_commits(node)
    harm(node, store, "damaged", behind=1)
    with pytest.raises(Damaged):
        bases.make(node.writer)
    scratch = node.data_dir / "scratch"
    scratch.rmdir()
    scratch.write_bytes(b"no folder")
    node.commit(D)
    scratch.unlink()
    scratch.mkdir()
    assert newest(node, store).header.kind == "delta"
    assert node.live() == {A, B, C, D}


def test_a_start_on_the_kept_disk_heals_by_its_opening_record(new_node: NewNode, store: FaultyStore) -> None:
    node = new_node().start()
    three_commits(node)
    harm(node, store, "damaged", behind=1)
    with pytest.raises(Damaged):
        bases.make(node.writer)
    node.die()
    node.start()
    assert newest(node, store).header.kind == "base"
    node.lose_disk()
    assert_restored(new_node, A, B, C)


def test_upkeep_finds_it_and_heals_it(node: Node, store: FaultyStore, keep: Callable[[float], Upkeep]) -> None:
    three_commits(node)
    harm(node, store, "lost", behind=1)
    keep(0.05)
    until(lambda: healing.wants_record(node.writer.disk))
    lane.heal(node.writer)
    until(lambda: healing.noted(node.writer.disk) is None)
    state = node.writer.state
    assert manifests.how_many(store, state.epoch, state.writer, ONCE) >= 1
