"""What a merge will write: versions of images as they stand, and as its earlier sessions leave them.

Sessions are merged one after another, each against what those before it left. Rows are read and written for many of
them at once, since a handful of queries per session would cost more than all the rest of a small commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from imagerepo.catalogue.models import DESCRIPTIVE_FIELDS, FOREVER, TECHNICAL_FIELDS, Image, ImageVersion
from imagerepo.sessions import conflicts
from imagerepo.sessions.conflicts import Conflict
from imagerepo.sessions.counting import NOTHING, Counts
from imagerepo.sessions.models import Action, StagedImage


class Pending:
    """Changes of the images that `changes` are about, in memory until `write`. Used inside one write transaction."""

    def __init__(self, changes: Sequence[StagedImage]) -> None:
        idents = {change.ident for change in changes}
        self._images = {image.ident: image for image in Image.objects.filter(ident__in=idents)}
        self._current = self._read_current()
        self._removed: dict[str, int] = {}
        self._closed: list[ImageVersion] = []
        self._new_images: list[Image] = []
        self._new_versions: list[ImageVersion] = []

    def _read_current(self) -> dict[str, ImageVersion]:
        by_id = {image.pk: image for image in self._images.values()}
        versions = ImageVersion.objects.filter(image__in=list(by_id), valid_to=FOREVER)
        return {by_id[version.image_id].ident: version for version in versions}

    def conflicts(self, changes: Sequence[StagedImage]) -> list[Conflict]:
        """Which of a session's changes come too late, after the sessions applied before it."""
        return list(conflicts.between(changes, self._current, self._removed))

    def apply(self, changes: Sequence[StagedImage], number: int, now: datetime) -> Counts:
        """Make a session's changes, which don't conflict, at revision `number`. Counts those that change anything."""
        counts = dict(NOTHING)
        for change in changes:
            if self._apply(change, number, now):
                counts[change.action] += 1
                counts["bytes"] += change.byte_size or 0 if change.action == Action.ADD else 0
        return counts

    def _apply(self, change: StagedImage, number: int, now: datetime) -> bool:
        """False: what is added already stays, and what is removed already is gone."""
        current = self._current.get(change.ident)
        if (change.action == Action.ADD) != (current is None):
            return False
        if current is not None:
            self._close(change.ident, current, number)
        if change.action != Action.REMOVE:
            self._begin(change, current, number, now)
        return True

    def _close(self, ident: str, version: ImageVersion, number: int) -> None:
        version.valid_to = number
        if version.pk is not None:
            self._closed.append(version)
        del self._current[ident]
        self._removed[ident] = number

    def _begin(self, change: StagedImage, before: ImageVersion | None, number: int, now: datetime) -> None:
        version = ImageVersion(
            image=self._image(change),
            valid_from=number,
            added_at=before.added_at if before else now,
            updated_at=now,
            **{name: getattr(change, name) for name in DESCRIPTIVE_FIELDS},
        )
        self._new_versions.append(version)
        self._current[change.ident] = version

    def _image(self, change: StagedImage) -> Image:
        image = self._images.get(change.ident)
        if image is None:
            image = Image(ident=change.ident, **{name: getattr(change, name) for name in TECHNICAL_FIELDS})
            self._images[change.ident] = image
            self._new_images.append(image)
        return image

    def write(self) -> None:
        """Write all that was applied. An image has one current version at a time: old ones are closed first."""
        ImageVersion.objects.bulk_update(self._closed, ["valid_to"])
        Image.objects.bulk_create(self._new_images)
        ImageVersion.objects.bulk_create(self._new_versions)
