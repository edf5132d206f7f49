from collections.abc import Iterator

import pytest

from tests.api.caller import Caller
from tests.api.delivered import PHOTO, publish
from tests.inprocess import ADMIN_TOKEN, Repository, running


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """One repository for a file of tests: each opens sessions of its own."""
    with running(tmp_path_factory.mktemp("repository")) as repository:
        yield repository


@pytest.fixture(scope="module")
def ann(repository: Repository) -> Caller:
    """A contributor."""
    return Caller(repository.token("ann", "contributor"))


@pytest.fixture(scope="module")
def bob(repository: Repository) -> Caller:
    """Another contributor."""
    return Caller(repository.token("bob", "contributor"))


@pytest.fixture(scope="module")
def reader(repository: Repository) -> Caller:
    return Caller(repository.token("rea", "reader"))


@pytest.fixture(scope="module")
def admin(repository: Repository) -> Caller:
    return Caller(ADMIN_TOKEN)


@pytest.fixture(scope="module")
def stranger(repository: Repository) -> Caller:
    """Somebody without a token."""
    return Caller(None)


@pytest.fixture
def photo(ann: Caller) -> str:
    """The ident of a live photograph of 300 by 200 pixels."""
    return publish(ann, PHOTO)
