"""The audit log: who did what to the repository, in the database and so in every snapshot."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from django.db.models import Q
from django.utils import timezone

from imagerepo.catalogue.models import FOREVER, AuditEntry

OPERATOR = "operator"
"""Whoever gives a command on the server's own machine: no token says who."""
HISTORY = "history"
"""What ends versions behind the horizon."""
RESERVED = (OPERATOR, HISTORY)
"""Who acts in the log without a token or a session: no token may have such a name."""


class Deed(StrEnum):
    COMMIT = "commit"
    REVERT = "revert"
    TOKEN = "token"  # noqa: S105
    RECONCILE = "reconcile"
    PURGE = "purge"


def entry(actor: str, deed: Deed, subject: str, *, revision: int | None = None, **detail: Any) -> AuditEntry:
    """A row of the log, not yet written: write it in the transaction of the deed."""
    return AuditEntry(at=timezone.now(), actor=actor, action=deed, subject=subject, revision=revision, detail=detail)


def page(
    head: int, *, limit: int, before: int = FOREVER, actor: str | None = None, action: str | None = None
) -> list[AuditEntry]:
    """Up to `limit` entries before the one of id `before`, newest first, without commits that are not live yet."""
    wanted = {name: value for name, value in (("actor", actor), ("action", action)) if value is not None}
    done = Q(revision__isnull=True) | Q(revision__lte=head)
    return list(AuditEntry.objects.filter(done, id__lt=before, **wanted).order_by("-id")[:limit])
