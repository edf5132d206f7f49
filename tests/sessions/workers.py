"""One worker's committer, in this process, on a node whose stores fail as they are told."""

from __future__ import annotations

import threading
from datetime import timedelta

from django.utils import timezone

from imagerepo.config import get_config
from imagerepo.durability.gate import write
from imagerepo.durability.writer import Writer
from imagerepo.sessions.committer import Committer
from imagerepo.sessions.models import Action, StagedImage, UploadSession
from imagerepo.store.spool import Spool
from imagerepo.testing.faulty import FaultyStore
from tests.durability.node import Node


class Worker:
    """One worker's committer on a node; images and snapshots have stores of their own to fail."""

    def __init__(self, node: Node, images: FaultyStore) -> None:
        self.node, self.images = node, images
        self.spool = Spool(node.started.disk.spool)
        stop = threading.Event()
        self.writer = Writer(node.started.disk, node.store, stop=stop)
        self.committer = Committer(get_config(), images, self.spool, self.writer, stop)

    def stage(self, *contents: bytes, title: str = "") -> UploadSession:
        return stage(self.spool, *contents, title=title)

    def commit(self, session: UploadSession, wait: float = 20.0) -> UploadSession:
        return self.committer.commit(session, wait=wait)

    def close(self) -> None:
        self.committer.stop()
        self.writer.close()


def stage(spool: Spool, *contents: bytes, title: str = "") -> UploadSession:
    """A new session that adds these images."""
    now = timezone.now()
    with write():
        session = UploadSession.objects.create(
            owner="tests", created_at=now, expires_at=now + timedelta(days=1), expires_in=86400, base_revision=0
        )
    stage_in(session, spool, *contents, title=title)
    return session


def stage_in(session: UploadSession, spool: Spool, *contents: bytes, title: str = "") -> None:
    """Let an open session add these images too."""
    for content in contents:
        spooled = spool.receive([content], limit=1000, length=len(content))
        spool.keep(spooled, session.key)
        with write():
            StagedImage.objects.create(
                session=session, ident=spooled.ident, action=Action.ADD, staged_at=timezone.now(), title=title,
                with_metadata=bool(title), format="png", width=1, height=1, frames=1, byte_size=spooled.size,
                md5=bytes.fromhex(spooled.md5), has_alpha=False,
            )  # fmt: skip
