"""Every backend, behind the door that production puts before it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from imagerepo.store import attempts
from imagerepo.store.door import Door
from imagerepo.store.objects import ObjectStore
from tests.contracts.failing import Failing, fail_again_and_again, fail_and_heal, failing


@pytest.fixture
def new_failing(request: pytest.FixtureRequest, tmp_path: Path, container: str) -> Iterator[Callable[..., Failing]]:
    """Makes backends that fail on demand: `new_failing(kind, time_limit=30.0)`."""
    with ExitStack() as stack:
        swift = partial(request.getfixturevalue, "swift")
        yield lambda kind, **limits: stack.enter_context(failing(kind, tmp_path, container, swift, **limits))


@pytest.fixture(params=["memory", "local", "swift", "healed memory", "healed local", "healed swift", "failing swift"])
def backend(
    request: pytest.FixtureRequest, new_failing: Callable[..., Failing], monkeypatch: pytest.MonkeyPatch
) -> ObjectStore:
    """A new, empty backend, its door left open. Each test has its own way for one to fail.

    A healed one failed before. A failing one fails all along, so that calls have to be sent again: only a backend
    with a network between does that.
    """
    state, _, kind = request.param.rpartition(" ")
    made, number = new_failing(kind), zlib.crc32(request.node.name.encode())
    if state == "healed":
        fail_and_heal(made, number)
    elif state == "failing":
        monkeypatch.setattr(attempts, "PAUSES_SECONDS", (0.01,) * 12)  # of many at once one may fail many times
        fail_again_and_again(made, number)
    else:
        return made.bare
    return made.backend


@pytest.fixture
def store(backend: ObjectStore) -> Iterator[ObjectStore]:
    door = Door(backend)
    yield door
    door.close()
