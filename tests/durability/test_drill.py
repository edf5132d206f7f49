"""The drill: it restores what the store has, finds what is wrong with it, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection

from imagerepo.durability import bases, drill, manifests, restore
from imagerepo.durability.settle import Patience
from imagerepo.durability.upkeep import Upkeep
from imagerepo.errors import Fenced
from imagerepo.sessions import lane
from imagerepo.store import names
from imagerepo.testing.faulty import FaultyStore
from tests.durability.damaging import damage
from tests.durability.node import Node
from tests.waiting import until

ONCE = Patience(most_questions=1)


def put(store: FaultyStore, name: str, content: bytes) -> None:
    store.put(name, io.BytesIO(content), media_type="x/y")


def stored(store: FaultyStore, content: bytes) -> str:
    """An image's ident, its bytes in the store."""
    ident = hashlib.sha256(content).hexdigest()
    put(store, names.base(ident), content)
    return ident


def drilled(node: Node, sample: int = drill.SAMPLE) -> drill.Result:
    return drill.run(bases.restored(node.writer, ONCE), node.store, ONCE, sample=sample)


def left_behind(node: Node) -> list[Path]:
    return list((node.data_dir / "scratch").iterdir())


def test_what_is_whole_is_found_whole(node: Node, store: FaultyStore) -> None:
    node.commit(stored(store, b"one"), stored(store, b"two"))
    node.commit(stored(store, b"three"))
    result = drilled(node)
    assert (result.whole, result.problems) == (True, ())
    assert (result.revision, result.revisions, result.images, result.sampled) == (2, 2, 3, 3)
    final = node.writer.state.final
    assert (result.snapshot, result.sequence) == (final.name, final.sequence)
    assert result.database_bytes > result.stored_bytes > 0
    assert result.seconds > 0
    assert left_behind(node) == []


def test_an_empty_repository_is_whole_too(node: Node) -> None:
    result = drilled(node)
    assert (result.whole, result.images, result.sampled, result.revision) == (True, 0, 0, 0)


def test_a_snapshot_of_what_is_only_staged_is_whole(node: Node, store: FaultyStore) -> None:
    node.commit(stored(store, b"one"))
    node.stage("a" * 64)
    lane.snapshot(node.writer)
    assert drilled(node).whole


def test_it_looks_at_as_many_images_as_it_is_told(node: Node, store: FaultyStore) -> None:
    node.commit(*(stored(store, bytes([number])) for number in range(9)))
    store.calls.clear()
    assert drilled(node, sample=4).sampled == 4
    assert len([name for op, name in store.calls if op == "get" and name.startswith("images/")]) == 4


def test_a_missing_and_a_damaged_image_are_named(node: Node, store: FaultyStore) -> None:
    missing, damaged = stored(store, b"missing"), stored(store, b"damaged")
    node.commit(missing, damaged, stored(store, b"well"))
    store.delete([names.base(missing)])
    damage(store, names.base(damaged))
    result = drilled(node)
    assert not result.whole
    assert any(missing in each and "missing" in each for each in result.problems)
    assert any(damaged in each and "damaged" in each for each in result.problems)
    assert len(result.problems) == 2


@pytest.mark.parametrize("what", ["record", "part"])
def test_what_of_the_chain_is_damaged_is_named(node: Node, store: FaultyStore, what: str) -> None:
    node.commit("a" * 64)
    headers = list(node.writer.snapshots())
    name = headers[1].name if what == "record" else headers[-1].parts[0].name
    damage(store, name)
    result = drilled(node)
    assert (result.whole, result.snapshot) == (False, None)
    assert name in result.problems[0]
    assert left_behind(node) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("DELETE FROM imagerepo_revision WHERE number = 1", "its log has 1 revisions from 2 to 2, and 2 were"),
        ("UPDATE imagerepo_revision SET added = 5 WHERE number = 1", "2 images are live, and its revisions"),
        ("UPDATE imagerepo_imageversion SET valid_to = 1 WHERE valid_from = 1", "1 images are live, and its revisions"),
        ("UPDATE imagerepo_imageversion SET valid_from = 9 WHERE valid_from = 2", "of revisions that were never"),
        ("UPDATE imagerepo_imageversion SET valid_to = 8 WHERE valid_from = 2", "of revisions that were never"),
        (
            "CREATE TEMP TABLE twice AS SELECT * FROM imagerepo_imageversion; "
            "UPDATE twice SET id = id + 100, valid_to = 7; INSERT INTO imagerepo_imageversion SELECT * FROM twice",
            "2 images are live twice",
        ),
        ("DELETE FROM imagerepo_image WHERE id = 1", "names a row of imagerepo_image that is not there"),
    ],
)
def test_rows_that_cannot_be_are_found(node: Node, change: str, problem: str) -> None:
    node.commit("a" * 64)
    node.commit("b" * 64)

    def plant() -> None:
        with connection.cursor() as cursor:
            for statement in change.split(";"):
                cursor.execute(statement)

    with connection.cursor() as cursor:
        cursor.execute("PRAGMA foreign_keys=OFF")
    lane.publish(node.writer, plant)
    result = drilled(node, sample=0)
    assert not result.whole
    assert any(problem in each for each in result.problems), result.problems


def test_too_little_room_is_said_and_nothing_is_restored(
    node: Node, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "ROOM_BYTES", 1 << 60)
    store.calls.clear()
    result = drilled(node)
    assert not result.whole
    assert "give it more room" in result.problems[0]
    assert not [name for _, name in store.calls if "/parts/" in name]


