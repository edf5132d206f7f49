"""What the runner does without any plan.

Deletions settle, purges go on, their objects go, sessions expire, history ends, bases are read again.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import timedelta

from imagerepo.catalogue.deeds import HISTORY
from imagerepo.catalogue.models import Purged
from imagerepo.errors import StoreError
from imagerepo.reconcile import history, purge
from imagerepo.reconcile.deletion import Clock, Deleter, Outcome
from imagerepo.reconcile.fixity import Fixity
from imagerepo.reconcile.remains import Remains, delete_derivatives
from imagerepo.sessions import expiry
from imagerepo.sessions.models import UploadSession
from imagerepo.sessions.service import Service

RETRY_SECONDS = 5.0
"""Until the store is asked again for what it did not do."""
EXPIRY_SECONDS = 60.0
"""How often it is looked which sessions have expired."""
HISTORY_SECONDS = 3600.0
"""How often it is looked whether history has grown beyond its horizon; more often where less is kept."""

log = logging.getLogger(__name__)


class Deletions:
    """Marks are cleared in their time, whoever left them; purges go on, and the objects of what was purged go."""

    def __init__(self, service: Service, deleter: Deleter, *, clock: Clock) -> None:
        self._service, self._deleter = service, deleter
        settling = service.config.delete_settle_seconds
        self._remains = Remains(service.store, deleter, settling_seconds=settling, clock=clock)
        self._not_before = 0.0

    def look(self) -> None:
        """Do what is due. Raises Fenced and Stopped."""
        self._deleter.clear_settled()
        purge.go_on(self._service)
        if time.monotonic() >= self._not_before and Purged.objects.filter(gone=False).exists():
            left = self._remains.delete()
            self._not_before = time.monotonic() + RETRY_SECONDS if left else 0.0


class Expiry:
    """Sessions that nobody asks for end in their time too, and what they staged protects nothing any more."""

    def __init__(self) -> None:
        self._not_before = 0.0

    def look(self) -> None:
        """Do what is due."""
        if time.monotonic() >= self._not_before:
            self._not_before = time.monotonic() + EXPIRY_SECONDS
            expiry.settle_all(UploadSession.objects.all())


class Horizon:
    """Versions behind the horizon go, of which there may be millions at first; then the bases that nothing needs."""

    def __init__(self, service: Service, deleter: Deleter) -> None:
        self._service, self._deleter = service, deleter
        self._grace = timedelta(seconds=service.config.grace_seconds)
        self._not_before = 0.0

    def look(self) -> None:
        """Do what is due. Raises Fenced and Stopped."""
        kept = self._service.config.history_seconds
        if kept and time.monotonic() >= self._not_before:
            self._not_before = time.monotonic() + min(HISTORY_SECONDS, kept)
            horizon = history.horizon_at(timedelta(seconds=kept))
            for orphans in history.forget(self._service.writer, horizon, actor=HISTORY):
                self._delete(orphans)

    def _delete(self, orphans: list[str]) -> None:
        """What can't be deleted now is an orphan of the next plan."""
        for ident, outcome in self._deleter.delete(orphans, grace=self._grace).items():
            if outcome in (Outcome.DELETED, Outcome.ABSENT):
                with suppress(StoreError):
                    delete_derivatives(self._service.store, ident)


class Checks:
    """Fixity, begun when the store first answers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._fixity: Fixity | None = None
        self._not_before = 0.0

    def look(self) -> None:
        """Read what is due, a few at a time."""
        if time.monotonic() < self._not_before:
            return
        service = self._service
        try:
            if self._fixity is None:
                days = service.config.fixity_days
                self._fixity = Fixity(service.store, service.writer.disk, days=days, stop=service.stop)
            self._fixity.look()
        except StoreError as error:
            log.warning("the bases can't be checked now: %s", error)
            self._not_before = time.monotonic() + RETRY_SECONDS
