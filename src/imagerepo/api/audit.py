"""GET /api/v1/audit: who did what, newest first."""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from django.urls import path
from rest_framework.request import Request

from imagerepo.api.answers import answer
from imagerepo.api.auth import require
from imagerepo.api.parsing import bad_parameter, check_parameters, next_page, number_cursor, page_size
from imagerepo.api.views import ApiView
from imagerepo.catalogue import deeds, queries
from imagerepo.catalogue.models import FOREVER, AuditEntry


class AuditView(ApiView):
    """`actor` and `action` narrow it down."""

    permission_classes = [require("admin")]

    def get(self, request: Request) -> HttpResponseBase:
        check_parameters(request, "limit", "cursor", "actor", "action")
        limit, before = page_size(request), number_cursor(request)
        rows = deeds.page(
            queries.head(),
            limit=limit + 1,
            before=before or FOREVER,
            actor=request.query_params.get("actor"),
            action=_action(request),
        )
        following = next_page(request, rows[limit - 1].pk if len(rows) > limit else None)
        results = [_json(row) for row in rows[:limit]]
        return answer({"results": results, "next": following}, headers={"Cache-Control": "no-store"})


def _action(request: Request) -> str | None:
    action = request.query_params.get("action")
    if action is not None and action not in list(deeds.Deed):
        raise bad_parameter("action", f"one of {', '.join(deeds.Deed)}")
    return action


def _json(row: AuditEntry) -> dict[str, Any]:
    return {
        "at": row.at,
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "revision": row.revision,
        "detail": row.detail,
    }


urlpatterns = [path("api/v1/audit", AuditView.as_view())]
