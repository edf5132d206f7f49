"""Store and rows walked side by side: each kind of finding, and what listings may get wrong."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagerepo.catalogue.models import Image, ImageVersion
from imagerepo.durability.settle import Patience
from imagerepo.errors import StoreUnavailable
from imagerepo.reconcile.findings import Action, Code, Finding, read
from imagerepo.reconcile.survey import Survey, strangers
from imagerepo.sessions.models import StagedImage, UploadSession
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.local import LocalStore
from imagerepo.store.memory import MemoryStore
from imagerepo.store.objects import ObjectInfo, ObjectStore
from imagerepo.testing.faulty import FOR_GOOD, Fault, FaultyStore
from tests.catalogue import rows
from tests.reconcile.drift import Shuffled, X, Y, Z, add_row, ident_of, put, put_derivative
from tests.reconcile.pausing import in_thread

LATER = timedelta(hours=1)


@pytest.fixture
def backend() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(database: Path, backend: MemoryStore) -> FaultyStore:
    """Beside a fresh database."""
    return FaultyStore(Door(backend))


def survey(
    store: ObjectStore, *, grace: timedelta = -LATER, percent: float = 0.0, after: str = "", chunk: int = 3
) -> list[Finding]:
    patience = Patience(most_questions=2)
    made = Survey(store, before=datetime.now(UTC) - grace, patience=patience, percent=percent, chunk=chunk)
    try:
        return [finding for batch in made.images(after) for finding in batch.findings]
    finally:
        made.close()


def wanting(findings: Iterable[Finding]) -> list[Code]:
    return [finding.code for finding in findings if finding.wanting]


def told(findings: Iterable[Finding]) -> list[tuple[Code, str | None, Action]]:
    return [(finding.code, finding.ident, finding.action) for finding in findings]


def test_nothing_is_found_where_store_and_rows_agree(store: FaultyStore) -> None:
    assert survey(store) == []
    for content in (X, Y, Z):
        add_row(content)
        put(store, content)
        put_derivative(store, content)
    store.calls.clear()
    assert survey(store) == []
    assert [op for op, _ in store.calls] == ["list"]


def test_an_object_that_no_row_refers_to_is_an_orphan_and_so_are_its_derivatives(store: FaultyStore) -> None:
    add_row(X)
    put(store, X)
    base, derivative = put(store, Y), put_derivative(store, Y)
    found = survey(store)
    assert [(finding.code, finding.object) for finding in found] == [
        (Code.ORPHAN_BASE, base),
        (Code.ORPHAN_DERIVATIVE, derivative),
    ]
    assert {finding.action for finding in found} == {Action.DELETE_OBJECT}


def test_what_is_younger_than_the_grace_period_is_no_orphan(store: FaultyStore) -> None:
    put(store, X)
    put_derivative(store, X)
    assert survey(store, grace=LATER) == []


@pytest.mark.parametrize("state", ["staged", "merged", "retained"])
def test_what_any_row_refers_to_is_no_orphan(store: FaultyStore, state: str) -> None:
    put(store, X)
    if state == "staged":
        now = datetime.now(UTC)
        session = UploadSession.objects.create(
            owner="ann", created_at=now, expires_at=now, expires_in=1, base_revision=0
        )
        StagedImage.objects.create(session=session, ident=ident_of(X), action="add", staged_at=now)
    else:
        add_row(X, revision=7)
    if state == "retained":
        rows.remove(X.decode(), 8)
    assert survey(store) == []


def test_a_live_image_that_the_store_has_lost_is_to_be_removed(store: FaultyStore) -> None:
    lost = add_row(X)
    add_row(Y)
    put(store, Y)
    put_derivative(store, X)
    assert told(survey(store)) == [(Code.MISSING_BASE, lost, Action.REMOVE_ROW)]


class Purging(FaultyStore):
    """Whoever asks for a base learns that it is gone, and by then its rows are, too."""

    def stat(self, name: str, *, newest: bool = False) -> ObjectInfo:
        self.delete([name])
        in_thread(ImageVersion.objects.all().delete)
        return super().stat(name, newest=newest)


@pytest.mark.parametrize("listed", [False, True])
def test_of_an_image_that_is_purged_while_it_is_looked_at_no_base_is_missing(
    backend: MemoryStore, listed: bool
) -> None:
    store = Purging(Door(backend))
    ident = add_row(X)
    put(store, X)
    if listed:
        store.fail("get", "absent", name=names.base(ident), times=FOR_GOOD)
    else:
        store.fail("list", "lagging")
    assert survey(store, percent=100) == []
    assert ("delete", names.base(ident)) in store.calls


def test_an_image_of_older_revisions_that_the_store_has_lost_is_told_and_left(store: FaultyStore) -> None:
    lost = add_row(X)
    rows.remove(X.decode(), 2)
    assert told(survey(store)) == [(Code.MISSING_BASE, lost, Action.NONE)]


def test_what_only_older_revisions_show_wants_nobody_and_what_is_live_does(
    store: FaultyStore, backend: MemoryStore
) -> None:
    for content in (X, Y):
        add_row(content)
    put(store, X[::-1], names.base(ident_of(X)))
    assert sorted(wanting(survey(store))) == [Code.CORRUPT_BASE, Code.MISSING_BASE]
    for content in (X, Y):
        rows.remove(content.decode(), 2)
    put(store, Z)
    put(backend, b"?", "images/readme.txt")
    assert sorted(told(survey(store))) == sorted(
        [
            (Code.CORRUPT_BASE, ident_of(X), Action.NONE),
            (Code.FOREIGN_OBJECT, None, Action.NONE),
            (Code.MISSING_BASE, ident_of(Y), Action.NONE),
            (Code.ORPHAN_BASE, ident_of(Z), Action.DELETE_OBJECT),
        ],
    )
    assert wanting(survey(store)) == [Code.ORPHAN_BASE]


def test_a_row_without_versions_is_nobodys(store: FaultyStore) -> None:
    ident = add_row(X)
    ImageVersion.objects.all().delete()
    assert survey(store) == []
    put(store, X)
    assert told(survey(store)) == [(Code.ORPHAN_BASE, ident, Action.DELETE_OBJECT)]
    assert Image.objects.exists()


@pytest.mark.parametrize("damage", [b"longer than it was", b"same len"])
def test_a_base_of_another_size_or_md5_is_corrupt_and_left(store: FaultyStore, damage: bytes) -> None:
    ident = add_row(X)
    put(store, damage, names.base(ident))
    (finding,) = survey(store)
    assert told([finding]) == [(Code.CORRUPT_BASE, ident, Action.NONE)]
    assert "add the image again" in finding.detail


class WithoutMd5(FaultyStore):
    """As a folder is: it knows sizes only."""

    def list(self, prefix: str, *, after: str = "", foreign: bool = False):  # type: ignore[no-untyped-def]
        for info in super().list(prefix, after=after, foreign=foreign):
            yield type(info)(info.name, info.size, info.modified)


def test_only_reading_shows_that_bytes_are_others_where_the_store_knows_no_md5(
    database: Path, backend: MemoryStore
) -> None:
    store = WithoutMd5(Door(backend))
    ident = add_row(X)
    add_row(Y)
    put(store, b"same len", names.base(ident))
    put(store, Y)
    assert survey(store) == []
    (finding,) = survey(store, percent=100)
    assert told([finding]) == [(Code.CORRUPT_BASE, ident, Action.NONE)]
    assert ident_of(b"same len") in finding.detail


def test_what_a_listing_does_not_show_is_read_too(tmp_path: Path) -> None:
    store = FaultyStore(Door(LocalStore(tmp_path / "store")))  # which knows no MD5: a HEAD shows nothing wrong
    ident = add_row(X)
    put(store, b"same len", names.base(ident))
    store.fail("list", "lagging")
    (finding,) = survey(store, percent=100)
    assert told([finding]) == [(Code.CORRUPT_BASE, ident, Action.NONE)]
    assert ident_of(b"same len") in finding.detail


def test_a_sample_reads_about_as_many_as_it_says(store: FaultyStore) -> None:
    for number in range(300):
        content = b"image %d" % number
        add_row(content)
        put(store, content)
    store.calls.clear()
    assert survey(store, percent=50, chunk=100) == []
    assert 75 < [op for op, _ in store.calls].count("get") < 225


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


def test_an_orphan_that_cannot_be_asked_for_is_told(store: FaultyStore) -> None:
    name = put(store, X)
    put(store, Y)
    store.fail("stat", "refused", name=name, times=FOR_GOOD)
    assert sorted(str(finding.object) for finding in survey(store)) == sorted([name, names.base(ident_of(Y))])


def test_only_reading_shows_that_a_base_is_gone_which_is_still_listed(store: FaultyStore) -> None:
    add_row(X)
    store.delete([put(store, X)])
    store.fail("list", "phantom", times=FOR_GOOD)
    assert survey(store) == []
    assert told(survey(store, percent=100)) == [(Code.MISSING_BASE, ident_of(X), Action.REMOVE_ROW)]


def test_a_store_that_fails_is_no_store_that_has_lost_something(store: FaultyStore) -> None:
    add_row(X)
    add_row(Y)
    put(store, Y)
    for op in ("stat", "get"):
        store.fail(op, "unavailable", times=FOR_GOOD)
    with pytest.raises(StoreUnavailable):
        survey(store)


@pytest.mark.parametrize("fault", ["unavailable", "refused", "truncated"])
def test_a_base_that_cannot_be_read_while_others_can_is_corrupt_and_left(store: FaultyStore, fault: Fault) -> None:
    ident = add_row(X)
    add_row(Y)
    for content in (X, Y):
        put(store, content)
    store.fail("get", fault, name=names.base(ident), times=FOR_GOOD)
    (finding,) = survey(store, percent=100)
    assert told([finding]) == [(Code.CORRUPT_BASE, ident, Action.NONE)]
    assert "can't be read" in finding.detail
    store.heal()
    assert survey(store, percent=100) == []


@pytest.mark.parametrize("fault", ["unavailable", "refused"])
def test_a_base_of_which_the_store_answers_nothing_is_not_taken_for_lost(store: FaultyStore, fault: Fault) -> None:
    ident = add_row(X)
    store.fail("stat", fault, name=names.base(ident), times=FOR_GOOD)
    assert told(survey(store)) == [(Code.CORRUPT_BASE, ident, Action.NONE)]


@pytest.mark.parametrize("name", ["", names.IMAGES])
def test_a_store_that_lets_nobody_read_has_no_corrupt_bases(store: FaultyStore, name: str) -> None:
    """Of what is absent it may well say so, as a folder does whose files can't be read."""
    for content in (X, Y):
        add_row(content)
        put(store, content)
    store.fail("get", "unavailable", name=name, times=FOR_GOOD)
    with pytest.raises(StoreUnavailable):
        survey(store, percent=100)


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


@pytest.fixture(autouse=True)
def _database(database: Path) -> None: ...


def test_a_finding_is_read_as_it_was_written() -> None:
    finding = Finding(Code.CORRUPT_BASE, "ab" * 32, None, Action.NONE, "ümlaut\nand line")
    assert read(finding.line) == finding
    assert finding.line.count(b"\n") == 1
