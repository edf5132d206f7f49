"""Every backend, behind the door that production puts before it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from imagerepo.store.door import Door
from imagerepo.store.objects import ObjectStore
from tests.contracts.failing import Failing, fail_and_heal, failing


@pytest.fixture
def new_failing(request: pytest.FixtureRequest, tmp_path: Path, container: str) -> Iterator[Callable[..., Failing]]:
    """Makes backends that fail on demand: `new_failing(kind, time_limit=30.0)`."""
    with ExitStack() as stack:
        swift = partial(request.getfixturevalue, "swift")
        yield lambda kind, **limits: stack.enter_context(failing(kind, tmp_path, container, swift, **limits))


@pytest.fixture(params=["memory", "local", "swift", "healed memory", "healed local", "healed swift"])
def backend(request: pytest.FixtureRequest, new_failing: Callable[..., Failing]) -> ObjectStore:
    """A new, empty backend, its door left open. A healed one failed before, each test's in another way."""
    made = new_failing(request.param.removeprefix("healed "))
    if made.kind == request.param:
        return made.bare
    fail_and_heal(made, zlib.crc32(request.node.name.encode()))
    return made.backend


@pytest.fixture
def store(backend: ObjectStore) -> Iterator[ObjectStore]:
    door = Door(backend)
    yield door
    door.close()
