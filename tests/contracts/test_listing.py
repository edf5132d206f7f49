"""What the seam promises of listings, of every backend."""

from __future__ import annotations

import io
from typing import get_args

import pytest

from imagerepo.errors import InvalidName
from imagerepo.store import names
from imagerepo.store.names import Variant
from imagerepo.store.objects import ObjectStore
from tests.contracts.objects import BASE, IDENT, RECORD, SMALL, WRITER, listed, put


class TestList:
    NAMES = (
        names.record(1, WRITER, 0),
        names.record(1, WRITER, 10),
        names.record(1, WRITER, 2),
        names.manifest(1, WRITER, 0),
        names.part(1, WRITER, IDENT),
        names.owner(1),
        names.record(10, WRITER, 0),
        names.owner(10),
        names.base("0" * 64),
        BASE,
        SMALL,
        names.derivative(IDENT, Variant(8, 8, "jpg")),
        names.base("ab" * 31 + "ac"),
        names.base("ff" * 32),
        names.FIXITY,
    )

    def test_the_names_below_are_of_every_kind_of_object(self) -> None:
        assert {type(names.parse(name)) for name in self.NAMES} == set(get_args(names.Name)) - {names.Epoch}

    def test_an_empty_store_lists_nothing(self, store: ObjectStore) -> None:
        assert listed(store) == []
        assert listed(store, "images/") == []

    def test_names_come_sorted_by_code_point_whatever_the_prefix(self, store: ObjectStore) -> None:
        for name in reversed(self.NAMES):
            put(store, name, b"content")
        prefixes = {name[:end] for name in self.NAMES for end in (0, 3, 4, 6, 7, 8, 9, 10, 40, 71, 72, 80, 200)}
        for prefix in prefixes | {"x", "db/2", "images/zz", "dbx", "reports/x"}:
            assert listed(store, prefix) == sorted(name for name in self.NAMES if name.startswith(prefix))

    def test_it_goes_on_after_any_name(self, store: ObjectStore) -> None:
        for name in self.NAMES:
            put(store, name, b"content")
        for after in (*self.NAMES, "a", "db/1-", "db/1-00ff00ff00ff00ff/", "db/1/", "images/ab", "images/z", "z"):
            for prefix in ("", "images/", "db/1", "reports/", f"{BASE}-"):
                expected = sorted(name for name in self.NAMES if name.startswith(prefix) and name > after)
                assert listed(store, prefix, after=after) == expected

    def test_what_is_not_a_name_is_left_out(self, store: ObjectStore, backend: ObjectStore) -> None:
        put(store, BASE, b"content")
        for stray in ("images/stray", f"{BASE}-064x64.jpg", "db/1/owner.old", "db/notes"):
            backend.put(stray, io.BytesIO(b"stray"), media_type="text/plain")
        assert listed(store) == [BASE]

    def test_what_is_not_a_name_is_shown_to_whoever_asks_for_it(self, store: ObjectStore, backend: ObjectStore) -> None:
        strays = {"a stray", "db/notes", "images/stray", f"{BASE}.tmp", f"{BASE}-064x64.jpg", "images-old/x", "z"}
        for name in (BASE, RECORD, *strays):
            backend.put(name, io.BytesIO(b"content"), media_type="text/plain")
        store.create_exclusive("epochs/1")
        shown = [info.name for info in store.list("", foreign=True)]
        assert set(shown) == {BASE, RECORD, *strays}
        of_grammar = [name for name in shown if name not in strays]
        assert of_grammar == sorted(of_grammar)
        assert {info.name for info in store.list("images/", after=f"{BASE}-", foreign=True)} == {
            f"{BASE}-064x64.jpg", f"{BASE}.tmp", "images/stray"
        }  # fmt: skip
        with pytest.raises(InvalidName):
            store.delete([f"{BASE}.tmp"])

    def test_epochs_are_not_listed(self, store: ObjectStore) -> None:
        store.create_exclusive("epochs/1")
        assert listed(store) == []
        assert listed(store, "epochs/") == []

    def test_objects_may_go_while_it_runs(self, store: ObjectStore) -> None:
        put(store, BASE, b"content")
        put(store, SMALL, b"content")
        listing = store.list("")
        assert next(listing).name == BASE
        store.delete([SMALL])
        assert [info.name for info in listing] in ([], [SMALL])
