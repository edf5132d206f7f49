"""Reading a request: its body's length, JSON bodies, digests, preferences, pages."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import orjson
from rest_framework.request import Request

from imagerepo.api.requests import BadRequest, BodyTooLarge, WrongMediaType
from imagerepo.api.validation import wrong
from imagerepo.catalogue import cursors
from imagerepo.errors import LengthRequired, TruncatedBody

MAX_FORM_BYTES = 1 << 20
"""Of a JSON body, and of all of a form but its image."""
JSON = ("application/json",)
MERGE_PATCH = ("application/merge-patch+json", "application/json")
MAX_PAGE, DEFAULT_PAGE = 200, 50
_SHA256_DIGEST = re.compile(r"(?:^|,)\s*sha-256=(:[A-Za-z0-9+/=]*:)?")
_PAGE = re.compile(r"[0-9]{1,3}")
_WAIT = re.compile(r"\bwait=(\d{1,9})\b")


def content_length(request: Request) -> int:
    """The announced length of the body. Raises LengthRequired, also for a chunked one."""
    text = request.META.get("CONTENT_LENGTH") or ""
    if "HTTP_TRANSFER_ENCODING" in request.META or not text:
        raise LengthRequired("the body needs a Content-Length; a chunked one is not taken")
    if not text.isascii() or not text.isdigit():
        raise BadRequest(f"Content-Length {text[:40]!r} is not a number of bytes")
    return int(text)


def body(request: Request) -> bytes:
    """A small body, whole. Raises LengthRequired, BodyTooLarge, TruncatedBody."""
    length = content_length(request)
    if length > MAX_FORM_BYTES:
        raise BodyTooLarge(f"a body of {length} bytes; at most {MAX_FORM_BYTES} are taken here")
    content = read(request, length)
    if len(content) != length:
        raise TruncatedBody(f"the body ended after {len(content)} of {length} announced bytes")
    return content


def read(request: Request, size: int) -> bytes:
    """Up to `size` bytes of the body. Raises TruncatedBody when the client is gone."""
    try:
        return bytes(request._request.read(size))
    except OSError as error:
        raise TruncatedBody("the body ended early: the connection broke") from error


def media_type(request: Request) -> str:
    return str(request.META.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()


def check_media_type(request: Request, taken: tuple[str, ...]) -> None:
    """Raise WrongMediaType unless the body is of a type in `taken`."""
    if media_type(request) not in taken:
        raise WrongMediaType(f"a body of type {media_type(request)[:100]!r}; taken is {' or '.join(taken)}")


def json_body(request: Request) -> Any:
    """The body as JSON. Raises BadRequest, WrongMediaType and what `body` raises."""
    check_media_type(request, JSON)
    try:
        return orjson.loads(body(request))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None


def has_body(request: Request) -> bool:
    return request.META.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in request.META


def content_digest(request: Request) -> bytes | None:
    """The SHA-256 that `Content-Digest` names; None without one. Raises BadRequest."""
    found = _SHA256_DIGEST.search(request.META.get("HTTP_CONTENT_DIGEST", ""))
    if found is None:
        return None
    try:
        digest = base64.b64decode((found[1] or "").strip(":"), validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != 32:
        raise BadRequest("Content-Digest is not of the form sha-256=:<base64 of 32 bytes>:")
    return digest


def preferred_wait(request: Request, longest: float) -> float:
    """Seconds to wait for a result: 0 with `Prefer: respond-async`, else `wait=` up to `longest`."""
    prefer = request.META.get("HTTP_PREFER", "").lower()
    if "respond-async" in re.split(r"[\s,;]+", prefer):
        return 0.0
    wait = _WAIT.search(prefer)
    return min(longest, float(wait[1])) if wait else longest


def flag(request: Request, name: str) -> bool:
    """A parameter that is `true` or `false`; left out, it is false. Raises BadRequest."""
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise bad_parameter(name, "not true or false")
    return text == "true"


def page_size(request: Request) -> int:
    """The parameter `limit`. Raises BadRequest."""
    text = request.query_params.get("limit", str(DEFAULT_PAGE))
    if not _PAGE.fullmatch(text) or not 1 <= int(text) <= MAX_PAGE:
        raise bad_parameter("limit", f"not a whole number from 1 to {MAX_PAGE}")
    return int(text)


def number_cursor(request: Request) -> int | None:
    """The number in the parameter `cursor`, of a listing ordered by one. Raises BadRequest."""
    text = request.query_params.get("cursor")
    if text is None:
        return None
    number = cursors.read_number(text)
    if number is None:
        raise bad_parameter("cursor", "not a cursor of this service: begin again without one")
    return number


def next_page(request: Request, number: int | None) -> str | None:
    """The path and query of the page after this one, or null where `number` says there is none."""
    return None if number is None else with_cursor(request, cursors.of_number(number))


def with_cursor(request: Request, cursor: str) -> str:
    """This request's path and query, for the page that begins at `cursor`."""
    query = request.query_params.copy()
    query["cursor"] = cursor
    return f"{request.path}?{query.urlencode()}"


def check_parameters(request: Request, *known: str) -> None:
    """Raise BadRequest for a query parameter that is not `known`."""
    for name in request.query_params:
        if name not in known:
            raise bad_parameter(name, f"no such parameter; known are: {', '.join(known)}")


def bad_parameter(name: str, detail: str) -> BadRequest:
    return BadRequest(f"{name}: {detail}", errors=[wrong(f"/{name}", "invalid", detail)])
