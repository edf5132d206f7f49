"""Writes in doubt, two writers on one chain, and disks that may or may not be kept."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable

import pytest
from django.db import OperationalError

from imagerepo.durability.settle import Patience, Stopped
from imagerepo.errors import Fenced, StoreRefused
from imagerepo.sessions import lane
from imagerepo.sessions.models import State
from imagerepo.store import names
from imagerepo.testing.faulty import Fault, FaultyStore
from tests.durability.node import A, B, C, NewNode, Node
from tests.failing_disks import no_file_may_grow_beyond


def die_at_next_put(node: Node, store: FaultyStore, name: str, fault: Fault) -> None:
    """The next PUT below `name` fails as ordered, and the process dies before it hears more of the store."""
    stop = threading.Event()
    node.writer.patience._report = lambda _: stop.set()
    node.writer.patience.stop = stop
    store.fail("put", fault, name=name)
    store.fail("get", "unavailable", name=name, times=1)
    with pytest.raises(Stopped):
        lane.run(node.writer)
    store.heal()


@pytest.mark.parametrize("fault", ["cut-before", "cut-after", "unavailable", "refused", "late"])
def test_a_commit_is_durable_after_any_single_fault(node: Node, store: FaultyStore, fault: Fault) -> None:
    store.fail("put", fault, name="db/")
    assert node.commit(A).state == State.LIVE
    node.lose_disk()
    assert node.start().live() == {A}


def test_nothing_is_live_before_the_record_is_in_the_store(node: Node, store: FaultyStore) -> None:
    seen = []
    real_put = store.put

    def put(name, body, **options):
        seen.append(node.live())
        return real_put(name, body, **options)

    store.put = put
    node.commit(A)
    assert seen
    assert set().union(*seen) == set()
    assert node.live() == {A}


def record_name(node: Node) -> str:
    state = node.writer.state
    return names.record(state.epoch, state.writer, state.final.seq + 1)


def test_a_record_that_arrived_unheard_is_committed_by_the_next_start(node: Node, store: FaultyStore) -> None:
    session = node.stage(A)
    die_at_next_put(node, store, record_name(node), "cut-after")
    node.lose_disk()
    node.start()
    assert node.live() == {A}
    assert node.states()[session.key] == State.LIVE


def test_a_kept_disk_goes_on_with_the_record_that_arrived_unheard(node: Node, store: FaultyStore) -> None:
    session = node.stage(A)
    staged = node.stage(B, state=State.OPEN)
    die_at_next_put(node, store, record_name(node), "cut-after")
    node.die()
    node.start()
    assert not node.started.restored
    assert node.states() == {session.key: State.LIVE, staged.key: State.OPEN}
    assert node.live() == {A}


def test_a_late_record_of_an_older_writer_is_an_orphan_for_ever(new_node: NewNode, store: FaultyStore) -> None:
    old, new, third = new_node().start(), new_node(), new_node()
    session = old.stage(A)
    die_at_next_put(old, store, record_name(old), "late")
    old.die()
    new.start()
    assert session.key not in new.states()
    store.deliver()
    new.commit(B)
    assert new.live() == {B}
    new.die()
    third.start()
    assert third.live() == {B}


def test_a_late_record_is_an_orphan_even_if_the_newcomer_dies_at_once(new_node: NewNode, store: FaultyStore) -> None:
    old, new, third = new_node().start(), new_node(), new_node()
    old.stage(A)
    die_at_next_put(old, store, record_name(old), "late")
    old.die()
    new.start()
    store.deliver()
    new.die()
    assert third.start().live() == set()


def test_the_next_holder_of_the_lane_sends_the_same_bytes(node: Node, store: FaultyStore) -> None:
    """A worker dies with its PUT under way; the next one must not cut that number anew."""
    node.stage(A)
    name = record_name(node)
    die_at_next_put(node, store, name, "late")
    node.writer.patience = Patience()
    node.stage(B)
    lane.run(node.writer)
    assert node.live() == {A, B}
    store.deliver()  # the first PUT arrives last: it must be the same bytes
    node.lose_disk()
    assert node.start().live() == {A, B}


def test_a_second_start_fences_the_first(new_node: NewNode) -> None:
    first, second = new_node().start(), new_node()
    first.commit(A)
    second.start()
    assert second.live() == {A}
    first.activate()
    session = first.stage(B)
    with pytest.raises(Fenced, match="epoch 2 exists"):
        lane.run(first.writer)
    assert first.writer.fenced
    assert first.states()[session.key] == State.MERGED
    assert first.live() == {A}
    second.activate()
    second.commit(C)
    assert second.live() == {A, C}
    second.lose_disk()
    assert second.start().live() == {A, C}


def test_a_fenced_disk_sends_nothing_more(new_node: NewNode, store: FaultyStore) -> None:
    first, second = new_node().start(), new_node()
    second.start()
    first.activate()
    first.stage(A)
    with pytest.raises(Fenced):
        lane.run(first.writer)
    sent = len([1 for op, _ in store.calls if op == "put"])
    with pytest.raises(Fenced):
        lane.run(first.writer)
    assert len([1 for op, _ in store.calls if op == "put"]) == sent


def test_a_fenced_disk_that_starts_again_follows_the_winner(new_node: NewNode) -> None:
    first, second = new_node().start(), new_node()
    second.start()
    first.activate()
    first.stage(A)
    with pytest.raises(Fenced):
        lane.run(first.writer)
    second.activate()
    second.commit(B)
    first.die()
    first.start()
    assert first.started.restored
    assert first.live() == {B}
    assert not first.writer.fenced


def test_a_starter_that_dies_before_its_opening_record_leaves_the_chain_alone(
    new_node: NewNode, store: FaultyStore
) -> None:
    first = new_node().start()
    first.commit(A)
    first.die()
    store.fail("put", "refused", name="db/2-")
    with pytest.raises(StoreRefused):
        new_node().start()
    first.start()
    assert first.started.epoch == 3
    assert not first.started.restored
    assert first.live() == {A}


def test_a_power_cut_that_took_the_merge_makes_the_disk_worthless(node: Node, store: FaultyStore) -> None:
    """The record arrived, but the log lost it: the rows on this disk are not the chain's end."""
    node.stage(A)
    die_at_next_put(node, store, record_name(node), "cut-after")
    node.die()
    (node.data_dir / "catalogue.sqlite3-wal").unlink()
    node.start()
    assert node.started.restored
    assert node.live() == {A}


@pytest.mark.parametrize(
    "writes",
    [lambda node: node.stage(B), lambda node: node.writer.changed(), lambda node: node.writer.log_held_up()],
    ids=["staging", "looking for changes", "looking at the log"],
)
def test_a_disk_that_failed_is_not_kept(node: Node, writes: Callable[[Node], object]) -> None:
    """A failed fsync may be followed by one that succeeds, and what it lost is lost."""
    node.commit(A)
    log = node.data_dir / "catalogue.sqlite3-wal"
    with no_file_may_grow_beyond(log.stat().st_size), pytest.raises((OperationalError, sqlite3.OperationalError)):
        writes(node)
    node.commit(C)
    node.die()
    node.start()
    assert node.started.restored
    assert node.live() == {A, C}
    node.commit(B)
    node.die()
    assert not node.start().started.restored
