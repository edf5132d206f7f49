"""Rows of a catalogue made directly, as a merge and a flip would leave them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from imagerepo.catalogue.models import FOREVER, Head, Image, ImageVersion, Revision

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def ident_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def when(revision: int) -> datetime:
    """The time at which a revision was merged: one for all its images, as in a real merge."""
    return BEGIN + timedelta(hours=revision)


def flip(revision: int) -> None:
    Head.objects.update_or_create(id=1, defaults={"revision": revision})


def log(revision: int, **counts: int) -> Revision:
    return Revision.objects.create(
        number=revision, session=f"{revision:032x}", owner="ann", committed_at=when(revision), **counts
    )


def add(name: str, revision: int, **columns: Any) -> ImageVersion:
    """Add the image, or add it again, at `revision`; `columns` are those of Image or ImageVersion."""
    technical = {"format": "jpeg", "width": 640, "height": 480, "byte_size": 1000, "md5": bytes(16)}
    facts = {key: columns.pop(key, value) for key, value in technical.items()}
    facts["has_alpha"] = columns.pop("has_alpha", False)
    image, _ = Image.objects.get_or_create(ident=ident_of(name), defaults=facts)
    columns = {"added_at": when(revision), "updated_at": when(revision), "filename": name} | columns
    return ImageVersion.objects.create(image=image, valid_from=revision, **columns)


def update(name: str, revision: int, **columns: Any) -> ImageVersion:
    """Replace the image's current version at `revision`."""
    old = ImageVersion.objects.get(image__ident=ident_of(name), valid_to=FOREVER)
    remove(name, revision)
    columns = {"added_at": old.added_at, "updated_at": when(revision), "filename": name} | columns
    return ImageVersion.objects.create(image=old.image, valid_from=revision, **columns)


def remove(name: str, revision: int) -> None:
    """Close the image's current version at `revision`."""
    current = ImageVersion.objects.filter(image__ident=ident_of(name), valid_to=FOREVER)
    assert current.update(valid_to=revision) == 1
