"""A store beside a fresh database."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagerepo.store.door import Door
from imagerepo.store.memory import MemoryStore
from imagerepo.testing.faulty import FaultyStore


@pytest.fixture(autouse=True)
def _database(database: Path) -> None: ...


@pytest.fixture
def backend() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(backend: MemoryStore) -> FaultyStore:
    return FaultyStore(Door(backend))
