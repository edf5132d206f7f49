"""What people say about an image: its limits, and how a patch changes it.

A patch maps members to their new values; None resets a member. It has been validated at the boundary
(api/metadata.py); only what depends on the values before is checked here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from imagerepo.catalogue.models import DESCRIPTIVE_FIELDS, Descriptive
from imagerepo.errors import InvalidMetadata

Patch: TypeAlias = Mapping[str, Any]

_FIELDS = {field.name: field for field in Descriptive._meta.local_fields}

MAX_CHARACTERS = {
    "filename": 500,
    "title": 500,
    "description": 20_000,
    "alt_text": 20_000,
    "creator": 1_000,
    "rights": 1_000,
}
MAX_TAGS = 100
MAX_TAG_CHARACTERS = 100
MAX_ATTRIBUTES_BYTES = 64 * 1024
"""Of `attributes` as compact JSON in UTF-8."""
MAX_ATTRIBUTES_DEPTH = 32
"""Objects and arrays in each other, counting `attributes` itself."""


def description(row: Descriptive) -> dict[str, Any]:
    """All that is said in `row`, by member."""
    return {name: getattr(row, name) for name in DESCRIPTIVE_FIELDS}


def describe(row: Descriptive, patch: Patch) -> None:
    """Apply the patch to `row`, unsaved. Raises InvalidMetadata where the attributes grow too large."""
    for name, value in patch.items():
        setattr(row, name, _patched(getattr(row, name), name, value))


def _patched(before: Any, name: str, value: Any) -> Any:
    if value is None:
        return _default(name)
    if name != "attributes":
        return value
    merged = merge_patch(before, value)
    check_attributes_size(merged)
    return merged


def _default(name: str) -> Any:
    return _FIELDS[name].get_default()


def merge_patch(target: Any, patch: Any) -> Any:
    """JSON Merge Patch (RFC 7396): objects are merged, null removes a member, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def check_attributes_size(attributes: Any) -> None:
    """Raise InvalidMetadata where they are larger than MAX_ATTRIBUTES_BYTES."""
    text = json.dumps(attributes, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode())
    if size > MAX_ATTRIBUTES_BYTES:
        detail = f"{size} bytes of JSON; at most {MAX_ATTRIBUTES_BYTES} are kept"
        error = {"pointer": "/attributes", "code": "too-large", "detail": detail}
        raise InvalidMetadata(f"attributes are too large: {detail}", errors=[error])
