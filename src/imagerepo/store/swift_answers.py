"""What Swift's answers and listings say of an object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from imagerepo.store.objects import ObjectInfo

_MD5 = re.compile(r"[0-9a-f]{32}")


def object_info(name: str, answer: Mapping[str, str], size: int) -> ObjectInfo:
    return ObjectInfo(name, size, modified(answer), _md5_or_none(answer.get("etag", "")), answer.get("content-type"))


def listed_info(name: str, entry: dict[str, Any]) -> ObjectInfo:
    modified = datetime.fromisoformat(entry["last_modified"]).replace(tzinfo=UTC)
    return ObjectInfo(name, entry["bytes"], modified, _md5_or_none(entry["hash"]), entry["content_type"])


def _md5_or_none(etag: str) -> str | None:
    digest = etag.strip('"')
    return digest if _MD5.fullmatch(digest) else None


def modified(answer: Mapping[str, str]) -> datetime:
    """`Last-Modified` has whole seconds; `X-Timestamp`, where it is, says the same as a listing."""
    if "x-timestamp" in answer:
        return datetime.fromtimestamp(float(answer["x-timestamp"]), UTC)
    return parsedate_to_datetime(answer["last-modified"])
