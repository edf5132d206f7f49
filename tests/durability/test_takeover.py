"""Writes in doubt, two writers on one chain, and disks that may or may not be kept."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import pytest
from django.db import OperationalError, connection

from imagerepo.config import get_config
from imagerepo.durability import chain
from imagerepo.durability.settle import Patience, Stopped
from imagerepo.errors import ConfigError, Damaged, Fenced, StoreRefused, StoreUnavailable
from imagerepo.sessions import lane, tokens
from imagerepo.sessions.actors import identify
from imagerepo.sessions.models import State
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.testing.faulty import Fault, FaultyStore
from tests.durability.node import Node
from tests.failing_disks import no_file_may_grow_beyond

NORMAL, FULL = 1, 2
A, B, C = ("a" * 64, "b" * 64, "c" * 64)
NewNode = Callable[[], Node]


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(Door(MemoryStore()))


def die_at_next_put(node: Node, store: FaultyStore, name: str, fault: Fault) -> None:
    """The next PUT below `name` fails as ordered, and the process dies before it hears more of the store."""
    stop = threading.Event()
    node.writer.patience._report = lambda _: stop.set()
    node.writer.patience._stop = stop
    store.fail("put", fault, name=name)
    store.fail("get", "unavailable", name=name, times=1)
    with pytest.raises(Stopped):
        lane.run(node.writer)
    store.heal()


@pytest.mark.parametrize("fault", ["cut-before", "cut-after", "unavailable", "refused", "late"])
def test_a_commit_is_durable_after_any_single_fault(node: Node, store: FaultyStore, fault: Fault) -> None:
    store.fail("put", fault, name="db/")
    assert node.commit(A).state == State.LIVE
    node.lose_disk()
    assert node.start().live() == {A}


def test_nothing_is_live_before_the_record_is_in_the_store(node: Node, store: FaultyStore) -> None:
    seen = []
    real_put = store.put

    def put(name, body, **options):
        seen.append(node.live())
        return real_put(name, body, **options)

    store.put = put
    node.commit(A)
    assert seen
    assert set().union(*seen) == set()
    assert node.live() == {A}


def record_name(node: Node) -> str:
    state = node.writer.state
    return names.record(state.epoch, state.writer, state.final.seq + 1)


def test_a_record_that_arrived_unheard_is_committed_by_the_next_start(node: Node, store: FaultyStore) -> None:
    session = node.stage(A)
    die_at_next_put(node, store, record_name(node), "cut-after")
    node.lose_disk()
    node.start()
    assert node.live() == {A}
    assert node.states()[session.key] == State.LIVE


def test_a_kept_disk_goes_on_with_the_record_that_arrived_unheard(node: Node, store: FaultyStore) -> None:
    session = node.stage(A)
    staged = node.stage(B, state=State.OPEN)
    die_at_next_put(node, store, record_name(node), "cut-after")
    node.die()
    node.start()
    assert not node.started.restored
    assert node.states() == {session.key: State.LIVE, staged.key: State.OPEN}
    assert node.live() == {A}


def test_a_late_record_of_an_older_writer_is_an_orphan_for_ever(new_node: NewNode, store: FaultyStore) -> None:
    old, new, third = new_node().start(), new_node(), new_node()
    session = old.stage(A)
    die_at_next_put(old, store, record_name(old), "late")
    old.die()
    new.start()
    assert session.key not in new.states()
    store.deliver()
    new.commit(B)
    assert new.live() == {B}
    new.die()
    third.start()
    assert third.live() == {B}


def test_a_late_record_is_an_orphan_even_if_the_newcomer_dies_at_once(new_node: NewNode, store: FaultyStore) -> None:
    old, new, third = new_node().start(), new_node(), new_node()
    old.stage(A)
    die_at_next_put(old, store, record_name(old), "late")
    old.die()
    new.start()
    store.deliver()
    new.die()
    assert third.start().live() == set()


def test_the_next_holder_of_the_lane_sends_the_same_bytes(node: Node, store: FaultyStore) -> None:
    """A worker dies with its PUT under way; the next one must not cut that number anew."""
    node.stage(A)
    name = record_name(node)
    die_at_next_put(node, store, name, "late")
    node.writer.patience = Patience()
    node.stage(B)
    lane.run(node.writer)
    assert node.live() == {A, B}
    store.deliver()  # the first PUT arrives last: it must be the same bytes
    node.lose_disk()
    assert node.start().live() == {A, B}


def test_a_second_start_fences_the_first(new_node: NewNode) -> None:
    first, second = new_node().start(), new_node()
    first.commit(A)
    second.start()
    assert second.live() == {A}
    first.activate()
    session = first.stage(B)
    with pytest.raises(Fenced, match="epoch 2 exists"):
        lane.run(first.writer)
    assert first.writer.fenced
    assert first.states()[session.key] == State.MERGED
    assert first.live() == {A}
    second.activate()
    second.commit(C)
    assert second.live() == {A, C}
    second.lose_disk()
    assert second.start().live() == {A, C}


def test_a_fenced_disk_sends_nothing_more(new_node: NewNode, store: FaultyStore) -> None:
    first, second = new_node().start(), new_node()
    second.start()
    first.activate()
    first.stage(A)
    with pytest.raises(Fenced):
        lane.run(first.writer)
    sent = len([1 for op, _ in store.calls if op == "put"])
    with pytest.raises(Fenced):
        lane.run(first.writer)
    assert len([1 for op, _ in store.calls if op == "put"]) == sent


def test_a_fenced_disk_that_starts_again_follows_the_winner(new_node: NewNode) -> None:
    first, second = new_node().start(), new_node()
    second.start()
    first.activate()
    first.stage(A)
    with pytest.raises(Fenced):
        lane.run(first.writer)
    second.activate()
    second.commit(B)
    first.die()
    first.start()
    assert first.started.restored
    assert first.live() == {B}
    assert not first.writer.fenced


def test_a_starter_that_dies_before_its_opening_record_leaves_the_chain_alone(
    new_node: NewNode, store: FaultyStore
) -> None:
    first = new_node().start()
    first.commit(A)
    first.die()
    store.fail("put", "refused", name="db/2-")
    with pytest.raises(StoreRefused):
        new_node().start()
    first.start()
    assert first.started.epoch == 3
    assert not first.started.restored
    assert first.live() == {A}


def test_a_disk_ahead_of_what_the_store_shows_refuses_to_start(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    newest = node.writer.state.final.name
    node.die()
    store.delete([newest])
    with pytest.raises(Damaged, match="old copy"):
        node.start()


def test_an_empty_store_is_no_first_start_for_a_disk_with_a_history(new_node: NewNode) -> None:
    node = new_node().start()
    node.commit(A)
    node.die()
    node.store = Door(MemoryStore())
    with pytest.raises(Damaged, match="the store is empty"):
        node.start()


def test_another_repositorys_store_is_refused(new_node: NewNode) -> None:
    node, other = new_node().start(), new_node()
    node.die()
    other.store = Door(MemoryStore())
    other.start().commit(A)
    other.die()
    node.store = other.store
    with pytest.raises(Damaged, match="another repository"):
        node.start()


def test_records_that_are_listed_but_cannot_be_read_stop_the_start(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    name = node.writer.state.final.name
    node.lose_disk()
    record = names.parse(name)
    assert isinstance(record, names.Record)
    store.delete([names.record(1, record.writer, 0)])
    with pytest.raises(Damaged, match=r"lists .* but answers that it is absent"):
        node.start()


@pytest.mark.parametrize("what", ["record", "part"])
def test_a_damaged_chain_is_named_and_nothing_is_served(node: Node, store: FaultyStore, what: str) -> None:
    node.commit(A)
    headers = list(node.writer.snapshots())
    name = headers[0].name if what == "record" else headers[-1].parts[0].name
    with store.get(name) as reader:
        content = bytearray(reader.read())
    content[len(content) // 2] ^= 1
    store.put(name, io.BytesIO(content), media_type="x/y")
    node.lose_disk()
    with pytest.raises(Damaged, match=name):
        node.start()


def test_a_missing_part_is_named(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    part = list(node.writer.snapshots())[-1].parts[0].name
    store.delete([part])
    node.lose_disk()
    with pytest.raises(Damaged, match=part):
        node.start()


def test_a_power_cut_that_took_the_merge_makes_the_disk_worthless(node: Node, store: FaultyStore) -> None:
    """The record arrived, but the log lost it: the rows on this disk are not the chain's end."""
    node.stage(A)
    die_at_next_put(node, store, record_name(node), "cut-after")
    node.die()
    (node.data_dir / "catalogue.sqlite3-wal").unlink()
    node.start()
    assert node.started.restored
    assert node.live() == {A}


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
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
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


