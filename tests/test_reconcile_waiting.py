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
from tests.reconcile.drift import ORPHAN, X, Y, ident_of, put
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


@contextmanager
def waiting(repository: Repository) -> Iterator[subprocess.Popen[str]]:
    """The command with --apply, which can't note what it was asked to yet, and so has touched nothing."""
    repository.store.fail("put", "unavailable", name=names.DB, times=FOR_GOOD)
    with begun("--apply") as process:
        assert "the object store fails since" in line_of(process)
        yield process


def test_an_apply_that_no_snapshot_can_be_stored_of_says_why(repository: Repository) -> None:
    repository.store.fail("put", "unavailable", name=names.DB, times=FOR_GOOD)
    with begun("--apply") as process:
        told = line_of(process)
        assert told.startswith("imagerepo: the object store fails since ")
        assert told.endswith(": 503, try later\n")
        repository.store.heal()
        out, _ = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, out.splitlines()[-1]) == (0, "repaired: 1 deleted")


def test_what_others_repaired_meanwhile_is_not_told_as_repaired(repository: Repository) -> None:
    with waiting(repository) as process:
        repository.store.delete([names.base(ident_of(ORPHAN))])
        repository.store.heal()
        out, _ = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, out.splitlines()[-1]) == (0, "nothing was left to repair; 1 gone already")


def test_what_could_not_be_repaired_is_told_apart_with_status_1(repository: Repository) -> None:
    put(repository.store, Y)
    with waiting(repository) as process:
        repository.store.heal()
        repository.store.fail("stat", "unavailable", name=names.base(ident_of(Y)), times=FOR_GOOD)
        out, _ = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, out.splitlines()[-1]) == (1, "repaired: 1 deleted; not repaired: 1 failed")
