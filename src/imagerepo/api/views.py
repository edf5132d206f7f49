"""What every view of the API shares."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from imagerepo.sessions.service import current

STALE_HEADER = "Imagerepo-Stale"
STALE = "fenced"
"""Another server has taken over: this one shows what was live until then, and perhaps no more."""


class ApiView(APIView):
    """Base of the API's views: bearer tokens, problem+json, HEAD wherever GET, Allow with a 405.

    Handlers answer with `answers.answer`. `permission_classes` says who may ask: `[require(role)]`, or
    by default whoever may browse. Every answer of a writer that was fenced says that it may be stale.
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        if current().writer.fenced:
            response[STALE_HEADER] = STALE
        return response

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        return Response(status=204, headers={"Allow": ", ".join(self.allowed_methods)})
