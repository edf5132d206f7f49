"""Calling the application as a client does, through its WSGI door."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
from typing import Any

import httpx
from PIL import Image

from imagerepo.wsgi import application

_numbers = itertools.count(1)


class Caller:
    """A client with one token. Paths are absolute; those of a session are built from its links."""

    def __init__(self, token: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(transport=httpx.WSGITransport(application), base_url="http://test", headers=headers)

    def __call__(self, method: str, path: str, **given: Any) -> httpx.Response:
        """`without`: a header not to be sent, which httpx would add."""
        without = given.pop("without", None)
        request = self.http.build_request(method, path, **given)
        if without:
            del request.headers[without]
        response = self.http.send(request)
        assert response.status_code < 500 or response.status_code in (503, 507), response.text
        return response

    def open(self, **given: Any) -> str:
        """A new session's path."""
        response = self("POST", "/api/v1/sessions", json=given)
        assert response.status_code == 201, response.text
        return str(response.headers["Location"])

    def add(self, session: str, data: bytes, **form: Any) -> dict[str, Any]:
        """Stage an image by a form."""
        response = self("POST", f"{session}/images", files={"file": ("a.png", data)}, data=form)
        assert response.status_code in (200, 201), response.text
        return dict(response.json())

    def commit(self, session: str) -> dict[str, Any]:
        response = self("POST", f"{session}/commit")
        assert response.status_code == 200, response.text
        return dict(response.json())

    def live(self, data: bytes | None = None, **form: Any) -> str:
        """The ident of a new live image, or of these bytes."""
        session = self.open()
        ident = self.add(session, data or picture(), **form)["ident"]
        self.commit(session)
        return str(ident)

    def changes(self, session: str) -> dict[str, str]:
        """What is staged: action by ident."""
        results = self("GET", f"{session}/changes").json()["results"]
        return {change["ident"]: change["action"] for change in results}


def picture() -> bytes:
    """A small PNG that no other test has."""
    number = next(_numbers)
    image = Image.new("RGB", (4, 3), (number % 256, number // 256 % 256, number // 65536))
    body = io.BytesIO()
    image.save(body, "PNG")
    return body.getvalue()


def ident_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of(data: bytes) -> dict[str, str]:
    """The header that names the bytes."""
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"}


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem that `response` must be."""
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json"), (
        response.text
    )
    body = response.json()
    assert body["type"] == f"/problems/{slug}", body
    assert body["status"] == status
    assert body["title"] and body["detail"] and body["instance"] == response.request.url.path
    return dict(body)


def multipart(*parts: tuple[str, bytes], boundary: str = "edge", end: bool = True) -> dict[str, Any]:
    """A form's body and its type, from the headers and content of each part."""
    body = b"".join(
        b"--" + boundary.encode() + b"\r\n" + headers.encode() + b"\r\n\r\n" + content + b"\r\n"
        for headers, content in parts
    )
    closing = f"--{boundary}--\r\n".encode() if end else b""
    return {"content": body + closing, "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"}}


def part(name: str, filename: str | None = None) -> str:
    """The header of a form's part."""
    return f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")


def as_json(value: Any) -> dict[str, Any]:
    """A body of JSON, for metadata."""
    return {"content": json.dumps(value).encode(), "headers": {"Content-Type": "application/merge-patch+json"}}
