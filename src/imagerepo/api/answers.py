"""The one way to answer JSON: orjson, UTF-8, times in UTC with a Z."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from django.http import HttpResponse


def encode(data: Any) -> bytes:
    """`data` as JSON; datetimes as RFC 3339 in UTC."""
    return orjson.dumps(data, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def answer(
    data: Any,
    status: int = 200,
    *,
    headers: Mapping[str, str] | None = None,
    media_type: str = "application/json",
) -> HttpResponse:
    """A JSON answer with its Content-Length."""
    body = encode(data)
    response = HttpResponse(body, status=status, content_type=media_type, headers=dict(headers or {}))
    response["Content-Length"] = str(len(body))
    return response


def empty(status: int = 204, *, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """An answer without a body or a type."""
    response = HttpResponse(status=status, headers=dict(headers or {}))
    del response["Content-Type"]
    return response
