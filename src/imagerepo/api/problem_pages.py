"""GET /problems/<slug>: a page for people on each type of problem."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.html import format_html
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from imagerepo.api.problems import KINDS, Kind
from imagerepo.api.views import ApiView


class ProblemView(ApiView):
    """GET /problems/<slug>: what the problem means, and what to do."""

    permission_classes: list[type[BasePermission]] = []

    def get(self, request: Request, slug: str) -> HttpResponse:
        kind = KINDS.get(slug)
        if kind is None:
            raise Http404(f"there is no type of problem {slug!r}")
        return _page(kind)


def _page(kind: Kind) -> HttpResponse:
    html = format_html(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        "<h1>{title}</h1><p>Status {status}, type <code>{type}</code>.</p><p>{meaning}</p></html>",
        title=kind.title,
        status=kind.status,
        type=kind.type,
        meaning=kind.meaning,
    )
    return HttpResponse(html, headers={"Content-Security-Policy": "default-src 'none'"})


urlpatterns = [path("problems/<slug:slug>", ProblemView.as_view())]
