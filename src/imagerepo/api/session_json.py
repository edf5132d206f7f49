"""Sessions and their changes as JSON."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from imagerepo.api.problems import recorded
from imagerepo.api.representation import Json, image_json, version_json
from imagerepo.catalogue.models import TECHNICAL_FIELDS, Image, ImageVersion, Technical
from imagerepo.errors import NotInSession
from imagerepo.sessions import conflicts
from imagerepo.sessions.counting import Counts, counts_of
from imagerepo.sessions.models import Action, StagedImage, State, UploadSession
from imagerepo.sessions.service import current


def session_json(session: UploadSession) -> Json:
    """The contract's Session."""
    return sessions_json([session])[0]


def sessions_json(sessions: Iterable[UploadSession]) -> list[Json]:
    """Several of them."""
    sessions = list(sessions)
    counts = counts_of(sessions)
    return [_session(session, counts[session.pk]) for session in sessions]


def session_path(session: UploadSession) -> str:
    return f"/api/v1/sessions/{session.key}"


def staged_json(session: UploadSession, row: StagedImage) -> Json:
    """A staged image as it would be, with its `action`. Raises NotInSession where nothing is known of it any more."""
    bases = _bases([row])
    base = bases.get(row.base_version)
    technical = _technical(row, base, _images([row], bases))
    if technical is None:
        raise NotInSession(f"image {row.ident} was removed, and its history has ended: discard the change")
    return _staged(session, row, base, technical)


def live_json(session: UploadSession, version: ImageVersion) -> Json:
    """A live image in the view of a session that does not change it."""
    return _in_session(session, version_json(version), Action.NONE)


def changes_json(session: UploadSession, rows: Iterable[StagedImage]) -> list[Json]:
    """Staged changes: each image as it would be, as it was, and what conflicts."""
    rows = list(rows)
    bases, found = _bases(rows), conflicts.of_changes(rows)
    images = _images(rows, bases)
    return [
        _change(session, row, base, _technical(row, base, images), found.get(row.ident))
        for row, base in ((row, bases.get(row.base_version)) for row in rows)
    ]


def _staged(session: UploadSession, row: StagedImage, base: ImageVersion | None, technical: Technical) -> Json:
    unchanged = base if row.action == Action.NONE else None
    image = image_json(
        row.ident,
        technical,
        row,
        revision=unchanged.valid_from if unchanged else None,
        added_at=base.added_at if base else None,
        updated_at=unchanged.updated_at if unchanged else None,
    )
    return _in_session(session, image, row.action)


def _session(session: UploadSession, counts: Counts) -> Json:
    path = session_path(session)
    return {
        "id": session.key,
        "title": session.title,
        "state": session.state,
        "owner": session.owner,
        "created_at": session.created_at,
        "expires_at": session.expires_at,
        "base_revision": session.base_revision,
        "revision": session.revision,
        "counts": counts,
        "progress": _progress(session),
        "error": recorded(session.error),
        "links": {
            "self": path,
            "images": f"{path}/images",
            "changes": f"{path}/changes",
            "commit": f"{path}/commit",
        },
    }


def _progress(session: UploadSession) -> Json:
    if session.state in (State.COMMITTING, State.MERGED):
        return current().committer.progress(session)
    return {"stage": session.state, "done": 0, "total": 0}


def _change(
    session: UploadSession,
    row: StagedImage,
    base: ImageVersion | None,
    technical: Technical | None,
    conflict: conflicts.Conflict | None,
) -> Json:
    return {
        "ident": row.ident,
        "action": row.action,
        "image": _staged(session, row, base, technical) if technical and row.action != Action.REMOVE else None,
        "before": version_json(base) if base else None,
        "conflict": conflict,
    }


def _technical(row: StagedImage, base: ImageVersion | None, images: Mapping[str, Image]) -> Technical | None:
    """What the bytes are that a change is about; None where its image was removed and lies behind the horizon."""
    if base:
        return base.image
    if row.brings_bytes:
        return Image(ident=row.ident, **{name: getattr(row, name) for name in TECHNICAL_FIELDS})
    return images.get(row.ident)


def _images(rows: Iterable[StagedImage], bases: Container[int | None]) -> dict[str, Image]:
    """By ident, the images of changes that bring no bytes, and whose base lies behind the horizon; others need none."""
    wanted = [row.ident for row in rows if row.base_version not in bases and not row.brings_bytes]
    return {image.ident: image for image in Image.objects.filter(ident__in=wanted)} if wanted else {}


def _bases(rows: Iterable[StagedImage]) -> dict[int | None, ImageVersion]:
    """The versions that the changes were made on, by primary key."""
    wanted = [row.base_version for row in rows if row.base_version is not None]
    if not wanted:  # as with most uploads; Django would compile the query before it knows that
        return {}
    return {version.pk: version for version in ImageVersion.objects.select_related("image").filter(pk__in=wanted)}


def _in_session(session: UploadSession, image: Json, action: str) -> Json:
    links = image["links"] | {"self": f"{session_path(session)}/images/{image['ident']}"}
    return image | {"action": action, "links": links}
