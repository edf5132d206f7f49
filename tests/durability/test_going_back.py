"""Starts where the chain's end can't be restored: on the disk that has it, or from an older snapshot, if wanted."""

from __future__ import annotations

import io

import pytest

from imagerepo.durability import drill, healing
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged, Fenced
from imagerepo.sessions.models import State
from imagerepo.store import names
from imagerepo.testing.faulty import FaultyStore
from tests.durability.damaging import damage
from tests.durability.node import A, B, C, NewNode, Node
from tests.durability.test_checks import cutting_badly
from tests.durability.test_takeover import die_at_next_put

ONCE = Patience(most_questions=1)


@pytest.fixture
def told() -> list[str]:
    return []


def final(node: Node) -> str:
    assert node.writer and node.writer.state.final
    return node.writer.state.final.name


def assert_whole(new_node: NewNode, node: Node, *idents: str) -> None:
    """The next server, on an empty disk, shows these images."""
    node.die()
    assert new_node().start().live() == set(idents)


def test_the_disk_that_has_what_is_damaged_is_kept_and_heals_it(new_node: NewNode, store: FaultyStore) -> None:
    node = new_node().start()
    node.commit(A)
    node.commit(B)
    node.stage(C, state=State.OPEN)
    damage(store, final(node))
    node.die()
    node.start()
    assert node.live() == {A, B}
    assert State.OPEN in node.states().values(), "nothing that was staged is lost"
    assert next(node.writer.snapshots()).kind == "base"
    assert healing.wants_manifest(node.writer.disk)
    assert_whole(new_node, node, A, B)


def test_so_is_one_that_died_before_it_heard_that_the_record_arrived(new_node: NewNode, store: FaultyStore) -> None:
    node = new_node().start()
    node.commit(A)
    before = names.parse(final(node))
    assert isinstance(before, names.Record)
    node.stage(B)
    die_at_next_put(node, store, "db/", "cut-after")
    damage(store, names.record(before.epoch, before.writer, before.seq + 1))
    node.die()
    assert node.start().live() == {A, B}
    assert_whole(new_node, node, A, B)


@pytest.mark.parametrize("distrusted", [False, True])
def test_a_disk_that_is_behind_or_failed_is_not(new_node: NewNode, store: FaultyStore, distrusted: bool) -> None:
    node, other = new_node().start(), new_node()
    node.commit(A)
    if distrusted:
        (node.writer.disk.data_dir / "distrusted").write_text("it failed")
        damage(store, final(node))
        node.die()
    else:
        node.die()
        other.start().commit(B)
        damage(store, final(other))
        other.lose_disk()
    with pytest.raises(Damaged, match="serve --to-last-good"):
        node.start()


def test_only_whoever_wants_it_goes_on_from_an_older_snapshot(
    new_node: NewNode, store: FaultyStore, told: list[str]
) -> None:
    node = new_node().start()
    node.commit(A)
    node.commit(B)
    damaged = final(node)
    damage(store, damaged)
    node.lose_disk()
    with pytest.raises(Damaged, match=damaged):
        node.start()
    node = new_node().start(go_back=told.append)
    assert node.live() == {A}
    assert [damaged in sentence for sentence in told] == [True]
    node.commit(C)
    assert_whole(new_node, node, A, C)
    with drill.newest(store, node.data_dir / "scratch", ONCE) as found:
        assert not found.passed_over


def test_where_nothing_is_damaged_it_is_a_start_like_any_other(node: Node, store: FaultyStore, told: list[str]) -> None:
    node.commit(A)
    node.stage(B, state=State.OPEN)
    node.die()
    assert node.start(go_back=told.append).live() == {A}
    assert State.OPEN in node.states().values(), "the disk was kept"
    assert told == []


def test_it_goes_back_behind_rows_that_no_start_can_use(new_node: NewNode, told: list[str]) -> None:
    node = new_node().start()
    node.commit(A)
    with cutting_badly(lambda pages: {n: page if n == 1 else bytes(len(page)) for n, page in pages.items()}):
        node.commit(B)
    bad = final(node)
    node.lose_disk()
    with pytest.raises(Damaged, match=f"{bad} are malformed.*serve --to-last-good"):
        node.start()
    node = new_node().start(go_back=told.append)
    assert node.live() == {A}
    assert [bad in sentence for sentence in told] == [True]
    assert_whole(new_node, node, A)


def test_a_disk_that_saw_more_than_is_left_is_not_overwritten(
    new_node: NewNode, store: FaultyStore, told: list[str]
) -> None:
    node = new_node().start()
    for ident in (A, B):
        node.commit(ident)
        damage(store, final(node))
    node.die()
    (node.data_dir / "distrusted").write_text("it failed")
    with pytest.raises(Damaged, match=r"not overwritten with less.*empty data folder and --to-last-good"):
        node.start(go_back=told.append)
    assert (node.data_dir / "chain.json").exists()
    assert new_node().start(go_back=told.append).live() == set()


def test_where_nothing_is_whole_it_says_so(node: Node, store: FaultyStore, told: list[str]) -> None:
    node.commit(A)
    for header in list(node.writer.snapshots()):
        store.put(header.name, io.BytesIO(b"nothing"), media_type="x/y")
    node.lose_disk()
    with pytest.raises(Damaged):
        node.start(go_back=told.append)
    assert not (node.data_dir / "chain.json").exists()


def test_a_newer_server_stops_it(new_node: NewNode, store: FaultyStore) -> None:
    node = new_node().start()
    for ident in (A, B):
        node.commit(ident)
    damage(store, final(node))
    node.lose_disk()
    with pytest.raises(Fenced):
        node.start(go_back=lambda _: (node.store.create_exclusive(names.epoch(3)), None)[1])
    assert new_node().start(go_back=str).live() == {A}
