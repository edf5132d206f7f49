"""Commits as a worker carries them: waited for, joined, given back, in doubt, and taken over."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable

import pytest
from django.db import connection

from imagerepo.config import get_config
from imagerepo.durability import healing
from imagerepo.durability.gate import write
from imagerepo.errors import CommitFailed, Conflicted, Damaged, Fenced, NothingToCommit, WrongState
from imagerepo.sessions import lane
from imagerepo.sessions.models import State, UploadSession, move
from imagerepo.store import names
from imagerepo.testing.faulty import FaultyStore
from tests.durability.node import Node
from tests.sessions.workers import Worker
from tests.waiting import until


def ident(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_success_means_that_bases_and_rows_are_in_the_store(worker: Worker, node: Node) -> None:
    session = worker.commit(worker.stage(b"one", b"two"))
    assert session.state == State.LIVE
    assert session.counts == {"add": 2, "update": 0, "remove": 0, "bytes": 6}
    with worker.images.get(names.base(ident(b"one"))) as reader:
        assert reader.read() == b"one"
    worker.close()
    node.lose_disk()
    node.start()
    assert node.live() == {ident(b"one"), ident(b"two")}


def test_the_spool_is_empty_after_a_commit(worker: Worker, node: Node) -> None:
    session = worker.commit(worker.stage(b"one"))
    assert not worker.spool.path(session.key, ident(b"one")).exists()


def test_a_base_that_the_store_has_is_not_sent_again(worker: Worker) -> None:
    worker.commit(worker.stage(b"one"))
    sent = worker.images.calls.count(("put", names.base(ident(b"one"))))
    worker.commit(worker.stage(b"one"))
    assert worker.images.calls.count(("put", names.base(ident(b"one")))) == sent == 1


def test_a_base_of_another_size_is_sent_again(worker: Worker) -> None:
    worker.images.put(names.base(ident(b"one")), io.BytesIO(b"half"), media_type="image/png")
    worker.commit(worker.stage(b"one"))
    with worker.images.get(names.base(ident(b"one"))) as reader:
        assert reader.read() == b"one"


def test_an_empty_session_is_not_committed(worker: Worker) -> None:
    session = worker.stage()
    with pytest.raises(NothingToCommit):
        worker.commit(session)
    session.refresh_from_db()
    assert session.state == State.OPEN


def test_a_second_commit_answers_the_same(worker: Worker) -> None:
    first = worker.commit(worker.stage(b"one"))
    again = worker.commit(UploadSession.objects.get(pk=first.pk))
    assert (again.state, again.revision) == (State.LIVE, first.revision)


def test_an_aborted_session_is_not_committed(worker: Worker) -> None:
    session = worker.stage(b"one")
    with write():
        move(session, "abort")
    with pytest.raises(WrongState):
        worker.commit(session)


def test_the_later_of_two_conflicting_sessions_stays_open_with_its_conflicts(worker: Worker) -> None:
    first, second = worker.stage(b"one", title="first"), worker.stage(b"one", title="second")
    worker.commit(first)
    with pytest.raises(Conflicted) as caught:
        worker.commit(second)
    assert [(c["ident"], c["code"], c["revision"]) for c in caught.value.conflicts] == [(ident(b"one"), "added", 1)]
    second.refresh_from_db()
    assert second.state == State.OPEN
    assert worker.spool.path(second.key, ident(b"one")).exists()


def test_eight_at_once_all_go_live_with_fewer_records_than_commits(worker: Worker, node: Node) -> None:
    sessions = [worker.stage(bytes([number])) for number in range(8)]
    before = worker.writer.state.final.sequence
    answers = []

    def commit(session: UploadSession) -> None:
        try:
            answers.append(worker.commit(session))
        finally:
            connection.close()

    threads = [threading.Thread(target=commit, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.state for answer in answers] == [State.LIVE] * 8
    assert sorted(answer.revision for answer in answers) == list(range(1, 9))
    assert worker.writer.state.final.sequence - before < 8


@pytest.mark.parametrize("fault", ["refused", "unavailable", "cut-before"])
def test_a_store_that_takes_no_base_gives_the_session_back_unharmed(worker: Worker, fault: str) -> None:
    session = worker.stage(b"one")
    worker.images.fail("put", fault, name="images/", times=1000)
    with pytest.raises(CommitFailed) as caught:
        worker.commit(session, wait=10)
    assert caught.value.state == State.OPEN
    session.refresh_from_db()
    assert session.state == State.OPEN
    assert session.error["code"] == "store-unavailable"
    worker.images.heal()
    assert worker.commit(session).state == State.LIVE


def test_staged_bytes_that_changed_on_the_disk_never_get_into_the_store(worker: Worker) -> None:
    session = worker.stage(b"one")
    worker.spool.path(session.key, ident(b"one")).write_bytes(b"onf")
    with pytest.raises(CommitFailed):
        worker.commit(session)
    assert not list(worker.images.list("images/"))


def test_staged_bytes_that_are_gone_are_named(worker: Worker) -> None:
    session = worker.stage(b"one")
    worker.spool.drop(session.key, ident(b"one"))
    with pytest.raises(CommitFailed, match=ident(b"one")):
        worker.commit(session)


def test_a_merged_session_in_doubt_is_finished_when_the_store_is_back(worker: Worker, snapshots: FaultyStore) -> None:
    session = worker.stage(b"one")
    snapshots.fail("put", "unavailable", name="db/", times=1000)
    with pytest.raises(CommitFailed) as caught:
        worker.commit(session, wait=1)
    assert caught.value.state == State.MERGED
    assert worker.writer.trouble()
    snapshots.heal()
    assert worker.commit(session).state == State.LIVE
    assert worker.writer.trouble() == []


def test_a_session_that_waits_while_the_store_fails_goes_back_at_its_deadline(
    worker: Worker, snapshots: FaultyStore, node: Node
) -> None:
    snapshots.fail("put", "unavailable", name="db/", times=1000)
    merged, waiting = worker.stage(b"one"), worker.stage(b"two")
    with pytest.raises(CommitFailed):
        worker.commit(merged, wait=1)
    with pytest.raises(CommitFailed) as caught:
        worker.commit(waiting, wait=1)
    assert caught.value.state == State.OPEN
    snapshots.heal()
    assert worker.commit(merged).state == State.LIVE
    waiting.refresh_from_db()
    assert waiting.state == State.OPEN
    assert node.live() == {ident(b"one")}


def test_a_deadline_leaves_the_commit_under_way(worker: Worker, node: Node) -> None:
    session = worker.stage(b"one")
    answer = worker.commit(session, wait=0)
    assert answer.state in (State.COMMITTING, State.MERGED, State.LIVE)
    assert worker.commit(session).state == State.LIVE


def test_a_fenced_writer_says_neither_success_nor_failure(worker: Worker, snapshots: FaultyStore) -> None:
    session = worker.stage(b"one")
    snapshots.create_exclusive(names.epoch(2))
    with pytest.raises(Fenced):
        worker.commit(session)
    session.refresh_from_db()
    assert session.state == State.MERGED
    with pytest.raises(Fenced):
        worker.commit(worker.stage(b"two"))


def test_a_writer_that_only_refuses_commits_notices_too_that_it_is_fenced(
    new_worker: Callable[[], Worker], snapshots: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conflict ships nothing, and its answer needs no look at the store."""
    monkeypatch.setenv("IMAGEREPO_EPOCH_CHECK_SECONDS", "0.3")
    get_config.cache_clear()
    worker = new_worker()
    worker.committer.start()
    first, second = worker.stage(b"one", title="first"), worker.stage(b"one", title="second")
    worker.commit(first)
    snapshots.create_exclusive(names.epoch(2))

    def refused_until_fenced() -> bool:
        with pytest.raises((Conflicted, Fenced)) as caught:
            worker.commit(UploadSession.objects.get(pk=second.pk))
        return caught.type is Fenced

    until(refused_until_fenced)


