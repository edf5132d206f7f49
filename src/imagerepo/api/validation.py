"""Validating JSON by DRF serializers: strict types, no unknown members, errors with JSON pointers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.settings import api_settings

from imagerepo.api.requests import BadRequest

MemberError: TypeAlias = dict[str, str]
"""One thing that is wrong: `{pointer, code, detail}`."""


def wrong(pointer: str, code: str, detail: str) -> MemberError:
    """`pointer` is a JSON pointer (RFC 6901) into what was sent."""
    return {"pointer": pointer, "code": code, "detail": detail}


class Text(serializers.CharField):
    """A string and nothing else, kept as it is sent; no NUL and no lone surrogate."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"trim_whitespace": False, **given})

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Number(serializers.FloatField):
    """A JSON number and nothing else."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class Flag(serializers.BooleanField):
    """true or false and nothing else."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StrictSerializer(serializers.Serializer[Any]):
    """Takes the members that are declared, and no others."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = {} if not isinstance(data, Mapping) else self._unknown(data)
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            detail = error.detail if isinstance(error.detail, dict) else {}
            raise serializers.ValidationError({**detail, **unknown}) from None
        if unknown:
            raise serializers.ValidationError(unknown)
        return values

    def _unknown(self, data: Mapping[str, Any]) -> dict[str, list[ErrorDetail]]:
        known = ", ".join(self.fields)
        detail = ErrorDetail(f"no such member; known are: {known}", "unknown")
        return {str(name): [detail] for name in data if name not in self.fields}


def errors_of(serializer: StrictSerializer) -> list[MemberError]:
    """What is wrong with the serializer's data; empty if nothing is."""
    return [] if serializer.is_valid() else list(_flatten(serializer.errors, ""))


def validated(serializer: StrictSerializer) -> dict[str, Any]:
    """The values of a request's body. Raises BadRequest."""
    errors = errors_of(serializer)
    if errors:
        first = errors[0]
        raise BadRequest(f"{first['pointer'] or 'the body'}: {first['detail']}", errors=errors)
    return dict(serializer.validated_data)


def _flatten(detail: Any, pointer: str) -> Iterator[MemberError]:
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            yield from _flatten(inner, pointer + _step(str(name)))
    elif isinstance(detail, list):
        for inner in detail:
            yield from _flatten(inner, pointer)
    else:
        code = str(getattr(detail, "code", "invalid")).replace("_", "-")
        yield wrong(pointer, code, str(detail))


def _step(name: str) -> str:
    if name == api_settings.NON_FIELD_ERRORS_KEY:
        return ""
    return "/" + name.replace("~", "~0").replace("/", "~1")
