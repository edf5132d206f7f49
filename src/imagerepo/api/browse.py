"""Browsing: listings, single images and their history, and the log of revisions. Committed data only.

Each answer is of one revision: head is read once.
"""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from django.urls import path
from rest_framework.request import Request

from imagerepo.api import converters  # noqa: F401  # registers <ident:…>
from imagerepo.api.answers import answer
from imagerepo.api.conditional import tagged
from imagerepo.api.listing import Listing
from imagerepo.api.lookups import live_version, never_live, revision_asked
from imagerepo.api.parsing import check_parameters, next_page, number_cursor, page_size, with_cursor
from imagerepo.api.public import PublicView, cache_control
from imagerepo.api.representation import revision_json, version_json
from imagerepo.api.requests import NoSuchResource
from imagerepo.catalogue import queries
from imagerepo.catalogue.models import FOREVER


class ImagesView(PublicView):
    """GET /api/v1/images: the listing, page by page."""

    def get(self, request: Request) -> HttpResponseBase:
        listing = Listing.asked(request.query_params, queries.head())
        versions, cursor = listing.read()
        following = with_cursor(request, str(cursor)) if cursor else None
        results = [version_json(version) for version in versions]
        return respond(request, {"revision": listing.at, "results": results, "next": following})


class ImageView(PublicView):
    """GET /api/v1/images/{ident}"""

    def get(self, request: Request, ident: str) -> HttpResponseBase:
        check_parameters(request, "at")
        return respond(request, version_json(live_version(ident, revision_asked(request))))


class HistoryView(PublicView):
    """GET /api/v1/images/{ident}/history: its versions, newest first; `until` is the revision that ended one."""

    def get(self, request: Request, ident: str) -> HttpResponseBase:
        check_parameters(request, "limit", "cursor")
        head, limit, before = queries.head(), page_size(request), number_cursor(request)
        if queries.newest_version(ident, head) is None:
            raise never_live(ident, head)
        rows = queries.history(ident, head, limit=limit + 1, before=before or FOREVER)
        results = [
            version_json(row) | {"until": row.valid_to if row.valid_to <= head else None} for row in rows[:limit]
        ]
        return respond_list(request, results, results[-1]["revision"] if len(rows) > limit else None)


class RevisionsView(PublicView):
    """GET /api/v1/revisions: the log, newest first."""

    def get(self, request: Request) -> HttpResponseBase:
        check_parameters(request, "limit", "cursor")
        limit, before = page_size(request), number_cursor(request)
        rows = queries.revisions(queries.head(), limit=limit + 1, before=before or FOREVER)
        results = [revision_json(row) for row in rows[:limit]]
        return respond_list(request, results, results[-1]["revision"] if len(rows) > limit else None)


class RevisionView(PublicView):
    """GET /api/v1/revisions/{n}"""

    def get(self, request: Request, number: int) -> HttpResponseBase:
        check_parameters(request)
        head = queries.head()
        row = queries.revision(number, head) if number <= head else None
        if row is None:
            raise NoSuchResource(f"no revision {number}: they go from 1 to {head}")
        return respond(request, revision_json(row))


def respond_list(request: Request, results: list[dict[str, Any]], last: int | None) -> HttpResponseBase:
    """A page of a list that is ordered by a number; `last` is this page's, if there is a next."""
    return respond(request, {"results": results, "next": next_page(request, last)})


def respond(request: Request, data: dict[str, Any]) -> HttpResponseBase:
    """`data` with an ETag, to be asked for again each time; 304 where the client has it."""
    headers = {"Cache-Control": cache_control("no-cache")}
    if data.get("next"):
        headers["Link"] = f'<{data["next"]}>; rel="next"'
    return tagged(request, answer(data, headers=headers))


urlpatterns = [
    path("api/v1/images", ImagesView.as_view()),
    path("api/v1/images/<ident:ident>", ImageView.as_view()),
    path("api/v1/images/<ident:ident>/history", HistoryView.as_view()),
    path("api/v1/revisions", RevisionsView.as_view()),
    path("api/v1/revisions/<int:number>", RevisionView.as_view()),
]
