"""What a restore proves, and what is left to bases, drills and `--to-last-good`, which look at every page."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
from django.db import connection

from imagerepo.durability import bases, chain, deltas, drill, restore
from imagerepo.durability.choosing import Wanted, restore_wanted
from imagerepo.durability.records import Header, encode
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from tests.durability.node import A, B, Node

ONCE = Patience(most_questions=1)


Pages: TypeAlias = Mapping[int, bytes | memoryview]


@contextmanager
def cutting_badly(spoil: Callable[[Pages], Pages]) -> Iterator[None]:
    """Records are cut with right digests, and wrong pages."""
    pack = deltas.pack
    with pytest.MonkeyPatch.context() as bug:
        bug.setattr(deltas, "pack", lambda pages: pack(spoil(pages)))
        yield


@pytest.fixture
def badly_cut(node: Node) -> Header:
    """The newest record of a chain: all but its first page are zeros."""
    node.commit(A)
    with cutting_badly(lambda pages: {n: page if n == 1 else bytes(len(page)) for n, page in pages.items()}):
        node.commit(B)
    return next(node.writer.snapshots())


def test_a_drill_names_what_was_badly_cut(node: Node, badly_cut: Header) -> None:
    result = drill.run(bases.restored(node.writer, ONCE), node.store, ONCE)
    assert not result.whole
    assert badly_cut.name in result.problems[0]


def test_no_base_is_made_of_what_was_badly_cut(node: Node, badly_cut: Header) -> None:
    with pytest.raises(Damaged, match=badly_cut.name):
        bases.make(node.writer)
    assert not [info.name for info in node.store.list(names.DB) if "base-" in info.name]


def test_to_the_last_good_goes_back_behind_what_was_badly_cut(node: Node, badly_cut: Header, tmp_path: Path) -> None:
    told: list[str] = []
    found = restore_wanted(
        node.store, badly_cut.epoch + 1, tmp_path / "found.sqlite3", Wanted(to_last_good=True), ONCE, tell=told.append
    )
    assert found.snapshot.header.name == badly_cut.parent.name
    assert badly_cut.name in told[0]


def test_a_start_names_rows_that_it_can_not_use(node: Node, badly_cut: Header) -> None:
    node.lose_disk()
    with pytest.raises(Damaged, match=badly_cut.name):
        node.start()


def test_a_record_without_its_first_page_is_named(node: Node) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE padding (content)")
        node.commit(A)
        cursor.execute("INSERT INTO padding VALUES (zeroblob(100000))")
    with cutting_badly(lambda pages: {n: page for n, page in pages.items() if n != 1}):
        node.commit(B)
    name = next(node.writer.snapshots()).name
    node.lose_disk()
    with pytest.raises(Damaged, match=f"{name} .*pages, and should have"):
        node.start()


@pytest.mark.parametrize("size", [0, 4095, 4097])
@pytest.mark.parametrize("is_base", [False, True])
def test_a_record_with_another_size_of_pages_is_named(node: Node, size: int, is_base: bool, tmp_path: Path) -> None:
    node.commit(A)
    if is_base:
        bases.make(node.writer)
    record = chain.follow(node.store, node.writer.state.final.link, ONCE)
    end = replace(record, header=record.header.model_copy(update={"page_size": size}))
    with pytest.raises(Damaged, match=f"{end.header.name} was not cut as it should be: .* {size}"):
        restore.restore(node.store, end, tmp_path / "found.sqlite3", ONCE)


@pytest.mark.parametrize("what", ["gap", "overlap", "missing", "short"])
def test_parts_that_make_no_whole_file_are_named(node: Node, store: ObjectStore, what: str) -> None:
    (opening,) = node.writer.snapshots()
    (part,) = opening.parts
    half = part.model_copy(update={"size": part.size // 2})
    parts = {
        "gap": (part.model_copy(update={"offset": 4096}),),
        "overlap": (part, part),
        "missing": (),
        "short": (half,),
    }[what]
    record = encode(opening.model_copy(update={"parts": parts}))
    store.put(opening.name, io.BytesIO(record), media_type="x/y")
    node.lose_disk()
    with pytest.raises(Damaged, match=opening.name):
        node.start()


def test_a_thorough_restore_compares_the_whole_base_with_its_digest(node: Node, tmp_path: Path) -> None:
    (opening,) = node.writer.snapshots()
    record = encode(opening.model_copy(update={"payload_digest": "0" * 64}))
    node.store.put(opening.name, io.BytesIO(record), media_type="x/y")
    end = chain.read(node.store, opening.name, ONCE)
    restore.restore(node.store, end, tmp_path / "plain.sqlite3", ONCE)
    with pytest.raises(Damaged, match="digest"):
        restore.restore(node.store, end, tmp_path / "thorough.sqlite3", ONCE, thorough=True)
