"""The commit, step by step (docs/durability.md). Each step may be repeated; only a final record counts.

claim     open → committing                          here
upload    every staged base that the store lacks     bases.py
merge     committing → merged                        merge.py, in the lane
snapshot  cut, put, settle, final: the commit point  durability/writer.py, in the lane
flip      merged → live                              merge.py, in the lane
answer    from the row                               here
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait

from imagerepo.catalogue.models import Condemned, Image
from imagerepo.durability.gate import write
from imagerepo.durability.settle import Patience
from imagerepo.errors import (
    CommitFailed,
    Conflicted,
    NothingToCommit,
)
from imagerepo.sessions.bases import Keeper
from imagerepo.sessions.models import Action, StagedImage, State, UploadSession, brought, move, under, wrong_state
from imagerepo.sessions.tally import Tally
from imagerepo.testing.failpoints import step


def new_claim(worker: str) -> str:
    """A name for one try to commit one session, which no other has. What an earlier try began counts no more."""
    return f"{worker}-{secrets.token_hex(8)}"


def worker_of(claim: str) -> str:
    """The worker that carries out the claim."""
    return claim.partition("-")[0]


def claim(session: UploadSession, committer: str) -> bool:
    """open → committing. False: a commit of it is under way or done already, so there is one to join.

    A session that brings no bytes has nothing to upload: it may be merged from then on.

    Raises NothingToCommit, and WrongState where it was aborted or has expired.
    """
    if session.state in (State.COMMITTING, State.MERGED, State.LIVE):
        return False
    with step("commit.claim"), write():
        session.refresh_from_db()
        if session.state in (State.COMMITTING, State.MERGED, State.LIVE):
            return False
        sent = brought(session).exists()
        if session.state == State.OPEN and not sent and not _changes_anything(session):
            raise NothingToCommit(
                f"session {session.key} has no changes: stage some, or delete it",
                session=session.key,
                state=State.OPEN,
            )
        move(session, "claim", committer=committer, uploaded=not sent, error=None)
    return True


def _changes_anything(session: UploadSession) -> bool:
    return StagedImage.objects.filter(session=session).exclude(action=Action.NONE).exists()


class BaseCondemned(Exception):
    """A base that the session brings is being deleted: begin its upload again once the mark is cleared."""


class Upload:
    """The upload of one session's bases under one `claim`; `tally` has how many of them are done.

    `begun`: some may be there from an earlier try. Whatever becomes of the upload counts only while the session is
    still committing under this claim: it may have been given back meanwhile, and others staged in it since.
    """

    def __init__(self, session: UploadSession, bases: Keeper, threads: Executor, tally: Tally, *, begun: bool) -> None:
        self.session, self.claim, self.tally = session, session.committer, tally
        self._bases, self._threads, self._begun = bases, threads, begun

    def run(self, patience: Patience, deadline: float) -> None:
        """Put every base that the session brings and the store lacks; then the session may be merged. Repeatable.

        Raises BaseCondemned, and StoreError when one can't be stored before `deadline` (time.monotonic).
        """
        if not under(self.claim, self.session).exists():
            return
        begun, self._begun = self._begun, True
        with step("commit.upload"):
            self._check_marks()
            images = list(brought(self.session).order_by("id"))
            self.tally.begin()
            known = self._known(begun)
            futures = [
                self._threads.submit(self._put, image, patience, deadline, image.ident in known) for image in images
            ]
            _all_of(futures)
        with step("commit.uploaded"), write():
            under(self.claim, self.session).update(uploaded=True)

    def _check_marks(self) -> None:
        # After the claim: from then on no mark can be set on what this session brings.
        if Condemned.objects.filter(ident__in=brought(self.session).values("ident")).exists():
            raise BaseCondemned(self.session.key)

    def _known(self, begun: bool) -> set[str]:
        """Idents whose base the store may well have. Of the others it need not be asked before a PUT."""
        sent = brought(self.session).values("ident")
        known = sent if begun else Image.objects.filter(ident__in=sent).values("ident")
        return {str(row["ident"]) for row in known}  # the stubs take every BinaryField for bytes

    def _put(self, image: StagedImage, patience: Patience, deadline: float, known: bool) -> None:
        with step("commit.upload"):
            self._bases.ensure(image, patience, deadline, known=known)
        self.tally.add()


def _all_of(futures: list[Future[None]]) -> None:
    try:
        wait(futures, return_when="FIRST_EXCEPTION")
        for future in futures:
            if future.done():
                future.result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


def answer(session: UploadSession, *, trouble: Callable[[], list[str]]) -> UploadSession:
    """What the row says once nobody waits any longer: the live session, or one still under way.

    Raises WrongState (aborted, expired), Conflicted, and CommitFailed.
    """
    if session.state == State.OPEN:
        raise _given_back(session)
    if session.state in (State.ABORTED, State.EXPIRED):
        raise wrong_state(session)
    if session.state == State.MERGED and trouble():
        raise CommitFailed(
            "the commit is in doubt and being finished: ask for this session again later",
            session=session.key,
            state=State.MERGED,
        )
    return session


def _given_back(session: UploadSession) -> Exception:
    error = session.error or {}
    if error.get("code") == "conflict":
        return Conflicted(error["detail"], session=session.key, state=State.OPEN, conflicts=error["conflicts"])
    detail = error.get("detail", "the commit was given up; nothing was changed: try again")
    return CommitFailed(detail, session=session.key, state=State.OPEN)
