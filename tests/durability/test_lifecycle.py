"""The chain through one node's life: what was answered survives, what was not never appears by itself."""

from collections.abc import Callable

from imagerepo.sessions import lane, merge
from imagerepo.sessions.models import State
from tests.durability.node import A, B, C, Node


def test_a_first_start_opens_epoch_1_with_an_empty_catalogue(node: Node) -> None:
    assert node.started.epoch == 1
    assert not node.started.restored
    assert node.head() == 0
    assert node.writer.state.final.sequence == 1


def test_a_committed_image_survives_the_loss_of_the_disk(node: Node) -> None:
    session = node.commit(A, title="kept")
    assert session.state == State.LIVE
    node.lose_disk()
    node.start()
    assert node.started.restored
    assert node.live() == {A}
    assert node.states()[session.key] == State.LIVE
    assert node.head() == session.revision == 1


def test_a_kept_disk_keeps_what_was_staged(node: Node) -> None:
    node.commit(A)
    session = node.stage(B, state=State.OPEN)
    node.die()
    node.start()
    assert not node.started.restored
    assert node.states()[session.key] == State.OPEN
    assert node.live() == {A}


def test_a_lost_disk_aborts_what_was_only_staged(node: Node) -> None:
    session = node.stage(B, state=State.OPEN)
    node.commit(A)
    node.lose_disk()
    node.start()
    assert node.states()[session.key] == State.ABORTED
    assert node.live() == {A}


def test_merged_but_not_shipped_goes_forward_on_a_kept_disk(node: Node) -> None:
    session = node.stage(A)
    merge.merge_waiting()
    assert node.live() == set()
    node.die()
    node.start()
    assert node.states()[session.key] == State.LIVE
    assert node.live() == {A}


def test_merged_but_not_shipped_is_gone_with_the_disk(node: Node) -> None:
    node.stage(A)
    merge.merge_waiting()
    node.lose_disk()
    node.start()
    assert node.live() == set()


def test_a_disk_behind_the_chain_is_restored(new_node: Callable[[], Node]) -> None:
    old, new = new_node().start(), new_node()
    old.commit(A)
    old.die()
    new.start()
    new.commit(B)
    new.die()
    old.start()
    assert old.started.restored
    assert old.live() == {A, B}
    assert old.started.epoch == 3


def test_several_waiting_sessions_become_one_record(node: Node) -> None:
    before = node.writer.state.final.sequence
    sessions = [node.stage(ident) for ident in (A, B, C)]

    lane.run(node.writer)
    assert {node.states()[session.key] for session in sessions} == {State.LIVE}
    assert node.writer.state.final.sequence == before + 1
    assert node.head() == 3
