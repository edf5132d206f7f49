"""`imagerepo purge`: what it says, and its exit status, where it can't do all that it was asked to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from imagerepo.catalogue import queries
from imagerepo.cli import app, purging
from imagerepo.errors import CommitFailed
from imagerepo.sessions.models import UploadSession
from imagerepo.sessions.staging import stage_removal
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.local import LocalStore
from imagerepo.testing.faulty import FOR_GOOD
from tests.commands import on_a_terminal
from tests.inprocess import Repository, running
from tests.reconcile.drift import X, Y, ident_of
from tests.reconcile.pausing import in_thread
from tests.sessions.workers import stage
from tests.waiting import until

LONGEST_SECONDS = 20.0


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """With two live images. Its server has no runner, so whatever is purged stays in the store."""
    folder = tmp_path / "store"
    settings = {"store_url": f"file://{folder}", "commit_wait_seconds": "1"}
    monkeypatch.setattr(purging, "WAIT_SECONDS", 0.5)
    with running(tmp_path / "data", store=Door(LocalStore(folder)), **settings) as repository:
        repository.commit(stage(repository.service.spool, X, Y))
        yield repository


def purge(*idents: str) -> Result:
    return CliRunner().invoke(app, ["purge", *idents])


def live() -> set[str]:
    return {str(version.image.ident) for version in queries.live(queries.head())}


def remove(repository: Repository, *contents: bytes) -> None:
    session = repository.open_session()
    for content in contents:
        stage_removal(session, ident_of(content))
    repository.commit(session)


def test_what_is_left_in_the_store_is_told_with_status_1(repository: Repository) -> None:
    done = purge(ident_of(X), ident_of(Y))
    assert done.exit_code == 1
    assert done.stdout == "".join(f"{ident_of(content)}  gone from every revision\n" for content in (X, Y))
    assert done.stderr == "2 images not yet gone from the store: the server goes on with that\n"
    assert live() == set()
    repository.store.delete([names.base(ident_of(content)) for content in (X, Y)])
    again = purge(ident_of(X), ident_of(Y))
    assert (again.exit_code, again.stderr) == (0, "")


def test_a_removal_whose_commit_does_not_end_is_told_with_status_1_and_can_be_repeated(
    repository: Repository, tmp_path: Path
) -> None:
    snapshots, away = tmp_path / "store" / "db", tmp_path / "away"
    snapshots.rename(away)
    snapshots.write_text("no folder")
    failed = purge(ident_of(X))
    assert (failed.exit_code, failed.stdout) == (1, "")
    removal = UploadSession.objects.get(title=f"purge of {ident_of(X)}")
    told = (
        f"the removal of {ident_of(X)} is not durable yet: session {removal.key} is merged. It goes on, and the purge "
        "when it is live; if it is open again, purge the image again\n"
    )
    assert failed.stderr == f"imagerepo: {told}"
    assert removal.state == "merged"
    assert live() == {ident_of(X), ident_of(Y)}
    snapshots.unlink()
    away.rename(snapshots)
    again = purge(ident_of(X))
    assert again.stdout == f"{ident_of(X)}  gone from every revision\n", again.stderr
    assert live() == {ident_of(Y)}


def test_an_image_that_somebody_commits_is_told_and_the_others_are_purged(repository: Repository) -> None:
    repository.store.fail("put", "unavailable", name=names.IMAGES, times=FOR_GOOD)
    repository.service.committer.commit(stage(repository.service.spool, b"another"), wait=0.1)
    done = purge(ident_of(b"another"), ident_of(X))
    assert done.exit_code == 1
    assert f"imagerepo: a session that changes image {ident_of(b'another')} is being committed" in done.stderr
    assert done.stdout == f"{ident_of(X)}  gone from every revision\n"
    assert live() == {ident_of(Y)}


def test_beside_a_server_whose_snapshot_store_fails_it_ends_and_tells_of_each(repository: Repository) -> None:
    remove(repository, X, Y)
    repository.store.fail("put", "unavailable", name=names.DB, times=FOR_GOOD)
    with suppress(CommitFailed):
        repository.service.committer.commit(stage(repository.service.spool, b"another"), wait=0.1)
    until(lambda: repository.service.writer.disk.trouble())  # and the server holds the lane from now on
    with ThreadPoolExecutor(1) as threads:
        try:
            failed = threads.submit(in_thread, lambda: purge(ident_of(X), ident_of(Y))).result(LONGEST_SECONDS)
        finally:
            repository.store.heal()
    assert (failed.exit_code, failed.stdout) == (1, "")
    told = failed.stderr.splitlines()
    assert [line.split()[1] for line in told] == [ident_of(X), ident_of(Y)]
    for line in told:
        assert "is not purged yet: the object store fails since " in line
        assert line.endswith("503, try later. Give the command again when the store answers")
    until(lambda: not repository.service.writer.disk.trouble())
    again = purge(ident_of(X))
    assert again.stdout == f"{ident_of(X)}  gone from every revision\n", again.stderr


def test_a_terminal_sees_how_far_it_is_and_a_pipe_what_was_done(repository: Repository) -> None:
    repository.store.delete([names.base(ident_of(content)) for content in (X, Y)])
    command = [sys.executable, "-m", "imagerepo", "purge", ident_of(X), ident_of(Y)]
    how = {"stdout": subprocess.PIPE, "text": True, "timeout": LONGEST_SECONDS, "check": True}
    done, shown = on_a_terminal(lambda end: subprocess.run(command, stderr=end, **how))
    assert done.stdout == "".join(f"{ident_of(content)}  gone from every revision\n" for content in (X, Y))
    assert "taking down" in shown and "2/2" in shown
    assert "deleting from the store" in shown
