"""Images, revisions and snapshots as JSON, the same wherever they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

from imagerepo.catalogue.models import Descriptive, ImageVersion, Revision, Technical
from imagerepo.store import names, variants
from imagerepo.store.formats import BY_NAME
from imagerepo.store.names import Variant

Json: TypeAlias = dict[str, Any]

THUMBNAIL_SIDE = 256
"""Pixels: the square that a thumbnail fits into."""


def image_json(
    ident: str,
    technical: Technical,
    descriptive: Descriptive,
    *,
    revision: int | None,
    added_at: datetime | None,
    updated_at: datetime | None,
) -> Json:
    """The contract's Image. For a staged one, what is not known before its commit is None.

    `technical` is the Image (of an image that is only staged, one made from its columns and not saved),
    `descriptive` a version or a StagedImage. A staged image's caller adds its `action`.
    """
    return {
        "ident": ident,
        "format": technical.format,
        "media_type": media_type(technical),
        "width": technical.width,
        "height": technical.height,
        "frames": technical.frames,
        "byte_size": technical.byte_size,
        "filename": descriptive.filename,
        "title": descriptive.title,
        "description": descriptive.description,
        "alt_text": descriptive.alt_text,
        "creator": descriptive.creator,
        "rights": descriptive.rights,
        "taken_at": descriptive.taken_at,
        "tags": descriptive.tags,
        "attributes": descriptive.attributes,
        "revision": revision,
        "added_at": added_at,
        "updated_at": updated_at,
        "links": image_links(ident, technical),
    }


def version_json(version: ImageVersion) -> Json:
    """A live image; `version` was read with its image."""
    image = version.image
    return image_json(
        image.ident,
        image,
        version,
        revision=version.valid_from,
        added_at=version.added_at,
        updated_at=version.updated_at,
    )


def revision_json(revision: Revision) -> Json:
    """An entry of the log."""
    return {
        "revision": revision.number,
        "session": revision.session,
        "title": revision.title,
        "owner": revision.owner,
        "committed_at": revision.committed_at,
        "counts": {"add": revision.added, "update": revision.updated, "remove": revision.removed},
    }


def image_links(ident: str, technical: Technical) -> dict[str, str]:
    """Where the image is found once it is live."""
    return {
        "self": f"/api/v1/images/{ident}",
        "content": f"/{names.base(ident)}",
        "thumbnail": f"/{names.derivative(ident, thumbnail(technical))}",
        "iiif": f"/iiif/3/{ident}",
        "manifest": f"/iiif/presentation/3/{ident}/manifest",
    }


def thumbnail(technical: Technical) -> Variant:
    """The variant that stands for the image in a listing: PNG where it can be transparent, else JPEG."""
    size = variants.fit(technical.width, technical.height, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return Variant(*size, "png" if technical.has_alpha else "jpg")


def media_type(technical: Technical) -> str:
    """The media type of the base image's format."""
    return BY_NAME[technical.format].media_type
