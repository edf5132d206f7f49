"""Answers with the bytes of an image, whole or in part, read as they are sent, a chunk at a time."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from imagerepo.api.conditional import quoted, unless_known
from imagerepo.api.ranges import Span, span_asked

CHUNK_BYTES = 256 << 10


class Readable(Protocol):
    """`read` gives as many bytes as it is asked for, or raises."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class Body:
    """The next `length` bytes of `source`, which it owns: `close` it, also if it was never read.

    A server may ask for chunks from several threads, one after the other. `check` is given each chunk
    before it is handed out, and may raise: then whoever reads the answer sees that it is too short.
    """

    def __init__(self, source: Readable, length: int, check: Callable[[bytes], None] = lambda _: None) -> None:
        self._source, self._left, self._check = source, length, check

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._left:
            self.close()
            raise StopIteration
        chunk = self._source.read(min(CHUNK_BYTES, self._left))
        self._left -= len(chunk)
        self._check(chunk)
        return chunk

    def close(self) -> None:
        self._source.close()


def headers_of(digest: str, media_type: str) -> dict[str, str]:
    """What is said of bytes with the SHA-256 `digest`, in hex: it is their entity tag too."""
    encoded = base64.b64encode(bytes.fromhex(digest)).decode()
    return {
        "ETag": quoted(digest),
        "Repr-Digest": f"sha-256=:{encoded}:",
        "Content-Type": media_type,
        "Accept-Ranges": "bytes",
    }


def not_needed(request: Request, headers: Mapping[str, str]) -> HttpResponse | None:
    """304 if the client has the bytes with these headers, else None. Raises PreconditionFailed."""
    offered = HttpResponse(headers=dict(headers))
    chosen = unless_known(request, offered)
    return None if chosen is offered else chosen


def span_of(request: Request, size: int, headers: Mapping[str, str]) -> Span | None:
    """The part of `size` bytes that is asked for; None for the whole, as when `If-Range` names other bytes.

    Raises RangeNotSatisfiable.
    """
    text = request.headers.get("Range")
    if request.method != "GET" or not text or request.headers.get("If-Range", headers["ETag"]) != headers["ETag"]:
        return None
    return span_asked(text, size)


def head(size: int, headers: Mapping[str, str]) -> HttpResponse:
    """The answer to HEAD."""
    return HttpResponse(headers={**headers, "Content-Length": str(size)})


def whole(body: Body, size: int, headers: Mapping[str, str]) -> HttpResponseBase:
    """200 with `size` bytes. A small body is read here: what is wrong with it is told before the answer begins."""
    headers = {**headers, "Content-Length": str(size)}
    if size > CHUNK_BYTES:
        return StreamingHttpResponse(body, headers=headers)
    try:
        return HttpResponse(b"".join(body), headers=headers)
    finally:
        body.close()


def part(source: Readable, span: Span, size: int, headers: Mapping[str, str]) -> HttpResponseBase:
    """206 with the bytes of `span`, the next that `source` gives, out of `size`."""
    first, last = span
    length = last - first + 1
    headers = {
        **headers,
        "Content-Length": str(length),
        "Content-Range": f"bytes {first}-{last}/{size}",
    }
    return StreamingHttpResponse(Body(source, length), status=206, headers=headers)
