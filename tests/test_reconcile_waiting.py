"""`imagerepo reconcile` while it waits: what it says meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagerepo.reconcile.runner import Runner
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.local import LocalStore
from imagerepo.testing.faulty import FOR_GOOD
from tests.inprocess import Repository, running
from tests.reconcile.drift import ORPHAN, X, put
from tests.reconcile.repairing import NO_GRACE
from tests.sessions.workers import stage

END_SECONDS = 60.0


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """A server with a live image and an orphan, which this process plays."""
    folder = tmp_path / "store"
    settings = NO_GRACE | {"store_url": f"file://{folder}"}
    with running(tmp_path / "data", store=Door(LocalStore(folder)), **settings) as repository:
        repository.commit(stage(repository.service.spool, X))
        put(repository.store, ORPHAN)
        runner = Runner(repository.service)
        runner.start()
        try:
            yield repository
        finally:
            repository.store.heal()
            runner.stop()


@contextmanager
def begun(*options: str) -> Iterator[subprocess.Popen[str]]:
    """The command, under way."""
    command = [sys.executable, "-m", "imagerepo", "reconcile", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    """What it tells next."""
    assert process.stderr is not None
    return process.stderr.readline()


def test_an_apply_that_no_snapshot_can_be_stored_of_says_why(repository: Repository) -> None:
    repository.store.fail("put", "unavailable", name=names.DB, times=FOR_GOOD)
    with begun("--apply") as process:
        told = line_of(process)
        assert told.startswith("imagerepo: the object store fails since ")
        assert told.endswith(": 503, try later\n")
        repository.store.heal()
        out, _ = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, out.splitlines()[-1]) == (0, "repaired: 1 deleted")
