"""Pruning deletes nothing that a promised restore reads, and a start finds the chain all the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from imagerepo.durability import bases, chain, retention
from imagerepo.durability.records import Manifest
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged, Fenced
from imagerepo.store import names
from imagerepo.testing.faulty import FaultyStore
from tests.durability.node import A, B, C, D, Node

PATIENCE = Patience(most_questions=1)


def plan(node: Node, cutoff: datetime) -> retention.Plan:
    end = chain.follow(node.store, node.writer.state.final.link, PATIENCE)
    return retention.plan(node.store, end, cutoff, PATIENCE)


def now() -> datetime:
    return datetime.now(UTC)


def test_everything_behind_the_newest_base_may_go_and_the_rest_is_enough(node: Node, store: FaultyStore) -> None:
    for ident in (A, B, C):
        node.commit(ident)
    manifest = bases.make(node.writer)
    node.commit(D)
    pruning = plan(node, now())
    assert isinstance(pruning.base, Manifest)
    gone = {info.name for info in pruning.objects}
    assert {names.record(1, manifest.writer, seq) for seq in (1, 2)} <= gone
    assert names.record(1, manifest.writer, 0) not in gone
    assert retention.apply(node.writer, pruning) == len(gone)
    node.lose_disk()
    assert node.start().live() == {A, B, C, D}
    assert plan(node, now()).objects == ()


def test_every_moment_since_the_cutoff_stays_restorable(node: Node) -> None:
    node.commit(A)
    bases.make(node.writer)
    node.commit(B)
    cutoff = now()
    for ident in (C, D):
        node.commit(ident)
        bases.make(node.writer)
    pruning = plan(node, cutoff)
    assert pruning.base.head_after == 1
    retention.apply(node.writer, pruning)
    end = chain.follow(node.store, node.writer.state.final.link, PATIENCE)
    reached = [snapshot.header.head_after for snapshot in _until_gone(chain.back(node.store, end, PATIENCE))]
    assert {3, 2, 1} <= set(reached) | {pruning.base.head_after}


def _until_gone(snapshots):
    from imagerepo.errors import ObjectNotFound

    try:
        yield from snapshots
    except ObjectNotFound:
        return


def test_of_damaged_manifests_the_newest_stops_it_and_older_ones_do_not(node: Node, store: FaultyStore) -> None:
    for ident in (A, B):
        node.commit(ident)
    manifest = bases.make(node.writer)
    node.commit(C)
    damaged = bases.make(node.writer).name
    store.put(damaged, io.BytesIO(b"nothing"), media_type="x/y")
    with pytest.raises(Damaged, match=damaged):
        plan(node, now())
    cutoff = now()
    node.commit(D)
    bases.make(node.writer)
    pruning = plan(node, cutoff)
    assert pruning.base == manifest
    assert [info.name for info in pruning.objects] == [names.record(1, manifest.writer, 1)]
    retention.apply(node.writer, pruning)
    node.lose_disk()
    assert node.start().live() == {A, B, C, D}


def test_nothing_goes_where_no_base_is_old_enough(node: Node) -> None:
    node.commit(A)
    assert plan(node, now() - timedelta(days=1)).objects == ()


def test_older_epochs_go_whole_once_a_base_of_a_newer_one_makes_them_unreachable(
    new_node: Callable[[], Node], store: FaultyStore
) -> None:
    first, second = new_node().start(), new_node()
    first.commit(A)
    second.start()
    second.commit(B)
    assert not [info for info in plan(second, now()).objects if info.name.startswith("db/1/")]
    bases.make(second.writer)
    retention.apply(second.writer, plan(second, now()))
    assert not [info.name for info in store.list("db/1")]
    second.lose_disk()
    assert second.start().live() == {A, B}
    assert second.started.epoch == 3


def test_parts_that_nothing_names_yet_stay(node: Node, store: FaultyStore) -> None:
    """A base may be under way: its parts are there before its manifest is."""
    node.commit(A)
    bases.make(node.writer)
    unnamed = names.part(1, node.writer.state.writer, "f" * 64)
    store.put(unnamed, io.BytesIO(b"a part"), media_type="x/y")
    node.commit(B)
    bases.make(node.writer)
    assert unnamed not in {info.name for info in plan(node, now()).objects}


def abandoned(node: Node, before: datetime) -> set[str]:
    end = chain.follow(node.store, node.writer.state.final.link, PATIENCE)
    long_ago = now() - timedelta(days=9)
    return {info.name for info in retention.plan(node.store, end, long_ago, PATIENCE, abandoned=before).objects}


def test_a_base_that_was_never_finished_goes_once_its_epoch_is_over_and_it_is_old(
    node: Node, store: FaultyStore
) -> None:
    node.commit(A)
    made = bases.make(node.writer)
    waste = names.part(1, node.writer.state.writer, "f" * 64)
    store.put(waste, io.BytesIO(b"a part"), media_type="x/y")
    later = now() + timedelta(seconds=1)
    assert abandoned(node, later) == set(), "it may be under way"
    node.die()
    node.start()
    assert abandoned(node, now() - timedelta(hours=1)) == set(), "a late manifest may still name it"
    assert abandoned(node, later) == {waste}
    assert made.parts[0].name != waste


def test_a_part_that_a_record_has_come_to_name_since_the_plan_stays(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    end = next(node.writer.snapshots())
    node.doubt_the_log()
    node.commit(B)
    part = next(node.writer.snapshots()).parts[0].name
    retention.apply(node.writer, retention.Plan(None, (store.stat(part),), end))
    node.lose_disk()
    assert node.start().live() == {A, B}


def test_nothing_goes_behind_a_base_that_is_only_a_record_of_the_newest_epoch(node: Node) -> None:
    """A start would take the gap before it for the chain's end. (Found by the model.)"""
    node.commit(A)
    node.doubt_the_log()
    node.commit(B)
    assert next(node.writer.snapshots()).kind == "base"
    node.commit(C)
    assert plan(node, now()).objects == ()
    retention.apply(node.writer, plan(node, now()))
    node.lose_disk()
    assert node.start().live() == {A, B, C}


def test_a_fenced_writer_deletes_nothing(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    bases.make(node.writer)
    node.commit(B)
    bases.make(node.writer)
    pruning = plan(node, now())
    store.create_exclusive(names.epoch(2))
    with pytest.raises(Fenced):
        retention.apply(node.writer, pruning)
    assert {info.name for info in pruning.objects} <= {info.name for info in store.list("db/")}
