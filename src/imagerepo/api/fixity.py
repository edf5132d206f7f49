"""GET /api/v1/fixity: how far the checking of bases has come, and which are damaged."""

from __future__ import annotations

from django.http import HttpResponse
from django.urls import path
from rest_framework.request import Request

from imagerepo.api.answers import answer
from imagerepo.api.auth import require
from imagerepo.api.parsing import check_parameters
from imagerepo.api.views import ApiView
from imagerepo.durability import damage
from imagerepo.reconcile import fixity
from imagerepo.sessions.service import current


class FixityView(ApiView):
    permission_classes = [require("admin")]

    def get(self, request: Request) -> HttpResponse:
        check_parameters(request)
        service = current()
        report = damage.known(service.writer.disk)
        told = fixity.summary(report, service.config.fixity_days)
        return answer(told, headers={"Cache-Control": "no-store"})


urlpatterns = [path("api/v1/fixity", FixityView.as_view())]
