"""Listings that lag, repeat, lie or are of another store."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagerepo.catalogue.models import Image, ImageVersion
from imagerepo.durability.settle import Patience
from imagerepo.reconcile.findings import Action, Code
from imagerepo.reconcile.survey import Survey, strangers
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.store.objects import ObjectInfo
from imagerepo.testing.faulty import FOR_GOOD, FaultyStore
from tests.reconcile.drift import Shuffled, X, Y, add_row, ident_of, put, put_derivative
from tests.reconcile.survey.surveying import LATER, survey, told


def test_foreign_names_are_told_and_nothing_else_is_thought_of_them(store: FaultyStore, backend: MemoryStore) -> None:
    ident = add_row(X)
    put(store, X)
    inside = ["images/readme", f"images/{ident}.tmp", f"images/{ident}-064x64.jpg"]
    outside = ["db/notes", "photos/1.jpg", "zebra", "images-old"]
    below = f"archive/{names.base(ident)}"
    for name in (*inside, *outside, below, names.owner(1)):
        backend.put(name, io.BytesIO(b"?"), media_type="text/plain")
    found = survey(store)
    assert sorted(str(finding.object) for finding in found) == sorted(inside)
    assert sorted(str(finding.object) for finding in strangers(store)) == sorted(outside)
    assert {(finding.code, finding.action) for finding in (*found, *strangers(store))} == {
        (Code.FOREIGN_OBJECT, Action.NONE)
    }


class Listed(FaultyStore):
    """Lists what it is told to."""

    listed: tuple[ObjectInfo, ...] = ()

    def list(self, prefix: str, *, after: str = "", foreign: bool = False) -> Iterator[ObjectInfo]:
        return iter(self.listed)


def test_a_foreign_name_that_is_listed_early_or_again_is_told_once(backend: MemoryStore) -> None:
    store = Listed(Door(backend))
    for content in (X, Y):
        add_row(content)
    first, last = sorted((store.stat(put(store, content)) for content in (X, Y)), key=lambda info: info.name)
    early, late = f"{names.IMAGES}!", f"{names.IMAGES}~"
    for name in (early, late):
        backend.put(name, io.BytesIO(b"?"), media_type="text/plain")
    foreign = {name: next(backend.list(name)) for name in (early, late)}
    store.listed = (first, foreign[late], foreign[early], foreign[early], last, foreign[late])
    assert [finding.object for finding in survey(store, chunk=4)] == [early, late]


@pytest.mark.parametrize("where", ["before all images", "after them", "among them"])
def test_however_many_foreign_names_there_are_a_few_are_held_at_once(
    store: FaultyStore, backend: MemoryStore, where: str
) -> None:
    contents = [b"image %d" % number for number in range(10)]
    idents = sorted(map(ident_of, contents))
    for content in contents[:-1]:
        put(store, content)
        add_row(content)
    add_row(contents[-1])
    near = {"before all images": "images/!", "after them": "images/~", "among them": f"images/{idents[5]}~"}[where]
    foreign = [f"{near}{number:03}" for number in range(100)]
    for name in foreign:
        backend.put(name, io.BytesIO(b"?"), media_type="text/plain")
    made = Survey(store, before=datetime.now(UTC), patience=Patience(most_questions=2), chunk=4)
    batches = list(made.images())
    made.close()
    found = [finding for batch in batches for finding in batch.findings]
    assert [finding.object for finding in found if finding.code == Code.FOREIGN_OBJECT] == foreign
    assert [finding.ident for finding in found if finding.code == Code.MISSING_BASE] == [ident_of(contents[-1])]
    assert max(len(batch.findings) for batch in batches) <= 4 + 1
    assert sum(batch.rows for batch in batches) == 10


def test_a_base_that_a_listing_does_not_show_is_asked_for(store: FaultyStore) -> None:
    add_row(X)
    put(store, X)
    store.fail("list", "lagging")
    assert survey(store) == []
    assert ("stat", names.base(ident_of(X))) in store.calls


def test_what_is_listed_and_gone_is_no_orphan(store: FaultyStore) -> None:
    for content in (X, Y):
        put(store, content)
        put_derivative(store, content)
    gone = [names.base(ident_of(X)), put_derivative(store, Y)]
    store.delete(gone)
    store.fail("list", "phantom", times=FOR_GOOD)
    assert {finding.object for finding in survey(store)} == {put_derivative(store, X), names.base(ident_of(Y))}
    assert {("stat", name) for name in gone} <= set(store.calls)


class Rewriting(FaultyStore):
    """Whoever asks for an object learns that it was written again this moment."""

    def stat(self, name: str, *, newest: bool = False) -> ObjectInfo:
        put(self, X, name)
        return super().stat(name, newest=newest)


def test_what_is_written_again_while_it_is_looked_at_is_no_orphan(backend: MemoryStore) -> None:
    store = Rewriting(Door(backend))
    name = put(store, X)
    assert survey(store, grace=timedelta(0)) == []
    assert store.calls.count(("put", name)) == 2


def test_it_goes_on_from_where_it_was_broken_off(store: FaultyStore, backend: MemoryStore) -> None:
    for number in range(20):
        content = b"image %d" % number
        if number % 2:
            add_row(content)
        if number % 3:
            put(store, content)
            put_derivative(store, content)
    for name in ("!", *(f"{digit}~" for digit in "0123456789abcdef"), "\N{LATIN SMALL LETTER E WITH ACUTE}"):
        backend.put(f"images/{name}", io.BytesIO(b"?"), media_type="text/plain")
    whole = survey(store)
    made = Survey(store, before=datetime.now(UTC) + LATER, patience=Patience(), chunk=3)
    batches = list(made.images())
    made.close()
    checkpoints = [number for number, batch in enumerate(batches, 1) if batch.whole]
    assert len(checkpoints) > 3
    for number in checkpoints:
        begun = [finding for batch in batches[:number] for finding in batch.findings]
        gone_on = [*begun, *survey(store, after=batches[number - 1].upto)]
        assert sorted(map(str, gone_on)) == sorted(map(str, whole))


def test_another_store_is_told_from_one_that_lost_some(store: FaultyStore) -> None:
    made = Survey(store, before=datetime.now(UTC), patience=Patience())
    assert not made.finds_nothing()
    for number in range(30):
        add_row(b"image %d" % number)
    put(store, X)
    assert made.finds_nothing()
    put(store, b"image 17")
    assert not made.finds_nothing()
    made.close()


def test_a_store_that_lost_a_whole_folder_is_no_other_one(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local one shards by the first digits."""
    monkeypatch.setattr("imagerepo.reconcile.survey.MOST_ASKED_FOR", 10)
    contents = sorted((b"image %d" % number for number in range(60)), key=ident_of)
    for content in contents:
        add_row(content)
    made = Survey(store, before=datetime.now(UTC), patience=Patience())
    assert made.finds_nothing()
    asked = [name for op, name in store.calls if op == "stat"]
    assert 5 < len(asked) <= 10
    for content in contents[20:]:
        put(store, content)
    assert not made.finds_nothing()
    made.close()


CONTENTS = [b"%02d" % number for number in range(12)]


@settings(max_examples=60, deadline=None)
@given(
    known=st.sets(st.sampled_from(CONTENTS)),
    stored=st.sets(st.sampled_from(CONTENTS)),
    order=st.lists(st.integers(0, 40), max_size=60),
    chunk=st.integers(1, 5),
)
def test_a_listing_may_miss_repeat_and_go_back_as_it_likes(
    known: set[bytes], stored: set[bytes], order: list[int], chunk: int
) -> None:
    """Nothing that is there is called missing, nothing that a row knows an orphan; a sound one shows all."""
    ImageVersion.objects.all().delete()
    Image.objects.all().delete()
    store = Door(MemoryStore())
    for content in known:
        add_row(content)
    for content in stored:
        put(store, content)
    missing = {(Code.MISSING_BASE, ident_of(content)) for content in known - stored}
    orphans = {(Code.ORPHAN_BASE, ident_of(content)) for content in stored - known}
    assert {finding[:2] for finding in told(survey(store, chunk=chunk))} == missing | orphans
    seen = {finding[:2] for finding in told(survey(Shuffled(store, order), chunk=chunk))}  # type: ignore[arg-type]
    assert missing <= seen <= missing | orphans
