"""One server's data folder and its start, in this process, over a store that several nodes may share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

from django.db import connection
from django.utils import timezone

from imagerepo.catalogue.models import FOREVER, Head, ImageVersion
from imagerepo.config import get_config
from imagerepo.durability.gate import write
from imagerepo.durability.writer import Writer
from imagerepo.sessions import commit, lane, merge, recovery
from imagerepo.sessions.models import Action, StagedImage, State, UploadSession
from imagerepo.store.objects import ObjectStore

A, B, C, D = (digit * 64 for digit in "abcd")
"""Idents of images, of which only the rows are there."""


@dataclass
class Node:
    """`start` it, stage and commit with it, `die` (its disk stays), `lose_disk`, and start it again.

    One node at a time has Django's connections: `activate` hands them over. Where there are two, let no committer
    run: its threads would connect to whichever is active at that moment, perhaps before it has its tables.
    """

    data_dir: Path
    store: ObjectStore
    started: recovery.Started | None = field(default=None)
    writer: Writer | None = field(default=None)

    def activate(self) -> None:
        connection.close()
        os.environ["IMAGEREPO_DATA_DIR"] = str(self.data_dir)
        get_config.cache_clear()
        connection.settings_dict["NAME"] = str(self.data_dir / "catalogue.sqlite3")

    def start(self, *, go_back: Callable[[str], None] | None = None) -> Node:
        self.activate()
        self.started = recovery.start(get_config(), store=self.store, go_back=go_back)
        self.writer = Writer(self.started.disk, self.store)
        return self

    def die(self) -> None:
        """Die as by SIGKILL: the disk stays as it is at this moment, log and all."""
        if self.started is None:
            return
        self.activate()
        image = self.data_dir.with_name(f"{self.data_dir.name}-as-it-was")
        # By another process: opening the files in this one would drop SQLite's locks on them.
        subprocess.run(["cp", "-a", self.data_dir, image], check=True)
        self.writer.close()
        self.started.release()
        shutil.rmtree(self.data_dir)
        image.rename(self.data_dir)
        self.started = self.writer = None

    def lose_disk(self) -> None:
        self.die()
        shutil.rmtree(self.data_dir)

    def stage(self, *idents: str, title: str = "", state: State = State.COMMITTING) -> UploadSession:
        """A session that adds these images, claimed and uploaded: ready for the lane."""
        now = timezone.now()
        with write():
            session = UploadSession.objects.create(
                owner="tests", created_at=now, expires_at=now + timedelta(days=1), expires_in=86400, base_revision=0
            )
            for ident in idents:
                StagedImage.objects.create(
                    session=session, ident=ident, action=Action.ADD, staged_at=now, title=title,
                    with_metadata=bool(title), format="png", width=1, height=1, frames=1, byte_size=1,
                    md5=b"0" * 16, has_alpha=False,
                )  # fmt: skip
        if state == State.COMMITTING:
            self._claim(session)
        return session

    def commit(self, *idents: str, title: str = "") -> UploadSession:
        session = self.stage(*idents, title=title)
        lane.run(self.writer)
        session.refresh_from_db()
        return session

    def doubt_the_log(self) -> None:
        """Let the log be begun anew by somebody else, so that the next record is a base."""
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def remove(self, ident: str) -> None:
        """Commit a session that removes an image."""
        session = self.stage(state=State.OPEN)
        current = ImageVersion.objects.get(image__ident=ident, valid_to=FOREVER)
        with write():
            StagedImage.objects.create(
                session=session, ident=ident, action=Action.REMOVE, staged_at=timezone.now(), base_version=current.pk
            )
        self._claim(session)
        lane.run(self.writer)

    @staticmethod
    def _claim(session: UploadSession) -> None:
        commit.claim(session, "tests")
        with write():
            UploadSession.objects.filter(pk=session.pk).update(uploaded=True)

    def live(self) -> set[str]:
        """Idents that a browser sees."""
        head = merge.head()
        rows = ImageVersion.objects.filter(valid_from__lte=head, valid_to__gt=head)
        return {row.image.ident for row in rows.select_related("image")}

    def merged(self) -> set[str]:
        rows = ImageVersion.objects.filter(valid_to=FOREVER).select_related("image")
        return {row.image.ident for row in rows}

    def head(self) -> int:
        return Head.objects.get().revision

    def states(self) -> dict[str, str]:
        return dict(UploadSession.objects.values_list("key", "state"))


NewNode: TypeAlias = Callable[[], Node]
