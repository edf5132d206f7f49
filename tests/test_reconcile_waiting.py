"""`imagerepo reconcile` while it waits: what it says meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagerepo.durability.state import Disk
from imagerepo.reconcile.plans import Plans
from imagerepo.reconcile.runner import Runner
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.local import LocalStore
from imagerepo.testing.faulty import FOR_GOOD
from tests.inprocess import Repository, running
from tests.reconcile.drift import ORPHAN, X, Y, ident_of, put
from tests.reconcile.repairing import NO_GRACE
from tests.sessions.workers import stage
from tests.waiting import until

END_SECONDS = 60.0
INTERRUPTED = 130


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
def begun(*options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The command, under way."""
    command = [sys.executable, "-m", "imagerepo", "reconcile", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
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


def test_what_became_too_young_is_left_to_the_next_plan_with_status_1(repository: Repository, tmp_path: Path) -> None:
    with waiting(repository) as process:
        later = time.time() + 3600  # of a store whose clock is ahead
        (orphan,) = (path for path in (tmp_path / "store").rglob(f"{ident_of(ORPHAN)}*") if path.is_file())
        os.utime(orphan, (later, later))
        repository.store.heal()
        out, _ = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, out.splitlines()[-1]) == (1, "not repaired: 1 too young")


def test_whoever_interrupts_it_is_told_that_its_plan_goes_on(repository: Repository) -> None:
    with waiting(repository) as process:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=END_SECONDS)
        (plan,) = Plans(repository.service.writer.disk).all()
        assert f"imagerepo: plan {plan.id} goes on in the server, and repairs what it found\n" in told
        assert process.returncode == INTERRUPTED
    repository.store.heal()
    until(lambda: Plans(repository.service.writer.disk).find(plan.id).state == "done")


def test_whoever_interrupts_one_that_claimed_is_told_that_the_next_server_goes_on(tmp_path: Path) -> None:
    data, images = tmp_path / "data", tmp_path / "store" / "images"
    settings = NO_GRACE | {"store_url": f"file://{tmp_path / 'store'}"}
    with running(data, store=Door(LocalStore(tmp_path / "store")), **settings) as repository:
        repository.commit(stage(repository.service.spool, X))
    images.rename(tmp_path / "away")
    images.symlink_to(images)  # which no listing can follow
    environment = {f"IMAGEREPO_{name.upper()}": value for name, value in (settings | {"data_dir": str(data)}).items()}
    with begun("--claim", **environment) as process:
        assert "waits for the store" in line_of(process)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=END_SECONDS)
    (plan,) = Plans(Disk(data)).all()
    assert f"imagerepo: plan {plan.id} goes on when a server is started on {data}\n" in told
    assert process.returncode == INTERRUPTED
