"""What every view of the API shares."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class ApiView(APIView):
    """Base of the API's views: bearer tokens, problem+json, HEAD wherever GET, Allow with a 405.

    Handlers answer with `answers.answer`. `permission_classes` says who may ask: `[require(role)]`, or
    by default whoever may browse.
    """

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        return Response(status=204, headers={"Allow": ", ".join(self.allowed_methods)})
