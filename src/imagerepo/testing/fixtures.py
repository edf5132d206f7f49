"""Pytest fixtures of a real Swift. Use them with `pytest_plugins` or `-p imagerepo.testing.fixtures`."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator

import pytest

from imagerepo.testing.swift import Swift


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """A Swift with one replica, shared by the tests of one worker; each uses a container of its own."""
    yield from _running(Swift(tmp_path_factory.mktemp("swift")))


@pytest.fixture(scope="session")
def swift_of_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """A Swift with three replicas, each object server a process of its own. Put right what you break."""
    yield from _running(Swift(tmp_path_factory.mktemp("swift"), replicas=3, node_timeout=4.0))


@pytest.fixture
def container() -> str:
    """The name of a Swift container that no other test uses; it is not created."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def swift_environ(swift: Swift, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The credentials of `swift`, in this process's environment too."""
    for variable, value in swift.environ.items():
        monkeypatch.setenv(variable, value)
    return swift.environ


def _running(swift: Swift) -> Iterator[Swift]:
    with swift:
        yield swift
    shutil.rmtree(swift.folder)
