from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagerepo.config import get_config
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.testing.faulty import FaultyStore
from tests.durability.node import Node
from tests.inprocess import Repository, running
from tests.sessions.workers import Worker


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """One repository for a file of tests: each opens sessions of its own."""
    with running(tmp_path_factory.mktemp("repository")) as repository:
        yield repository


@pytest.fixture
def snapshots() -> FaultyStore:
    return FaultyStore(Door(MemoryStore()))


@pytest.fixture
def node(tmp_path: Path, snapshots: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setenv("IMAGEREPO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("IMAGEREPO_COMMIT_WAIT_SECONDS", "2")
    node = Node(tmp_path / "node", snapshots).start()
    yield node
    node.die()
    get_config.cache_clear()


@pytest.fixture
def new_worker(node: Node, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], Worker]]:
    """Workers of one node. Whatever the store does, no step may break off with an error of our own."""
    workers: list[Worker] = []
    images = FaultyStore(Door(MemoryStore()))

    def make() -> Worker:
        workers.append(Worker(node, images))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelname == "ERROR"] == []


@pytest.fixture
def worker(new_worker: Callable[[], Worker]) -> Worker:
    worker = new_worker()
    worker.committer.start()
    return worker
