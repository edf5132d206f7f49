"""Answers that a client may have already: entity tags and the conditions that name them."""

from __future__ import annotations

import hashlib

from django.http import HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import parse_etags
from rest_framework.request import Request

from imagerepo.api.requests import PreconditionFailed, PreconditionRequired


def tagged(request: Request, response: HttpResponse) -> HttpResponse:
    """`response` with an entity tag of its body, or 304. Raises PreconditionFailed.

    The tag is the content's: revisions would do, were it not for restores to an earlier point in time,
    after which the same number stands for other content.
    """
    response["ETag"] = _tag_of(response)
    return unless_known(request, response)


def require_match(request: Request, *responses: HttpResponse) -> None:
    """Raise PreconditionRequired without an `If-Match`, PreconditionFailed where it names none of `responses`."""
    wanted = request.META.get("HTTP_IF_MATCH", "")
    if not wanted:
        raise PreconditionRequired("send If-Match with the ETag of what you looked at")
    if wanted.strip() != "*" and not {_tag_of(response) for response in responses}.intersection(parse_etags(wanted)):
        raise PreconditionFailed("If-Match names another version than the one that is here now")


def _tag_of(response: HttpResponse) -> str:
    return quoted(hashlib.blake2b(response.content, digest_size=16).hexdigest())


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
