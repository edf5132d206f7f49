"""Bases that are others, or fail, and stores that do."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagerepo.errors import StoreUnavailable
from imagerepo.reconcile.findings import Action, Code
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.local import LocalStore
from imagerepo.store.memory import MemoryStore
from imagerepo.testing.faulty import FOR_GOOD, Fault, FaultyStore
from tests.reconcile.drift import X, Y, add_row, ident_of, put
from tests.reconcile.survey.surveying import survey, told


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
