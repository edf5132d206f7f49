"""Uploads on the local disk that no session wants any more."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

from imagerepo.durability.gate import write
from imagerepo.durability.settle import Stopped
from imagerepo.reconcile.findings import Action, Code, Finding
from imagerepo.sessions.models import State, UploadSession
from imagerepo.store.spool import Spool

PREFIX = "spool/"
WANTING = (State.OPEN, State.COMMITTING, State.MERGED)
AGAIN_SECONDS = 1.0
"""Within which the uploads of a session that ends are gone, unless its process dies meanwhile."""


def findings(spool: Spool, stop: Event) -> Iterator[Finding]:
    """The folders of sessions that have ended, or never were, and are still there a moment later.

    Raises Stopped.
    """
    seen = _unwanted(spool)
    if seen and stop.wait(AGAIN_SECONDS):
        raise Stopped
    for key in sorted(seen & _unwanted(spool)):
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


def _unwanted(spool: Spool) -> set[str]:
    return {key for key in spool.sessions() if not _wanted(key)}


def _wanted(key: str) -> bool:
    return UploadSession.objects.filter(key=key, state__in=WANTING).exists()
