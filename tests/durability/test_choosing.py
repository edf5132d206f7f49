"""Which snapshot a restore takes: up to a revision or a moment, and where something of the chain is damaged."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imagerepo.durability import bases, choosing, epochs, retention
from imagerepo.durability.choosing import Wanted
from imagerepo.durability.pages import connect
from imagerepo.durability.restore import build
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged, Fenced, StoreUnavailable
from imagerepo.store import names
from imagerepo.store.backends import open_memory
from imagerepo.store.objects import ObjectReader
from imagerepo.testing.faulty import FaultyStore
from tests.durability.damaging import damage
from tests.durability.reign import ONCE, Reign, rows


@pytest.fixture
def reign(tmp_path: Path) -> Iterator[Reign]:
    reign = Reign(tmp_path / "data", FaultyStore(open_memory())).start()
    yield reign
    reign.close()


class Restoring:
    """Restores beside, and what it told meanwhile."""

    def __init__(self, reign: Reign, folder: Path) -> None:
        self._reign, self.database = reign, folder / "restored.sqlite3"
        self.told: list[str] = []

    def __call__(self, **wanted: object) -> list[int]:
        store = self._reign.store
        before = epochs.first_unclaimed(store, ONCE)
        wishes = Wanted(**wanted)
        self.chosen = choosing.restore_wanted(store, before, self.database, wishes, ONCE, tell=self.told.append)
        return rows(self.database)


@pytest.fixture
def restore(reign: Reign, tmp_path: Path) -> Restoring:
    return Restoring(reign, tmp_path)


def test_the_newest_up_to_a_revision_and_a_moment(reign: Reign, restore: Restoring) -> None:
    moments = [reign.now()]
    for _ in range(3):
        reign.commit()
        moments.append(reign.now())
    reign.die()
    reign.start()
    reign.commit()
    assert restore() == [1, 2, 3, 4]
    for revision in range(5):
        assert restore(revision=revision) == list(range(1, revision + 1))
    assert restore(revision=9) == [1, 2, 3, 4]
    for revision, moment in enumerate(moments):
        assert restore(at=moment) == list(range(1, revision + 1))
    assert restore(at=moments[3], revision=1) == restore(at=moments[1], revision=3) == [1]


def test_each_revision_of_a_group_commit_can_be_had(reign: Reign, restore: Restoring) -> None:
    headers = [reign.commit(), reign.commit(together=3), reign.commit()]
    between = reign.now()
    reign.commit()
    for revision, header in [(1, headers[0]), (2, headers[1]), (3, headers[1]), (4, headers[1]), (5, headers[2])]:
        restore(revision=revision)
        assert (restore.chosen.revision, restore.chosen.snapshot.header) == (revision, header)
    restore(revision=6, at=between)
    assert restore.chosen.revision == 5


def test_a_damaged_record_is_named_and_never_passed_over_silently(reign: Reign, restore: Restoring) -> None:
    headers = [reign.commit() for _ in range(4)]
    damage(reign.store, headers[2].name, last=True)
    with pytest.raises(Damaged, match=rf"{headers[2].name} .*--to-last-good"):
        restore()
    assert not restore.database.exists()
    assert restore(to_last_good=True) == [1, 2]
    assert len(restore.told) == 1
    assert headers[2].name in restore.told[0]


def test_a_missing_record_too(reign: Reign, restore: Restoring) -> None:
    headers = [reign.commit() for _ in range(4)]
    bases.make(reign.writer)
    after = reign.commit()
    reign.store.delete([headers[2].name])
    assert restore() == [1, 2, 3, 4, 5], "what a base stands in for is not missed"
    damage(reign.store, after.name, last=True)
    assert restore(to_last_good=True) == [1, 2, 3, 4]


@pytest.mark.parametrize("number", range(1, 8))
def test_a_lost_record_is_named_whatever_comes_after_it(reign: Reign, restore: Restoring, number: int) -> None:
    headers = [reign.commit() for _ in range(7)]
    lost = headers[number - 1]
    still_listed = list(reign.store.list(names.DB))
    reign.store.delete([lost.name])
    reign.store.list = lambda prefix, **_: iter(still_listed)
    with pytest.raises(Damaged, match=rf"{lost.name}\b.*--to-last-good") as refused:
        restore()
    assert refused.value.name == lost.name
    assert restore(to_last_good=True) == list(range(1, number))
    assert lost.name in restore.told[0]
    assert restore(to_last_good=True, revision=1) == ([] if number == 1 else [1])


def test_a_lost_record_costs_nothing_where_a_base_comes_after_it(reign: Reign, restore: Restoring) -> None:
    headers = [reign.commit() for _ in range(3)]
    reign.forget_the_log()
    reign.commit()
    reign.commit()
    reign.store.delete([headers[0].name])
    assert restore(to_last_good=True) == [1, 2, 3, 4, 5]
    assert [headers[0].name in told for told in restore.told] == [True]


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("pruned", [True, False])
def test_a_record_that_a_background_base_stands_in_for_is_not_needed(
    reign: Reign, restore: Restoring, lost: bool, pruned: bool
) -> None:
    headers = [reign.commit() for _ in range(3)]
    base = bases.make(reign.writer)
    assert base.of.name == headers[2].name
    reign.commit()
    reign.commit()
    if pruned:
        retention.prune(reign.writer, headers[2].created_at, ONCE, abandoned=reign.now(), delete=True)
        assert headers[1].name not in {info.name for info in reign.store.list(names.DB)}
    if lost:
        reign.store.delete([base.of.name])
    else:
        damage(reign.store, base.of.name)
    assert restore() == [1, 2, 3, 4, 5]
    for to_last_good in (False, True):
        assert restore(revision=4, to_last_good=to_last_good) == [1, 2, 3, 4]
    assert restore(to_last_good=True) == [1, 2, 3, 4, 5]
    assert restore.told == []
    with pytest.raises(Damaged, match=base.of.name):
        restore(revision=3)


def test_a_damaged_background_base_costs_nothing(reign: Reign, restore: Restoring) -> None:
    reign.commit()
    older = bases.make(reign.writer)
    reign.commit()
    newer = bases.make(reign.writer)
    reign.commit()
    damage(reign.store, newer.parts[0].name, last=True)
    with pytest.raises(Damaged, match=newer.parts[0].name):
        restore()
    assert restore(to_last_good=True) == [1, 2, 3]
    reign.store.delete([older.parts[0].name])
    restore.told.clear()
    assert restore(to_last_good=True) == [1, 2, 3]
    assert [newer.name in restore.told[0], older.name in restore.told[1]] == [True, True]


@pytest.mark.parametrize("older", [0, 1])
def test_a_manifest_whose_bytes_are_damaged_is_left_out_too(reign: Reign, restore: Restoring, older: int) -> None:
    for _ in range(older):
        reign.commit()
        bases.make(reign.writer)
    reign.commit()
    manifest = bases.make(reign.writer)
    reign.commit()
    reign.store.put(manifest.name, io.BytesIO(b"nothing"), media_type="x/y")
    with pytest.raises(Damaged, match=rf"{manifest.name} .*--to-last-good"):
        restore()
    everything = list(range(1, older + 3))
    assert restore(to_last_good=True) == everything
    assert restore(to_last_good=True, revision=older + 1) == everything[:-1]
    assert restore(to_last_good=True, at=reign.now()) == everything
    assert all(manifest.name in told for told in restore.told)


def test_records_pruned_behind_a_manifest_that_is_damaged_are_not_taken_for_the_end(
    reign: Reign, restore: Restoring
) -> None:
    headers = [reign.commit() for _ in range(3)]
    manifest = bases.make(reign.writer)
    reign.commit()
    reign.store.delete([header.name for header in headers])
    reign.store.put(manifest.name, io.BytesIO(b"nothing"), media_type="x/y")
    with pytest.raises(Damaged, match=manifest.name):
        restore()
    assert restore(to_last_good=True) == [], "the opening record is all that is whole"
    assert (manifest.name in restore.told[0], headers[0].name in restore.told[1]) == (True, True)


def test_with_an_epochs_first_record_gone_the_last_of_the_epoch_before_is_taken(
    reign: Reign, restore: Restoring
) -> None:
    reign.commit()
    reign.die()
    reign.start()
    opening = reign.last().header
    reign.commit()
    damage(reign.store, opening.name, last=True)
    assert restore(to_last_good=True) == [1]
    assert opening.name in restore.told[0]


@pytest.mark.parametrize("known", ["by the next record", "by a base", "not at all"])
def test_a_late_record_of_a_fenced_writer_is_not_taken_for_what_the_next_start_read(
    reign: Reign, restore: Restoring, tmp_path: Path, known: str
) -> None:
    for _ in range(2):
        reign.commit()
    newcomer = Reign(tmp_path / "newcomer", reign.store).start()
    opening = newcomer.last().header
    with pytest.raises(Fenced):
        reign.commit()
    if known != "not at all":
        record = newcomer.commit()
    if known == "by a base":
        bases.make(newcomer.writer)
        reign.store.delete([record.name])
    newcomer.close()
    reign.store.put(opening.name, io.BytesIO(b"nothing"), media_type="x/y")
    guessed = known == "not at all"
    assert restore(to_last_good=True) == ([1, 2, 3] if guessed else [1, 2])
    assert any("guess" in told for told in restore.told) is guessed


def test_where_nothing_is_whole_it_says_so(reign: Reign, restore: Restoring) -> None:
    reign.commit()
    opening = names.record(1, reign.writer.state.writer, 0)
    damage(reign.store, opening, last=True)
    with pytest.raises(Damaged, match=opening):
        restore(to_last_good=True)
    assert not restore.database.exists()


def test_an_older_revision_is_had_though_a_newer_record_is_damaged(reign: Reign, restore: Restoring) -> None:
    headers = [reign.commit() for _ in range(4)]
    damage(reign.store, headers[3].name, last=True)
    assert restore(revision=2, to_last_good=True) == [1, 2]


def test_a_failed_restore_leaves_the_file_that_was_there(reign: Reign, restore: Restoring) -> None:
    header = reign.commit()
    assert restore() == [1]
    damage(reign.store, header.name, last=True)
    with pytest.raises(Damaged):
        restore()
    assert rows(restore.database) == [1]


def test_parts_that_vanish_on_the_way_are_looked_for_again(reign: Reign, restore: Restoring) -> None:
    """A pruning that goes on meanwhile takes what a newer base stands in for."""
    reign.commit()
    older = bases.make(reign.writer)
    reign.commit()
    made, get = [], reign.store.get

    def overtaken(name: str, **options: object):
        if name == older.parts[0].name and not made:
            made.append(name)
            bases.make(reign.writer)
            reign.store.delete([name])
        return get(name, **options)

    reign.store.get = overtaken
    assert restore() == [1, 2]
    assert made


class BreakingOff:
    """An open object whose second read fails."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader, self._reads = reader, 0

    def read(self, size: int = -1) -> bytes:
        self._reads += 1
        if self._reads > 1:
            raise StoreUnavailable("the connection broke")
        return self._reader.read(size)

    def __enter__(self) -> BreakingOff:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()


def test_progress_takes_back_what_was_read_in_vain(reign: Reign, tmp_path: Path) -> None:
    with closing(connect(reign.disk.database)) as other:
        other.execute("INSERT INTO t VALUES (1000, ?)", (os.urandom(3 << 20),))
    reign.commit()
    (part,) = bases.make(reign.writer).parts
    get, told, broken = reign.store.get, [], []

    def break_off_once(name: str, **options: object):
        if name != part.name or broken:
            return get(name, **options)
        broken.append(name)
        return BreakingOff(get(name, **options))

    reign.store.get = break_off_once
    twice, built = Patience(most_questions=2), tmp_path / "built.sqlite3"
    build(reign.store, reign.last(), built, twice, lambda done, total: told.append((done, total)))
    reign.store.get = get
    assert broken
    assert told[0] == (0, part.size)
    assert (0, part.size) in told[1:]
    assert told[-1] == (part.size, part.size) == (max(told)[0], part.size)
    assert len(told) > 4
