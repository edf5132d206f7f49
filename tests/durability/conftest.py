import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagerepo.config import get_config
from imagerepo.durability import upkeep
from imagerepo.durability.upkeep import Upkeep
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.testing.faulty import FaultyStore
from tests.durability.node import Node


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(Door(MemoryStore()))


@pytest.fixture
def new_node(tmp_path: Path, store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Node]]:
    monkeypatch.setenv("IMAGEREPO_DATA_DIR", str(tmp_path))
    nodes: list[Node] = []

    def make() -> Node:
        nodes.append(Node(tmp_path / f"node{len(nodes)}", store))
        return nodes[-1]

    yield make
    for node in nodes:
        node.die()
    get_config.cache_clear()


@pytest.fixture
def node(new_node: Callable[[], Node]) -> Node:
    return new_node().start()


@pytest.fixture
def keep(node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], Upkeep]]:
    """Starts upkeep threads that drill every so many seconds."""
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(upkeep, "RETRY_SECONDS", 0.02)
    stop, started = threading.Event(), []

    def start(drill_seconds: float) -> Upkeep:
        started.append(Upkeep(node.writer, node.store, stop, drill_seconds=drill_seconds))
        started[-1].start()
        return started[-1]

    yield start
    stop.set()
    for each in started:
        each.join()
