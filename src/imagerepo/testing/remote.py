"""A running server, spoken to over HTTP, with the face of the reference model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import httpx

from imagerepo.testing.images import Picture
from imagerepo.testing.reference import NOTHING_SAID, Action, Live, Refused


class Remote:
    """A `Repository`; `client` has the server's address, and a contributor's token; `sessions` are open already.

    An image with metadata is sent in a form, which needs a filename, and spoils one with quotes or slashes in
    it; one without metadata may have any. Raises Refused for a problem (4xx), httpx.HTTPStatusError for any
    other failure.
    """

    def __init__(self, client: httpx.Client, sessions: Mapping[str, str] | None = None) -> None:
        self._client = client
        self._paths = dict(sessions or {})
        """By the names that the test gives them."""

    def open(self, session: str) -> None:
        self._paths[session] = self._ask("POST", "/api/v1/sessions", json={}).headers["Location"]

    def stage(self, session: str, picture: Picture, *, filename: str = "", metadata: Mapping[str, Any]) -> Action:
        images = f"{self._path(session)}/images"
        if metadata:
            form = {"files": {"file": (filename, picture.data)}, "data": {"metadata": json.dumps(metadata)}}
            answer = self._ask("POST", images, **form)
        else:
            given = {"filename": filename} if filename else {}
            answer = self._ask("PUT", f"{images}/{picture.ident}", content=picture.data, params=given)
        return cast(Action, answer.json()["action"])

    def describe(self, session: str, ident: str, patch: Mapping[str, Any]) -> Action:
        answer = self._ask("PATCH", f"{self._path(session)}/images/{ident}", json=patch)
        return cast(Action, answer.json()["action"])

    def remove(self, session: str, ident: str) -> None:
        self._ask("DELETE", f"{self._path(session)}/images/{ident}")

    def discard(self, session: str, ident: str) -> None:
        self._ask("DELETE", f"{self._path(session)}/changes/{ident}")

    def commit(self, session: str) -> int:
        """Waits until the server has said how it ended."""
        answer = self._ask("POST", f"{self._path(session)}/commit")
        while answer.status_code == httpx.codes.ACCEPTED:
            answer = self._ask("POST", f"{self._path(session)}/commit")
        return int(answer.json()["revision"])

    def abort(self, session: str) -> None:
        self._ask("DELETE", self._path(session))

    def staged(self, session: str) -> dict[str, Action]:
        changes = self._pages(f"{self._path(session)}/changes", {})
        return {change["ident"]: change["action"] for change in changes}

    def revision(self) -> int:
        """The newest that is live."""
        return int(self._ask("GET", "/api/v1/images", params={"limit": "1"}).json()["revision"])

    def live(self, at: int | None = None) -> Live:
        images = self._pages("/api/v1/images", {} if at is None else {"at": str(at)})
        return {image["ident"]: {name: image[name] for name in NOTHING_SAID} for image in images}

    def _path(self, session: str) -> str:
        if session not in self._paths:
            raise Refused("session-not-found")
        return self._paths[session]

    def _pages(self, path: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        page = self._ask("GET", path, params=parameters).json()
        found = list(page["results"])
        while page["next"]:
            page = self._ask("GET", page["next"]).json()
            found += page["results"]
        return found

    def _ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        answer = self._client.request(method, path, **given)
        if answer.is_client_error:
            problem = answer.json()
            conflicts = {conflict["ident"]: conflict["code"] for conflict in problem.get("conflicts", ())}
            raise Refused(problem["type"].removeprefix("/problems/"), conflicts)
        return answer.raise_for_status()
