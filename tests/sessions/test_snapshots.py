"""Snapshots of what is only staged: on a timer, on demand, and never mistaken for a commit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from imagerepo.durability import manifests
from imagerepo.durability.settle import Patience
from imagerepo.sessions import lane, lifecycle, merge
from imagerepo.sessions.models import State
from imagerepo.store import names
from imagerepo.store.backends import open_memory
from tests.durability.node import A, B, C, D, Node
from tests.inprocess import Repository, running
from tests.sessions.workers import stage
from tests.waiting import until


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IMAGEREPO_DATA_DIR", str(tmp_path))
    node = Node(tmp_path / "node", open_memory()).start()
    yield node
    node.die()


@pytest.mark.parametrize("make", [lane.snapshot, lane.base])
def test_a_snapshot_while_sessions_are_under_way_makes_nothing_live(node: Node, make: Callable[..., object]) -> None:
    node.commit(A)
    staged = node.stage(B, state=State.OPEN)
    committing = node.stage(C)
    make(node.writer)
    assert node.live() == {A}
    node.lose_disk()
    node.start()
    assert node.live() == {A}
    assert node.states()[staged.key] == node.states()[committing.key] == State.ABORTED
    node.commit(D)
    assert node.live() == {A, D}


@pytest.mark.parametrize("make", [lane.snapshot, lane.base])
def test_what_a_holder_that_died_has_merged_goes_live_with_the_next_snapshot(
    node: Node, make: Callable[..., object]
) -> None:
    merged = node.stage(B)
    with node.writer.lane():
        merge.merge_waiting()
    node.stage(C, state=State.OPEN)
    make(node.writer)
    assert node.live() == {B}
    node.lose_disk()
    assert node.start().live() == {B}
    assert node.states()[merged.key] == State.LIVE


def test_what_was_staged_can_be_committed_after_a_snapshot(node: Node) -> None:
    session = node.stage(B)
    lane.snapshot(node.writer)
    lane.run(node.writer)
    assert node.states()[session.key] == State.LIVE
    node.lose_disk()
    assert node.start().live() == {B}


def test_on_its_timer_only_what_is_new_is_shipped_and_only_of_open_sessions(node: Node) -> None:
    node.commit(A)
    last = node.writer.state.final.name
    lane.ship_staged(node.writer, since=last)
    assert node.writer.state.final.name == last, "the flip of a commit is no reason for a snapshot"
    session = node.stage(B, state=State.OPEN)
    lane.ship_staged(node.writer, since="another record")
    assert node.writer.state.final.name == last, "another worker has shipped since"
    lane.ship_staged(node.writer, since=last)
    shipped = node.writer.state.final.name
    assert shipped != last
    lane.ship_staged(node.writer, since=shipped)
    assert node.writer.state.final.name == shipped, "nothing is new"
    node.lose_disk()
    node.start()
    assert node.states()[session.key] == State.ABORTED


@pytest.fixture
def repository(tmp_path: Path):
    with running(tmp_path / "data", snapshot_seconds="0.1") as repository:
        yield repository


def test_the_timer_ships_what_is_staged_and_then_rests(repository: Repository) -> None:
    writer = repository.service.writer
    before = writer.state.final.sequence
    lifecycle.open_session("ann")
    until(lambda: writer.state.final.sequence > before)
    settled = writer.state.final.sequence
    lifecycle.open_session("ann")
    until(lambda: writer.state.final.sequence > settled)
    assert writer.state.final.sequence == settled + 1
    assert next(writer.snapshots()).head_after == 0


@pytest.mark.parametrize("op", ["get", "put"])
def test_a_base_that_a_slow_store_keeps_in_the_making_holds_up_no_commit(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, op: str
) -> None:
    """Neither while the base before it is read, nor while its parts are sent."""
    service, call = repository.service, getattr(repository.store, op)
    repository.commit(stage(service.spool, b"before"))
    begun, goes_on = Event(), Event()

    def slow(name: str, *args: object, **options: object) -> object:
        if isinstance(names.parse(name), names.Part):
            begun.set()
            assert goes_on.wait(60)
        return call(name, *args, **options)

    monkeypatch.setattr(repository.store, op, slow)
    try:
        assert service.committer.snapshot("base", wait=0.01) is None
        assert begun.wait(30)
        for content in (b"one", b"two"):
            assert repository.commit(stage(service.spool, content)).state == State.LIVE
        epoch, writer = service.writer.state.epoch, service.writer.state.writer
        assert manifests.newest(repository.store, epoch, writer, Patience()) is None
    finally:
        goes_on.set()
    until(lambda: manifests.newest(repository.store, epoch, writer, Patience()))
    assert manifests.newest(repository.store, epoch, writer, Patience()).head_after == 1
