"""What the runner does without any plan: deletions settle, purged objects go, history ends, bases are read again."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from imagerepo.catalogue.deeds import HISTORY
from imagerepo.catalogue.models import Purged
from imagerepo.errors import StoreError
from imagerepo.reconcile import history
from imagerepo.reconcile.deletion import Clock, Deleter
from imagerepo.reconcile.fixity import Fixity
from imagerepo.reconcile.remains import Remains
from imagerepo.sessions.service import Service

RETRY_SECONDS = 5.0
"""Until the store is asked again for what it did not do."""
HISTORY_SECONDS = 3600.0
"""How often it is looked whether history has grown beyond its horizon; more often where less is kept."""

log = logging.getLogger(__name__)


class Deletions:
    """Marks are cleared in their time, whoever left them; the objects of what was purged go."""

    def __init__(self, service: Service, deleter: Deleter, *, clock: Clock) -> None:
        self._deleter = deleter
        settling = service.config.delete_settle_seconds
        self._remains = Remains(service.store, deleter, settling_seconds=settling, clock=clock)
        self._not_before = 0.0

    def look(self) -> None:
        """Do what is due. Raises Fenced and Stopped."""
        self._deleter.clear_settled()
        if time.monotonic() >= self._not_before and Purged.objects.filter(gone=False).exists():
            left = self._remains.delete()
            self._not_before = time.monotonic() + RETRY_SECONDS if left else 0.0


class Horizon:
    """Versions behind the horizon go, of which there may be millions at first."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._not_before = 0.0

    def look(self) -> None:
        """Do what is due. Raises Fenced and Stopped."""
        kept = self._service.config.history_seconds
        if kept and time.monotonic() >= self._not_before:
            self._not_before = time.monotonic() + min(HISTORY_SECONDS, kept)
            history.forget(self._service.writer, history.horizon_at(timedelta(seconds=kept)), actor=HISTORY)


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
                self._fixity = Fixity(service.store, service.writer.disk, days=service.config.fixity_days)
            self._fixity.look()
        except StoreError as error:
            log.warning("the bases can't be checked now: %s", error)
            self._not_before = time.monotonic() + RETRY_SECONDS
