"""First committer wins, image by image: which changes of a session come too late.

A change conflicts when the image's current version is not the one that the change was made on.
Current means merged, also where that is not live yet: a merge compares with the merges before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypedDict

from django.db.models import Max, QuerySet

from imagerepo.catalogue import queries
from imagerepo.catalogue.models import FOREVER, ImageVersion
from imagerepo.sessions.metadata import description
from imagerepo.sessions.models import Action, StagedImage, UploadSession


class Conflict(TypedDict):
    """As the HTTP contract has it. `revision` is the one whose change came first."""

    ident: str
    code: Literal["changed", "removed", "added"]
    revision: int
    detail: str


def of(session: UploadSession) -> list[Conflict]:
    """All conflicts of the session, in the order of staging. Database work only: a merge calls it."""
    return list(_conflicts(StagedImage.objects.filter(session=session).exclude(action=Action.NONE)))


def of_changes(changes: Iterable[StagedImage]) -> dict[str, Conflict]:
    """The conflicts of some staged changes, by ident."""
    staged = StagedImage.objects.filter(pk__in=[change.pk for change in changes]).exclude(action=Action.NONE)
    return {conflict["ident"]: conflict for conflict in _conflicts(staged)}


def _conflicts(changes: QuerySet[StagedImage]) -> Iterator[Conflict]:
    idents = changes.values("ident")
    versions = ImageVersion.objects.filter(image__ident__in=idents, valid_to=FOREVER).select_related("image")
    return between(changes.order_by("id"), {version.image.ident: version for version in versions}, {})


def between(
    changes: Iterable[StagedImage], current: Mapping[str, ImageVersion], removed: Mapping[str, int]
) -> Iterator[Conflict]:
    """Those of `changes` that come too late, where `current` are the versions now, by ident.

    `removed` tells of images without one which revision removed them, where rows don't say so yet.
    """
    for change in changes:
        conflict = _conflict(change, current.get(change.ident), removed)
        if conflict is not None:
            yield conflict


def _conflict(change: StagedImage, current: ImageVersion | None, removed: Mapping[str, int]) -> Conflict | None:
    if current is None:
        return _removed(change, removed.get(change.ident)) if change.action == Action.UPDATE else None
    if change.action == Action.ADD:
        return _added(change, current) if _says_else(change, current) else None
    if change.base_version != current.pk:
        return _changed(change, current)
    return None


def _says_else(change: StagedImage, current: ImageVersion) -> bool:
    return change.with_metadata and description(change) != description(current)


def _added(change: StagedImage, current: ImageVersion) -> Conflict:
    return Conflict(
        ident=change.ident,
        code="added",
        revision=current.valid_from,
        detail=f"revision {current.valid_from} added the same image with other metadata",
    )


def _changed(change: StagedImage, current: ImageVersion) -> Conflict:
    return Conflict(
        ident=change.ident,
        code="changed",
        revision=current.valid_from,
        detail=f"revision {current.valid_from} changed the image after this {change.action} was staged",
    )


def _removed(change: StagedImage, revision: int | None) -> Conflict:
    revision = revision or _last_end(change.ident) or queries.horizon()
    return Conflict(
        ident=change.ident,
        code="removed",
        revision=revision,
        detail=f"revision {revision} removed the image after this {change.action} was staged",
    )


def _last_end(ident: str) -> int | None:
    """The revision that removed it; None where that lies behind the horizon, and no version is left to say."""
    newest: int | None = ImageVersion.objects.filter(image__ident=ident).aggregate(newest=Max("valid_to"))["newest"]
    return newest
