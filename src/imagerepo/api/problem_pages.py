"""GET /problems/<slug>: a page for people on each type of problem."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html
from django.views.decorators.http import require_safe

from imagerepo.api.problems import KINDS


@require_safe
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """What the problem means, and what to do."""
    kind = KINDS.get(slug)
    if kind is None:
        raise Http404
    html = format_html(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        "<h1>{title}</h1><p>Status {status}, type <code>{type}</code>.</p><p>{meaning}</p></html>",
        title=kind.title,
        status=kind.status,
        type=kind.type,
        meaning=kind.meaning,
    )
    return HttpResponse(html, headers={"Content-Security-Policy": "default-src 'none'"})
