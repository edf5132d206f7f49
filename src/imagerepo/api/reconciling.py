"""Plans of reconcile: asked for, looked at, applied."""

from __future__ import annotations

from itertools import islice
from typing import Any

from django.http import HttpResponse
from django.urls import path
from rest_framework.request import Request

from imagerepo.api.answers import answer
from imagerepo.api.auth import actor, require
from imagerepo.api.conditional import require_match, tagged
from imagerepo.api.parsing import (
    bad_parameter,
    check_parameters,
    has_body,
    json_body,
    next_page,
    number_cursor,
    page_size,
)
from imagerepo.api.validation import Flag, Number, StrictSerializer, validated
from imagerepo.api.views import ApiView
from imagerepo.reconcile import orders
from imagerepo.reconcile.plans import Plan, Plans
from imagerepo.sessions.service import current

UNCACHED = {"Cache-Control": "no-store"}


class PlanParameters(StrictSerializer):
    """The body of POST /api/v1/reconcile. `deep` reads every base; `sample` so many percent of them."""

    deep = Flag(required=False)
    sample = Number(required=False, min_value=0, max_value=100)


class ApplyParameters(StrictSerializer):
    """The body of POST …/apply."""

    force = Flag(required=False)


class PlansView(ApiView):
    """POST /api/v1/reconcile: a plan, which is made in the background."""

    permission_classes = [require("admin")]

    def post(self, request: Request) -> HttpResponse:
        check_parameters(request)
        writer = current().writer
        writer.check_writable()
        given = _body(request, PlanParameters)
        percent = 100.0 if given.get("deep") else given.get("sample", 0.0)
        return _accepted(orders.plan(writer.disk, percent=percent))


class PlanView(ApiView):
    """GET /api/v1/reconcile/{id}"""

    permission_classes = [require("admin")]

    def get(self, request: Request, key: str) -> HttpResponse:
        return tagged(request, _shown(_told(key)))


class FindingsView(ApiView):
    """GET /api/v1/reconcile/{id}/findings: in the order of their images; while planning, those so far."""

    permission_classes = [require("admin")]

    def get(self, request: Request, key: str) -> HttpResponse:
        check_parameters(request, "limit", "cursor")
        limit, start = page_size(request), number_cursor(request) or 0
        plan = _plans().find(key)
        try:
            found = list(islice(_plans().findings(plan, start), limit))
        except ValueError:
            raise bad_parameter("cursor", "not a cursor of this list: begin again without one") from None
        end = found[-1][0] if len(found) == limit else plan.findings_bytes
        following = next_page(request, end if end < plan.findings_bytes else None)
        return answer({"results": [finding for _, finding in found], "next": following}, headers=UNCACHED)


class ApplyView(ApiView):
    """POST /api/v1/reconcile/{id}/apply: what was seen, and is still so, is carried out in the background."""

    permission_classes = [require("admin")]

    def post(self, request: Request, key: str) -> HttpResponse:
        check_parameters(request)
        writer = current().writer
        writer.check_writable()
        given = _body(request, ApplyParameters)
        plan = orders.apply(
            writer.disk,
            key,
            actor=actor(request).name,
            force=given.get("force", False),
            # A repetition, whose first answer was lost, names the plan as it was before the order.
            check=lambda plan: require_match(request, _shown(plan), _shown(plan.as_ordered)),
        )
        return _accepted(plan)


def _plans() -> Plans:
    return Plans(current().writer.disk)


def _told(key: str) -> Plan:
    plans = _plans()
    return plans.explained(plans.find(key))


def _shown(plan: Plan) -> HttpResponse:
    return answer(plan.summary, headers={"Cache-Control": "no-cache"})


def _accepted(plan: Plan) -> HttpResponse:
    return answer(plan.summary, 202, headers={"Location": f"/api/v1/reconcile/{plan.id}", **UNCACHED})


def _body(request: Request, kind: type[StrictSerializer]) -> dict[str, Any]:
    return validated(kind(data=json_body(request))) if has_body(request) else {}


urlpatterns = [
    path("api/v1/reconcile", PlansView.as_view()),
    path("api/v1/reconcile/<str:key>", PlanView.as_view()),
    path("api/v1/reconcile/<str:key>/findings", FindingsView.as_view()),
    path("api/v1/reconcile/<str:key>/apply", ApplyView.as_view()),
]
