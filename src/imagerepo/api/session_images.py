"""/api/v1/sessions/{id}/images and …/changes: what is staged in a session."""

from __future__ import annotations

from django.http import HttpResponse
from django.urls import path
from rest_framework.request import Request

from imagerepo.api import converters, metadata, parsing, uploads  # noqa: F401  # converters registers `ident`
from imagerepo.api.answers import answer, empty
from imagerepo.api.session_json import changes_json, live_json, session_path, staged_json
from imagerepo.api.sessions import NO_STORE, SessionView
from imagerepo.errors import NotInSession
from imagerepo.sessions import lifecycle, staging
from imagerepo.sessions.models import Action, UploadSession
from imagerepo.sessions.service import current


class StagingView(SessionView):
    """Base of the views that change a session."""

    def open(self, request: Request, key: str) -> UploadSession:
        """The session in the path, asked for before a body is read. Raises WrongState, Fenced."""
        session = self.writable(request, key)
        lifecycle.require_open(session)
        return session


class Images(StagingView):
    def post(self, request: Request, key: str) -> HttpResponse:
        session = self.open(request, key)
        with uploads.form(request) as upload:
            return _stage(session, upload)


class Image(StagingView):
    def get(self, request: Request, key: str, ident: str) -> HttpResponse:
        session = self.session(request, key)
        return answer(_view(session, ident), headers=NO_STORE)

    def put(self, request: Request, key: str, ident: str) -> HttpResponse:
        session = self.open(request, key)
        with uploads.raw(request, ident) as upload:
            return _stage(session, upload)

    def patch(self, request: Request, key: str, ident: str) -> HttpResponse:
        session = self.open(request, key)
        parsing.check_media_type(request, parsing.MERGE_PATCH)
        patch = metadata.patch_of_json(parsing.body(request))
        return answer(staged_json(session, staging.stage_metadata(session, ident, patch)))

    def delete(self, request: Request, key: str, ident: str) -> HttpResponse:
        staging.stage_removal(self.open(request, key), ident)
        return empty()


class Changes(SessionView):
    def get(self, request: Request, key: str) -> HttpResponse:
        session = self.session(request, key)
        parsing.check_parameters(request, "limit", "cursor")
        limit, after = parsing.page_size(request), parsing.number_cursor(request)
        found = staging.changes(session, limit=limit + 1, after=after or 0)
        page = found[:limit]
        following = parsing.next_page(request, page[-1].pk if len(found) > limit else None)
        return answer({"results": changes_json(session, page), "next": following}, headers=NO_STORE)


class Change(StagingView):
    def delete(self, request: Request, key: str, ident: str) -> HttpResponse:
        staging.discard(self.open(request, key), ident)
        return empty()


def _stage(session: UploadSession, upload: uploads.Upload) -> HttpResponse:
    decoded = current().decoder.inspect(upload.spooled.path)
    row, created = staging.stage_image(
        session, upload.spooled, decoded, filename=upload.filename, metadata=upload.metadata
    )
    headers = {"Location": f"{session_path(session)}/images/{row.ident}"} if created else {}
    return answer(staged_json(session, row), 201 if created else 200, headers=headers)


def _view(session: UploadSession, ident: str) -> dict[str, object]:
    row = staging.staged(session, ident)
    if row is not None and row.action == Action.REMOVE:
        raise NotInSession(f"image {ident} is staged for removal")
    if row is not None:
        return staged_json(session, row)
    live = staging.live_version(ident)
    if live is None:
        raise NotInSession(f"image {ident} is neither live nor staged in this session")
    return live_json(session, live)


urlpatterns = [
    path("api/v1/sessions/<str:key>/images", Images.as_view()),
    path("api/v1/sessions/<str:key>/images/<ident:ident>", Image.as_view()),
    path("api/v1/sessions/<str:key>/changes", Changes.as_view()),
    path("api/v1/sessions/<str:key>/changes/<ident:ident>", Change.as_view()),
]
