"""Requests of one session at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from django.db import connection

from imagerepo.errors import NotInSession, WrongState
from imagerepo.sessions import commit, staging
from imagerepo.sessions.models import UploadSession
from tests.inprocess import Repository
from tests.sessions.uploads import changes, content, ident, upload

ROUNDS = 20


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """What each act answers, or raises, when all begin together."""
    barrier = Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return act()
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(run, acts))


def again(session: UploadSession) -> UploadSession:
    """The session as another request reads it."""
    return UploadSession.objects.get(pk=session.pk)


def test_the_same_bytes_sent_at_once_are_one_change_and_one_file(repository: Repository):
    for _ in range(ROUNDS):
        session = repository.open_session()
        rows = [again(session) for _ in range(3)]
        answers = at_once(*(lambda row=row: upload(repository, row, "twin") for row in rows))
        assert sorted(created for _, created in answers) == [False, False, True]
        assert changes(session) == {ident("twin"): "add"}
        assert repository.service.spool.path(session.key, ident("twin")).read_bytes() == content("twin")


def test_what_is_staged_at_a_claim_is_what_was_answered_with_success(repository: Repository):
    own = repository.service.committer.name
    for _ in range(ROUNDS):
        session = repository.open_session()
        upload(repository, session, "first")
        rows = [again(session) for _ in range(3)]
        uploads = [lambda row=row, n=n: upload(repository, row, f"late {n}") for n, row in enumerate(rows)]
        claimed, *answers = at_once(lambda: commit.claim(session, own), *uploads)
        assert claimed is True
        taken = {row.ident for row, _ in (answer for answer in answers if isinstance(answer, tuple))}
        assert all(isinstance(answer, tuple | WrongState) for answer in answers)
        assert set(changes(session)) == taken | {ident("first")}
        folder = repository.folder / "spool" / session.key
        assert {path.name for path in folder.iterdir()} == taken | {ident("first")}


def test_a_staged_image_keeps_its_bytes_however_it_came_to_stay(repository: Repository):
    for _ in range(ROUNDS):
        session = repository.open_session()
        upload(repository, session, "flip-flop")
        one, other = again(session), again(session)
        _, discarded = at_once(
            lambda: upload(repository, one, "flip-flop"),
            lambda: staging.discard(other, ident("flip-flop")),
        )
        assert discarded is None or isinstance(discarded, NotInSession)
        kept = repository.service.spool.path(session.key, ident("flip-flop")).exists()
        assert kept == (ident("flip-flop") in changes(session))