def test_a_token_is_durable_before_it_is_shown(node: Node) -> None:
    token = tokens.create(node.writer, "press", "contributor")
    node.lose_disk()
    node.start()
    actor = identify(token, get_config())
    assert actor is not None
    assert (actor.name, actor.role) == ("press", "contributor")


@pytest.mark.parametrize(
    ("name", "role"), [("admin", "reader"), ("", "reader"), ("a b", "reader"), ("x" * 101, "reader"), ("ann", "king")]
)
def test_a_name_or_role_that_cannot_be_is_refused(node: Node, name: str, role: str) -> None:
    with pytest.raises(ConfigError):
        tokens.create(node.writer, name, role)


def test_a_name_is_given_once(node: Node) -> None:
    tokens.create(node.writer, "ann", "reader")
    with pytest.raises(ConfigError, match="already"):
        tokens.create(node.writer, "ann", "admin")


def test_a_token_that_could_not_be_made_durable_is_not_told(new_node: NewNode) -> None:
    first, second = new_node().start(), new_node()
    second.start()
    first.activate()
    with pytest.raises(Fenced):
        tokens.create(first.writer, "press", "reader")


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


def test_the_walk_refuses_a_parent_whose_bytes_changed(node: Node, store: FaultyStore) -> None:
    node.commit(A)
    headers = list(node.writer.snapshots())
    wrong = headers[0].parent.model_copy(update={"digest": "0" * 64})
    with pytest.raises(Damaged, match="was linked"):
        chain.follow(store, wrong, Patience())


def test_a_disk_that_failed_is_not_kept(node: Node) -> None:
    """A failed fsync may be followed by one that succeeds, and what it lost is lost."""
    node.commit(A)
    log = node.data_dir / "catalogue.sqlite3-wal"
    with no_file_may_grow_beyond(log.stat().st_size), pytest.raises(OperationalError):
        node.stage(B)
    node.commit(C)
    node.die()
    node.start()
    assert node.started.restored
    assert node.live() == {A, C}
    node.commit(B)
    node.die()
    assert not node.start().started.restored
