"""What is shipped: what changed and no more, and not before it is on the disk."""

from __future__ import annotations

import io

import pytest
from django.db import connection

from imagerepo.errors import Fenced, StoreUnavailable
from imagerepo.sessions import lane
from imagerepo.sessions.models import State
from imagerepo.store import names
from imagerepo.testing.faulty import FaultyStore
from tests.durability.node import A, B, C, Node

NORMAL, FULL = 1, 2
"""Of the pragma `synchronous`."""


def test_the_chain_reads_back_to_its_beginning(node: Node) -> None:
    node.commit(A)
    node.commit(B)
    node.lose_disk()
    node.start()
    headers = list(node.writer.snapshots())
    assert [header.sequence for header in headers] == [4, 3, 2, 1]
    assert [header.head_after for header in headers] == [2, 2, 1, 0]
    assert [header.epoch for header in headers] == [2, 1, 1, 1]
    assert headers[-1].parent is None


def test_listing_snapshots_does_not_wait_for_a_store_that_fails(node: Node, store: FaultyStore) -> None:
    store.fail("get", "unavailable", name="db/", times=100)
    with pytest.raises(StoreUnavailable):
        next(node.writer.snapshots())


def test_commits_ship_what_they_changed_and_no_more(node: Node) -> None:
    for number in range(4):
        node.commit(f"{number:064x}")
    headers = list(node.writer.snapshots())
    assert [header.kind for header in headers] == ["delta"] * 4 + ["base"]
    database = headers[0].page_count * headers[0].page_size
    assert all(header.payload_bytes < database / 10 for header in headers[:4])


def test_a_start_ships_a_delta_too(node: Node) -> None:
    node.commit(A)
    node.die()
    node.start()
    assert next(node.writer.snapshots()).kind == "delta"
    node.lose_disk()
    node.start()
    assert next(node.writer.snapshots()).kind == "delta"
    assert node.live() == {A}


def test_a_log_in_doubt_costs_a_base_and_nothing_else(node: Node) -> None:
    node.commit(A)
    node.doubt_the_log()
    node.commit(B)
    assert next(node.writer.snapshots()).kind == "base"
    node.commit(C)
    assert next(node.writer.snapshots()).kind == "delta"
    node.lose_disk()
    assert node.start().live() == {A, B, C}


def test_a_snapshot_is_made_only_if_something_changed(node: Node) -> None:
    node.commit(A)
    first, _ = lane.snapshot(node.writer)
    again, created = lane.snapshot(node.writer)
    assert not created
    assert again.name == first.name
    node.stage(B, state=State.OPEN)
    newest, created = lane.snapshot(node.writer)
    assert created
    assert newest.sequence == first.sequence + 1
    assert node.live() == {A}


def test_merges_are_synced_before_their_record_is_sent(node: Node) -> None:
    """With synchronous=NORMAL a power cut could keep the record and lose the rows."""
    levels = []

    def watch(execute, sql, params, many, context):
        answer = execute(sql, params, many, context)
        if sql.startswith(('INSERT INTO "imagerepo_revision"', 'UPDATE "imagerepo_head"')):
            row = connection.connection.execute("PRAGMA synchronous").fetchone()
            levels.append((sql.split()[0], row[0]))
        return answer

    with connection.execute_wrapper(watch):
        node.commit(A)
    assert levels == [("INSERT", FULL), ("UPDATE", NORMAL)]


def test_other_bytes_under_its_next_name_stop_a_writer_for_good(node: Node, store: FaultyStore) -> None:
    """Sent again, its own would go over them: two writers would share an epoch, and one lose what it told."""
    node.commit(A)
    state = node.writer.state
    name = names.record(state.epoch, state.writer, state.final.seq + 1)
    store.put(name, io.BytesIO(b"another's"), media_type="x/y")
    store.fail("put", "cut-before", name=name)
    with pytest.raises(Fenced, match=f"{name} holds other bytes"):
        node.commit(B)
    for step in (lane.run, lane.heal, lane.snapshot, lane.base):
        with pytest.raises(Fenced, match="other bytes"):
            step(node.writer)
    with store.get(name) as reader:
        assert reader.read() == b"another's"
    assert any("other bytes" in reason for reason in node.writer.trouble())
    assert node.live() == {A}