def test_a_dead_workers_commits_are_taken_over(new_worker: Callable[[], Worker], node: Node) -> None:
    dead, alive = new_worker(), new_worker()
    session = dead.stage(b"one")
    with write():
        move(session, "claim", committer=dead.committer.name)
    alive.committer.start()
    assert alive.commit(session).state == State.LIVE
    assert node.live() == {ident(b"one")}


def test_a_living_workers_commits_are_left_to_it(new_worker: Callable[[], Worker]) -> None:
    other, alive = new_worker(), new_worker()
    other.committer.start()
    session = other.stage(b"one")
    with write():
        move(session, "claim", committer=other.committer.name)
    alive.committer.start()
    assert alive.commit(session, wait=1.5).state == State.COMMITTING


def test_two_workers_commit_at_once_without_losing_or_mixing_anything(
    new_worker: Callable[[], Worker], node: Node
) -> None:
    workers = [new_worker(), new_worker()]
    node.store.latency_seconds = 0.01
    for worker in workers:
        worker.committer.start()
    contents = [f"{number}".encode() for number in range(24)]
    answers: list[UploadSession] = []

    def commit(worker: Worker, mine: list[bytes]) -> None:
        try:
            answers.extend(worker.commit(worker.stage(content)) for content in mine)
        finally:
            connection.close()

    threads = [threading.Thread(target=commit, args=(workers[number % 2], contents[number::6])) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.revision for answer in answers) == list(range(1, 25))
    sequences = [header.sequence for header in workers[0].writer.snapshots()]
    assert sequences == list(range(len(sequences), 0, -1))
    for worker in workers:
        worker.close()
    node.lose_disk()
    assert node.start().live() == {ident(content) for content in contents}


def test_staging_without_commits_does_not_let_the_log_grow(
    new_worker: Callable[[], Worker], node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "LOG_BYTES", 200_000)
    worker = new_worker()
    before = worker.writer.state.final.sequence
    session = worker.stage(*(bytes([number]) for number in range(60)))
    assert worker.writer.log_bytes() > 200_000
    worker.committer.start()
    until(lambda: worker.writer.state.final.sequence != before)
    assert node.live() == set()
    session.refresh_from_db()
    assert session.state == State.OPEN


def test_a_chain_that_can_not_be_restored_gets_its_base_though_nobody_commits(
    worker: Worker, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    worker.commit(worker.stage(b"one"))
    with node.writer.lane():
        healing.note(node.writer.disk, Damaged("a record is damaged"), node.writer.state.final.sequence)
    caplog.clear()  # that was told, as it should be
    until(lambda: healing.wants_manifest(node.writer.disk))
    assert next(node.writer.snapshots()).kind == "base"
