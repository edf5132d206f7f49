"""Requests to Swift and its answers, as the proxy before it reads and rewrites them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from email.message import Message
from http.client import HTTPConnection
from urllib.parse import parse_qs, unquote, urlsplit

from imagerepo.store.names import EPOCHS
from imagerepo.store.swift_containers import epoch_containers
from imagerepo.testing.faults import Op

TIMEOUT_SECONDS = 60.0
LAST_MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"
_OBJECT_OPS: dict[str, Op] = {"PUT": "put", "GET": "get", "HEAD": "stat", "DELETE": "delete"}
_EPOCH_OPS: dict[str, Op] = {"PUT": "create_exclusive", "HEAD": "stat"}
_OF_ONE_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Answer:
    """`sent`: how many bytes of the body reach the client before the connection is cut; None: all, and it stays."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    sent: int | None = None

    @property
    def succeeded(self) -> bool:
        return self.status in range(200, 300)

    def truncated(self) -> Answer:
        return replace(self, sent=len(self.body) // 2) if self.body else self


def forward(request: Request, port: int) -> Answer:
    """Send `request` on to the server on `port` of this machine, and give its answer, whole."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name.lower() not in _OF_ONE_HOP:
                connection.putheader(name, value)
        connection.endheaders(request.body)
        answer = connection.getresponse()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _OF_ONE_HOP}
        return Answer(answer.status, headers, answer.read())
    finally:
        connection.close()


class Dialect:
    """What the requests for one repository mean in the words of the store's seam."""

    def __init__(self, container: str, prefix: str) -> None:
        self._container = container
        self._begins = f"{prefix}/" if prefix else ""
        self._epochs = epoch_containers(container, prefix)

    def meaning(self, request: Request) -> tuple[Op, str] | None:
        """Operation and name, of a listing its prefix. None: a sign-in, say, or another repository's."""
        url = urlsplit(request.target)
        container, _, name = unquote(url.path).lstrip("/").partition("/")[2].partition("/")[2].partition("/")
        if container.startswith(self._epochs):
            return _with(_EPOCH_OPS.get(request.method), EPOCHS + container.removeprefix(self._epochs))
        if container != self._container:
            return None
        if name:
            return _with(_OBJECT_OPS.get(request.method), name.removeprefix(self._begins))
        wanted = parse_qs(url.query).get("prefix", [""])[0]
        return ("list", wanted.removeprefix(self._begins)) if request.method == "GET" else None

    def without(self, listing: Answer, names: Iterable[str]) -> Answer:
        hidden = {self._begins + name for name in names}
        return _listing(listing, [entry for entry in _entries(listing) if entry["name"] not in hidden])

    def with_more(self, listing: Answer, names: Iterable[str], request: Request) -> Answer:
        """The page of a listing with those of `names` that belong into it."""
        query = parse_qs(urlsplit(request.target).query)
        prefix, marker = (query.get(key, [""])[0] for key in ("prefix", "marker"))
        full = (self._begins + name for name in names)
        more = [_phantom(name) for name in full if name.startswith(prefix) and name > marker]
        return _listing(listing, sorted(_entries(listing) + more, key=lambda entry: entry["name"]))


def answer_from(copy: Request, request: Request) -> Answer:
    """What a server that holds the object as `copy` wrote it answers to a GET or HEAD."""
    headers = {
        "Content-Type": copy.headers.get("Content-Type", "application/octet-stream"),
        "ETag": md5_of(copy.body),
        "Last-Modified": LAST_MODIFIED,
    }
    status, body = 200, copy.body
    if wanted := request.headers.get("Range"):
        first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
        status, body = 206, copy.body[first : last + 1]
        headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{len(copy.body)}"
    headers["Content-Length"] = str(len(body))
    return Answer(status, headers, b"" if request.method == "HEAD" else body)


def md5_of(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _with(op: Op | None, name: str) -> tuple[Op, str] | None:
    return (op, name) if op else None


def _entries(listing: Answer) -> list[dict[str, str]]:
    entries: list[dict[str, str]] = json.loads(listing.body or b"[]")
    return entries


def _phantom(name: str) -> dict[str, str]:
    known = {"hash": md5_of(b""), "content_type": "image/png", "last_modified": "2026-01-01T00:00:00.000000"}
    return {"name": name, "bytes": "0", **known}


def _listing(answer: Answer, entries: list[dict[str, str]]) -> Answer:
    body = json.dumps(entries).encode()
    headers = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
    return Answer(200, headers | {"Content-Type": "application/json", "Content-Length": str(len(body))}, body)
