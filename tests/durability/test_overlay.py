"""What is laid over a base comes to what applying its deltas one by one would."""

from __future__ import annotations

import io
import os
import random
import struct
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path

import pytest
import zstandard
from django.db import connection
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imagerepo.durability import bases, chain, deltas, fetching, pages, restore
from imagerepo.durability.checks import quick_check
from imagerepo.durability.overlay import Overlay
from imagerepo.durability.records import Header, Part, Position, digest
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged, DiskFails
from imagerepo.store import names
from imagerepo.store.memory import MemoryStore
from tests.durability.node import A, B, C, Node

ONCE = Patience(most_questions=1)
PAGE_BYTES = 100_000
"""No buffer ends where a page does."""
MOST_PAGES = 9


@dataclass(frozen=True)
class Change:
    """The pages of one delta, by number."""

    page_count: int
    changed: frozenset[int]

    def pages(self, version: int) -> dict[int, memoryview]:
        return {number: memoryview(page(number, version)) for number in self.changed if number <= self.page_count}


def page(number: int, version: int) -> bytes:
    return random.Random(number * 1000 + version).randbytes(PAGE_BYTES)


CHANGES = st.builds(Change, st.integers(1, MOST_PAGES), st.frozensets(st.integers(1, MOST_PAGES)))
CUTS = st.frozensets(st.integers(1, MOST_PAGES * PAGE_BYTES) | st.sampled_from(range(PAGE_BYTES, 900_000, PAGE_BYTES)))
EVERY = frozenset(range(1, MOST_PAGES + 1))


class Chain:
    """A base in parts, in a store, and deltas after it."""

    def __init__(self, page_count: int, changes: list[Change], cuts: frozenset[int]) -> None:
        self.store = MemoryStore()
        self.content = b"".join(page(number, 0) for number in range(1, page_count + 1))
        ends = [0, *sorted(cut for cut in cuts if cut < len(self.content)), len(self.content)]
        self.base = _header(0, page_count, b"", tuple(self._put(first, last) for first, last in pairwise(ends)))
        self.changes = [change.pages(version) for version, change in enumerate(changes, 1)]
        self.payloads = [b"".join(deltas.pack(changed)) for changed in self.changes]
        self.headers = [
            _header(seq, change.page_count, payload)
            for seq, (change, payload) in enumerate(zip(changes, self.payloads, strict=True), 1)
        ]

    def _put(self, first: int, last: int) -> Part:
        packed = zstandard.compress(self.content[first:last])
        name = names.part(1, "f" * 16, digest(packed))
        self.store.put(name, io.BytesIO(packed), media_type="x/y")
        return Part(name=name, digest=digest(packed), offset=first, size=last - first, stored=len(packed))

    def one_by_one(self, target: Path) -> bytes:
        target.write_bytes(self.content)
        for header, changed in zip(self.headers, self.changes, strict=True):
            pages.write_pages(target, changed, header.page_count, PAGE_BYTES, sync=False)
        return target.read_bytes()

    def laid(self, target: Path, *, afterwards: bool = False) -> bytes:
        """Made as a restore does; `afterwards`: as a thorough one, on the whole base."""
        end = self.headers[-1] if self.headers else self.base
        with Overlay(target.with_name("scratch"), end) as overlay:
            for header, payload in zip(self.headers[::-1], self.payloads[::-1], strict=True):
                overlay.add(header, payload)
            lay = fetching.unchanged if afterwards else overlay.lay
            fetching.fetch(self.store, self.base, target, ONCE, fetching.unseen, lay)
            assert not afterwards or target.read_bytes() == self.content
            overlay.finish(target, laid_on=0 if afterwards else self.base.page_count)
        return target.read_bytes()


def _header(seq: int, page_count: int, payload: bytes, parts: tuple[Part, ...] = ()) -> Header:
    nowhere = Position(salts="0" * 16, frame=0, checksum="0" * 16)
    return Header(
        repository="tests", kind="base" if parts else "delta", epoch=1, writer="f" * 16, seq=seq, sequence=seq + 1,
        created_at=datetime.now(UTC), page_size=PAGE_BYTES, page_count=page_count, head=0, head_after=0,
        payload_digest=digest(payload), position=nowhere, following=nowhere, parent=None, parts=parts,
        payload_bytes=len(payload),
    )  # fmt: skip


