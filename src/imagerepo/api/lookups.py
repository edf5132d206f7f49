"""Which version of which image a path and its `at` mean, or why there is none."""

from __future__ import annotations

import re

from rest_framework.request import Request

from imagerepo.api.parsing import bad_parameter
from imagerepo.api.requests import Gone, NoSuchResource
from imagerepo.catalogue import queries
from imagerepo.catalogue.models import ImageVersion

WHOLE_NUMBER = re.compile("[0-9]{1,18}")


def revision_asked(request: Request) -> int:
    """The revision in the parameter `at`, else head.

    Raises BadRequest for one that is not live, and Gone for one that is purged.
    """
    head = queries.head()
    text = request.query_params.get("at")
    if text is None:
        return head
    if not WHOLE_NUMBER.fullmatch(text) or int(text) > head:
        raise bad_parameter("at", f"not a revision from 0 to {head}")
    check_kept(int(text))
    return int(text)


def check_kept(at: int) -> None:
    """Raise Gone where revision `at` can't be shown any more."""
    horizon = queries.horizon()
    if at < horizon:
        raise Gone(f"revision {at} is purged: {horizon} is the oldest that is kept")


def live_version(ident: str, at: int) -> ImageVersion:
    """The image as revision `at` shows it. Raises NoSuchResource, or Gone if it was removed by then."""
    version = queries.newest_version(ident, at)
    if version is None:
        raise never_live(ident, at)
    if version.valid_to <= at:
        removed = version.valid_to
        raise Gone(f"revision {removed} removed the image; ?at={removed - 1} shows it", revision=removed)
    return version


def never_live(ident: str, at: int) -> Gone | NoSuchResource:
    """Why no revision up to `at` shows the image."""
    purged = queries.purged(ident)
    if purged is not None:
        return Gone("the image was purged: no revision shows it any more", revision=purged.revision)
    return NoSuchResource(f"no image {ident} was live by revision {at}")
