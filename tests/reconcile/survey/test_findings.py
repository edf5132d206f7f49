"""What store and rows say of each other, and what of it is found."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from imagerepo.catalogue.models import Image, ImageVersion
from imagerepo.reconcile.findings import Action, Code, Finding, read
from imagerepo.sessions.models import StagedImage, UploadSession
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.store.objects import ObjectInfo
from imagerepo.testing.faulty import FOR_GOOD, FaultyStore
from tests.catalogue import rows
from tests.reconcile.drift import X, Y, Z, add_row, ident_of, put, put_derivative
from tests.reconcile.pausing import in_thread
from tests.reconcile.survey.surveying import LATER, survey, told, wanting


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


def test_a_finding_is_read_as_it_was_written() -> None:
    finding = Finding(Code.CORRUPT_BASE, "ab" * 32, None, Action.NONE, "ümlaut\nand line")
    assert read(finding.line) == finding
    assert finding.line.count(b"\n") == 1
