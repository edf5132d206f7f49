"""The commit, step by step (docs/durability.md). Each step may be repeated; only a final record counts.

claim     open → committing                          here
upload    every staged base that the store lacks     here
merge     committing → merged                        merge.py, in the lane
snapshot  cut, put, settle, final: the commit point  durability/writer.py, in the lane
flip      merged → live                              merge.py, in the lane
answer    from the row                               here
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait

from imagerepo.catalogue.models import Condemned
from imagerepo.durability.gate import write
from imagerepo.durability.settle import Patience
from imagerepo.errors import (
    CommitFailed,
    Conflicted,
    NothingToCommit,
    ObjectNotFound,
    StoreError,
    StoreRefused,
)
from imagerepo.sessions.models import Action, StagedImage, State, UploadSession, move, wrong_state
from imagerepo.store import names
from imagerepo.store.formats import BY_NAME
from imagerepo.store.objects import ObjectStore
from imagerepo.store.spool import Spool
from imagerepo.testing.failpoints import step


def claim(session: UploadSession, committer: str) -> bool:
    """open → committing. False: a commit of it is under way or done already, so there is one to join.

    A session that adds nothing has nothing to upload: it may be merged from then on.

    Raises NothingToCommit, and WrongState where it was aborted or has expired.
    """
    if session.state in (State.COMMITTING, State.MERGED, State.LIVE):
        return False
    with step("commit.claim"), write():
        session.refresh_from_db()
        if session.state in (State.COMMITTING, State.MERGED, State.LIVE):
            return False
        actions = _actions(session)
        if session.state == State.OPEN and not actions:
            raise NothingToCommit(
                f"session {session.key} has no changes: stage some, or delete it",
                session=session.key,
                state=State.OPEN,
            )
        move(session, "claim", committer=committer, uploaded=Action.ADD not in actions, error=None)
    return True


def _actions(session: UploadSession) -> set[str]:
    """What the session does to images."""
    staged = StagedImage.objects.filter(session=session).exclude(action=Action.NONE)
    return set(staged.values_list("action", flat=True).distinct())


class BaseCondemned(Exception):
    """A base that the session adds is being deleted: begin its upload again once the mark is cleared."""


class Upload:
    """The upload of one session's bases, `done` of `total` so far."""

    def __init__(self, session: UploadSession, store: ObjectStore, spool: Spool, threads: Executor) -> None:
        self.session, self._store, self._spool, self._threads = session, store, spool, threads
        self.done = self.total = 0
        self._counting = threading.Lock()

    def run(self, patience: Patience, deadline: float) -> None:
        """Put every added base that the store lacks; then the session may be merged.

        Raises BaseCondemned, and StoreError when one can't be stored before `deadline` (time.monotonic).
        """
        with step("commit.upload"):
            self._check_marks()
            added = list(StagedImage.objects.filter(session=self.session, action=Action.ADD).order_by("id"))
            self.total = len(added)
            futures = [self._threads.submit(self._put, image, patience, deadline) for image in added]
            _all_of(futures)
        with step("commit.uploaded"), write():
            UploadSession.objects.filter(pk=self.session.pk, state=State.COMMITTING).update(uploaded=True)

    def _check_marks(self) -> None:
        # After the claim: from then on no mark can be set on what this session adds.
        added = StagedImage.objects.filter(session=self.session, action=Action.ADD)
        if Condemned.objects.filter(ident__in=added.values("ident")).exists():
            raise BaseCondemned(self.session.key)

    def _put(self, image: StagedImage, patience: Patience, deadline: float) -> None:
        with step("commit.upload"):
            ensure_base(self._store, self._spool, image, self.session.key, patience, deadline)
        with self._counting:
            self.done += 1


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


def ensure_base(
    store: ObjectStore, spool: Spool, image: StagedImage, key: str, patience: Patience, deadline: float
) -> None:
    """See that the store holds the base, byte for byte: present, or put now.

    A name in doubt is asked for again: names of bases are their digests, so a repeat does no harm.
    """
    name = names.base(image.ident)
    for _ in patience.tries():
        try:
            if _present(store, name, image):
                return
            _put_base(store, spool, image, key, name)
        except (StoreRefused, ObjectNotFound):
            raise
        except StoreError:
            if time.monotonic() > deadline:
                raise
        else:
            return


def _present(store: ObjectStore, name: str, image: StagedImage) -> bool:
    try:
        info = store.stat(name, newest=True)
    except ObjectNotFound:
        return False
    md5 = bytes(image.md5 or b"").hex()
    return info.size == image.byte_size and info.md5 in (None, md5)


def _put_base(store: ObjectStore, spool: Spool, image: StagedImage, key: str, name: str) -> None:
    md5 = bytes(image.md5 or b"").hex()
    try:
        with spool.path(key, image.ident).open("rb") as body:
            store.put(name, body, media_type=BY_NAME[image.format or ""].media_type, md5=md5)
    except FileNotFoundError:
        raise StoreRefused(
            f"the staged bytes of {image.ident} are gone from the spool: send this image again",
            op="put",
            name=name,
        ) from None


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
