"""What grows SQLite's log: staging and merging, and nothing that only tells how far something is.

And what a reader costs who never ends, and so keeps the log from being begun anew: no record without need.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from imagerepo.durability.pages import connect
from imagerepo.sessions import committer, lane
from imagerepo.sessions.models import State
from imagerepo.store import names
from tests.durability.node import Node
from tests.inprocess import Repository
from tests.sessions.uploads import upload
from tests.sessions.workers import Worker
from tests.waiting import until

MUCH = "m" * (lane.LOG_BYTES + (1 << 20))
"""A title that fills the log."""


def test_progress_is_not_written_to_the_database(repository: Repository) -> None:
    session = repository.open_session()
    for number in range(12):
        upload(repository, session, f"image {number}")
    writer, seen, put = repository.service.writer, [], repository.store.put

    def watching(name, body, **options):
        answer = put(name, body, **options)
        if name.startswith("images/"):
            seen.append(writer.log_bytes())
        return answer

    repository.store.put = watching
    try:
        repository.commit(session)
    finally:
        repository.store.put = put
    assert len(seen) == 12
    assert len(set(seen)) == 1


@pytest.fixture
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an idle lane shows that it was there."""
    monkeypatch.setenv("IMAGEREPO_EPOCH_CHECK_SECONDS", "0.001")
    monkeypatch.setattr(committer, "TICK_SECONDS", 0.05)


@pytest.fixture
def reader(node: Node) -> Iterator[sqlite3.Connection]:
    """Somebody who reads the state of now until `close`."""
    with closing(connect(node.started.disk.database)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        yield reader


def records(node: Node) -> int:
    return node.writer.state.final.sequence


def let_the_lanes_look(node: Node, times: int) -> None:
    """Until they have asked for a newer epoch so often: after each record, and when they have nothing to do."""

    def looked() -> int:
        return sum(name == names.epoch(2) for _, name in node.store.calls)

    before = looked()
    until(lambda: looked() >= before + times)


def test_a_reader_who_never_ends_costs_a_record_or_two_and_not_one_at_each_look(
    looking_often: None, new_worker: Callable[[], Worker], node: Node, reader: sqlite3.Connection
) -> None:
    before, workers = records(node), [new_worker(), new_worker()]
    workers[0].stage(b"one", title=MUCH)
    for worker in workers:
        worker.committer.start()
    until(lambda: records(node) > before)
    let_the_lanes_look(node, 12)
    assert records(node) - before <= 2
    assert node.writer.log_bytes() > lane.LOG_BYTES
    reader.close()
    assert workers[1].commit(workers[1].stage(b"two")).state == State.LIVE
    assert node.writer.log_bytes() < lane.LOG_BYTES
    let_the_lanes_look(node, 4)
    assert records(node) - before <= 3


def test_beside_such_a_reader_as_much_again_is_shipped_again(
    looking_often: None, new_worker: Callable[[], Worker], node: Node, reader: sqlite3.Connection
) -> None:
    worker = new_worker()
    worker.stage(b"one", title=MUCH)
    worker.committer.start()
    let_the_lanes_look(node, 4)
    shipped = records(node)
    worker.stage(b"two", title=MUCH)
    until(lambda: records(node) > shipped)
    let_the_lanes_look(node, 4)
    assert records(node) == shipped + 1


def test_once_the_reader_is_gone_the_log_is_begun_anew_by_itself(
    looking_often: None, new_worker: Callable[[], Worker], node: Node, reader: sqlite3.Connection, monkeypatch
) -> None:
    monkeypatch.setattr(lane, "RELIEF_SECONDS", 0.1)
    before, worker = records(node), new_worker()
    worker.stage(b"one", title=MUCH)
    worker.committer.start()
    until(lambda: records(node) > before)
    let_the_lanes_look(node, 12)
    assert records(node) - before <= 2
    reader.close()
    until(lambda: node.writer.log_bytes() < lane.LOG_BYTES)
    assert node.live() == set()
