"""Taking an image down, and dropping its cached derivatives."""

from __future__ import annotations

from django.http import HttpResponse
from django.urls import path
from rest_framework.request import Request

from imagerepo.api import converters  # noqa: F401  # registers <ident:…>
from imagerepo.api.answers import answer, empty
from imagerepo.api.auth import actor, require
from imagerepo.api.lookups import live_version
from imagerepo.api.parsing import check_parameters
from imagerepo.api.views import ApiView
from imagerepo.catalogue import queries
from imagerepo.reconcile import purge
from imagerepo.reconcile.remains import delete_derivatives
from imagerepo.sessions.service import current


class PurgeView(ApiView):
    """POST /api/v1/images/{ident}/purge: gone from every revision when this answers; its objects follow."""

    permission_classes = [require("admin")]

    def post(self, request: Request, ident: str) -> HttpResponse:
        check_parameters(request)
        service = current()
        service.writer.check_writable()
        purge.purge(service, ident, actor=actor(request).name)
        return answer({"ident": ident, "state": "purged"}, 202, headers={"Cache-Control": "no-store"})


class DerivativesView(ApiView):
    """DELETE /api/v1/images/{ident}/derivatives: they are made again when somebody asks for one."""

    permission_classes = [require("admin")]

    def delete(self, request: Request, ident: str) -> HttpResponse:
        check_parameters(request)
        live_version(ident, queries.head())
        service = current()
        service.writer.check_writable()
        delete_derivatives(service.store, ident)
        return empty(204)


urlpatterns = [
    path("api/v1/images/<ident:ident>/purge", PurgeView.as_view()),
    path("api/v1/images/<ident:ident>/derivatives", DerivativesView.as_view()),
]
