"""What all reads of committed data share: open to other origins, marked when stale, sparing with caches."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from imagerepo.api.views import STALE_HEADER, ApiView
from imagerepo.sessions.service import current

PREFLIGHT_SECONDS = 86400
_READABLE = f"Content-Range, ETag, Link, Location, Repr-Digest, Retry-After, {STALE_HEADER}"
_SENDABLE = "If-Match, If-None-Match, If-Range, Range"


class PublicView(ApiView):
    """A view that only reads what is committed.

    Where browsing is public any origin may read it, by GET and HEAD and without credentials.
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        if current().config.public_browse:
            response["Access-Control-Allow-Origin"] = "*"
            response["Access-Control-Expose-Headers"] = _READABLE
        return response

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        response = super().options(request, *args, **kwargs)
        if current().config.public_browse:
            response["Access-Control-Allow-Methods"] = "GET, HEAD"
            response["Access-Control-Allow-Headers"] = _SENDABLE
            response["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        return response


def cache_control(rule: str) -> str:
    """The `Cache-Control` of an answer: no shared cache keeps what needs a token to read."""
    return f"{'public' if current().config.public_browse else 'private'}, {rule}"
