"""Answers that a client may have already: entity tags and the conditions that name them."""

from __future__ import annotations

import hashlib

from django.http import HttpResponse
from django.utils.cache import get_conditional_response
from rest_framework.request import Request

from imagerepo.api.requests import PreconditionFailed


def tagged(request: Request, response: HttpResponse) -> HttpResponse:
    """`response` with an entity tag of its body, or 304. Raises PreconditionFailed.

    The tag is the content's: revisions would do, were it not for restores to an earlier point in time,
    after which the same number stands for other content.
    """
    response["ETag"] = quoted(hashlib.blake2b(response.content, digest_size=16).hexdigest())
    return unless_known(request, response)


def unless_known(request: Request, response: HttpResponse) -> HttpResponse:
    """`response`, which has an `ETag`, or 304 where the client has it. Raises PreconditionFailed."""
    chosen = get_conditional_response(request._request, etag=response["ETag"], response=response)
    assert chosen is not None  # noqa: S101  # it was given one
    if chosen.status_code == 412:
        raise PreconditionFailed("If-Match names another version than the one that is here now")
    return chosen


def quoted(tag: str) -> str:
    """A strong entity tag."""
    return f'"{tag}"'
