"""A local disk that takes no more: it is told, and nobody is told of a failure that may yet become live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagerepo.testing.faulty import FOR_GOOD
from tests.api.caller import Caller, picture, problem
from tests.failing_disks import no_file_may_grow_beyond
from tests.inprocess import ADMIN_TOKEN, Repository, running
from tests.waiting import until


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with running(tmp_path) as repository:
        yield repository


def test_a_commit_under_way_goes_on_and_readyz_says_why_it_waits(repository: Repository, tmp_path: Path) -> None:
    admin = Caller(ADMIN_TOKEN)
    repository.store.fail("put", "unavailable", name="images/", times=FOR_GOOD)
    session = admin.open()
    admin.add(session, picture())
    assert admin("POST", f"{session}/commit", headers={"Prefer": "respond-async"}).status_code == 202
    with no_file_may_grow_beyond((tmp_path / "catalogue.sqlite3-wal").stat().st_size):
        repository.store.heal()
        until(lambda: admin("GET", "/readyz").status_code == 503)
        (reason,) = problem(admin("GET", "/readyz"), 503, "not-ready")["reasons"]
        assert reason.startswith("the local disk fails since")
        again = admin("POST", f"{session}/commit", headers={"Prefer": "wait=0"})
        assert (again.status_code, again.json()["state"]) == (202, "committing")
    until(lambda: admin("GET", session).json()["state"] == "live")
    until(lambda: admin("GET", "/readyz").status_code == 200)
