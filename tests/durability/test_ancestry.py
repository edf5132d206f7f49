"""What of older epochs no restore can reach, and that everything else is left alone."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagerepo.durability import ancestry, bases, chain, epochs, retention
from imagerepo.durability.settle import Patience
from imagerepo.errors import StoreUnavailable
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectStore
from imagerepo.testing.faulty import FaultyStore
from tests.durability.node import A, B, C, NewNode, Node

OTHER = "0123456789abcdef"


def unreachable(node: Node, *, before: datetime | None = None) -> list[str]:
    """Of what was written before that moment; else of everything."""
    moment = before or datetime.now(UTC) + timedelta(hours=1)
    found = ancestry.unreachable(node.store, node.writer.state, moment, Patience(most_questions=2))
    return [info.name for info in found]


def abandoned(node: Node) -> list[str]:
    """What pruning would delete besides what lies behind a base."""
    end, now = chain.follow(node.store, node.writer.state.final.link, Patience()), datetime.now(UTC)
    hour = timedelta(hours=1)
    planned = retention.plan(node.store, end, now - hour, Patience(most_questions=2), abandoned=now + hour)
    return [info.name for info in planned.objects]


def copy(store: ObjectStore, source: str, target: str) -> str:
    """Let another writer have written what `source` holds."""
    with store.get(source) as reader:
        store.put(target, io.BytesIO(reader.read()), media_type="application/octet-stream")
    return target


def restart(node: Node) -> Node:
    node.die()
    return node.start()


def test_all_that_a_restore_may_read_is_reached(node: Node) -> None:
    node.commit(A)
    bases.make(node.writer)
    node.commit(B)
    node.lose_disk()
    node.start()
    node.commit(C)
    assert unreachable(node) == []
    assert unreachable(restart(node)) == []


def test_to_know_that_every_part_is_named_few_records_are_read(node: Node, store: FaultyStore) -> None:
    for number in range(20):
        node.commit(f"{number:064x}")
    bases.make(node.writer)
    restart(node)
    before = len(store.calls)
    assert unreachable(node) == []
    assert [op for op, _ in store.calls[before:]].count("get") < 10


def test_of_an_epoch_with_a_damaged_snapshot_no_part_is_unnamed(node: Node, store: ObjectStore) -> None:
    node.commit(A)
    manifest = bases.make(node.writer)
    unnamed = names.part(manifest.epoch, manifest.writer, "f" * 64)
    store.put(unnamed, io.BytesIO(b"a part"), media_type="x/y")
    restart(node)
    assert unreachable(node) == [unnamed]
    store.put(manifest.name, io.BytesIO(b"nothing"), media_type="x/y")
    assert unreachable(node) == []


def test_a_record_that_landed_too_late_is_off(node: Node, store: ObjectStore) -> None:
    node.commit(A)
    last = node.writer.state.final
    restart(node)
    late = copy(store, last.name, names.record(last.epoch, last.writer, last.seq + 1))
    assert unreachable(node) == [late]
    assert unreachable(node, before=datetime.now(UTC) - timedelta(hours=1)) == []
    restart(node)
    assert unreachable(node) == [late]


def test_a_reign_that_nobody_continued_is_off_with_all_that_it_left(node: Node, store: ObjectStore) -> None:
    opening = node.writer.state.final
    epochs.claim(store, Patience())
    restart(node)
    assert node.writer.state.epoch == opening.epoch + 2
    part = chain.read(store, opening.name, Patience()).header.parts[0]
    left = [
        copy(store, opening.name, names.record(opening.epoch + 1, OTHER, 0)),
        copy(store, part.name, names.part(opening.epoch + 1, OTHER, part.digest)),
        copy(store, part.name, names.part(opening.epoch, OTHER, part.digest)),
    ]
    copy(store, opening.name, names.owner(opening.epoch + 1))
    assert unreachable(node) == sorted(left)


def test_a_part_that_no_base_names_is_off_and_those_that_one_names_are_not(node: Node, store: ObjectStore) -> None:
    node.commit(A)
    manifest = bases.make(node.writer)
    epoch, writer = manifest.epoch, manifest.writer
    unfinished = copy(store, manifest.parts[0].name, names.part(epoch, writer, "d" * 64))
    assert unreachable(node) == [], "it may be under way in this reign"
    assert unreachable(restart(node)) == [unfinished]


def test_an_old_part_stays_until_its_epoch_is_over_as_long(node: Node, store: ObjectStore) -> None:
    """Its manifest may have been sent the moment before, and land a moment after."""
    node.commit(A)
    manifest = bases.make(node.writer)
    unfinished = copy(store, manifest.parts[0].name, names.part(manifest.epoch, manifest.writer, "d" * 64))
    still_open = datetime.now(UTC)
    restart(node)
    over = datetime.now(UTC)
    assert unreachable(node, before=still_open) == []
    assert unreachable(node, before=over) == [unfinished]
    restart(node)
    assert unreachable(node, before=over) == [unfinished]


def test_a_part_stays_as_long_as_a_record_that_names_it_also_one_that_landed_too_late(
    new_node: NewNode, store: ObjectStore
) -> None:
    first, second = new_node().start(), new_node()
    first.commit(A)
    first.doubt_the_log()
    first.commit(B)
    late = next(first.writer.snapshots())
    with store.get(late.name) as reader:
        content = reader.read()
    store.delete([late.name])
    first.die()
    second.start()
    moment, parts = datetime.now(UTC), [part.name for part in late.parts]
    store.put(late.name, io.BytesIO(content), media_type="application/octet-stream")
    assert parts
    assert unreachable(second, before=moment) == [], "the record is too young to go"
    assert unreachable(second) == sorted([late.name, *parts])
    assert abandoned(second) == [], "pruning leaves the record where it is"
    store.delete([late.name])
    assert abandoned(second) == unreachable(second) == parts


def test_what_a_lagging_listing_does_not_show_still_names_its_parts(node: Node, store: ObjectStore) -> None:
    node.commit(A)
    manifest = bases.make(node.writer)
    restart(node)
    parts = [info for info in store.list(names.DB) if isinstance(names.parse(info.name), names.Part)]
    later = datetime.now(UTC) + timedelta(hours=1)
    assert {part.name for part in manifest.parts} <= {info.name for info in parts}
    assert ancestry.abandoned(store, node.writer.state, parts, later, Patience(most_questions=2)) == []


def test_epochs_that_pruning_has_begun_to_take_are_left_to_it(node: Node, store: ObjectStore) -> None:
    node.commit(A)
    first = node.writer.state.final
    restart(node)
    node.commit(B)
    second = node.writer.state.final
    restart(node)
    late = copy(store, first.name, names.record(first.epoch, OTHER, 9))
    store.delete([names.record(second.epoch, second.writer, 0)])
    assert unreachable(node) == []
    copy(store, first.name, names.record(second.epoch, second.writer, 0))
    with pytest.raises(Exception, match="says that it is"):
        unreachable(node)
    assert late


class Listing:
    """`store`, whose listing shows the objects `more` as well, and breaks off before one of them, once."""

    def __init__(self, store: ObjectStore, more: Iterable[str], *, breaks_before: str = "") -> None:
        self._store, self._more, self._breaks_before = store, more, breaks_before

    def __getattr__(self, op: str) -> Any:
        return getattr(self._store, op)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        yield from self._store.list(prefix)
        for name in self._more:
            if name == self._breaks_before:
                self._breaks_before = ""
                raise StoreUnavailable("the listing broke off", op="list", name=prefix)
            yield ObjectInfo(name, 1, datetime.now(UTC))


@pytest.mark.parametrize("reign", ["this one", "the one before"])
def test_however_many_records_the_ancestry_has_few_are_held_at_once(node: Node, store: ObjectStore, reign: str) -> None:
    node.commit(A)
    before = node.writer.state.final
    restart(node)
    of = node.writer.state.final if reign == "this one" else before
    seqs = range(1, 20_001) if reign == "this one" else [before.seq] * 20_000
    many = Listing(store, (names.record(of.epoch, of.writer, seq) for seq in seqs))
    later = datetime.now(UTC) + timedelta(hours=1)
    tracemalloc.start()
    try:
        assert ancestry.unreachable(many, node.writer.state, later, Patience(most_questions=2)) == []
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_listing_that_breaks_off_is_begun_anew(node: Node, store: ObjectStore) -> None:
    node.commit(A)
    last = node.writer.state.final
    restart(node)
    off = [names.record(last.epoch, last.writer, last.seq + more) for more in (1, 2)]
    broken = Listing(store, off, breaks_before=off[1])
    later = datetime.now(UTC) + timedelta(hours=1)
    found = ancestry.unreachable(broken, node.writer.state, later, Patience(most_questions=2))
    assert [info.name for info in found] == off


@pytest.mark.parametrize("reigns", [1, 4])
def test_deleting_what_is_off_harms_no_restore(new_node: NewNode, store: ObjectStore, reigns: int) -> None:
    node = new_node().start()
    for number in range(reigns):
        node.commit(f"{number:064x}")
        last = node.writer.state.final
        node.lose_disk()
        node.start()
        copy(store, last.name, names.record(last.epoch, last.writer, last.seq + 1))
    off = unreachable(node)
    assert len(off) == reigns
    store.delete(off)
    node.lose_disk()
    assert node.start().live() == {f"{number:064x}" for number in range(reigns)}
    assert unreachable(node) == []
