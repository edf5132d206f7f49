"""What a long log costs in memory: about itself, once, at its cut; and less where it is sent, and restored."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection

from imagerepo.durability import chain, restore
from imagerepo.durability.settle import Patience, Stopped
from imagerepo.durability.writer import Writer
from imagerepo.store.door import Door
from imagerepo.store.local import LocalStore
from imagerepo.testing.faulty import FOR_GOOD, FaultyStore
from tests.durability.node import Node

MB = 1 << 20
LOG_BYTES = 40 * MB
ONCE = Patience(most_questions=1)
COMPRESSIBLE = b"what many rows have in common "


@pytest.fixture
def grown(tmp_path: Path) -> Iterator[Node]:
    """A node whose log has grown: its store keeps nothing in memory."""
    node = Node(tmp_path / "grown", Door(LocalStore(tmp_path / "store"))).start()
    yield node
    node.die()


def fill_log(node: Node, content: Callable[[], bytes]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE filling (content)")
        while node.writer.log_bytes() < LOG_BYTES:
            cursor.execute("INSERT INTO filling VALUES (%s)", [content()])


def peak_of(act: Callable[[], object]) -> float:
    """What it took at most, as a share of the log."""
    gc.collect()
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1] / LOG_BYTES
    finally:
        tracemalloc.stop()


def test_a_cut_takes_a_long_log_into_memory_once(grown: Node) -> None:
    fill_log(grown, lambda: os.urandom(MB))  # the worst: packed it is as long
    assert peak_of(lambda: grown.writer.ship(head=0, head_after=0)) < 1.4


def test_what_is_owed_is_sent_without_taking_it_into_memory(grown: Node) -> None:
    fill_log(grown, lambda: os.urandom(MB))
    down, stopped = FaultyStore(grown.store), threading.Event()
    down.fail("put", "unavailable", times=FOR_GOOD)
    stopped.set()
    with pytest.raises(Stopped):
        Writer(grown.started.disk, down, stop=stopped).ship(head=0, head_after=0)
    assert peak_of(grown.writer.settle_outbox) < 0.2
    assert not grown.writer.owes()


def test_a_restore_takes_in_no_more_than_what_is_stored(grown: Node, tmp_path: Path) -> None:
    fill_log(grown, lambda: COMPRESSIBLE * 5000)
    grown.writer.ship(head=0, head_after=0)
    final = grown.writer.state.final

    def restored() -> None:
        end = chain.follow(grown.store, final.link, ONCE)
        restore.restore(grown.store, end, tmp_path / "restored.sqlite3", ONCE)

    assert peak_of(restored) < 0.3
