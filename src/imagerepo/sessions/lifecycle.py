"""Opening, finding, keeping alive and giving up sessions. Committing is in commit.py."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils import timezone

from imagerepo.catalogue import queries
from imagerepo.durability.gate import write
from imagerepo.errors import SessionNotFound
from imagerepo.sessions import expiry
from imagerepo.sessions.actors import Actor
from imagerepo.sessions.models import State, UploadSession, wrong_state
from imagerepo.sessions.service import current


def open_session(
    owner: str, title: str = "", expires_in: float | None = None, *, purges: str | None = None
) -> UploadSession:
    """A new session of `owner`, which expires after `expires_in` seconds without a write.

    `purges` is the ident that is to be forgotten once this, its removal, is live. Raises SpoolFull where the log is
    full of what the store does not take.
    """
    current().writer.check_room()
    seconds = current().config.session_seconds if expires_in is None else expires_in
    with write():
        return UploadSession.objects.create(
            owner=owner,
            title=title,
            created_at=timezone.now(),
            expires_at=expiry.expires_at(seconds),
            expires_in=seconds,
            base_revision=queries.head(),
            purges=purges,
        )


def find(key: str, actor: Actor) -> UploadSession:
    """The session, if `actor` may see it. Raises SessionNotFound, for somebody else's session too."""
    session = _of(actor).filter(key=key).first()
    if session is None:
        raise SessionNotFound(f"there is no session {key[:100]!r} of yours")
    expiry.settle(session)
    return session


def listing(actor: Actor, *, state: str | None = None, limit: int, before: int | None = None) -> list[UploadSession]:
    """Sessions that `actor` may see, newest first, up to `limit`, of those with an `id` below `before`."""
    sessions = _of(actor)
    expiry.settle_all(sessions)
    if state is not None:
        sessions = sessions.filter(state=state)
    if before is not None:
        sessions = sessions.filter(id__lt=before)
    return list(sessions.order_by("-id")[:limit])


def require_open(session: UploadSession) -> None:
    """Raise WrongState unless the session takes changes: asked before a body is read."""
    if session.state != State.OPEN:
        raise wrong_state(session)


def refresh(session: UploadSession) -> None:
    """Give an open session its full time again. Raises WrongState, and as `open_session` does."""
    current().writer.check_room()
    with write():
        expiry.extend(session)


def abort(session: UploadSession) -> None:
    """Give the session up, with all that is staged. Repeatable. Raises WrongState once it is committing.

    Whoever hears that it is aborted may rely on that: no power cut makes it open again.
    """
    with write(durable=True):
        session.refresh_from_db()
        if session.state not in (State.ABORTED, State.EXPIRED):
            expiry.end(session, "abort")
    current().spool.drop_session(session.key)


def _of(actor: Actor) -> QuerySet[UploadSession]:
    sessions = UploadSession.objects.all()
    return sessions if actor.may("admin") else sessions.filter(owner=actor.name)