@settings(deadline=None)
@given(st.integers(1, MOST_PAGES), st.lists(CHANGES, max_size=5), CUTS)
@example(4, [Change(4, frozenset({2})), Change(4, frozenset({2, 3})), Change(4, frozenset({3}))], frozenset())
@example(4, [Change(9, EVERY)], frozenset({150_000}))  # grown
@example(9, [Change(3, frozenset({1, 3}))], frozenset({450_000}))  # cut off, with a whole part
@example(9, [Change(3, EVERY), Change(8, frozenset({5}))], frozenset())  # grown again: the rest is of no delta
@example(4, [Change(4, EVERY), Change(2, frozenset()), Change(6, frozenset({6}))], frozenset({200_000}))
@example(4, [Change(4, EVERY)], frozenset({150_000, 200_000, 399_999}))  # pages across borders, and at one
def test_a_base_with_its_deltas_laid_over_is_what_they_make_one_by_one(
    page_count: int, changes: list[Change], cuts: frozenset[int]
) -> None:
    made = Chain(page_count, changes, cuts)
    with tempfile.TemporaryDirectory() as name:
        target = Path(name) / "restored"
        expected = made.one_by_one(target)
        assert made.laid(target) == expected
        assert made.laid(target, afterwards=True) == expected


def test_nothing_is_left_of_the_pages(tmp_path: Path) -> None:
    Chain(2, [Change(2, EVERY)], frozenset()).laid(tmp_path / "restored")
    assert list(tmp_path.iterdir()) == [tmp_path / "restored"]


def test_a_part_that_is_cut_off_is_proven_too(tmp_path: Path) -> None:
    made = Chain(4, [Change(1, EVERY)], frozenset({200_000}))
    made.store.put(made.base.parts[1].name, io.BytesIO(zstandard.compress(bytes(200_000))), media_type="x/y")
    with pytest.raises(Damaged, match=made.base.name):
        made.laid(tmp_path / "restored")


def test_a_part_that_is_too_long_is_written_to_no_other_place(tmp_path: Path) -> None:
    made = Chain(4, [], frozenset({200_000}))
    made.store.put(made.base.parts[1].name, io.BytesIO(zstandard.compress(bytes(300_000))), media_type="x/y")
    with pytest.raises(Damaged, match=made.base.name):
        made.laid(tmp_path / "restored", afterwards=True)
    assert (tmp_path / "restored").stat().st_size == len(made.content)


def test_pages_that_the_disk_lost_are_noticed(tmp_path: Path) -> None:
    made = Chain(2, [Change(2, EVERY)], frozenset())
    with Overlay(tmp_path / "scratch", made.headers[0]) as overlay:
        overlay.add(made.headers[0], made.payloads[0])
        os.truncate(tmp_path / "scratch", PAGE_BYTES)
        with pytest.raises(DiskFails, match="scratch"):
            overlay.lay(memoryview(bytearray(2 * PAGE_BYTES)), 0)


@pytest.mark.parametrize("thorough", [False, True])
def test_a_database_that_shrank_and_grew_again_is_restored(node: Node, tmp_path: Path, thorough: bool) -> None:
    pad(500_000)
    node.commit(A)
    bases.make(node.writer)
    pad(0)
    node.commit(B)
    pad(300_000)
    node.commit(C)
    grown, shrunk, padded = (header.page_count for header in islice(node.writer.snapshots(), 3))
    assert shrunk < grown < padded
    end = chain.follow(node.store, node.writer.state.final.link, ONCE)
    restore.restore(node.store, end, tmp_path / "found.sqlite3", ONCE, thorough=thorough)
    quick_check(tmp_path / "found.sqlite3")
    node.lose_disk()
    assert node.start().live() == {A, B, C}


def pad(size: int) -> None:
    """Let the database be so many bytes longer than its rows need."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS padding")
        cursor.execute("VACUUM")
        cursor.execute("CREATE TABLE padding (content)")
        cursor.execute("INSERT INTO padding VALUES (zeroblob(%s))", [size])


def test_a_payload_is_what_the_format_says() -> None:
    changed = {7: page(7, 1), 2: page(2, 1)}
    as_described = struct.pack(">III", 2, 2, 7) + changed[2] + changed[7]
    assert zstandard.decompress(b"".join(deltas.pack(changed))) == as_described


BADLY_CUT = {
    "not compressed": b"pages",
    "cut short": zstandard.compress(struct.pack(">II", 1, 1) + bytes(PAGE_BYTES))[:-1],
    "empty": zstandard.compress(b""),
    "fewer pages": zstandard.compress(struct.pack(">III", 2, 1, 2) + bytes(PAGE_BYTES)),
    "more pages": zstandard.compress(struct.pack(">II", 1, 1) + bytes(2 * PAGE_BYTES)),
    "more than there are": zstandard.compress(struct.pack(">I", 0xFFFFFFFF) + bytes(4 * PAGE_BYTES)),
}


@pytest.mark.parametrize("payload", BADLY_CUT.values(), ids=BADLY_CUT)
def test_a_payload_that_was_badly_cut_is_named(payload: bytes, tmp_path: Path) -> None:
    header = _header(1, 2, payload)
    with Overlay(tmp_path / "scratch", header) as overlay, pytest.raises(Damaged, match=header.name) as raised:
        overlay.add(header, payload)
    assert raised.value.name == header.name
