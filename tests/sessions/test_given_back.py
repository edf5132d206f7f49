"""A commit that was given back: what its upload began counts no more, whatever is staged since."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
from django.utils import timezone

from imagerepo.catalogue.models import Condemned
from imagerepo.durability.gate import write
from imagerepo.errors import CommitFailed, ObjectNotFound
from imagerepo.sessions.models import State, UploadSession
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.testing.faulty import FOR_GOOD, FaultyStore
from tests.durability.node import Node
from tests.reconcile.pausing import Pausing, in_thread
from tests.sessions.test_committer import ident
from tests.sessions.workers import Worker, stage_in
from tests.waiting import until

X, Y = b"sent slowly", b"staged since"


@pytest.fixture
def images() -> FaultyStore:
    return FaultyStore(Door(MemoryStore()))


@pytest.fixture
def pausing(images: FaultyStore) -> Pausing:
    return Pausing(images)


@pytest.fixture
def worker(node: Node, pausing: Pausing) -> Iterator[Worker]:
    worker = Worker(node, cast(FaultyStore, pausing))
    worker.committer.start()
    yield worker
    worker.close()


def give_back(worker: Worker, session: UploadSession) -> None:
    """Commit, or join its commit, while the store fails, until that is given up."""
    disk = worker.writer.disk
    disk.report_trouble("it does not answer")
    with pytest.raises(CommitFailed) as failure:
        worker.commit(session, wait=0.1)
    assert failure.value.state == State.OPEN
    disk.clear_trouble()


def is_stored(images: FaultyStore, content: bytes) -> bool:
    try:
        images.stat(names.base(ident(content)))
    except ObjectNotFound:
        return False
    return True


def test_an_upload_that_ends_late_does_not_vouch_for_what_was_staged_since(
    worker: Worker, node: Node, images: FaultyStore, pausing: Pausing
) -> None:
    session = worker.stage(X)
    with pausing.before("put") as pause:
        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(in_thread, lambda: worker.commit(UploadSession.objects.get(pk=session.pk)))
            pause.reached()
            give_back(worker, session)
            with pytest.raises(CommitFailed):
                asked.result()
        stage_in(session, worker.spool, Y)
        name = names.base(ident(Y))
        images.fail("put", "unavailable", name=name, times=FOR_GOOD)
        with ThreadPoolExecutor(1) as thread:
            again = thread.submit(in_thread, lambda: worker.commit(session))
            until(lambda: ("put", name) in images.calls)
            pause.end()
            with pytest.raises(CommitFailed):
                again.result()
    assert node.live() == set()
    images.heal()
    assert worker.commit(session).state == State.LIVE
    assert node.live() == {ident(X), ident(Y)}
    assert is_stored(images, X) and is_stored(images, Y)


def test_an_upload_that_waited_for_a_mark_is_not_begun_once_its_session_is_open_again(
    worker: Worker, images: FaultyStore
) -> None:
    with write():
        Condemned.objects.create(ident=ident(X), condemned_at=timezone.now())
    session = worker.stage(X)
    give_back(worker, session)
    with write():
        Condemned.objects.all().delete()
    for content in (b"one more", b"another"):  # the lane has looked around before each of them is live
        assert worker.commit(worker.stage(content)).state == State.LIVE
    assert not is_stored(images, X)
    assert worker.commit(session).state == State.LIVE
    assert is_stored(images, X)
