"""Every refusal answers application/problem+json, whether DRF, Django or a route refuses."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from rest_framework import exceptions as drf

from imagerepo.api.answers import answer
from imagerepo.api.problems import BAD_REQUEST, FORBIDDEN, INTERNAL_ERROR, NOT_FOUND, Kind, kind_of, members
from imagerepo.errors import DiskFails, ImagerepoError, SpoolFull
from imagerepo.failures import of_the_disk

MEDIA_TYPE = "application/problem+json"
CHALLENGE = 'Bearer realm="imagerepo"'
MEMBERS = ("errors", "session", "state", "conflicts", "revision", "canonical", "reasons", "drill")
"""Attributes of an error that its problem shows, where they are set."""


def respond(kind: Kind, detail: str, request: HttpRequest, **more: Any) -> HttpResponse:
    """The answer to `request` for a problem of this kind."""
    body = members(kind, detail, instance=request.path, **more)
    return answer(body, kind.status, headers=_headers(kind), media_type=MEDIA_TYPE)


def handle(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """DRF's exception handler. None, for a defect, lets Django log it and answer 500."""
    error = _of_the_disk(error) or error
    kind = kind_of(error)
    if kind is None:
        return None
    more = {name: getattr(error, name) for name in MEMBERS if getattr(error, name, None)}
    response = respond(kind, str(error), context["request"], **more)
    if isinstance(error, drf.NotAuthenticated | drf.AuthenticationFailed):
        response["WWW-Authenticate"] = CHALLENGE
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    return respond(BAD_REQUEST, "the request is malformed", request)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    return respond(FORBIDDEN, "not allowed", request)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404: no route has this path."""
    slash = " (paths have no trailing slash)" if request.path.endswith("/") else ""
    return respond(NOT_FOUND, f"nothing is at this path{slash}", request)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500."""
    return respond(INTERNAL_ERROR, "the service failed; its log says how", request)


def _headers(kind: Kind) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if kind.retry_after is not None:
        headers["Retry-After"] = str(kind.retry_after)
    if kind.close:
        headers["Connection"] = "close"
    return headers


def _of_the_disk(error: Exception) -> ImagerepoError | None:
    """What the client is told where the local disk fails."""
    failure = of_the_disk(error)
    if failure is None:
        return None
    if failure.full:
        return SpoolFull("the local disk is full: the change was not written")
    return DiskFails("the local disk fails: the change was not written")
