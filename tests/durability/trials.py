"""The protocol's stories, each told again for every fault at every call: it ends whole, or nothing has changed."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from imagerepo.durability import bases
from imagerepo.errors import CommitFailed, Damaged, StoreRefused
from imagerepo.sessions.models import State
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.store.objects import ObjectStore
from imagerepo.store.swift import SwiftStore
from imagerepo.store.swift_auth import credentials_of
from imagerepo.testing.faults import APPLIES_TO, FAULTS, Fault, Op
from imagerepo.testing.faulty import FaultyStore
from imagerepo.testing.faulty_swift import FaultySwift
from imagerepo.testing.swift import Swift
from tests.durability.node import Node
from tests.sessions.workers import Worker

HANG_SECONDS = 0.05
SWIFT_HANG_SECONDS = 3.0
NEW = b"the new image"
LAST = "f" * 64


@dataclass(frozen=True)
class Trial:
    """The `call`-th call of `op` in a story fails."""

    op: Op
    fault: Fault
    call: int


def trials(calls: list[tuple[str, str]]) -> list[Trial]:
    """Every fault at every call of a story that made these."""
    made = Counter(op for op, _ in calls)
    return [
        Trial(op, fault, call + 1)
        for fault in FAULTS
        for op in APPLIES_TO[fault]
        for call in range(made[op])
    ]  # fmt: skip


class Past:
    """A repository with three images, a background base and a kept disk: where every story begins."""

    live = frozenset("abc"[number] * 64 for number in range(3))

    def __init__(self, folder: Path) -> None:
        self.disk = folder
        node = Node(folder, Door(MemoryStore())).start()
        first, second, third = sorted(self.live)
        node.commit(first)
        node.commit(second)
        bases.make(node.writer)
        node.commit(third)
        self.epochs = node.started.epoch
        node.die()
        written = sorted(node.store.list(""), key=lambda info: info.modified)  # a listing that lags lacks the last
        self._objects = {info.name: _read(node.store, info.name) for info in written}

    def put_into(self, store: ObjectStore) -> None:
        for number in range(1, self.epochs + 1):
            store.create_exclusive(names.epoch(number))
        for name, content in self._objects.items():
            store.put(name, io.BytesIO(content), media_type="application/octet-stream")


@dataclass
class Place:
    """A store that fails by `faults`, and folders for the disks of nodes, each a copy of the one before."""

    folder: Path
    store: ObjectStore
    faults: FaultyStore | FaultySwift
    node: Node = field(init=False)
    _disks: int = 0

    def settle_on(self, past: Past) -> None:
        past.put_into(self.store)
        self.node = self._node_on(past.disk)

    def renew(self) -> None:
        """The process ends, however far it came; another goes on with its disk."""
        self.node.die()
        self.node = self._node_on(self.node.data_dir)

    def _node_on(self, disk: Path) -> Node:
        self._disks += 1
        self.folder.mkdir(exist_ok=True)
        data_dir = self.folder / f"disk{self._disks}"
        subprocess.run(["cp", "-a", disk, data_dir], check=True)
        return Node(data_dir, self.store)


def in_memory(folder: Path) -> Place:
    store = FaultyStore(Door(MemoryStore()), hang_seconds=HANG_SECONDS)
    return Place(folder, store, store)


@contextmanager
def on_swift(folder: Path, swift: Swift) -> Iterator[Place]:
    """In a container of its own. A fault is one request's there."""
    container = f"trial-{uuid.uuid4().hex}"
    with FaultySwift(swift, container) as faults:
        store = SwiftStore(container, "", credentials_of(faults.environ), timeout=SWIFT_HANG_SECONDS)
        yield Place(folder, Door(store), faults)
        store.close()


Act: TypeAlias = Callable[[], frozenset[str]]
"""What a story does under the fault. It gives the images that it acknowledged; it raises where it is refused."""
Story: TypeAlias = Callable[[Place], Act]
"""What comes before the fault."""


def a_start_on_the_kept_disk(place: Place) -> Act:
    def act() -> frozenset[str]:
        place.node.start()
        return frozenset()

    return act


def a_start_on_an_empty_disk(place: Place) -> Act:
    shutil.rmtree(place.node.data_dir)
    place.node.data_dir.mkdir()
    return a_start_on_the_kept_disk(place)


def a_background_base(place: Place) -> Act:
    place.node.start()

    def act() -> frozenset[str]:
        assert bases.make(place.node.writer)
        return frozenset()

    return act


def a_commit(place: Place) -> Act:
    place.node.start()
    stager = Worker(place.node, place.store)
    session = stager.stage(NEW)
    stager.close()

    def act() -> frozenset[str]:
        worker = Worker(place.node, place.store)
        worker.committer.start()
        try:
            assert worker.commit(session).state == State.LIVE
        except CommitFailed as failed:
            assert failed.state == State.OPEN
            raise
        finally:
            worker.close()
        return frozenset({hashlib.sha256(NEW).hexdigest()})

    return act


STORIES: tuple[Story, ...] = (a_commit, a_start_on_the_kept_disk, a_start_on_an_empty_disk, a_background_base)


def traced(story: Story, place: Place, past: Past) -> list[tuple[str, str]]:
    """The calls of a story in which nothing fails."""
    place.settle_on(past)
    act = story(place)
    before = len(place.faults.calls)
    act()
    calls = place.faults.calls[before:]
    place.node.die()
    return calls


def tell(story: Story, trial: Trial, place: Place, past: Past) -> str:
    """Tell the story with one call failing, and see that what it acknowledged is there, and nothing else.

    Gives why it was refused, or an empty string.
    """
    place.settle_on(past)
    act = story(place)
    place.faults.fail(trial.op, trial.fault, call=trial.call)
    acknowledged, refusal = frozenset[str](), ""
    try:
        acknowledged = act()
    except (CommitFailed, Damaged, StoreRefused) as error:
        refusal = f"{type(error).__name__}: {error}"
    place.faults.heal()
    place.faults.deliver()
    if place.node.started:
        assert place.node.live() == past.live | acknowledged
        if refusal:  # then nothing was lost, and it can be asked for again
            acknowledged = act()
    place.renew()
    assert place.node.start().live() == past.live | acknowledged
    assert place.node.commit(LAST).state == State.LIVE
    place.node.lose_disk()
    assert place.node.start().live() == past.live | acknowledged | {LAST}
    place.node.die()
    return refusal


def _read(store: ObjectStore, name: str) -> bytes:
    with store.get(name, newest=True) as reader:
        return reader.read()
