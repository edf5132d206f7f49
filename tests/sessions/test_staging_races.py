"""Requests of one session at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
        answers = at_once(*(partial(upload, repository, again(session), "twin") for _ in range(3)))
        assert sorted(created for _, created in answers) == [False, False, True]
        assert changes(session) == {ident("twin"): "add"}
        assert repository.service.spool.path(session.key, ident("twin")).read_bytes() == content("twin")


def claim(repository: Repository, session: UploadSession) -> set[str]:
    """Claim it for a commit that never goes on; what was staged then."""
    assert commit.claim(session, repository.service.committer.name)
    return set(changes(session))


def test_nothing_slips_into_a_session_after_its_commit_has_claimed_it(repository: Repository):
    for _ in range(ROUNDS):
        session = repository.open_session()
        upload(repository, session, "first")
        acts = [partial(upload, repository, again(session), f"late {n}") for n in range(5)]
        claimed, *answers = at_once(partial(claim, repository, session), *acts)
        assert all(isinstance(answer, tuple | WrongState) for answer in answers)
        taken = {answer[0].ident for answer in answers if isinstance(answer, tuple)}
        assert set(changes(session)) == claimed == taken | {ident("first")}
        folder = repository.folder / "spool" / session.key
        assert {path.name for path in folder.iterdir()} == claimed


def test_a_staged_image_keeps_its_bytes_however_it_came_to_stay(repository: Repository):
    for _ in range(ROUNDS):
        session = repository.open_session()
        upload(repository, session, "flip-flop")
        _, discarded = at_once(
            partial(upload, repository, again(session), "flip-flop"),
            partial(staging.discard, again(session), ident("flip-flop")),
        )
        assert discarded is None or isinstance(discarded, NotInSession)
        kept = repository.service.spool.path(session.key, ident("flip-flop")).exists()
        assert kept == (ident("flip-flop") in changes(session))
