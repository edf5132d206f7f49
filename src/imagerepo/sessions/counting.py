"""How much a session changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from django.db.models import Count, Sum

from imagerepo.sessions.models import Action, StagedImage, UploadSession

Counts: TypeAlias = dict[str, int]
COUNTED = (Action.ADD, Action.UPDATE, Action.REMOVE)
NOTHING: Counts = {"add": 0, "update": 0, "remove": 0, "bytes": 0}


def counts(session: UploadSession) -> Counts:
    """`{add, update, remove, bytes}`; `bytes` of the images added. Kept with an ended session, else counted."""
    return counts_of([session])[session.pk]


def counts_of(sessions: Iterable[UploadSession]) -> dict[int, Counts]:
    """The counts of several sessions by primary key, in one query."""
    sessions = list(sessions)
    found = {session.pk: dict(session.counts or NOTHING) for session in sessions}
    staged = StagedImage.objects.filter(
        session__in=[session for session in sessions if session.counts is None], action__in=COUNTED
    )
    for pk, action, number, size in staged.values_list("session", "action").annotate(Count("id"), Sum("byte_size")):
        found[pk][action] = number
        found[pk]["bytes"] += size or 0 if action == Action.ADD else 0
    return found
