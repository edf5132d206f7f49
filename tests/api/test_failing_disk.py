"""A local disk that takes no more: it is told, and nobody is told of a failure that may yet become live."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.caller import Caller, picture, problem
from tests.failing_disks import no_file_may_grow_beyond
from tests.inprocess import ADMIN_TOKEN, Repository, running
from tests.waiting import until

WAIT_SECONDS = 2.0


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with running(tmp_path, commit_wait_seconds=str(WAIT_SECONDS)) as repository:
        repository.store.hang_seconds = 60.0
        yield repository


def uploading(admin: Caller, repository: Repository) -> str:
    """A session whose commit was asked for, and whose base the store is being sent until it is healed."""
    session, sent = admin.open(), len(repository.store.failed)
    admin.add(session, picture())
    repository.store.fail("put", "hang", name="images/")
    assert admin("POST", f"{session}/commit", headers={"Prefer": "respond-async"}).status_code == 202
    until(lambda: ("put", "hang") in repository.store.failed[sent:])
    return session


def test_a_commit_under_way_goes_on_and_readyz_says_why_it_waits(repository: Repository, tmp_path: Path) -> None:
    admin = Caller(ADMIN_TOKEN)
    session = uploading(admin, repository)
    with no_file_may_grow_beyond((tmp_path / "catalogue.sqlite3-wal").stat().st_size):
        repository.store.heal()
        until(lambda: admin("GET", "/readyz").status_code == 503)
        (reason,) = problem(admin("GET", "/readyz"), 503, "not-ready")["reasons"]
        assert reason.startswith("the local disk fails since")
        again = admin("POST", f"{session}/commit", headers={"Prefer": "wait=0"})
        assert (again.status_code, again.json()["state"]) == (202, "committing")
    until(lambda: admin("GET", session).json()["state"] == "live")
    until(lambda: admin("GET", "/readyz").status_code == 200)


def test_a_session_that_could_not_even_be_given_back_is_not_forgotten(repository: Repository, tmp_path: Path) -> None:
    admin, begun = Caller(ADMIN_TOKEN), time.monotonic()
    session = uploading(admin, repository)
    with no_file_may_grow_beyond((tmp_path / "catalogue.sqlite3-wal").stat().st_size):
        until(lambda: time.monotonic() > begun + 2 * WAIT_SECONDS)  # the time after which a base is given up
        repository.store.heal()
        until(lambda: admin("GET", "/readyz").status_code == 503)
    until(lambda: admin("GET", session).json()["state"] == "live")
