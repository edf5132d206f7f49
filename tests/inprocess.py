"""A whole repository in the test's own process: real start, real lane, over a store in memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from django.db import connection

from imagerepo.config import get_config
from imagerepo.sessions import lifecycle, recovery, service, tokens
from imagerepo.sessions.committer import Committer
from imagerepo.sessions.models import UploadSession
from imagerepo.sessions.service import Service
from imagerepo.store.backends import open_memory
from imagerepo.store.intake import Decoder
from imagerepo.store.manager import Manager
from imagerepo.store.objects import ObjectStore
from imagerepo.store.spool import Spool
from imagerepo.testing.faulty import FaultyStore

ADMIN_TOKEN = "the-admin-token-of-tests"


@dataclass
class Repository:
    """`service` is the one that the application uses."""

    service: Service
    folder: Path
    store: FaultyStore

    def spooled(self) -> set[str]:
        """Every file in the spool, by name: idents of staged images, and leftovers if there are any."""
        return {path.name for path in (self.folder / "spool").rglob("*") if path.is_file()}

    def client(self, token: str | None = None) -> httpx.Client:
        """An HTTP client with this token, of the application in this process."""
        from imagerepo.wsgi import application

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(transport=httpx.WSGITransport(application), base_url="http://test", headers=headers)

    @property
    def admin(self) -> httpx.Client:
        return self.client(ADMIN_TOKEN)

    def token(self, name: str, role: str) -> str:
        return tokens.create(self.service.writer, name, role)

    def open_session(self, owner: str = "ann", **given: object) -> UploadSession:
        return lifecycle.open_session(owner, **given)

    def commit(self, session: UploadSession) -> UploadSession:
        return self.service.committer.commit(session, wait=30)


@contextmanager
def running(folder: Path, *, store: ObjectStore | None = None, **settings: str) -> Iterator[Repository]:
    """A repository on `folder` and `store`, which is new and in memory unless it is given.

    `settings` are IMAGEREPO_* variables in lower case.
    """
    before = dict(os.environ)
    given = {"data_dir": str(folder), "admin_token": ADMIN_TOKEN, **settings}
    os.environ.update({f"IMAGEREPO_{name.upper()}": value for name, value in given.items()})
    get_config.cache_clear()
    connection.close()
    name, connection.settings_dict["NAME"] = connection.settings_dict["NAME"], str(folder / "catalogue.sqlite3")
    try:
        yield from _running(folder, store or open_memory())
    finally:
        connection.close()
        connection.settings_dict["NAME"] = name
        os.environ.clear()
        os.environ.update(before)
        get_config.cache_clear()


def _running(folder: Path, objects: ObjectStore) -> Iterator[Repository]:
    config, store, stop = get_config(), FaultyStore(objects), threading.Event()
    started = recovery.start(config, stop=stop, store=store)
    spool, decoder = Spool(folder / "spool"), Decoder(config)
    committer = Committer(config, store, spool, started.writer, stop)
    manager = Manager(config, store)
    made = Service(config, store, spool, decoder, manager, started.writer, committer)
    committer.start()
    service.use(made)
    try:
        yield Repository(made, folder, store)
    finally:
        service.use(None)
        committer.stop()
        manager.close()
        decoder.close()
        started.release()
