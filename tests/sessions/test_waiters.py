"""Whoever waits for a commit hears of its end at once, and asks for it hardly ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from imagerepo.durability.gate import write
from imagerepo.errors import CommitFailed, Conflicted, Fenced
from imagerepo.sessions import committer
from imagerepo.sessions.models import State, UploadSession, move
from imagerepo.sessions.waiters import Waiters
from imagerepo.store import names
from imagerepo.testing.faulty import FaultyStore
from tests.durability.node import Node
from tests.sessions.workers import Worker
from tests.waiting import until

LONG_SECONDS = 60.0
SOON_SECONDS = 20.0


@pytest.fixture
def only_if_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by himself before his time is over."""
    monkeypatch.setattr(committer, "FALLBACK_SECONDS", LONG_SECONDS)


@contextmanager
def soon() -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < SOON_SECONDS


@contextmanager
def committing(worker: Worker, session: UploadSession) -> Iterator[None]:
    """A request that commits the session meanwhile, and must come to an end."""

    def commit() -> None:
        try:
            with suppress(CommitFailed):
                worker.commit(UploadSession.objects.get(pk=session.pk), wait=LONG_SECONDS)
        finally:
            connection.close()

    request = threading.Thread(target=commit)
    request.start()
    yield
    request.join()


def wait_for_state(session: UploadSession, state: State) -> None:
    def is_there() -> bool:
        session.refresh_from_db()
        return session.state == state

    until(is_there)


@pytest.mark.usefixtures("only_if_told")
def test_success_is_heard_at_once(worker: Worker) -> None:
    with soon():
        assert worker.commit(worker.stage(b"one"), wait=LONG_SECONDS).state == State.LIVE


@pytest.mark.usefixtures("only_if_told")
def test_a_conflict_is_heard_at_once(worker: Worker) -> None:
    first, second = worker.stage(b"one", title="first"), worker.stage(b"one", title="second")
    worker.commit(first, wait=LONG_SECONDS)
    with soon(), pytest.raises(Conflicted):
        worker.commit(second, wait=LONG_SECONDS)


@pytest.mark.usefixtures("only_if_told")
def test_a_base_that_is_refused_is_heard_of_at_once(worker: Worker) -> None:
    worker.images.fail("put", "refused", name="images/", times=1000)
    with soon(), pytest.raises(CommitFailed):
        worker.commit(worker.stage(b"one"), wait=LONG_SECONDS)


@pytest.mark.usefixtures("only_if_told")
def test_that_another_server_took_over_is_heard_at_once(worker: Worker, snapshots: FaultyStore) -> None:
    session = worker.stage(b"one")
    snapshots.create_exclusive(names.epoch(2))
    with soon(), pytest.raises(Fenced):
        worker.commit(session, wait=LONG_SECONDS)


@pytest.mark.usefixtures("only_if_told")
def test_nobody_waits_for_a_worker_that_ends(worker: Worker, snapshots: FaultyStore) -> None:
    snapshots.fail("put", "unavailable", name="db/", times=1000)
    session = worker.stage(b"one")
    with soon(), committing(worker, session):
        wait_for_state(session, State.MERGED)
        worker.committer.stop()


def test_a_commit_that_another_worker_finishes_is_heard_of(new_worker: Callable[[], Worker], node: Node) -> None:
    """The worker that is asked runs no lane, so nobody tells its requests anything."""
    asked, other = new_worker(), new_worker()
    other.committer.start()
    session = other.stage(b"one")
    node.store.latency_seconds = 0.2
    with soon(), committing(other, session):
        wait_for_state(session, State.MERGED)
        assert asked.commit(session, wait=LONG_SECONDS).state == State.LIVE


def test_one_look_asks_once_for_everybody(worker: Worker) -> None:
    done, not_done = worker.commit(worker.stage(b"one")), worker.stage(b"two")
    with write():
        move(not_done, "claim", committer="somebody")
    waiters = Waiters()
    with ExitStack() as stack, CaptureQueriesContext(connection) as asked:
        told = [stack.enter_context(waiters.waiting(done.pk)) for _ in range(20)]
        left = [stack.enter_context(waiters.waiting(not_done.pk)) for _ in range(20)]
        waiters.look()
    assert len(asked) == 1
    assert all(event.is_set() for event in told)
    assert not any(event.is_set() for event in left)


def test_a_look_while_nobody_waits_asks_nothing(worker: Worker) -> None:
    waiters = Waiters()
    with waiters.waiting(0):
        pass
    with CaptureQueriesContext(connection) as asked:
        waiters.look()
    assert len(asked) == 0
