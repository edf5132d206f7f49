from collections.abc import Iterator

import pytest

from tests.inprocess import Repository, running


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """One repository for a file of tests: each opens sessions of its own."""
    with running(tmp_path_factory.mktemp("repository")) as repository:
        yield repository
