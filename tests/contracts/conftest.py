"""Every backend, behind the door that production puts before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagerepo.store.door import Door
from imagerepo.store.local import LocalStore
from imagerepo.store.memory import MemoryStore
from imagerepo.store.objects import ObjectStore
from imagerepo.store.swift import SwiftStore
from imagerepo.store.swift_auth import credentials_of
from imagerepo.testing.faulty import FaultyStore


@pytest.fixture(params=["memory", "faulty", "local", "swift"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, container: str) -> ObjectStore:
    """A new, empty backend, its door left open."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "faulty":
        return FaultyStore(MemoryStore())
    if request.param == "local":
        return LocalStore(tmp_path / "store")
    swift = request.getfixturevalue("swift")
    return SwiftStore(container, "some/prefix", credentials_of(swift.environ), timeout=30.0)


@pytest.fixture
def store(backend: ObjectStore) -> Iterator[ObjectStore]:
    door = Door(backend)
    yield door
    door.close()
