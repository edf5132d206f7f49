"""A start migrates what an older version of the service left, in the store or on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from imagerepo.catalogue import queries
from imagerepo.sessions import merge
from imagerepo.sessions.models import UploadSession
from imagerepo.store.backends import open_memory
from tests.inprocess import running
from tests.sessions.workers import stage

FIRST = "0001_schema"


def migrated() -> set[str]:
    return {name for app, name in MigrationRecorder(connection).applied_migrations() if app == "imagerepo"}


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_a_start_migrates_a_snapshot_of_the_first_schema(tmp_path: Path, disk: str) -> None:
    store = open_memory()
    with running(tmp_path / "kept", store=store) as repository:
        done = repository.commit(stage(repository.service.spool, b"an image"))
        writer = repository.service.writer
        with writer.lane():
            call_command("migrate", "imagerepo", FIRST, verbosity=0)
            assert migrated() == {FIRST}
            writer.ship(head=merge.head(), head_after=merge.newest_revision())
    with running(tmp_path / disk, store=store) as repository:
        assert migrated() > {FIRST}
        assert queries.live(queries.head()).count() == 1
        assert UploadSession.objects.get(key=done.key).purges is None
        repository.commit(stage(repository.service.spool, b"another"))
    with running(tmp_path / "third", store=store):
        assert migrated() > {FIRST}, "the migration is in the chain"
        assert queries.live(queries.head()).count() == 2