def test_a_store_that_stays_silent_is_a_drill_that_failed(node: Node, store: FaultyStore) -> None:
    store.fail("get", "unavailable", name="db/", times=1000)
    result = drilled(node)
    assert not result.whole
    assert "503" in result.problems[0]
    store.heal()


def test_from_another_machine_it_needs_the_store_alone_and_changes_nothing_there(
    node: Node, store: FaultyStore, tmp_path: Path
) -> None:
    node.commit(stored(store, b"one"))
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    store.calls.clear()
    result = drill.run(drill.newest(store, folder, ONCE), store, ONCE)
    assert (result.whole, result.revision, result.sampled) == (True, 1, 1)
    assert {op for op, _ in store.calls} == {"get", "stat", "list"}
    assert list(folder.iterdir()) == []


def test_of_an_empty_store_it_says_so(store: FaultyStore, tmp_path: Path) -> None:
    result = drill.run(drill.newest(store, tmp_path, ONCE), store, ONCE)
    assert not result.whole
    assert "no snapshot" in result.problems[0]


def test_what_a_killed_drill_left_goes_with_the_next(node: Node) -> None:
    left = node.data_dir / "scratch" / "restored-killed"
    left.mkdir()
    (left / "restored.sqlite3").write_bytes(b"half")
    assert drilled(node).whole
    assert left_behind(node) == []


def test_the_last_result_is_kept_for_every_process_of_the_folder(node: Node) -> None:
    assert drill.last(node.writer.disk) is None
    result = drilled(node)
    drill.note(node.writer.disk, result)
    assert drill.last(node.writer.disk) == result
    assert result.summary["age_seconds"] >= 0


# ---- upkeep: on its schedule


def test_of_several_workers_one_drills_at_a_time(
    node: Node, store: FaultyStore, keep: Callable[[float], Upkeep]
) -> None:
    """Two at once would sweep away what the other restores."""
    node.commit(stored(store, b"one"))
    store.latency_seconds = 0.03
    for _ in range(4):
        keep(0.3)
    seen: dict[object, bool] = {}

    def three_were_made() -> bool:
        result, folders = drill.last(node.writer.disk), left_behind(node)
        assert len(folders) <= 1
        if result:
            seen[result.at] = result.whole
        return len(seen) == 3

    until(three_were_made)
    assert all(seen.values())


def test_one_restore_is_a_drill_and_a_base(
    node: Node, store: FaultyStore, keep: Callable[[float], Upkeep], monkeypatch: pytest.MonkeyPatch
) -> None:
    node.commit("a" * 64)
    node.commit("b" * 64)
    monkeypatch.setattr(bases, "LEAST_DELTA_BYTES", 0)
    monkeypatch.setattr(bases, "SHARE_OF_BASE", 0)
    state = node.writer.state
    store.calls.clear()
    keep(3600.0)
    until(lambda: manifests.how_many(store, state.epoch, state.writer, ONCE))
    until(lambda: drill.last(node.writer.disk))
    assert drill.last(node.writer.disk).revision == 2
    assert len([name for op, name in store.calls if op == "get" and "/parts/" in name]) == 1


def test_a_damaged_base_is_told_and_replaced_by_the_drill_that_finds_it(
    node: Node, store: FaultyStore, keep: Callable[[float], Upkeep]
) -> None:
    node.commit(stored(store, b"one"))
    (part,) = bases.make(node.writer).parts
    node.commit(stored(store, b"two"))
    damage(store, part.name)
    result = drilled(node)
    assert (result.whole, result.revision, result.images) == (False, 2, 2)
    assert part.name in result.problems[0] and "the base before it is used" in result.problems[0]
    keep(0.05)
    until(lambda: drill.last(node.writer.disk) and drill.last(node.writer.disk).whole)
    state = node.writer.state
    assert manifests.how_many(store, state.epoch, state.writer, ONCE) == 2


def test_a_drill_is_none_the_worse_for_a_base_that_cannot_be_made_of_it(
    node: Node, store: FaultyStore, keep: Callable[[float], Upkeep], monkeypatch: pytest.MonkeyPatch
) -> None:
    node.commit(stored(store, b"one"))
    monkeypatch.setattr(bases, "LEAST_DELTA_BYTES", 0)
    monkeypatch.setattr(bases, "SHARE_OF_BASE", 0)
    outbox = node.writer.disk.bases
    outbox.rmdir()
    outbox.write_bytes(b"no folder")
    keep(3600.0)
    until(lambda: drill.last(node.writer.disk))
    assert drill.last(node.writer.disk).whole
    outbox.unlink()
    outbox.mkdir()


def test_upkeep_outlives_a_disk_that_is_full_for_a_while(node: Node, keep: Callable[[float], Upkeep]) -> None:
    scratch = node.data_dir / "scratch"
    scratch.rmdir()
    scratch.write_bytes(b"no folder")
    keep(0.05)
    until(lambda: drill.last(node.writer.disk))
    assert not drill.last(node.writer.disk).whole
    scratch.unlink()
    scratch.mkdir()
    until(lambda: drill.last(node.writer.disk).whole)


def test_without_a_schedule_there_is_no_drill(node: Node, keep: Callable[[float], Upkeep]) -> None:
    assert not keep(0)._drill_is_due()


def test_a_fenced_server_drills_no_more(node: Node, store: FaultyStore, keep: Callable[[float], Upkeep]) -> None:
    store.create_exclusive(names.epoch(2))
    with pytest.raises(Fenced):
        node.writer.look_for_newer_epoch()
    beside = keep(0.001)
    until(beside._drill_is_due)
    beside._stop.set()
    beside.join()
    assert drill.last(node.writer.disk) is None
