"""What every view of the API shares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class AnyAccept(BaseContentNegotiation):
    """JSON whatever `Accept` says."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> Any:
        return None

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class ApiView(APIView):
    """Base of the API's views: bearer tokens, problem+json, HEAD wherever GET, Allow with a 405.

    Handlers answer with `answers.answer`. `permission_classes` says who may ask: `[require(role)]`, or
    by default whoever may browse.
    """

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        return Response(status=204, headers={"Allow": ", ".join(self.allowed_methods)})
