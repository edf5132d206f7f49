"""The one validator of metadata, wherever they are sent: a patch, a part of a form, single fields."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import orjson
from django.http import QueryDict
from rest_framework import serializers

from imagerepo.api.validation import MemberError, StrictSerializer, Text, errors_of, wrong
from imagerepo.errors import InvalidMetadata
from imagerepo.sessions.metadata import (
    MAX_ATTRIBUTES_DEPTH,
    MAX_CHARACTERS,
    MAX_TAG_CHARACTERS,
    MAX_TAGS,
    check_attributes_size,
)

METADATA_PART = "metadata"
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def _text(name: str) -> Text:
    return Text(required=False, allow_null=True, allow_blank=True, max_length=MAX_CHARACTERS[name])


class Timestamp(serializers.Field[Any, Any, Any, Any]):
    """RFC 3339; without an offset it counts as UTC."""

    default_error_messages = {"invalid": "not a time of RFC 3339, such as 2021-07-14T18:30:00+02:00"}

    def to_internal_value(self, data: Any) -> datetime:
        if not isinstance(data, str) or not _RFC3339.fullmatch(data):
            self.fail("invalid")
        try:
            time = datetime.fromisoformat(data.upper())
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail("invalid")


class Attributes(serializers.Field[Any, Any, Any, Any]):
    """A JSON object of anything, as deep and large as may be."""

    default_error_messages = {
        "invalid": "not a JSON object",
        "too_deep": f"more than {MAX_ATTRIBUTES_DEPTH} levels",
        "null_characters_not_allowed": "NUL characters are not allowed",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("invalid")
        self._check(data)
        return data

    def _check(self, data: Any) -> None:
        """Level by level: recursion would end in a RecursionError before the depth is known."""
        level = [data]
        for depth in range(MAX_ATTRIBUTES_DEPTH + 1):
            if any("\0" in value for value in level if isinstance(value, str)):
                self.fail("null_characters_not_allowed")
            if depth == MAX_ATTRIBUTES_DEPTH and any(isinstance(value, dict | list) for value in level):
                self.fail("too_deep")
            level = [inner for value in level for inner in _inside(value)]


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []


class MetadataSerializer(StrictSerializer):
    """What people may say about an image. null resets a member."""

    filename = _text("filename")
    title = _text("title")
    description = _text("description")
    alt_text = _text("alt_text")
    creator = _text("creator")
    rights = _text("rights")
    taken_at = Timestamp(required=False, allow_null=True)
    tags = serializers.ListField(
        child=Text(max_length=MAX_TAG_CHARACTERS), required=False, allow_null=True, max_length=MAX_TAGS
    )
    attributes = Attributes(required=False, allow_null=True)

    def validate_tags(self, tags: list[str] | None) -> list[str] | None:
        return None if tags is None else list(dict.fromkeys(tags))


def patch_of(data: Any) -> dict[str, Any]:
    """The validated patch that `data` is. Raises InvalidMetadata."""
    if data == {}:
        return {}
    serializer = MetadataSerializer(data=data)
    errors = errors_of(serializer)
    if errors:
        raise _invalid(errors)
    patch = dict(serializer.validated_data)
    if patch.get("attributes"):
        check_attributes_size(patch["attributes"])
    return patch


def patch_of_json(text: bytes) -> dict[str, Any]:
    """The same, of a JSON text."""
    return patch_of(_loads(text, ""))


def patch_of_form(fields: QueryDict) -> dict[str, Any]:
    """The same, of a form: a part `metadata` in JSON, single fields, or both; then the fields go first."""
    given: dict[str, Any] = {}
    if METADATA_PART in fields:
        given = _loads(_only(fields, METADATA_PART).encode(), "")
        if not isinstance(given, dict):
            patch_of(given)
    return patch_of(given | {name: _field(fields, name) for name in fields if name != METADATA_PART})


def _field(fields: QueryDict, name: str) -> Any:
    if name == "tags":
        return _tags(fields)
    value = _only(fields, name)
    if name == "attributes":
        return _loads(value.encode(), "/attributes")
    return None if name == "taken_at" and not value else value


def _tags(fields: QueryDict) -> Any:
    """Repeated fields, a tag each, or one field with a JSON list."""
    values = fields.getlist("tags")
    if len(values) == 1 and values[0].startswith("["):
        return _loads(values[0].encode(), "/tags")
    return [] if values == [""] else values


def _only(fields: QueryDict, name: str) -> str:
    values = fields.getlist(name)
    if len(values) > 1:
        raise _invalid([wrong(f"/{name}", "repeated", "given more than once")])
    return str(values[0])


def _loads(text: bytes, pointer: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _invalid([wrong(pointer, "not-json", f"not JSON: {error}")]) from None


def _invalid(errors: list[MemberError]) -> InvalidMetadata:
    first = errors[0]
    return InvalidMetadata(f"{first['pointer'] or 'the metadata'}: {first['detail']}", errors=errors)
