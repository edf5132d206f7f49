"""/api/v1/sessions: the sessions themselves. What is staged in them is in session_images.py."""

from __future__ import annotations

from django.http import HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request

from imagerepo.api import parsing
from imagerepo.api.answers import answer, empty
from imagerepo.api.auth import actor, require
from imagerepo.api.conditional import tagged
from imagerepo.api.session_json import session_json, session_path, sessions_json
from imagerepo.api.validation import Number, StrictSerializer, Text, validated
from imagerepo.api.views import ApiView
from imagerepo.errors import Fenced
from imagerepo.sessions import conflicts, lifecycle, staging
from imagerepo.sessions.counting import counts
from imagerepo.sessions.models import State, UploadSession
from imagerepo.sessions.service import current

MAX_TITLE_CHARACTERS = 500
SHORTEST_LIFE, LONGEST_LIFE = 0.001, 366 * 86400.0
"""Seconds that a session may be asked to live without a write."""
MAX_LOOKUP = 1000
NO_STORE = {"Cache-Control": "no-store"}


class OpenSerializer(StrictSerializer):
    """Body of POST /api/v1/sessions."""

    title = Text(required=False, allow_blank=True, max_length=MAX_TITLE_CHARACTERS)
    expires_in = Number(required=False, allow_null=True, min_value=SHORTEST_LIFE, max_value=LONGEST_LIFE)


class LookupSerializer(StrictSerializer):
    """Body of POST …/lookup."""

    idents = serializers.ListField(
        child=serializers.RegexField(r"\A[0-9a-f]{64}\Z", trim_whitespace=False), max_length=MAX_LOOKUP
    )


class SessionView(ApiView):
    """Base of the views of sessions."""

    permission_classes = [require("contributor")]

    def session(self, request: Request, key: str) -> UploadSession:
        """The session in the path, to be read."""
        return lifecycle.find(key, actor(request))

    def writable(self, request: Request, key: str) -> UploadSession:
        """The same, to be changed. Raises Fenced."""
        session = self.session(request, key)
        try:
            current().writer.check_writable()
        except Fenced as error:
            error.session, error.state = session.key, str(session.state)
            raise
        return session


class Sessions(SessionView):
    def get(self, request: Request) -> HttpResponse:
        parsing.check_parameters(request, "state", "limit", "cursor")
        limit, before = parsing.page_size(request), parsing.number_cursor(request)
        found = lifecycle.listing(actor(request), state=_state(request), limit=limit + 1, before=before)
        page = found[:limit]
        following = parsing.next_page(request, page[-1].pk if len(found) > limit else None)
        return answer({"results": sessions_json(page), "next": following}, headers=NO_STORE)

    def post(self, request: Request) -> HttpResponse:
        current().writer.check_writable()
        data = parsing.json_body(request) if parsing.has_body(request) else {}
        given = validated(OpenSerializer(data=data))
        session = lifecycle.open_session(actor(request).name, **given)
        return answer(session_json(session), 201, headers={"Location": session_path(session)})


class Session(SessionView):
    def get(self, request: Request, key: str) -> HttpResponse:
        session = self.session(request, key)
        return tagged(request, answer(session_json(session), headers={"Cache-Control": "no-cache"}))

    def delete(self, request: Request, key: str) -> HttpResponse:
        lifecycle.abort(self.writable(request, key))
        return empty()


class Refresh(SessionView):
    def post(self, request: Request, key: str) -> HttpResponse:
        session = self.writable(request, key)
        lifecycle.refresh(session)
        return answer(session_json(session))


class Lookup(SessionView):
    def post(self, request: Request, key: str) -> HttpResponse:
        session = self.session(request, key)
        given = validated(LookupSerializer(data=parsing.json_body(request)))
        found = staging.lookup(session, given["idents"])
        return answer({"live": found.live, "staged": found.staged, "unknown": found.unknown})


class Commit(SessionView):
    def post(self, request: Request, key: str) -> HttpResponse:
        session = self.writable(request, key)
        if parsing.flag(request, "dry_run"):
            return answer(_dry_run(session), headers=NO_STORE)
        wait = parsing.preferred_wait(request, current().config.commit_wait_seconds)
        row = current().committer.commit(session, wait=wait)
        if row.state == State.LIVE:
            return answer(session_json(row), headers=NO_STORE)
        return answer(session_json(row), 202, headers={"Location": session_path(row), **NO_STORE})


def _dry_run(session: UploadSession) -> dict[str, object]:
    lifecycle.require_open(session)
    counted = counts(session)
    return {
        "counts": counted,
        "upload": {"objects": counted["add"], "bytes": counted["bytes"]},
        "conflicts": conflicts.of(session),
    }


def _state(request: Request) -> str | None:
    state = request.query_params.get("state")
    if state is not None and state not in State.values:
        raise parsing.bad_parameter("state", f"not one of {', '.join(State.values)}")
    return state


urlpatterns = [
    path("api/v1/sessions", Sessions.as_view()),
    path("api/v1/sessions/<str:key>", Session.as_view()),
    path("api/v1/sessions/<str:key>/refresh", Refresh.as_view()),
    path("api/v1/sessions/<str:key>/lookup", Lookup.as_view()),
    path("api/v1/sessions/<str:key>/commit", Commit.as_view()),
]
