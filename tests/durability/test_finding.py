"""Finding the chain's end beside a live writer: between any two questions records may come, and pruned ones go."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from imagerepo.durability import bases, chain_end, epochs, retention
from imagerepo.durability.restore import find_end
from imagerepo.errors import Damaged, Fenced, StoreError
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.faulty import FaultyStore
from tests.durability.node import A, B, NewNode, Node
from tests.durability.reign import ONCE, Reign

QUESTIONS = 24
"""At least as many as it takes."""


class Interrupted:
    """A store before whose question number `at` something happens, once: `done` says whether."""

    def __init__(self, store: ObjectStore, at: int, what: Callable[[], object]) -> None:
        self._store, self._left, self._what = store, at, what
        self.done = False

    def __getattr__(self, op: str) -> Callable[..., object]:
        def ask(*names: str, **options: object) -> object:
            self._left -= 1
            if not self._left:
                self.done = True
                self._what()
            return getattr(self._store, op)(*names, **options)

        return ask


@pytest.fixture
def reign(tmp_path: Path, store: FaultyStore) -> Iterator[Reign]:
    """One that has a base, records after it, and none but its opening record before it."""
    reign = Reign(tmp_path / "data", store).start()
    for _ in range(3):
        reign.commit()
    prunes_behind_a_base(reign)
    for _ in range(4):
        reign.commit()
    yield reign
    reign.close()


def commits(reign: Reign) -> None:
    reign.commit()


def prunes_behind_a_base(reign: Reign) -> None:
    assert bases.make(reign.writer)
    retention.prune(reign.writer, reign.now() + timedelta(days=1), ONCE, abandoned=reign.now(), delete=True)


def prunes_twice(reign: Reign) -> None:
    for _ in range(2):
        reign.commit()
        prunes_behind_a_base(reign)


@pytest.mark.parametrize("what", [commits, prunes_behind_a_base, prunes_twice])
def test_whatever_a_writer_adds_and_prunes_between_two_questions_the_end_is_found(
    reign: Reign, what: Callable[[Reign], None]
) -> None:
    happened = []
    for at in range(1, QUESTIONS + 1):
        before = reign.writer.state.final
        asked = Interrupted(reign.store, at, lambda: what(reign))
        found = chain_end.find_last(cast(ObjectStore, asked), epochs.first_unclaimed(reign.store, ONCE), ONCE)
        assert found is not None
        assert before.seq <= found.seq <= reign.writer.state.final.seq
        assert names.build(found) in {info.name for info in reign.store.list(names.DB)}
        happened.append(asked.done)
    assert any(happened) and not happened[-1], "there are more questions"


@pytest.mark.parametrize(("older", "unlisted"), [(2, None), (0, 1)])
@pytest.mark.parametrize("at", range(16))
def test_without_a_damaged_manifest_no_gap_is_taken_for_the_end_wherever_a_pruning_broke_off(
    tmp_path: Path, store: FaultyStore, monkeypatch: pytest.MonkeyPatch, older: int, unlisted: int | None, at: int
) -> None:
    """Listings are no help: the pruning's may leave out a record, and the start's shows none."""
    reign = Reign(tmp_path / "data", store).start()
    for number in range(1, 13):
        reign.commit()
        if number == older:
            assert bases.make(reign.writer)
    manifest = bases.make(reign.writer)
    assert manifest
    end = reign.commit()
    shown = [info for info in store.list(names.DB) if info.name != names.record(1, end.writer, unlisted or 99)]
    monkeypatch.setattr(store, "list", lambda prefix, **_: iter(shown))
    if at:
        store.fail("delete", "refused", name=names.DB, call=at)
        with suppress(StoreError):
            retention.prune(reign.writer, reign.now() + timedelta(days=1), ONCE, abandoned=reign.now(), delete=True)
        store.heal()
    store.put(manifest.name, io.BytesIO(b"nothing"), media_type="x/y")
    monkeypatch.setattr(store, "list", lambda prefix, **_: iter(()))
    told: list[str] = []
    before = epochs.first_unclaimed(store, ONCE)
    try:
        found = find_end(store, before, ONCE, told.append)
    except Damaged as error:
        assert at and error.name == manifest.name
    else:
        assert found and found.link.name == end.name
        assert [manifest.name in sentence for sentence in told] == [True]
    reign.close()


def test_nor_is_an_older_epochs_record_where_the_opening_record_is_gone(tmp_path: Path, store: FaultyStore) -> None:
    reign = Reign(tmp_path / "data", store).start()
    reign.commit()
    reign.die()
    reign.start().commit()
    manifest, opening = bases.make(reign.writer), names.record(2, reign.writer.state.writer, 0)
    assert manifest
    store.put(manifest.name, io.BytesIO(b"nothing"), media_type="x/y")
    store.delete([opening])
    before = epochs.first_unclaimed(store, ONCE)
    store.list = lambda prefix, **_: iter(())
    with pytest.raises(Damaged, match=manifest.name):
        find_end(store, before, ONCE, print)
    reign.close()


def test_a_start_passes_over_a_damaged_manifest_where_nothing_was_pruned(node: Node, new_node: NewNode) -> None:
    node.commit(A)
    manifest = bases.make(node.writer)
    node.commit(B)
    node.lose_disk()
    node.store.put(manifest.name, io.BytesIO(b"nothing"), media_type="x/y")
    node.start()
    assert node.live() == {A, B}


def test_a_start_from_under_which_another_takes_and_prunes_all_is_fenced_and_finds_no_damage(
    node: Node, new_node: NewNode
) -> None:
    node.commit(A)
    node.die()
    fenced = [at for at in range(1, QUESTIONS + 1) if is_fenced(new_node(), new_node(), at, prunes_all_before)]
    assert fenced and fenced[0] > 1, "it was never interrupted before and after its claim"


def test_so_is_a_first_start_beside_which_another_begins(new_node: NewNode) -> None:
    fenced = []
    for at in range(1, QUESTIONS + 1):
        resting, other = new_node(), new_node()
        resting.store = other.store = FaultyStore(Door(MemoryStore()))
        if is_fenced(resting, other, at, adds_an_image):
            fenced.append(at)
    assert fenced and fenced[0] > 1, "it was never interrupted before and after its claim"


def is_fenced(resting: Node, other: Node, at: int, act: Callable[[Node], None]) -> bool:
    """Whether `resting` is when, before its question `at`, the other has started and acted."""

    def take_over() -> None:
        act(other.start())
        other.die()
        resting.activate()

    resting.store = cast(ObjectStore, Interrupted(resting.store, at, take_over))
    try:
        resting.start()
    except Fenced:
        return True
    finally:
        resting.die()
    return False


def prunes_all_before(node: Node) -> None:
    assert bases.make(node.writer)
    now = datetime.now(UTC)
    assert retention.prune(node.writer, now, ONCE, abandoned=now, delete=True).objects


def adds_an_image(node: Node) -> None:
    node.store.put(names.base(A), io.BytesIO(b"x"), media_type="x/y")
    node.commit(A)
