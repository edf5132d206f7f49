"""Uploads on the local disk that no session wants any more."""

from __future__ import annotations

from collections.abc import Iterator

from imagerepo.durability.gate import write
from imagerepo.reconcile.findings import Action, Code, Finding
from imagerepo.sessions.models import State, UploadSession
from imagerepo.store.spool import Spool

PREFIX = "spool/"
WANTING = (State.OPEN, State.COMMITTING, State.MERGED)


def findings(spool: Spool) -> Iterator[Finding]:
    """The folders of sessions that have ended, or never were."""
    keys = spool.sessions()
    for key in keys:
        if not _wanted(key):
            detail = "uploads of a session that has ended, left on this disk"
            yield Finding(Code.STALE_SPOOL, None, f"{PREFIX}{key}", Action.DELETE_FILE, detail)


def drop(spool: Spool, name: str) -> bool:
    """Remove such a folder, if nobody wants it now either. A session that has ended stays so."""
    key = name.removeprefix(PREFIX)
    with write():
        if _wanted(key):
            return False
        spool.drop_session(key)
    return True


def _wanted(key: str) -> bool:
    return UploadSession.objects.filter(key=key, state__in=WANTING).exists()
