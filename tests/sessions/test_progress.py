"""How far a commit is, as any worker tells it: also of an upload that another one carries out."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagerepo.durability.gate import write
from imagerepo.sessions import tally
from imagerepo.sessions.models import State, UploadSession, move
from imagerepo.sessions.tally import Tally
from imagerepo.store import names
from imagerepo.testing.faulty import FOR_GOOD
from tests.durability.node import Node
from tests.failing_disks import no_file_may_grow_beyond
from tests.sessions.workers import Worker
from tests.waiting import until


class Held:
    """A store in which one image is not taken before `release`."""

    def __init__(self, worker: Worker, content: bytes) -> None:
        self._name, self._put = names.base(hashlib.sha256(content).hexdigest()), worker.images.put
        self._released = threading.Event()
        worker.images.put = self._held
        self.release = self._released.set

    def _held(self, name, body, **options):
        if name == self._name:
            self._released.wait(30)
        return self._put(name, body, **options)


@pytest.fixture
def workers(new_worker: Callable[[], Worker]) -> list[Worker]:
    pair = [new_worker(), new_worker()]
    for worker in pair:
        worker.committer.start()
    return pair


def told(worker: Worker, session: UploadSession) -> tuple[int, int]:
    progress = worker.committer.progress(UploadSession.objects.get(pk=session.pk))
    return progress["done"], progress["total"]


def files(node: Node) -> list[Path]:
    return sorted((node.data_dir / "workers").glob("*.done"))


def test_one_worker_tells_how_far_the_upload_of_another_is(workers: list[Worker], node: Node) -> None:
    uploader, other = workers
    held = Held(uploader, b"three")
    session = uploader.stage(b"one", b"two", b"three")
    assert uploader.commit(session, wait=0).state == State.COMMITTING
    until(lambda: told(other, session) == (2, 3), tell=lambda: told(other, session))
    assert told(uploader, session) == (2, 3)
    node.store.fail("put", "unavailable", name="db/", times=FOR_GOOD)
    read_before = UploadSession.objects.get(pk=session.pk)
    held.release()
    until(lambda: not files(node))
    assert told(other, session) == (3, 3)
    assert other.committer.progress(read_before) == {"stage": "committing", "done": 3, "total": 3}
    node.store.heal()
    assert uploader.commit(session).state == State.LIVE
    assert told(other, session) == (3, 3)


def test_it_never_goes_back_while_all_goes_well(workers: list[Worker]) -> None:
    uploader, other = workers
    uploader.images.latency_seconds = 0.02
    session = uploader.stage(*(bytes([number]) for number in range(40)))
    uploader.commit(session, wait=0)
    seen = [(0, 40)]

    def over() -> bool:
        seen.append(told(other, session))
        return UploadSession.objects.get(pk=session.pk).uploaded

    until(over, every=0.001)
    seen.append(told(other, session))
    assert seen == sorted(seen)
    assert seen[-1] == (40, 40)
    assert len(set(seen)) > 3


def test_what_a_dead_worker_told_goes_when_its_upload_is_taken_over(
    new_worker: Callable[[], Worker], node: Node
) -> None:
    dead, alive = new_worker(), new_worker()
    session = dead.stage(b"one", b"two")
    alive.committer.start()
    left_by(dead, node, claim=f"{dead.committer.name}-1")
    assert files(node)
    with write():
        move(session, "claim", committer=f"{dead.committer.name}-1")
    assert alive.commit(session).state == State.LIVE
    until(lambda: not files(node))


def left_by(worker: Worker, node: Node, claim: str) -> Tally:
    """What there is once it has died in the middle of an upload."""
    left = Tally(node.started.disk.workers, claim)
    left.begin()
    left.add()
    return left


def test_and_so_it_does_at_a_start(worker: Worker, node: Node) -> None:
    left_by(worker, node, claim="gone")
    worker.close()
    assert files(node)
    node.die()
    node.start()
    assert not files(node)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "workers"
    folder.mkdir()
    return folder


def test_a_disk_that_takes_no_count_harms_nobody(folder: Path) -> None:
    for place in (folder, folder / "absent"):
        counting = Tally(place, "claim")
        with no_file_may_grow_beyond(1):
            counting.begin()
            for _ in range(3):
                counting.add()
        assert tally.told(place, "claim") == (1 if place == folder else 0)
        counting.end()
        counting.add()
        assert tally.told(place, "claim") == 0
        tally.forget(place, "claim")
        tally.clear(place)
