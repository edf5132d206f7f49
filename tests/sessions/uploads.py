"""Uploads as the HTTP layer hands them to staging, of bytes that nobody has to decode."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from imagerepo.sessions import staging
from imagerepo.sessions.models import StagedImage, UploadSession
from imagerepo.store.formats import Decoded
from tests.inprocess import Repository

TAKEN_AT = datetime(2021, 7, 14, 16, 30, tzinfo=UTC)
DECODED = Decoded("png", "image/png", 4, 3, 1, False, TAKEN_AT)


def content(name: str) -> bytes:
    return f"the bytes of {name}".encode()


def ident(name: str) -> str:
    return hashlib.sha256(content(name)).hexdigest()


def upload(repository: Repository, session: UploadSession, name: str, **given: Any) -> tuple[StagedImage, bool]:
    """Stage the image `name`; `given` are stage_image's filename and metadata."""
    body = content(name)
    spooled = repository.service.spool.receive([body], limit=len(body), length=len(body))
    return staging.stage_image(session, spooled, DECODED, **given)


def commit(repository: Repository, *names: str, **metadata: Any) -> int:
    """Make the images live in a session of their own; answers its revision."""
    session = repository.open_session()
    for name in names:
        upload(repository, session, name, metadata=metadata)
    revision = repository.commit(session).revision
    assert revision is not None
    return revision


def changes(session: UploadSession) -> dict[str, str]:
    """What is staged: action by ident."""
    return {row.ident: row.action for row in StagedImage.objects.filter(session=session)}
