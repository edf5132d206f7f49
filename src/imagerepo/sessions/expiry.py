"""When an open session ends unasked: decided whenever somebody touches it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.utils import timezone

from imagerepo.durability.gate import write
from imagerepo.sessions import counting
from imagerepo.sessions.models import StagedImage, State, UploadSession, move, wrong_state
from imagerepo.sessions.service import current


def expires_at(expires_in: float) -> datetime:
    """When a session that is written to now will expire; `expires_in` in seconds."""
    return timezone.now() + timedelta(seconds=expires_in)


def extend(session: UploadSession) -> None:
    """Let an open session live on. Raises WrongState for any other. Inside a write transaction.

    Every change begins with it: as it is a compare-and-set on `open`, nothing is staged after a commit's claim.
    """
    session.expires_at = expires_at(session.expires_in)
    still_open = UploadSession.objects.filter(pk=session.pk, state=State.OPEN)
    if not still_open.update(expires_at=session.expires_at):
        session.refresh_from_db()
        raise wrong_state(session)


def settle(session: UploadSession) -> None:
    """Expire the session if it is due; `session` then says so."""
    if _is_due(session):
        settle_all(UploadSession.objects.filter(pk=session.pk))
        session.refresh_from_db()


def settle_all(sessions: QuerySet[UploadSession]) -> None:
    """Expire those of `sessions` that are due."""
    due = sessions.filter(state=State.OPEN, expires_at__lte=timezone.now())
    if current().writer.fenced or not due.exists():
        return
    with write():
        ended = list(due)
        for session in ended:
            end(session, "expire")
    for session in ended:
        current().spool.drop_session(session.key)


def end(session: UploadSession, transition: str) -> None:
    """Abort or expire: what was staged goes. Inside a write transaction; the spool is the caller's."""
    move(session, transition, counts=counting.counts(session))
    StagedImage.objects.filter(session=session).delete()


def _is_due(session: UploadSession) -> bool:
    return session.state == State.OPEN and session.expires_at <= timezone.now()
