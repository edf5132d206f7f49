"""Operations: is it alive, is it ready, and the snapshots that make it durable."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.http import HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from imagerepo.api.answers import answer
from imagerepo.api.auth import require
from imagerepo.api.parsing import (
    check_parameters,
    has_body,
    json_body,
    next_page,
    number_cursor,
    page_size,
    preferred_wait,
)
from imagerepo.api.requests import NotReady
from imagerepo.api.validation import StrictSerializer, validated
from imagerepo.api.views import ApiView
from imagerepo.durability import drill
from imagerepo.durability.records import Header, Manifest
from imagerepo.durability.restore import around_damaged_bases
from imagerepo.durability.writer import Writer
from imagerepo.errors import StoreUnavailable
from imagerepo.sessions.service import current

log = logging.getLogger(__name__)

UNCACHED = {"Cache-Control": "no-store"}


class LiveView(ApiView):
    """GET /livez: this process answers. Asks nothing of disk or store."""

    permission_classes: list[type[BasePermission]] = []

    def get(self, request: Request) -> HttpResponse:
        return answer({"status": "live"}, headers=UNCACHED)


class ReadyView(ApiView):
    """GET /readyz: it can commit too, or the reasons why not; and what the last restore drill found.

    A drill that failed is an alarm, but no reason to send nobody here: what is live is served all the same.
    """

    permission_classes: list[type[BasePermission]] = []

    def get(self, request: Request) -> HttpResponse:
        unreachable = current().manager.trouble()
        reasons = current().writer.trouble() + ([unreachable] if unreachable else [])
        last = drill.last(current().writer.disk)
        found = last.summary if last else None
        if reasons:
            raise NotReady("; ".join(reasons), reasons=reasons, drill=found)
        return answer({"status": "ready", "drill": found}, headers=UNCACHED)


class SnapshotParameters(StrictSerializer):
    """The body of POST /api/v1/snapshots. A base may stand in for a delta; the answer says which it is."""

    kind = serializers.ChoiceField(choices=["delta", "base"], required=False)


class SnapshotsView(ApiView):
    """GET and POST /api/v1/snapshots"""

    permission_classes = [require("admin")]

    def get(self, request: Request) -> HttpResponse:
        check_parameters(request, "limit", "cursor")
        limit, before = page_size(request), number_cursor(request)
        writer = _writer()
        found = around_damaged_bases(
            lambda without: list(islice(_older(writer.kept(without), before), limit + 1)), log.warning
        )
        last = _place(found[limit - 1]) if len(found) > limit else None
        results = [snapshot.summary for snapshot in found[:limit]]
        return answer({"results": results, "next": next_page(request, last)}, headers=UNCACHED)

    def post(self, request: Request) -> HttpResponse:
        check_parameters(request)
        kind = _body(request).get("kind", "delta")
        _writer().check_writable()
        service = current()
        wait = preferred_wait(request, service.config.commit_wait_seconds)
        made = service.committer.snapshot(kind, wait=wait)
        if made is None:
            return answer({"kind": kind}, 202, headers={"Location": request.path, **UNCACHED})
        snapshot, now = made
        return answer(snapshot.summary, 201 if now else 200, headers=UNCACHED)


def _writer() -> Writer:
    """The writer. Raises StoreUnavailable while its store is known to fail: to ask it would be to wait."""
    writer = current().writer
    trouble = writer.disk.trouble()
    if trouble:
        raise StoreUnavailable(f"the store of snapshots fails since {trouble.since:%H:%M:%S}: {trouble.reason}")
    return writer


def _older(snapshots: Iterator[Header | Manifest], before: int | None) -> Iterator[Header | Manifest]:
    return (snapshot for snapshot in snapshots if before is None or _place(snapshot) < before)


def _place(snapshot: Header | Manifest) -> int:
    """Where it stands in the list: a base made in the background comes before its record."""
    return 2 * snapshot.sequence + isinstance(snapshot, Manifest)


def _body(request: Request) -> dict[str, Any]:
    return validated(SnapshotParameters(data=json_body(request))) if has_body(request) else {}


urlpatterns = [
    path("livez", LiveView.as_view()),
    path("readyz", ReadyView.as_view()),
    path("api/v1/snapshots", SnapshotsView.as_view()),
]
